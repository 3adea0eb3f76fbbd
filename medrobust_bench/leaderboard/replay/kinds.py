"""The kinds of claim that a submission makes, and how each is done again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Final

import numpy as np

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.certificate import Certificate
from medrobust_bench.certify.cohen import SmoothedQuestion
from medrobust_bench.data.image import from_png, rows_of_one_shape
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.runs.audit.blindness import replacements
from medrobust_bench.runs.audit.precision import second_attacks
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.threats import open_altering, open_attack
from medrobust_bench.specs.seeds import Purpose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.certificate import Look
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.models.adapter import Adapter, Answer
    from medrobust_bench.records import Outcome

CLOSE = 0.05
"""Share of a loss, or nats where it is below one, by which another machine may differ at the first image."""

TOGETHER = 32
"""Questions that are attacked at once, as in a run."""


class Repeater:
    """A model that does parts of a submission again.

    Args:
        adapter: the model.
        case: the submission.
    """

    def __init__(self, adapter: Adapter, case: Case) -> None:
        self.adapter = adapter
        self.case = case

    def answer(self, question: str, image: NDArray[np.uint8]) -> int | None:
        """The deployed answer to an image [H, W, 3]."""
        return self.said(question, image).choice

    def said(self, question: str, image: NDArray[np.uint8]) -> Answer:
        """The same with what the model writes."""
        return self.adapter.bind([self.case.questions[question]]).answer([image])[0]

    def attack(self, questions: Sequence[str]) -> Iterator[Outcome]:
        """Questions under the submission's own threat, with its seed; together where their images have one shape."""
        for second in (True, False):
            alike = [one for one in questions if self._second_attacks.get(one, True) is second]
            for rows in rows_of_one_shape([self.case.images[one] for one in alike], TOGETHER):
                chunk = self._chunk([alike[row] for row in rows], float32_attack=second)
                clean = [self.case.clean[alike[row]] for row in rows]
                yield from chunk.attack(self._threat, clean)[0]

    @cached_property
    def _second_attacks(self) -> dict[str, bool]:
        """By standing question of a model in half precision, whether its submitter attacked it in float32 as well."""
        case = self.case
        return second_attacks(case.specification, case.entry.result.model, case.proof.threat, case.questions)

    def alter(self, question: str) -> Outcome:
        """A question under the submission's own corruptions or injected text, with its seed."""
        threat = open_altering(self.case.specification)
        (outcome,) = self._chunk([question]).alter(threat, [self.case.clean[question]])
        return outcome

    def looks(self, question: str, certificate: Certificate) -> Iterator[tuple[Look, tuple[int, ...]]]:
        """The looks of a certificate with its estimation draws, answered again: counts per option and unparsable."""
        smoothed = SmoothedQuestion(
            self.adapter.bind([self.case.questions[question]]),
            sigma=certificate.sigma,
            seed=self.case.seed(question),
            base=certificate.base,
        )
        drawn, counts = 0, np.zeros(len(certificate.looks[0].counts), dtype=np.int64)
        for look in certificate.looks:
            counts += smoothed.counts(Purpose.ESTIMATION, look.n, after=drawn)
            drawn = look.n
            yield look, tuple(counts.tolist())

    def _chunk(self, questions: Sequence[str], *, float32_attack: bool = True) -> Chunk:
        seed, model = self.case.entry.selection.seed, self.case.entry.result.model.id
        asked = [self.case.questions[question] for question in questions]
        return Chunk(self.adapter, model, asked, seed=seed, float32_attack=float32_attack)

    @cached_property
    def _threat(self) -> Threat:
        threat = open_attack(self.case.specification)
        if not isinstance(threat, TrainedThreat):
            return threat
        chosen = self.case.entry.selection
        training = open_data(
            self.case.place.source,
            split="train",
            skip_invalid=chosen.skip_invalid,
            modalities=chosen.modalities,
            images=self.case.place.images,
        )
        drawn = sample(training, threat.training_questions, seed=chosen.seed)  # as a run does
        return threat.train(self.adapter, drawn.questions, seed=chosen.seed)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of claim.

    Attributes:
        name: what reports call it.
        means: what disagreement on a share of them would mean, to be read after "at most x % of its".
        ranks: whether ranks rest on it directly.
        tolerance: share of the repeated claims that may differ on another machine.
        claims: the questions about which a submission makes such claims; replaced images as "question\\x1fname".
        seconds: what one of them cost the submitter, on average.
        repeat: does some of them again; yields, for each, what differs, or None.
    """

    name: str
    means: str
    ranks: bool
    tolerance: float
    claims: Callable[[Case], list[str]]
    seconds: Callable[[Case], float]
    repeat: Callable[[Repeater, Sequence[str]], Iterator[str | None]]


def _each(
    repeat: Callable[[Repeater, str], str | None],
) -> Callable[[Repeater, Sequence[str]], Iterator[str | None]]:
    """One claim after the other."""
    return lambda repeater, claims: (repeat(repeater, claim) for claim in claims)


def _clean_claims(case: Case) -> list[str]:
    return list(case.clean)


def _clean(repeater: Repeater, question: str) -> str | None:
    given, said = (
        repeater.answer(question, repeater.case.images[question]),
        repeater.case.clean[question].choice,
    )
    return None if given == said else f"clean image of {question}: answered {given}, submitted was {said}"


def _replaced_claims(case: Case) -> list[str]:
    return [f"{o.question}\x1f{name}" for o in case.proof.clean for name in o.blind_choices or {}]


def _replaced(repeater: Repeater, claim: str) -> str | None:
    case = repeater.case
    question, _, name = claim.partition("\x1f")
    images = replacements(case.images[question], case.seed(question), case.strangers.get(question))
    given, said = repeater.answer(question, images[name]), (case.clean[question].blind_choices or {})[name]
    return None if given == said else f"{name} image of {question}: answered {given}, submitted was {said}"


def _broken_claims(case: Case) -> list[str]:
    return [witness.question for witness in case.proof.witnesses]


def _broken(repeater: Repeater, question: str) -> str | None:
    (witness,) = (one for one in repeater.case.proof.witnesses if one.question == question)
    given = repeater.answer(question, from_png(witness.image))
    if given == witness.choice:
        return None
    return f"witness of {question}: answered {given}, submitted was {witness.choice}"


def _text_claims(case: Case) -> list[str]:
    return [witness.question for witness in case.proof.witnesses if witness.text]


def _text(repeater: Repeater, question: str) -> str | None:
    (witness,) = (one for one in repeater.case.proof.witnesses if one.question == question)
    given = repeater.said(question, from_png(witness.image)).text
    return (
        None
        if given == witness.text
        else f"text of {question}: {given[:60]!r}, submitted was {witness.text[:60]!r}"
    )


def _standing_claims(case: Case) -> list[str]:
    if case.specification.yields == "certified" or case.specification.remade:
        return []
    return [outcome.question for outcome in case.proof.threat if outcome.attacked and outcome.correct]


def _standing(repeater: Repeater, questions: Sequence[str]) -> Iterator[str | None]:
    return (_fallen(repeater.case.threat[again.question], again) for again in repeater.attack(questions))


def _fallen(submitted: Outcome, again: Outcome) -> str | None:
    question = submitted.question
    if not again.correct:
        return f"{question}: its own attack breaks it, answered {again.choice}, submitted as standing"
    begun, then = _first_loss(submitted), _first_loss(again)
    if begun == then or (
        begun is not None and then is not None and abs(begun - then) <= CLOSE * max(1.0, abs(then))
    ):
        return None
    return f"{question}: the loss at the first image is {then}, submitted was {begun}"


def _altered_claims(case: Case) -> list[str]:
    return [outcome.question for outcome in case.proof.threat if outcome.alterations]


def _altered(repeater: Repeater, question: str) -> str | None:
    submitted, again = repeater.case.threat[question], repeater.alter(question)
    if again.alterations == submitted.alterations:
        return None
    pairs = zip(again.alterations, submitted.alterations, strict=False)
    differing = next(((one.what, other.what) for one, other in pairs if one != other), ("more", "fewer"))
    return f"{question}: meets {differing[0]} or answers it otherwise, submitted was {differing[1]}"


def _first_loss(outcome: Outcome) -> float | None:
    losses = [loss for attempt in outcome.attempts[:1] for loss in attempt.losses[:1]]
    return losses[0] if losses and losses[0] is not None and isfinite(losses[0]) else None


def _certificate_claims(case: Case) -> list[str]:
    return list(case.threat) if case.specification.yields == "certified" else []


def _certificate(repeater: Repeater, question: str) -> str | None:
    certificate = Certificate.model_validate(repeater.case.threat[question].certificate)
    for look, counts in repeater.looks(question, certificate):
        differing = sum(abs(one - other) for one, other in zip(counts, look.counts, strict=True)) // 2
        if differing > max(1, look.n // 50):  # near ties
            return f"{question}: the first {look.n} draws give {counts}, submitted were {look.counts}"
    return None


def _per_answer(case: Case) -> float:
    """A clean line is two answers, and one for each replacement."""
    answers = sum(2 + len(outcome.blind_choices or {}) for outcome in case.proof.clean)
    return sum(outcome.seconds for outcome in case.proof.clean) / max(1, answers)


def _per_claim(claims: Callable[[Case], list[str]]) -> Callable[[Case], float]:
    def seconds(case: Case) -> float:
        questions = claims(case)
        return sum(case.threat[question].seconds for question in questions) / max(1, len(questions))

    return seconds


KINDS: Final = (
    Kind(
        "clean answers",
        "clean answers are not this model's",
        False,
        0.01,
        _clean_claims,
        _per_answer,
        _each(_clean),
    ),
    Kind(
        "answers without the image",
        "answers without the image are not this model's",
        False,
        0.02,
        _replaced_claims,
        _per_answer,
        _each(_replaced),
    ),
    Kind(
        "broken answers",
        "broken answers are not this model's",
        False,
        0.02,
        _broken_claims,
        _per_answer,
        _each(_broken),
    ),
    Kind(
        "texts", "texts were not written by this model", False, 0.1, _text_claims, _per_answer, _each(_text)
    ),
    Kind(
        "standing answers",
        "standing answers fall to its own attack",
        True,
        0.02,
        _standing_claims,
        _per_claim(_standing_claims),
        _standing,
    ),
    Kind(
        "altered images",
        "answers to altered images are not this model's",
        True,
        0.02,
        _altered_claims,
        _per_claim(_altered_claims),
        _each(_altered),
    ),
    Kind(
        "certificates",
        "certificates are not what its own draws give",
        True,
        0.02,
        _certificate_claims,
        _per_claim(_certificate_claims),
        _each(_certificate),
    ),
)
"""Every kind of claim, what ranks last."""
