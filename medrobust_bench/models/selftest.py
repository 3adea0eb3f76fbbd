"""Whether a model can be attacked honestly: is the differentiable path the deployed one, are its gradients right?"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medrobust_bench.data.image import canonical
from medrobust_bench.models import probes
from medrobust_bench.models.pixels import LEVELS
from medrobust_bench.models.scoring import lead_of_reference
from medrobust_bench.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.bound import HuggingFaceQuestions
    from medrobust_bench.models.huggingface import HuggingFaceVLM

HEIGHT, WIDTH = 96, 128  # of the synthetic images; neither square nor of a size that models like
# Imitated on floats, the official 8-bit resize is off by 1 or 2 grey levels, a little more where an image is resized
# twice; a wrong crop or filter is off by tens.
LARGEST_PIXEL_GAP = 4.0
LARGEST_SLOPE_ERROR = 0.1
LARGEST_SCORE_GAP = 1.0
_STEPS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # grey levels
_CLOSE_ENOUGH = 1e-3


class Verdict(StrEnum):
    """Outcome of a check.

    `PASSED`: as it should be.
    `HANDLED`: a known limitation of the model, around which the adapter works; results stay honest.
    `UNDECIDED`: the check cannot tell, for the reason given.
    `FAILED`: attacks on this model would measure something else than the deployed model.
    """

    PASSED = "passed"
    HANDLED = "handled"
    UNDECIDED = "undecided"
    FAILED = "failed"


class Check(Record):
    """One property, measured.

    Attributes:
        name: the property.
        value: what was measured; None where nothing could be.
        unit: of the value.
        verdict: the outcome.
        meaning: what value and verdict mean for a user.
    """

    name: str
    value: float | None
    unit: str
    verdict: Verdict
    meaning: str


class SelfTest(Record):
    """All checks of one model.

    Attributes:
        model: what results call it.
        checks: the checks.
        prompt: what the model is really given for a synthetic question, as text; None where only a server knows it.
        notes: what is unusual in it, one sentence each.
    """

    model: str
    checks: tuple[Check, ...]
    prompt: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.verdict is not Verdict.FAILED for check in self.checks)

    def check(self, name: str) -> Check:
        """The check of this name; KeyError if it was not made."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)


def run(adapter: HuggingFaceVLM, questions: Sequence[Question] | None = None) -> SelfTest:
    """Check a model.

    Args:
        adapter: the model.
        questions: a few questions whose canonical images share one shape, better of different lengths;
            synthetic ones by default.
    """
    questions = list(questions or probes.synthetic_questions(HEIGHT, WIDTH))
    images = [canonical(question.image) for question in questions]
    bound = adapter.bind_batch(questions, images)
    checks = [replay_check(adapter, questions[0]), _score_gap(adapter, bound), *_gradient(adapter, bound)]
    checks += [_batch(adapter, questions), _deterministic(adapter, bound)]
    checks.append(_teacher_forcing(bound.select([0])))
    return SelfTest(model=adapter.record.id, checks=tuple(checks))


def replay_check(adapter: HuggingFaceVLM, question: Question) -> Check:
    """Image inputs of the replayed float path against those of the official 8-bit path.

    Measured on black and white noise of the shape of the question's image, the hardest case for a resize.
    """
    noise = np.random.default_rng(0).choice(
        np.array([0, 255], dtype=np.uint8), canonical(question.image).shape
    )
    bound = adapter.bind_batch([question], [noise])
    official = adapter.process(bound.prompts, bound.batch.images)
    with torch.no_grad():
        replayed = bound.image_features(bound.batch.pixels())
    same_shapes = all(value.shape == official[name].shape for name, value in replayed.items())
    gap = float("inf")
    if same_shapes:
        gaps = [
            (value.cpu().double() - official[name].double()).abs().max() for name, value in replayed.items()
        ]
        gap = float(max(gaps)) / _grey_level(adapter.processor.image_processor)
    return judge(
        name="replay",
        value=gap,
        unit="grey levels",
        passed=gap <= LARGEST_PIXEL_GAP,
        good="attacks see the pixels that the deployed processor makes, up to its 8-bit rounding",
        bad="the differentiable image path is not the deployed one",
    )


def _grey_level(image_processor: Any) -> float:
    """What one grey level of the image amounts to after rescaling and normalisation (largest over channels)."""
    level = float(image_processor.rescale_factor) if image_processor.do_rescale else 1.0
    return level / float(np.min(image_processor.image_std)) if image_processor.do_normalize else level


def _score_gap(adapter: HuggingFaceVLM, bound: HuggingFaceQuestions) -> Check:
    """Next-token logits of the replayed float path against those of the official path."""
    with torch.no_grad():
        pixels = bound.batch.pixels()
        replayed = probes.possible(bound.next_token_logits(bound.image_features(pixels)))
    official = probes.official_logits(adapter, bound)
    gap = float((replayed - official).abs().max() / official.std())
    return judge(
        name="score gap",
        value=gap,
        unit="logit s.d.",
        passed=gap < LARGEST_SCORE_GAP,
        good="on a smooth picture, attack and deployed path score alike",
        bad="the answer hangs on single grey levels: attack and deployed path score differently",
    )


