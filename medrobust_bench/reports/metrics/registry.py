"""Metrics by name: built in, registered, or from another package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from medrobust_bench import extensions
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.reports.metrics.attack_success import attack_success

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.records import Estimate, Outcome
    from medrobust_bench.specs.threat import ThreatSpec

METRIC_GROUP = "medrobust_bench.metrics"


@runtime_checkable
class Metric(Protocol):
    """A proportion that follows from the outcomes of one model under one threat."""

    def __call__(self, outcomes: Sequence[Outcome], threat: ThreatSpec) -> Estimate | None:
        """Compute it.

        Args:
            outcomes: one per question, of all questions or of one modality or question type; at least one.
            threat: which they met.

        Returns:
            The proportion with its interval (see `records.intervals.wilson`); None where it means nothing.
        """
        ...


M = TypeVar("M", bound=Metric)

_metrics: dict[str, Metric] = {"attack-success": attack_success}


def register_metric(name: str) -> Callable[[M], M]:
    """A decorator that makes a metric known to this process.

    Raises:
        ValueError: another metric has the name.
    """

    def register(metric: M) -> M:
        if _metrics.get(name, metric) is not metric:
            raise ValueError(f"there is another metric {name!r}")
        _metrics[name] = metric
        return metric

    return register


def list_metrics() -> list[str]:
    """Names of the metrics that are known here."""
    return sorted({*_metrics, *extensions.names(METRIC_GROUP)})


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        InvalidInputError: nobody knows it, or what a package adds under the name is no metric.
    """
    if name not in _metrics and (added := extensions.extension(METRIC_GROUP, name)) is not None:
        if not isinstance(added.value, Metric):
            raise added.refused("cannot be called", "name a function of outcomes and threat")
        register_metric(name)(added.value)
    if name not in _metrics:
        what = f"there is no metric {name!r}"
        raise InvalidInputError([Problem("--metric", what, f"use one of {', '.join(list_metrics())}")])
    return _metrics[name]
