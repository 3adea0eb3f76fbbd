"""Adversarial robustness of medical vision-language models, measured so that a stranger can check it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medrobust_bench.api import list_models, list_threats, load_data, load_model, load_threat
    from medrobust_bench.models.read_answer import ReadAnswer, read_answer
    from medrobust_bench.problems import InvalidInputError, Problem
    from medrobust_bench.reports.metrics import register_metric
    from medrobust_bench.runs.engine.cluster import RayEngine
    from medrobust_bench.runs.evaluate import evaluate
    from medrobust_bench.runs.evaluate_suite import evaluate_suite
    from medrobust_bench.runs.run import Run, load_run
    from medrobust_bench.runs.suite import Suite, load_suite
    from medrobust_bench.specs.kinds import register_threat

__version__ = "0.1.0"

_WHERE = {
    "InvalidInputError": "problems",
    "Problem": "problems",
    "RayEngine": "runs.engine.cluster",
    "ReadAnswer": "models.read_answer",
    "Run": "runs.run",
    "Suite": "runs.suite",
    "evaluate": "runs.evaluate",
    "evaluate_suite": "runs.evaluate_suite",
    "list_models": "api",
    "list_threats": "api",
    "load_data": "api",
    "load_model": "api",
    "load_run": "runs.run",
    "load_suite": "runs.suite",
    "load_threat": "api",
    "read_answer": "models.read_answer",
    "register_metric": "reports.metrics",
    "register_threat": "specs.kinds",
}

__all__ = [
    "InvalidInputError",
    "Problem",
    "RayEngine",
    "ReadAnswer",
    "Run",
    "Suite",
    "__version__",
    "evaluate",
    "evaluate_suite",
    "list_models",
    "list_threats",
    "load_data",
    "load_model",
    "load_run",
    "load_suite",
    "load_threat",
    "read_answer",
    "register_metric",
    "register_threat",
]


def __getattr__(name: str) -> Any:
    """Import a part when it is first asked for: torch is slow to load and the command line is not."""
    if name in _WHERE:
        return getattr(import_module(f"medrobust_bench.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
