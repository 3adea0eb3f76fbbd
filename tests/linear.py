"""A toy model whose worst case is known in closed form: option logits are linear in the pixels."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.data.question import Question
from medrobust_bench.models.adapter import Answer, Focus, ReferenceLoss, RivalLeads
from medrobust_bench.records import ModelRecord
from medrobust_bench.specs.vocabulary import MODALITIES, QUESTION_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class LinearAdapter:
    """option_logits = W·vec(pixels) + b with W and b drawn per question from (seed, question id).

    Args:
        seed: of the weights.
        n_classes: number of options of the questions that `make_questions` makes.
        shape: (H, W) of their images.
        scale: standard deviation of a weight.
    """

    differentiable = True

    def __init__(
        self,
        seed: int = 0,
        n_classes: int = 4,
        shape: tuple[int, int] = (8, 8),
        *,
        scale: float = 1.0,
    ) -> None:
        self.seed = seed
        self.n_classes = n_classes
        self.shape = shape
        self.scale = scale

    @property
    def record(self) -> ModelRecord:
        weights = f"{self.seed} {self.n_classes} {self.shape} {self.scale}".encode()
        return ModelRecord(
            id="linear-toy",
            weights_sha256=hashlib.sha256(weights).hexdigest(),
            dtype="float64",
            answer_mode="letter",
            parameters=self.n_classes * (3 * self.shape[0] * self.shape[1] + 1),
        )

    def bind(self, questions: Sequence[Question]) -> LinearQuestions:
        images = [canonical(question.image) for question in questions]
        assert len({image.shape for image in images}) == 1, "one chunk, one shape"
        parameters = [
            self._parameters(question, image.size) for question, image in zip(questions, images, strict=True)
        ]
        options = max(len(question.options) for question in questions)
        weights = torch.zeros(len(questions), options, images[0].size, dtype=torch.float64)
        biases = torch.full((len(questions), options), -torch.inf, dtype=torch.float64)
        for row, (weight, bias) in enumerate(parameters):
            weights[row, : len(bias)], biases[row, : len(bias)] = weight, bias
        return LinearQuestions(tuple(questions), images, weights, biases)

    def _parameters(self, question: Question, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        digest = hashlib.sha256(question.id.encode()).digest()
        draw = np.random.default_rng([self.seed, *digest])
        weight = draw.normal(0, self.scale, (len(question.options), size))
        return torch.from_numpy(weight), torch.from_numpy(draw.normal(0, self.scale, len(question.options)))


class LinearQuestions:
    """Bound questions of a `LinearAdapter`; counts the rows that pass through it."""

    generates = False

    def __init__(
        self,
        questions: tuple[Question, ...],
        images: list[NDArray[np.uint8]],
        weights: torch.Tensor,
        biases: torch.Tensor,
        passes: list[str] | None = None,
    ) -> None:
        self.questions = questions
        self.images = images
        self.weights = weights
        self.biases = biases
        self.passes: list[str] = [] if passes is None else passes
        """Ids of the questions in order of their float passes; shared with what `select` gives."""

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        self.passes.extend(question.id for question in self.questions)
        return self._logits(pixels).float()

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        self.passes.extend(question.id for question in self.questions)
        logits = self._logits(pixels)
        rows, right = torch.arange(len(answers)), torch.tensor(answers)
        nll = -logits.log_softmax(dim=1)[rows, right]
        left = logits.argmax(dim=1) != right
        return ReferenceLoss(nll, left, left)

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        self.passes.extend(question.id for question in self.questions)
        logits = self._logits(pixels)
        rows, right = torch.arange(len(answers)), torch.tensor(answers)
        leads = logits - logits[rows, right, None]
        leads = leads.scatter(1, right[:, None], -torch.inf)
        left = logits.argmax(dim=1) != right
        return RivalLeads(leads, left, left)

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        levels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return [Answer(choice) for choice in self._logits(levels.float() / 255).argmax(dim=1).tolist()]

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        return self.answer(images)

    def select(self, rows: Sequence[int]) -> LinearQuestions:
        rows = list(rows)
        return LinearQuestions(
            tuple(self.questions[row] for row in rows),
            [self.images[row] for row in rows],
            self.weights[rows],
            self.biases[rows],
            self.passes,
        )

    def _logits(self, pixels: torch.Tensor) -> torch.Tensor:
        # Not a matrix product, whose rounding may depend on the batch.
        return (self.weights * pixels.double().flatten(1)[:, None, :]).sum(dim=2) + self.biases


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
