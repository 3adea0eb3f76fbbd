"""Robust accuracy again, from the stored witnesses alone: one forward pass per image and no attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import remade_image
from medrobust_bench.data.image import from_png
from medrobust_bench.records.witness import sha256
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import AnyWitness


@dataclass(frozen=True, slots=True)
class Recount:
    """One model under one threat, counted again.

    Attributes:
        threat: its name, or "clean".
        questions: how many.
        reported: questions that the run counts as right.
        recounted: questions that are right now: on the clean image, and on the witness where there is one.
        witnesses: images answered again, stored or made again.
        disagreements: what differs, question by question.
    """

    threat: str
    questions: int
    reported: int
    recounted: int
    witnesses: int
    disagreements: tuple[str, ...]


def recount_model(
    adapter: Adapter,
    chunks: Sequence[Sequence[Question]],
    attacks: Sequence[Threat],
    altering: Sequence[AlteringThreat] = (),
    *,
    outcomes: Mapping[str, Sequence[Outcome]],
    witnesses: Mapping[str, Sequence[AnyWitness]],
    seed: int,
) -> list[Recount]:
    """Answer a model's clean images and witnesses again.

    Args:
        adapter: the model.
        chunks: the questions, as the run bound them.
        attacks: the adversaries of the run, asked for budgets only.
        altering: its threats whose images are made again.
        outcomes: the run's, by threat name; "clean" among them.
        witnesses: the run's, by threat name.
        seed: of the run.

    Returns:
        One recount for the clean images and one for each attack, in order, then one for each altering threat.
    """
    replay = Replay(adapter, chunks, seed=seed)
    by_question = {name: {outcome.question: outcome for outcome in found} for name, found in outcomes.items()}
    return [
        replay.clean(by_question[CLEAN.name]),
        *(
            replay.threat(
                attack,
                by_question[attack.spec.name],
                {witness.question: witness for witness in witnesses[attack.spec.name]},
            )
            for attack in attacks
        ),
        *(replay.altered(threat, by_question[threat.spec.name]) for threat in altering),
    ]


class Replay:
    """A model that answers a run's clean images and witnesses again.

    Args:
        adapter: the model.
        chunks: the questions, bound as the run bound them.
        seed: of the run.
    """

    def __init__(self, adapter: Adapter, chunks: Sequence[Sequence[Question]], *, seed: int) -> None:
        self._bounds = [adapter.bind(questions) for questions in chunks]
        self._seed = seed
        self._clean = {
            question.id: answer.choice
            for bound in self._bounds
            for question, answer in zip(bound.batch.questions, bound.answer(bound.batch.images), strict=True)
        }

    def clean(self, outcomes: Mapping[str, Outcome]) -> Recount:
        """Count the clean images.

        Args:
            outcomes: the run's, by question id.
        """
        right = {
            question.id: self._clean[question.id] == question.answer
            for bound in self._bounds
            for question in bound.batch.questions
        }
        return _recount(CLEAN.name, outcomes, right, [], 0)

    def threat(
        self, threat: Threat, outcomes: Mapping[str, Outcome], witnesses: Mapping[str, AnyWitness]
    ) -> Recount:
        """Count the questions that stand under a threat.

        A witness counts only if it is inside the budget of its question, made of its clean image, the very PNG that
        the journal names, and answered wrongly.

        Args:
            threat: the adversary, asked for budgets only.
            outcomes: the run's, by question id.
            witnesses: by question id.
        """
        problems: list[str] = []
        right: dict[str, bool] = {}
        for bound in self._bounds:
            rows = [row for row, question in enumerate(bound.batch.questions) if question.id in witnesses]
            broken = self._broken(bound, rows, threat, outcomes, witnesses, problems)
            for question in bound.batch.questions:
                stands = question.id not in broken
                right[question.id] = stands and self._clean[question.id] == question.answer
        return _recount(threat.spec.name, outcomes, right, problems, len(witnesses))

    def altered(self, threat: AlteringThreat, outcomes: Mapping[str, Outcome]) -> Recount:
        """Make every altered image again, and count the questions that stand.

        Args:
            threat: which makes the images.
            outcomes: the run's, by question id.
        """
        problems: list[str] = []
        right: dict[str, bool] = {}
        remade = 0
        for bound in self._bounds:
            for row, question in enumerate(bound.batch.questions):
                outcome = outcomes[question.id]
                stands = threat.spec.yields == "corrupted" or self._clean[question.id] == question.answer
                if not outcome.alterations:
                    right[question.id] = self._clean[question.id] == question.answer
                    continue
                one = bound.select([row])
                for alteration in outcome.alterations:
                    image, fault = remade_image(threat, question, one.batch.images[0], self._seed, alteration)
                    if image is None:
                        problems.append(f"{question.id}: {fault}")
                        continue
                    remade += 1
                    (answer,) = one.answer([image])
                    stands = stands and (answer.choice == question.answer or alteration.control is not None)
                    if answer.choice != alteration.choice:
                        problems.append(
                            f"{question.id}: {alteration.what} is answered {_name(answer.choice)}, "
                            f"not {_name(alteration.choice)}"
                        )
                right[question.id] = stands
        return _recount(threat.spec.name, outcomes, right, problems, remade)

    def _broken(
        self,
        bound: BoundQuestions,
        rows: Sequence[int],
        threat: Threat,
        outcomes: Mapping[str, Outcome],
        witnesses: Mapping[str, AnyWitness],
        problems: list[str],
    ) -> set[str]:
        """Ids of the questions that a valid witness breaks; notes what is wrong with the others."""
        valid = []
        for row in rows:
            question, clean = bound.batch.questions[row], bound.batch.images[row]
            witness = witnesses[question.id]
            budget = threat.budget(clean.shape[:2], question_seed(self._seed, question.id))
            if sha256(witness.image) != outcomes[question.id].witness_sha256:
                problems.append(f"{question.id}: the witness is not the image that the journal names")
            elif sha256(clean.tobytes()) != witness.clean_sha256:
                problems.append(f"{question.id}: the witness was made of another clean image")
            elif violation := budget.violation(clean, from_png(witness.image)):
                problems.append(f"{question.id}: the witness {violation}")
            else:
                valid.append(row)
        if not valid:
            return set()
        images = [from_png(witnesses[bound.batch.questions[row].id].image) for row in valid]
        broken = set()
        for row, answer in zip(valid, bound.select(valid).answer(images), strict=True):
            question = bound.batch.questions[row]
            recorded = witnesses[question.id].choice
            if answer.choice != question.answer:
                broken.add(question.id)
            if answer.choice != recorded:
                problems.append(
                    f"{question.id}: the witness is answered {_name(answer.choice)}, not {_name(recorded)}"
                )
        return broken


def _recount(
    threat: str,
    outcomes: Mapping[str, Outcome],
    right: Mapping[str, bool],
    problems: Sequence[str],
    witnesses: int,
) -> Recount:
    differing = [
        f"{question}: {_verdict(right[question])}, the run says {_verdict(outcome.correct)}"
        for question, outcome in outcomes.items()
        if right[question] != outcome.correct
    ]
    return Recount(
        threat=threat,
        questions=len(outcomes),
        reported=sum(outcome.correct for outcome in outcomes.values()),
        recounted=sum(right.values()),
        witnesses=witnesses,
        disagreements=(*problems, *differing),
    )


def _verdict(right: bool) -> str:
    return "right" if right else "wrong"


def _name(choice: int | None) -> str:
    return "unparsably" if choice is None else f"option {choice + 1}"
