"""Finished runs of toy models on phantoms, made once per test session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import medrobust_bench
from tests.linear import LinearAdapter

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import ModelRecord

THREATS = ("pgd-linf:steps=3", "noise:draws=2", "certified-l2-quick:n0=10,n=100")
QUESTIONS = 48


class SchooledAdapter(LinearAdapter):
    """A linear toy that leans towards the right answer, more or less by question.

    Args:
        name: what results call it.
        lean: how strongly; 1 gets nearly every clean image right and withstands about half of the attacks.
    """

    def __init__(self, name: str = "schooled", *, lean: float = 1.0) -> None:
        super().__init__(seed=3, shape=(64, 64), scale=0.01)
        self.name = name
        self.lean = lean

    @property
    def record(self) -> ModelRecord:
        base = super().record
        digest = f"{round(1000 * self.lean):04x}".rjust(64, "0")
        return base.model_copy(update={"id": self.name, "weights_sha256": digest, "dtype": "float32"})

    def parameters(self, question: Question, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        weights, biases = super().parameters(question, size)
        draw = np.random.default_rng([7, *question.id.encode()])
        biases[question.answer] += self.lean * float(draw.uniform(1, 9))
        return weights, biases


def make_run(
    out: Path,
    adapter: SchooledAdapter | None = None,
    *,
    threats: tuple[str, ...] = THREATS,
    **settings: object,
) -> Path:
    """Run a toy on phantoms; returns the folder."""
    arguments: dict[str, object] = {"data": "phantoms", "limit": QUESTIONS, **settings}
    medrobust_bench.evaluate(model=adapter or SchooledAdapter(), threats=threats, out=out, **arguments)  # type: ignore[arg-type]
    return out
