"""The toy model of `medrobust_bench.testing`, which counts its passes, and questions that it answers right."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

from medrobust_bench.data.image import ImageBytes, to_png
from medrobust_bench.data.question import Question
from medrobust_bench.specs.vocabulary import MODALITIES, QUESTION_TYPES
from medrobust_bench.testing import ToyAdapter, ToyQuestions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from medrobust_bench.records import ModelRecord


class LinearAdapter(ToyAdapter):
    """A toy with a size.

    Args:
        seed: of the weights.
        n_classes: number of options of the questions that `make_questions` makes.
        shape: (H, W) of their images.
        scale: standard deviation of a weight.
    """

    def __init__(
        self, seed: int = 0, n_classes: int = 4, shape: tuple[int, int] = (8, 8), *, scale: float = 1.0
    ) -> None:
        super().__init__(seed, scale)
        self.n_classes = n_classes
        self.shape = shape

    @property
    def record(self) -> ModelRecord:
        weights = f"{self.seed} {self.n_classes} {self.shape} {self.scale}".encode()
        changes = {"id": "linear-toy", "weights_sha256": hashlib.sha256(weights).hexdigest()}
        return super().record.model_copy(update=changes)

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        return LinearQuestions.of(super().bind(questions))


@dataclass(eq=False)
class LinearQuestions(ToyQuestions):
    """Bound questions of a `LinearAdapter`.

    Attributes:
        passes: ids of the questions in order of their float passes; shared with what `select` gives.
    """

    passes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, bound: ToyQuestions) -> Self:
        return cls(bound.batch, bound.weights, bound.biases, getattr(bound, "passes", []))

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        self.passes.extend(question.id for question in self.batch.questions)
        return super().scores(pixels)


def make_questions(
    adapter: LinearAdapter,
    n: int,
    *,
    seed: int = 0,
    levels: tuple[int, int] = (0, 255),
    modalities: Sequence[str] = MODALITIES[:8],
) -> list[Question]:
    """Questions that the adapter answers right on their clean images.

    Args:
        adapter: whose `shape` and `n_classes` they have.
        n: how many; modalities and question types take turns.
        seed: of the images.
        levels: lowest and highest grey level of the clean images.
        modalities: which take turns.
    """
    draw = np.random.default_rng(seed)
    types = QUESTION_TYPES
    questions = []
    for index in range(n):
        image = draw.integers(levels[0], levels[1], (*adapter.shape, 3), endpoint=True, dtype=np.uint8)
        fields = {
            "id": f"linear-{seed}-{index}",
            "image": ImageBytes(to_png(image), f"toy image {index}"),
            "text": "Which one?",
            "options": tuple(f"option {option}" for option in range(adapter.n_classes)),
            "modality": modalities[index % len(modalities)],
            "question_type": types[index % len(types)],
            "dataset": "linear toy",
        }
        unanswered = Question(answer=0, **fields)
        (answer,) = adapter.bind([unanswered]).answer([image])
        assert answer.choice is not None
        questions.append(Question(answer=answer.choice, **fields))
    return questions