def _gradient(adapter: HuggingFaceVLM, bound: HuggingFaceQuestions) -> list[Check]:
    """Whether a gradient arrives at the pixels, and whether it predicts what a small step changes."""
    norm = probes.gradient_norm(adapter)
    arrives = Check(
        name="gradient",
        value=norm,
        unit="norm",
        verdict=Verdict.PASSED if norm > 0 else Verdict.HANDLED,
        meaning="gradients reach the pixels"
        if norm > 0
        else "no gradient reaches the pixels: only gradient-free threats can be run",
    )
    if norm == 0:
        return [arrives]
    features = bound.image_features(bound.batch.pixels())
    if any(dtype.itemsize == 2 for dtype in (adapter.dtype, *(value.dtype for value in features.values()))):
        meaning = "model or image processor computes in half precision, too coarse for finite differences"
        undecided = Check(
            name="slope", value=None, unit="relative error", verdict=Verdict.UNDECIDED, meaning=meaning
        )
        return [arrives, undecided]
    return [arrives, slope_check(smooth_logits(bound), bound.batch.pixels())]


def slope_check(outputs: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> Check:
    """Whether the gradient of outputs in the pixels predicts what a small step changes; see `slope_error`."""
    error = slope_error(outputs, pixels)
    return judge(
        name="slope",
        value=error,
        unit="relative error",
        passed=error <= LARGEST_SLOPE_ERROR,
        good="the gradient agrees with finite differences",
        bad="the gradient does not predict what small changes do: attacks would be weak",
    )


def smooth_logits(bound: HuggingFaceQuestions) -> Callable[[torch.Tensor], torch.Tensor]:
    """Next-token logits as a function of pixels; without the 8-bit imitation, since a staircase has no slope."""
    return lambda pixels: bound.next_token_logits(bound.image_features(pixels, eight_bit=False))


def slope_error(outputs: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor) -> float:
    """Disagreement of the gradient of a random combination of outputs with central finite differences.

    Two directions: along the sign of the gradient, where every pixel counts with its full weight, and along
    random signs. The best of several steps counts: small ones drown in rounding, large ones in curvature.

    Args:
        outputs: function of the pixels.
        pixels: [B, 3, H, W] float in [0, 1].

    Returns:
        The larger relative error of the two directions.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        weights = torch.randn(outputs(pixels).shape, generator=generator)

    def combined(at: torch.Tensor) -> torch.Tensor:
        values = outputs(at)
        return (values.double() * weights.to(values.device)).sum()

    variable = pixels.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(combined(variable), variable)
    random_signs = torch.randn(pixels.shape, generator=generator).sign().to(pixels.device)
    errors = []
    for direction in (gradient.sign(), random_signs):
        predicted = float((gradient.double() * direction).sum())
        scale = max(abs(predicted), float(gradient.double().norm()))
        best = float("inf")
        for step in _STEPS:
            offset = direction * (step / LEVELS)
            with torch.no_grad():
                measured = float(combined(pixels + offset) - combined(pixels - offset)) / (2 * step / LEVELS)
            best = min(best, abs(measured - predicted) / scale)
            if best < _CLOSE_ENOUGH:
                break
        errors.append(best)
    return max(errors)


def _batch(adapter: HuggingFaceVLM, questions: Sequence[Question]) -> Check:
    """Logits in a left-padded batch against logits alone."""
    gap = probes.batch_gap(adapter, questions)
    passed = probes.undisturbed(adapter, gap, questions, dtypes=[adapter.dtype])
    return Check(
        name="batch",
        value=gap,
        unit="logit s.d.",
        verdict=Verdict.PASSED if passed else Verdict.HANDLED,
        meaning="a question scores the same alone and in company"
        if passed
        else "questions in a batch disturb each other: the adapter runs them one at a time",
    )


def _deterministic(adapter: HuggingFaceVLM, bound: HuggingFaceQuestions) -> Check:
    """Two identical forward passes."""
    first, second = (probes.official_logits(adapter, bound) for _ in range(2))
    gap = float((first - second).abs().max())
    return judge(
        name="deterministic",
        value=gap,
        unit="logits",
        passed=gap == 0,
        good="two runs agree to the last bit",
        bad="two runs differ: results cannot be reproduced",
    )


def _teacher_forcing(bound: HuggingFaceQuestions) -> Check:
    """Whether the model, fed its own greedy completion, would write each token of it again."""
    adapter = bound.adapter
    official = adapter.process(bound.prompts, bound.batch.images)
    features = {name: official[name] for name in bound.image_inputs}
    completion = adapter.complete(bound.prompts[0], bound.batch.images[0])
    with torch.inference_mode():
        tokens, _, logits = bound.completion_logits(features, [completion])
    lead = float(lead_of_reference(logits, tokens).min())
    return judge(
        name="teacher forcing",
        value=lead,
        unit="logits",
        passed=lead > -bound.batch.tolerance,
        good="a completion scored at once is the completion as it was generated",
        bad="scoring a completion at once differs from generating it: its likelihood cannot be attacked",
    )


def judge(*, name: str, value: float, unit: str, passed: bool, good: str, bad: str) -> Check:
    """A check that passes or fails, and what either means."""
    verdict = Verdict.PASSED if passed else Verdict.FAILED
    return Check(name=name, value=value, unit=unit, verdict=verdict, meaning=good if passed else bad)
