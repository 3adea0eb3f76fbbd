"""Adversarial robustness of medical vision-language models, measured so that a stranger can check it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medrobust_bench.runs.evaluate import Run, evaluate

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import the benchmark when it is first asked for: torch is slow to load and the command line is not."""
    if name in ("Run", "evaluate"):
        from medrobust_bench.runs import evaluate as module

        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
