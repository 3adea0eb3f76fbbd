"""For authors of model adapters: the smallest adapter there is, and checks that any adapter has to pass.

from medrobust_bench.testing import check_adapter

def test_my_adapter():
    report = check_adapter(MyAdapter())
    assert report.passed, report
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

from medrobust_bench.data.image import canonical
from medrobust_bench.models import probes, selftest
from medrobust_bench.models.adapter import Answer, Batch, NoScoresError, afresh
from medrobust_bench.models.averaged import AveragedVLM
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.models.scoring import lead_of_reference
from medrobust_bench.models.selftest import Check, SelfTest, Verdict, judge
from medrobust_bench.records import ModelRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions

LARGEST_GAP = 0.1
"""Lead of another option's score over the deployed answer's, in standard deviations, up to which paths agree."""


@dataclass(eq=False)
class ToyAdapter:
    """A model whose worst case is known in closed form: the scores of the options are W·pixels + b.

    Attributes:
        seed: W and b are drawn from it and the question's id.
        scale: standard deviation of a weight.
    """

    seed: int = 0
    scale: float = 1.0
    differentiable = True

    @property
    def record(self) -> ModelRecord:
        """See `Adapter`."""
        digest = hashlib.sha256(f"{self.seed} {self.scale}".encode()).hexdigest()
        return ModelRecord(
            id="toy", weights_sha256=digest, dtype="float64", answer_mode="letter", parameters=0
        )

    def bind(self, questions: Sequence[Question]) -> ToyQuestions:
        """See `Adapter`."""
        batch = Batch(tuple(questions), tuple(canonical(question.image) for question in questions))
        options = max(len(question.options) for question in questions)
        weights = torch.zeros(len(batch), options, batch.images[0].size, dtype=torch.float64)
        biases = torch.full((len(batch), options), -torch.inf, dtype=torch.float64)
        for row, question in enumerate(questions):
            weight, bias = self.parameters(question, batch.images[0].size)
            weights[row, : len(bias)], biases[row, : len(bias)] = weight, bias
        return ToyQuestions(batch, weights, biases)

    def parameters(self, question: Question, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """W [K, size] and b [K] of a question."""
        draw = np.random.default_rng([self.seed, *hashlib.sha256(question.id.encode()).digest()])
        weight = draw.normal(0, self.scale, (len(question.options), size))
        return torch.from_numpy(weight), torch.from_numpy(draw.normal(0, self.scale, len(question.options)))


@dataclass(eq=False)
class ToyQuestions:
    """Bound questions of a `ToyAdapter`."""

    batch: Batch
    weights: torch.Tensor
    biases: torch.Tensor
    generation = None

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions`."""
        return self.logits(pixels).float()

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`."""
        return [Answer(choice) for choice in self.logits(to_pixels(images)).argmax(dim=1).tolist()]

    def select(self, rows: Sequence[int]) -> Self:
        """See `BoundQuestions`."""
        index = list(rows)
        return replace(
            self, batch=self.batch.rows(index), weights=self.weights[index], biases=self.biases[index]
        )

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [B, K] in float64."""
        # Not a matrix product, whose rounding may depend on the batch.
        return (self.weights * pixels.double().flatten(1)[:, None, :]).sum(dim=2) + self.biases


def check_adapter(adapter: Adapter, questions: Sequence[Question] | None = None) -> SelfTest:
    """Check whether attacks on a model measure the model that is deployed.

    A model that answers for many passes at once is checked in its plain form; of a Hugging Face model, image path and
    logits are examined as well; of one that gives answers alone, whether they repeat.

    Args:
        adapter: the model.
        questions: a few questions whose canonical images share one shape, better with different numbers of options;
            synthetic ones by default.
    """
    while isinstance(adapter, AveragedVLM):
        adapter = adapter.base
    questions = list(questions or probes.synthetic_questions(selftest.HEIGHT, selftest.WIDTH))
    bound = adapter.bind(questions)
    try:
        _scored(bound)
    except NoScoresError:
        few = (*_gradient(adapter, bound), _no_scores(), _repeating(bound))
        return SelfTest(model=adapter.record.id, checks=few)
    if isinstance(adapter, HuggingFaceVLM):
        checks = list(selftest.run(adapter, questions).checks)
    else:
        checks = [*_gradient(adapter, bound), _deterministic(bound)]
    checks += [_scores(bound), _selection(adapter, bound), _answers(adapter, bound)]
    if bound.generation is not None:
        checks.append(_completions(bound))
    return SelfTest(model=adapter.record.id, checks=tuple(checks))


def _gradient(adapter: Adapter, bound: BoundQuestions) -> list[Check]:
    """Whether a gradient arrives where one is promised, and predicts what a small step changes."""
    if not adapter.differentiable:
        meaning = "no gradient reaches the pixels: only gradient-free threats can be run"
        return [Check(name="gradient", value=None, unit="norm", verdict=Verdict.HANDLED, meaning=meaning)]
    pixels = bound.batch.pixels().requires_grad_()
    total = _known(bound.scores(pixels)).sum()
    gradient = None
    if total.requires_grad:
        (gradient,) = torch.autograd.grad(total, pixels, allow_unused=True)
    norm = 0.0 if gradient is None else float(gradient.norm())
    arrives = judge(
        name="gradient",
        value=norm,
        unit="norm",
        passed=norm > 0,
        good="gradients reach the pixels",
        bad="no gradient reaches the pixels, though the adapter says that it is differentiable",
    )
    if not norm:
        return [arrives]
    return [arrives, selftest.slope_check(lambda at: _known(bound.scores(at)), bound.batch.pixels())]


def _no_scores() -> Check:
    meaning = "no scores of options: only threats that need answers alone can be run"
    return Check(name="scores", value=None, unit="wrong entries", verdict=Verdict.HANDLED, meaning=meaning)


def _repeating(bound: BoundQuestions) -> Check:
    """Deployed answers, twice, of a model that gives nothing else."""
    answers, again = bound.answer(bound.batch.images), afresh(bound).answer(bound.batch.images)
    changed = sum(first.choice != second.choice for first, second in zip(answers, again, strict=True))
    return judge(
        name="answers",
        value=changed,
        unit="answers",
        passed=changed == 0,
        good="deployed answers repeat",
        bad="deployed answers do not repeat: differences of accuracy below their share mean nothing",
    )


def _deterministic(bound: BoundQuestions) -> Check:
    gap = float((_known(_scored(bound)) - _known(_scored(bound))).abs().max())
    return judge(
        name="deterministic",
        value=gap,
        unit="scores",
        passed=gap == 0,
        good="two runs agree to the last bit",
        bad="two runs differ: the model is attacked through its expectation, at many times the cost",
    )


def _scores(bound: BoundQuestions) -> Check:
    """Shape and type of the scores, and -inf for options that a question lacks and for no others."""
    scores = _scored(bound)
    counts = torch.tensor([len(question.options) for question in bound.batch.questions])
    options = torch.arange(int(counts.max()))
    shaped = scores.shape == (len(counts), len(options)) and scores.dtype == torch.float32
    wrong = int((torch.isfinite(scores).cpu() != (options < counts.unsqueeze(1))).sum()) if shaped else -1
    return judge(
        name="scores",
        value=wrong,
        unit="wrong entries",
        passed=wrong == 0,
        good="one finite score per option, and -inf where a question has fewer",
        bad="scores must be float32 [B, K], finite for every option and -inf where a question has fewer",
    )


def _selection(adapter: Adapter, bound: BoundQuestions) -> Check:
    """Scores of some of the questions, in another order and repeated, against those of all of them."""
    rows = [len(bound.batch) - 1, 0, 0]
    chosen, whole, pixels = bound.select(rows), _scored(bound), bound.batch.pixels()
    same = [question.id for question in chosen.batch.questions] == [
        bound.batch.questions[row].id for row in rows
    ]
    with torch.no_grad():
        some = chosen.scores(pixels[rows])
    unit = _known(whole).std()
    gap = float((_known(some) - _known(whole[rows])[:, : some.shape[1]]).abs().max() / unit)
    dtype = getattr(torch, adapter.record.dtype, torch.float32)
    tolerance = probes.batch_tolerance(dtype)
    if dtype.itemsize == 2:  # a deep model rounds by more, which it does among copies of one question, too
        with torch.no_grad():
            alone, copies = (bound.select([0] * n).scores(pixels[[0] * n]) for n in (1, len(rows)))
        rounding = float((_known(copies) - _known(alone)).abs().max() / unit)
        tolerance = max(tolerance, probes.TIMES_ITS_OWN * rounding)
    return judge(
        name="selection",
        value=gap,
        unit="score s.d.",
        passed=same and gap <= tolerance,
        good="selected questions score as in the whole batch",
        bad="what a question scores depends on its place or its company",
    )


def _answers(adapter: Adapter, bound: BoundQuestions) -> Check:
    """Deployed answers, twice, to clean and to dark images, against the options of highest score."""
    wrong = 0
    largest = max(bound.batch.tolerance, LARGEST_GAP * float(_known(_scored(bound)).std()))
    for images in (bound.batch.images, [image // 2 for image in bound.batch.images]):
        answers, again = bound.answer(images), adapter.bind(bound.batch.questions).answer(images)
        with torch.no_grad():
            scores = bound.scores(to_pixels(images, bound.batch.device))
        for row, (first, second) in enumerate(zip(answers, again, strict=True)):
            known = first.choice is None or 0 <= first.choice < len(bound.batch.questions[row].options)
            behind = 0.0
            if known and first.choice is not None and bound.generation is None:
                behind = float(scores[row].max() - scores[row, first.choice])
            wrong += not known or first != second or behind > largest
    return judge(
        name="answers",
        value=wrong,
        unit="answers",
        passed=wrong == 0,
        good="deployed answers repeat, and are those of highest score where options are scored",
        bad="deployed answers do not repeat, name no option, or are not those of highest score",
    )


def _completions(bound: BoundQuestions) -> Check:
    """Smallest lead of a token of the clean completions, and whether completions survive as text."""
    generation = bound.generation
    assert generation is not None
    clean = generation.clean()
    texts = [generation.text(row, tokens) for row, tokens in enumerate(clean)]
    answered = [answer.text for answer in bound.answer(bound.batch.images)]
    with torch.no_grad():
        scored = generation.logits(bound.batch.pixels(), clean)
    lead = lead_of_reference(scored.logits, scored.tokens).masked_fill(~scored.real, torch.inf).min()
    return judge(
        name="completions",
        value=float(lead),
        unit="logits",
        passed=texts == answered and float(lead) > -bound.batch.tolerance,
        good="what is written on the clean images is what the logits prefer, token by token",
        bad="the logits of completions are not those that wrote them: their likelihood cannot be attacked",
    )


def _scored(bound: BoundQuestions) -> torch.Tensor:
    with torch.no_grad():
        return bound.scores(bound.batch.pixels())


def _known(scores: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isfinite(scores), scores, 0.0)
