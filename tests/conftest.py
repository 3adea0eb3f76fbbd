"""Fixtures that several folders of tests use."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from medrobust_bench.records import (
    CertifiedEstimate,
    Cost,
    DataRecord,
    Environment,
    Finding,
    Metrics,
    ModelRecord,
    Result,
    Scores,
    UnparsedRate,
)
from medrobust_bench.records.intervals import wilson
from medrobust_bench.specs.kinds import read_spec
from medrobust_bench.specs.registry import official_threats
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

settings.register_profile("patient", deadline=None)  # a busy machine is not a wrong program
settings.load_profile("patient")

OFFICIAL = {threat.kind: threat.model_dump(mode="json") for threat in (CLEAN, *official_threats())}
"""Of every kind, the fields of its last official specification."""


@pytest.fixture(autouse=True, scope="session")
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDROBUST_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A function that makes a schema-valid result record out of counts of right answers."""

    def make(
        *,
        model: str = "model",
        threat: str = "pgd-linf",
        kind: str = "pgd",
        spec: dict[str, Any] | None = None,
        clean: int = 18,
        robust: int | None = 5,
        certified: dict[float, int] | None = None,
        n: int = 20,
        by_modality: dict[str, tuple[int, int, int]] | None = None,
        unparsed: float = 0.0,
        data: str = "phantoms",
        synthetic: bool = True,
        digest: str = "d" * 64,
        weights: str | None = None,
        dtype: str = "float32",
        answer_mode: str = "letter",
        seed: int = 0,
        audit: Sequence[Finding] = (),
    ) -> Result:
        """By modality: (clean, robust, n) each; robust counts are ignored where `robust` is None.

        Each model has weights of its own, unless told.
        """

        def scores(right: int, held: int | None, total: int) -> Scores:
            return Scores(
                clean_accuracy=wilson(right, total),
                robust_accuracy=None if robust is None or held is None else wilson(held, total),
                certified_accuracy=tuple(
                    CertifiedEstimate(radius=radius, **dict(wilson(count, total)))
                    for radius, count in (certified or {}).items()
                ),
            )

        groups = {
            name: scores(*counts) for name, counts in (by_modality or {"CT": (clean, robust or 0, n)}).items()
        }
        worst = min(
            groups, key=lambda name: (groups[name].robust_accuracy or groups[name].clean_accuracy).value
        )
        return Result(
            model=ModelRecord(
                id=model,
                weights_sha256=weights or sha256(model.encode()).hexdigest(),
                dtype=dtype,
                answer_mode=answer_mode,
                parameters=10,
            ),
            data=DataRecord(name=data, split="test", synthetic=synthetic, n=n, digest=digest),
            threat=read_spec({**OFFICIAL[kind], **(spec or {}), "name": threat}),
            seed=seed,
            metrics=Metrics(
                **dict(scores(clean, robust, n)),
                unparsed_rate=UnparsedRate(clean=unparsed),
                by_modality=groups,
                by_question_type={"Disease diagnosis": scores(clean, robust, n)},
                worst_modality=worst if len(groups) > 1 else None,
            ),
            audit=tuple(audit),
            cost=Cost(forward_passes=1, backward_passes=1, seconds=1.0),
            environment=Environment(
                medrobust_bench="0",
                python="3",
                torch="2",
                transformers="5",
                adversarial_robustness_toolbox="1",
                platform="linux",
                device="cpu",
            ),
        )

    return make


@pytest.fixture(scope="session")
def schooled_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a toy model on phantoms. Read only."""
    from tests.toy_runs import make_run

    return make_run(tmp_path_factory.mktemp("schooled") / "run")


@pytest.fixture(scope="session")
def weakened_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same questions and threats, a model that gives in more easily. Read only."""
    from tests.toy_runs import SchooledAdapter, make_run

    return make_run(tmp_path_factory.mktemp("weakened") / "run", SchooledAdapter("weakened", lean=0.4))
