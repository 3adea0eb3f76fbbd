"""Adversarial robustness of medical vision-language models, measured so that a stranger can check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medrobust_bench.models.read_answer import ReadAnswer, read_answer
    from medrobust_bench.runs.evaluate import Run, evaluate

__version__ = "0.1.0"
__all__ = ["ReadAnswer", "Run", "__version__", "evaluate", "read_answer"]


def __getattr__(name: str) -> Any:
    """Import the benchmark when it is first asked for: torch is slow to load and the command line is not."""
    if name in ("Run", "evaluate"):
        from medrobust_bench.runs import evaluate as module

        return getattr(module, name)
    if name in ("ReadAnswer", "read_answer"):
        from medrobust_bench.models import read_answer as reading

        return getattr(reading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
