"""Gradient health: is there a gradient, does it predict what the model does, is it worth following?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING

import torch

from medrobust_bench.attacks.losses import CrossEntropy, Focus, Margin, loss_at
from medrobust_bench.models.adapter import in_full_precision
from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.runs.audit.check import (
    AUTOATTACK,
    CARLINI,
    HERE,
    INDICATORS,
    OBFUSCATED,
    Check,
    Skipped,
    above,
    below,
)
from medrobust_bench.runs.audit.subject import uniform_noise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.losses import AttackLoss
    from medrobust_bench.records import Finding
    from medrobust_bench.runs.audit.subject import Group, Subject

GREY = 1 / 255
SLOPE_STEPS = (0.03, 0.1, 0.3, 1.0, 2.0, 4.0)  # grey levels
SATURATED = 88.0
"""Lead in nats from which a float32 softmax is exactly one-hot, and its cross-entropy has no gradient."""

PRESENT = Check("gradient present", "gradient", "Does a gradient arrive at the pixels?", INDICATORS)
NONZERO = Check(
    "gradient non-zero",
    "gradient",
    "Is the gradient of the loss other than zero at clean images?",
    AUTOATTACK,
)
SLOPE = Check(
    "finite-difference slope",
    "gradient",
    "Does the gradient predict what a small step along its sign changes?",
    OBFUSCATED,
)
STABLE = Check(
    "loss stable", "gradient", "Does the score stay put within one grey level of noise?", INDICATORS
)
UNSATURATED = Check(
    "scores not saturated", "gradient", "Is the softmax of the scores other than exactly one-hot?", AUTOATTACK
)
PRECISE = Check(
    "half-precision gradient",
    "gradient",
    "Does the gradient in half precision point the way of the one in float32?",
    CARLINI,
)
COMPANY = Check(
    "score alone and in company", "gradient", "Does a question score the same alone and in a batch?", HERE
)


def gradient_health(subject: Subject) -> list[Finding]:
    """Presence, zeros, slope, stability and saturation."""
    norms: list[float | None] = []
    errors, spreads, leads, slopes_seen = [], [], [], 0
    for group in subject.groups:
        loss = _gradient(group, CrossEntropy())
        norms += [None] * len(group.seeds) if loss is None else loss.flatten(1).norm(dim=1).tolist()
        margin = _margins(group, group.pixels)
        leads += (-margin).tolist()
        slope = _gradient(group, Margin(Focus.WORDS))
        if slope is not None:
            slopes_seen += len(group.seeds)
            errors += _slope_errors(group, slope)
        nearby = torch.stack(
            [_margins(group, (group.pixels + GREY * uniform_noise(group, n)).clamp(0, 1)) for n in range(6)]
        )
        spreads += (nearby.std(dim=0) / margin.abs().clamp_min(1e-6)).tolist()
    return [_present(norms), *_nonzero(norms), *_slope(errors), _stable(spreads), _saturation(leads)]


def half_precision(subject: Subject) -> Finding | Skipped:
    """Cosine between the gradients of a model in half precision and of the same model in float32."""
    cosines: list[float] = []
    for group in subject.groups:
        precise = in_full_precision(group.bound)
        if precise is None:
            return Skipped(PRECISE.name, "the model runs in full precision")
        coarse_gradient = _gradient(group, CrossEntropy())
        exact_gradient = _gradient(replace(group, bound=precise), CrossEntropy())
        if coarse_gradient is None or exact_gradient is None:
            return Skipped(PRECISE.name, "there is no gradient")
        cosines += torch.cosine_similarity(
            coarse_gradient.flatten(1).double().cpu(), exact_gradient.flatten(1).double().cpu()
        ).tolist()
    value = median(cosines)
    verdict = below(value, warn=0.7, fail=0.3)
    reading = "" if verdict == "pass" else ": attack in float32"
    return PRECISE.find(value, verdict, f"median cosine of the two gradients {value:.2f}{reading}")


def company(subject: Subject) -> Finding | Skipped:
    """Scores of a question alone against those in the batch, in standard deviations of the scores."""
    gaps = []
    for group in subject.groups:
        if len(group.seeds) < 2:
            continue
        with torch.no_grad():
            together = group.bound.scores(group.pixels)
            alone = [
                group.bound.select([row]).scores(group.pixels[[row]])[0] for row in range(len(group.seeds))
            ]
        for row, single in enumerate(alone):
            known = single[torch.isfinite(single)]
            gap = (together[row][: len(single)][torch.isfinite(single)] - known).abs().max()
            gaps.append(float(gap / known.std().clamp_min(1e-6)))
    if not gaps:
        return Skipped(COMPANY.name, "no two questions have images of one shape")
    worst = max(gaps)
    half = subject.adapter.record.dtype in ("bfloat16", "float16")
    verdict = above(worst, warn=0.15, fail=0.5) if half else above(worst, warn=0.01, fail=0.1)
    reading = "rounding" if verdict == "pass" else "questions disturb each other, and the attack with them"
    return COMPANY.find(worst, verdict, f"up to {worst:.2g} standard deviations apart: {reading}")


def _margins(group: Group, pixels: torch.Tensor) -> torch.Tensor:
    """Lead [B] of the strongest wrong option, in nats."""
    loss = Margin(Focus.WORDS)
    with torch.no_grad():
        values = MemoryLimit().run(
            lambda rows: _values(group, loss, pixels[rows[0] : rows[-1] + 1], rows).unbind(),
            range(len(group.seeds)),
        )
    return torch.stack(values).double()


def _gradient(group: Group, loss: AttackLoss) -> torch.Tensor | None:
    """Gradient [B, 3, H, W] of a loss at the clean images; None where there is no graph."""
    gradients = MemoryLimit().run(partial(_gradients, group, loss), range(len(group.seeds)))
    known = [gradient for gradient in gradients if gradient is not None]
    return torch.stack(known) if len(known) == len(gradients) else None


def _gradients(group: Group, loss: AttackLoss, rows: Sequence[int]) -> Sequence[torch.Tensor | None]:
    """Gradients [3, H, W] of some of the questions."""
    pixels = group.pixels[rows[0] : rows[-1] + 1].clone().requires_grad_()
    total = _values(group, loss, pixels, rows).sum()
    if not total.requires_grad:
        return [None] * len(rows)
    (gradient,) = torch.autograd.grad(total, pixels, allow_unused=True)
    return [None] * len(rows) if gradient is None else gradient.unbind()


def _values(group: Group, loss: AttackLoss, pixels: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    bound = group.bound if len(rows) == len(group.seeds) else group.bound.select(rows)
    return loss_at(loss, bound, pixels, [""] * len(rows)).value


def _slope_errors(group: Group, slope: torch.Tensor) -> list[float]:
    """Relative error per question of the slope that the gradient predicts, the best over step lengths.

    Small steps drown in the 8-bit stairs of a processor, large ones in curvature; where any step agrees, the
    gradient is right.
    """
    zero = slope.flatten(1).abs().amax(1) == 0
    direction = torch.where(zero.view(-1, 1, 1, 1), uniform_noise(group).sign(), slope.sign())
    predicted = (slope.double() * direction).flatten(1).sum(1)
    best = torch.full_like(predicted, torch.inf)
    for levels in SLOPE_STEPS:
        offset = direction * levels * GREY
        rise = _margins(group, group.pixels + offset) - _margins(group, group.pixels - offset)
        measured = rise / (2 * levels * GREY)
        scale = torch.maximum(predicted.abs(), measured.abs())
        error = torch.where(scale > 0, (measured - predicted).abs() / scale.clamp_min(1e-30), 0.0)
        # A flat step says nothing for or against a gradient of zero.
        best = torch.where((measured == 0) & zero, best, torch.minimum(best, error))
    return best.tolist()


def _present(norms: list[float | None]) -> Finding:
    missing = sum(norm is None for norm in norms)
    if missing:
        meaning = f"no gradient arrives for {missing} of {len(norms)} questions: the graph is interrupted"
        return PRESENT.find(missing, "fail", meaning)
    return PRESENT.find(missing, "pass", "the loss is connected with the pixels")


def _nonzero(norms: list[float | None]) -> list[Finding]:
    known = [norm for norm in norms if norm is not None]
    if not known:
        return []
    share = sum(norm == 0 or not isfinite(norm) for norm in known) / len(known)
    verdict = above(share, warn=0.0, fail=0.2)
    reading = "" if verdict == "pass" else ": a gradient attack cannot start there"
    return [NONZERO.find(share, verdict, f"zero or not finite for {share:.0%} of the questions{reading}")]


def _slope(errors: list[float]) -> list[Finding]:
    known = [error for error in errors if isfinite(error)]
    if not known:
        return []
    value = median(known)
    verdict = above(value, warn=0.3, fail=0.6)
    reading = {
        "pass": "the gradient tells what small changes do",
        "warn": "the gradient tells only roughly what small changes do",
        "fail": "the gradient does not tell what small changes do: it is masked",
    }[verdict]
    return [SLOPE.find(value, verdict, f"median relative error {value:.2f}: {reading}")]


def _stable(spreads: list[float]) -> Finding:
    value = median(spreads)
    verdict = above(value, warn=0.3, fail=1.0)
    reading = "" if verdict == "pass" else ": the loss is too rough to be climbed"
    meaning = f"noise of one grey level moves the score by {value:.0%} of itself (median){reading}"
    return STABLE.find(value, verdict, meaning)


def _saturation(leads: list[float]) -> Finding:
    share = sum(lead > SATURATED for lead in leads) / len(leads)
    verdict = above(share, warn=0.0, fail=0.2)
    reading = "" if verdict == "pass" else ": cross-entropy has no gradient, attack the margin"
    meaning = f"{share:.0%} of the answers lead by more than {SATURATED:.0f} nats{reading}"
    return UNSATURATED.find(share, verdict, meaning)
