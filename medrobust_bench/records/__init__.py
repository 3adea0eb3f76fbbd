"""What is written and read back: frozen records that reject unknown keys."""

from medrobust_bench.records.answer import AnswerKind, Tier
from medrobust_bench.records.data import DataRecord, SkippedRow
from medrobust_bench.records.failure import Failure
from medrobust_bench.records.finding import Finding
from medrobust_bench.records.metrics import (
    AnswerCounts,
    CertifiedEstimate,
    ControlEstimate,
    CorruptionEstimate,
    Estimate,
    Metrics,
    PairedDifference,
    Scores,
    UnparsedRate,
)
from medrobust_bench.records.model import Base, Identity, ModelRecord, ServerRecord, Smoothing
from medrobust_bench.records.outcome import Alteration, AttemptRecord, Outcome
from medrobust_bench.records.record import Record
from medrobust_bench.records.result import (
    READABLE,
    SCHEMA_VERSION,
    Cost,
    Environment,
    Result,
    json_schema,
)
from medrobust_bench.records.usage import UsageRecord
from medrobust_bench.records.without_images import WithoutImages

__all__ = [
    "READABLE",
    "SCHEMA_VERSION",
    "Alteration",
    "AnswerCounts",
    "AnswerKind",
    "AttemptRecord",
    "Base",
    "CertifiedEstimate",
    "ControlEstimate",
    "CorruptionEstimate",
    "Cost",
    "DataRecord",
    "Environment",
    "Estimate",
    "Failure",
    "Finding",
    "Identity",
    "Metrics",
    "ModelRecord",
    "Outcome",
    "PairedDifference",
    "Record",
    "Result",
    "Scores",
    "ServerRecord",
    "SkippedRow",
    "Smoothing",
    "Tier",
    "UnparsedRate",
    "UsageRecord",
    "WithoutImages",
    "json_schema",
]
