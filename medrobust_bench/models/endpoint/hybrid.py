"""Weights at hand for gradients, and a server that serves the same weights for answers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from medrobust_bench.models.adapter import in_full_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import (
        Adapter,
        Answer,
        Batch,
        BoundQuestions,
        CompletionLogits,
        Generation,
    )
    from medrobust_bench.models.endpoint.adapter import EndpointVLM
    from medrobust_bench.models.endpoint.bound import EndpointQuestions
    from medrobust_bench.records import ModelRecord

TOLERANCE = 0.3
"""Logits by which a server's numbers may differ from ours, at least: bfloat16 with another order of additions."""


@dataclass(frozen=True, slots=True)
class HybridVLM:
    """Local weights whose deployed answers come from a server.

    Attributes:
        local: gives scores, gradients and logits of completions.
        served: gives answers.
        compared: clean questions that both answered; None: none yet.
        agreed: those that they answered alike.
    """

    local: Adapter
    served: EndpointVLM
    compared: int | None = None
    agreed: int | None = None

    @property
    def record(self) -> ModelRecord:
        """That of the local weights, with the server."""
        server = self.served.server.model_copy(update={"compared": self.compared, "agreed": self.agreed})
        return self.local.record.model_copy(update={"server": server})

    @property
    def differentiable(self) -> bool:
        """As the local weights."""
        return self.local.differentiable

    def bind(self, questions: Sequence[Question]) -> HybridQuestions:
        """See `Adapter`."""
        return HybridQuestions(self.local.bind(questions), self.served.bind(questions))

    def keeping(self, path: Path) -> HybridVLM:
        """The same, whose server's replies are kept in a file and taken from there."""
        return replace(self, served=self.served.keeping(path))

    def comparing(self, questions: Sequence[Question]) -> HybridVLM:
        """The same, with how many of these clean questions the server answers as the local weights do."""
        agreed = 0
        for question in questions:
            bound = self.bind([question])
            (here,), (there,) = bound.local.answer(bound.batch.images), bound.answer(bound.batch.images)
            agreed += here.choice == there.choice
        return replace(self, compared=len(questions), agreed=agreed)


@dataclass(frozen=True, slots=True)
class HybridQuestions:
    """B questions bound to local weights and to the server that answers for them.

    Attributes:
        local: the questions bound to the local weights.
        served: the questions bound to the server.
    """

    local: BoundQuestions
    served: EndpointQuestions

    @property
    def batch(self) -> Batch:
        """See `BoundQuestions`."""
        return replace(self.local.batch, tolerance=max(TOLERANCE, self.local.batch.tolerance))

    @property
    def generation(self) -> Generation | None:
        """See `BoundQuestions`; the clean completions are those that the server wrote."""
        local = self.local.generation
        return None if local is None else ServedGeneration(local, self.served)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions`; of the local weights."""
        return self.local.scores(pixels)

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`; of the server."""
        return self.served.answer(images, exact=exact)

    def select(self, rows: Sequence[int]) -> HybridQuestions:
        """See `BoundQuestions`."""
        return HybridQuestions(self.local.select(rows), self.served.select(rows))

    def afresh(self) -> HybridQuestions:
        """See `Remembering`: the server is asked once more."""
        return replace(self, served=self.served.afresh())

    def upcast(self) -> HybridQuestions | None:
        """See `HalfPrecision`."""
        precise = in_full_precision(self.local)
        return None if precise is None else replace(self, local=precise)


@dataclass(frozen=True, slots=True)
class ServedGeneration:
    """See `Generation`; what the server writes, scored by the local weights.

    Attributes:
        local: scores.
        served: writes.
        written: tokens of the clean completions, as far as they were asked for.
    """

    local: Generation
    served: EndpointQuestions
    written: list[list[int]] = field(default_factory=list)

    def clean(self) -> list[list[int]]:
        """See `Generation`."""
        if not self.written:
            answers = self.served.answer(self.served.batch.images)
            self.written.extend(self.local.tokens(row, answer.text) for row, answer in enumerate(answers))
        return self.written

    def tokens(self, row: int, completion: str) -> list[int]:
        """See `Generation`."""
        return self.local.tokens(row, completion)

    def text(self, row: int, tokens: Sequence[int]) -> str:
        """See `Generation`."""
        return self.local.text(row, tokens)

    def rewrite(self, row: int, completion: str, option: int, *, words: bool) -> str:
        """See `Generation`."""
        return self.local.rewrite(row, completion, option, words=words)

    def logits(self, pixels: torch.Tensor, completions: Sequence[Sequence[int]]) -> CompletionLogits:
        """See `Generation`."""
        return self.local.logits(pixels, completions)
