"""A finished certification of a linear model, and logs as papers publish them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import beta, norm

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.runs.evaluate import evaluate
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

THREAT = "certified-l2:n=400"
HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"


@pytest.fixture(scope="session")
def certified_dataset() -> Dataset:
    """Twelve questions, every fourth beyond the model."""
    questions = make_questions(LinearAdapter(seed=1, shape=(6, 6)), 12)
    return Dataset(
        name="linear",
        split="test",
        questions=tuple(
            replace(question, answer=(question.answer + 1) % 4) if row % 4 == 0 else question
            for row, question in enumerate(questions)
        ),
        synthetic=True,
    )


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, certified_dataset: Dataset) -> Path:
    """The folder of a run with a sequential and a fixed-n certification."""
    out = tmp_path_factory.mktemp("certified") / "run"
    adapter = LinearAdapter(seed=1, shape=(6, 6))
    evaluate(
        model=adapter, threats=[THREAT, "certified-l2-exact:n=200,n0=20"], data=certified_dataset, out=out
    )
    return out


@pytest.fixture
def certified_run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of it, to be tampered with."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def write_log(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an honest log of 200 questions in the way of Cohen et al.'s code."""

    def write(
        *,
        n: int = 1000,
        alpha: float = 0.001,
        sigma: float = 0.25,
        seed: int = 0,
        written: Callable[[float], str] = "{:.3}".format,
        radius: Callable[[NDArray[np.int64]], NDArray[np.float64]] | None = None,
        name: str = "log.tsv",
    ) -> Path:
        generator = np.random.default_rng(seed)
        agreeing = generator.binomial(n, np.minimum(1.0, generator.uniform(0.3, 1.05, 200)))
        bounds = beta.ppf(alpha, np.maximum(agreeing, 1), n - np.maximum(agreeing, 1) + 1)
        radii = sigma * norm.ppf(np.maximum(bounds, 0.5)) if radius is None else radius(agreeing)
        lines = [HEADER]
        for row, value in enumerate(radii.tolist()):
            label = int(generator.integers(10))
            right = generator.random() < 0.8
            predict = -1 if value == 0 else label if right else (label + 1) % 10
            lines.append(
                f"{10 * row}\t{label}\t{predict}\t{written(value)}\t{int(predict == label)}\t0:00:01"
            )
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return path

    return write
