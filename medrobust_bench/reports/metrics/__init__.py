"""Metrics over outcomes, beside the accuracies that every result has; one small file each."""

from medrobust_bench.reports.metrics.registry import (
    METRIC_GROUP,
    Metric,
    find_metric,
    list_metrics,
    register_metric,
)

__all__ = ["METRIC_GROUP", "Metric", "find_metric", "list_metrics", "register_metric"]
