"""Answering a random part of a submission again, with the model itself."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.image import canonical, from_png
from medrobust_bench.models.registry import load_model
from medrobust_bench.runs.audit.blindness import replacement
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.verification import Verdict
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.models.cards import Card

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Replay:
    """What came of answering images again.

    Attributes:
        asked: images answered again, drawn without replacement.
        disagreements: what differs, one sentence each; also a first one where the weights are others.
    """

    asked: int
    disagreements: tuple[str, ...]

    @property
    def bound(self) -> float:
        """With 95 % confidence at most this share of the submission's answers is not the model's.

        The one-sided bound without disagreements, 1 − 0.05^(1/asked): 300 agreeing answers bound it below 1 %.
        It says nothing where answers disagree.
        """
        return 1.0 if self.disagreements or not self.asked else 1 - (1 - CONFIDENCE) ** (1 / self.asked)


def replay(verdict: Verdict, card: Card, *, count: int, seed: int, device: str = "auto") -> Replay:
    """Load a submission's model and answer a random part of its clean, replaced and adversarial images again.

    Args:
        verdict: of an accepted submission.
        card: of its model.
        count: images to answer; all, where there are fewer.
        seed: of the draw; the submitter must not know it.
        device: to run on.
    """
    assert verdict.entry is not None
    model = verdict.entry.result.model
    adapter = load_model(card, device=device, dtype=model.dtype, trust_remote_code=False)
    return replay_with(adapter, verdict, count=count, seed=seed)


def replay_with(adapter: Adapter, verdict: Verdict, *, count: int, seed: int) -> Replay:
    """See `replay`; with a model that is loaded already."""
    assert verdict.entry is not None
    assert verdict.proof is not None
    assert verdict.dataset is not None
    questions = {question.id: question for question in verdict.dataset.questions}
    pixels = {question.id: canonical(question.image) for question in verdict.dataset.questions}
    base = verdict.entry.selection.seed
    tasks = [
        *(("clean image", o.question, pixels[o.question], o.choice) for o in verdict.proof.clean),
        *(
            (
                f"{name} image",
                o.question,
                replacement(pixels[o.question], name, question_seed(base, o.question)),
                choice,
            )
            for o in verdict.proof.clean
            for name, choice in (o.blind_choices or {}).items()
        ),
        *(("witness", one.question, from_png(one.image), one.choice) for one in verdict.proof.witnesses),
    ]
    chosen = random.Random(seed).sample(tasks, min(count, len(tasks)))
    disagreements = []
    weights = verdict.entry.result.model.weights_sha256
    if adapter.record.weights_sha256 != weights:
        disagreements.append(
            f"weights are {adapter.record.weights_sha256[:12]}…, submitted were {weights[:12]}…"
        )
    for kind, name, image, choice in chosen:
        given = _answer(adapter, questions[name], image)
        if given != choice:
            disagreements.append(f"{kind} of {name}: answered {given}, submitted was {choice}")
    return Replay(len(chosen), tuple(disagreements))


def _answer(adapter: Adapter, question: Question, pixels: NDArray) -> int | None:  # type: ignore[type-arg]
    images: Sequence[NDArray] = [pixels]  # type: ignore[type-arg]
    return adapter.bind([question]).answer(images)[0].choice
