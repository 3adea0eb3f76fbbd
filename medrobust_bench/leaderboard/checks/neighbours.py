"""Whether a submission agrees with the others of its folder: those of the same model, and those of others."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.losses import FEWEST_VALUES
from medrobust_bench.leaderboard.checks.shared_alterations import (
    broken_elsewhere,
    copied_answers,
    other_answers,
)
from medrobust_bench.leaderboard.checks.shared_draws import copied_counts, inside_certified, other_draws
from medrobust_bench.leaderboard.checks.threat import attack_of, normal_text
from medrobust_bench.leaderboard.checks.witnesses import witness_images
from medrobust_bench.leaderboard.entry import entry_path
from medrobust_bench.leaderboard.neighbour import TOLERANCE, asked, neighbours, same_model
from medrobust_bench.runs.audit.rivalry import rivals

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.leaderboard.neighbour import Neighbour
    from medrobust_bench.records import Outcome


BEGINNING = 3
"""Losses of a run by which models are told apart: later ones part even where weights hardly differ."""

NEAR = 0.03
"""Share by which each of them may differ; `benchmarks/near_copies.py` measures how near different models come."""

MOST_ALIKE, FEWEST_ALIKE = 0.25, 10
"""Share and number of questions that different models do not begin so nearly alike."""


def agreement(case: Case) -> list[Fault]:
    """Submissions of one model do not contradict each other, and none holds what another model's holds."""
    faults = []
    for other in neighbours(case.path):
        if same_model(case.entry.result.model, other.entry.result.model):
            faults += _told_otherwise(case, other)
            if asked(case.entry) == asked(other.entry):
                faults += [
                    *_clean_lines(case, other),
                    *_broken_inside(case, other),
                    *other_draws(case, other),
                    *other_answers(case, other),
                    *broken_elsewhere(case, other),
                    *_repeated(case, other),
                ]
        else:
            faults += [*_same_name(case, other), *_copied(case, other), *inside_certified(case, other)]
        faults += _same_place(case, other)
    return faults


def rivalry(path: Path, entry: Entry, proof: Proof) -> list[str]:
    """What the model's other submissions say against this one's attack: failed checks, in words.

    Args:
        path: of the submission.
        entry: what it holds.
        proof: its evidence.
    """
    order = [outcome.question for outcome in proof.threat]
    own = {outcome.question: outcome for outcome in proof.threat}
    others = []
    for other in neighbours(path):
        theirs = {outcome.question: outcome for outcome in other.proof.threat}
        if (
            same_model(entry.result.model, other.entry.result.model)
            and asked(entry) == asked(other.entry)
            and theirs.keys() == own.keys()
        ):
            others.append((other.entry.result.threat, [theirs[question] for question in order]))
    if not others or entry.result.threat.yields != "robust":
        return []
    attacks = [one for one in others if one[0].yields == "robust"]
    found = rivals((entry.result.threat, list(proof.threat)), attacks)
    return [f"{finding.check}: {finding.meaning}" for finding in found if finding.verdict == "fail"]


def _clean_lines(case: Case, other: Neighbour) -> list[Fault]:
    theirs = {outcome.question: outcome for outcome in other.proof.clean}
    unsteady = sum(not outcome.steady for outcome in (*case.proof.clean, *other.proof.clean))
    differing = [
        name
        for name, outcome in case.clean.items()
        if name in theirs and _clean_answers(outcome) != _clean_answers(theirs[name])
    ]
    if len(differing) <= max(unsteady, TOLERANCE * len(theirs)):
        return []
    what = f"clean or blind answers are not those of {other.name}: {some(differing)}"
    return [Fault("neighbours", what)]


def _clean_answers(outcome: Outcome) -> Hashable:
    return outcome.choice, outcome.text, tuple(sorted((outcome.blind_choices or {}).items()))


def _broken_inside(case: Case, other: Neighbour) -> list[Fault]:
    """What stands in one although the other broke it by an attack that the one's begins with, either way."""
    own, theirs = attack_of(case.specification), attack_of(other.entry.result.threat)
    standing = {o.question for o in other.proof.threat if o.attacked and o.correct}
    faults = []
    for strong, weak, names, proof, what in (
        (
            own,
            theirs,
            {name for name, o in case.threat.items() if o.attacked and o.correct},
            other.proof,
            f"stands, though an image of {other.name}, whose attack is part of this one, broke it",
        ),
        (
            theirs,
            own,
            standing,
            case.proof,
            f"stands in {other.name}, whose attack this one is part of",
        ),
    ):
        contradicted = [
            name
            for name, image in witness_images(case, proof, names)
            if _part_of(weak, strong, name, image, case)
        ]
        if contradicted:
            faults.append(Fault("neighbours", f"{what}: {some(sorted(contradicted))}"))
    return faults


def _part_of(
    weak: Threat | None,
    strong: Threat | None,
    name: str,
    image: NDArray[np.uint8],
    case: Case,
) -> bool:
    """Whether an attack is what another meets first, so that the other would have found an image of it."""
    if strong is None or not isinstance(weak, Planned) or not isinstance(strong, Planned):
        return False
    question, clean = case.questions[name], case.images[name]
    first = weak.planned(question, generates=case.generates)
    runs = strong.planned(question, generates=case.generates)
    budget = strong.budget(clean.shape[:2], case.seed(name))
    return runs[: len(first)] == first and budget.violation(clean, image) is None


def _repeated(case: Case, other: Neighbour) -> list[Fault]:
    same = normal_text(case.entry.result.threat) == normal_text(other.entry.result.threat)
    return [Fault("neighbours", f"reports the same measurement as {other.name}")] if same else []


def _same_name(case: Case, other: Neighbour) -> list[Fault]:
    own, theirs = case.entry.result.model, other.entry.result.model
    if own.id != theirs.id:
        return []
    return [Fault("neighbours", f"{other.name} reports another model under the same name")]


def _told_otherwise(case: Case, other: Neighbour) -> list[Fault]:
    """One model has one number of parameters, one base and one number of passes, in all its submissions."""
    own, theirs = case.entry.result.model, other.entry.result.model
    parts = own.differences(theirs)
    return [Fault("neighbours", f"{other.name} says otherwise: {', '.join(parts)}")] if parts else []


def _copied(case: Case, other: Neighbour) -> list[Fault]:
    curves = _curves(case.proof.threat) & _curves(other.proof.threat)
    if len(curves) > 1:
        return [Fault("neighbours", f"holds {len(curves)} runs of {other.name}, loss for loss")]
    return _hardly_changed(case, other) + copied_counts(case, other) + copied_answers(case, other)


def _hardly_changed(case: Case, other: Neighbour) -> list[Fault]:
    """Weights that noise or another precision hardly changed begin their losses where the others' begin."""
    own, theirs = case.entry.result, other.entry.result
    if (
        own.model.weights_sha256 == theirs.model.weights_sha256
        or asked(case.entry) != asked(other.entry)
        or normal_text(own.threat) != normal_text(theirs.threat)
    ):
        return []
    mine, others = beginnings(case.proof.threat), beginnings(other.proof.threat)
    shared = mine.keys() & others.keys()
    alike = [question for question in shared if nearly(mine[question], others[question])]
    if len(alike) < FEWEST_ALIKE or len(alike) <= MOST_ALIKE * len(shared):
        return []
    what = f"begins on {len(alike)} of {len(shared)} questions with the losses of {other.name}, to {NEAR:.0%}"
    return [Fault("neighbours", f"{what}: its weights, hardly changed")]


def beginnings(outcomes: Sequence[Outcome]) -> dict[str, tuple[float, ...]]:
    """The first losses of the first run, by question; a question that breaks at once has fewer."""
    found = {o.question: o.attempts[0].losses[:BEGINNING] for o in outcomes if o.attempts}
    return {
        name: tuple(loss for loss in losses if loss)
        for name, losses in found.items()
        if losses and all(losses)
    }


def nearly(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two beginnings are as long, and near each other all along."""
    return len(one) == len(other) and all(
        isclose(a, b, rel_tol=NEAR) for a, b in zip(one, other, strict=True)
    )


def _curves(outcomes: tuple[Outcome, ...]) -> set[tuple[str, tuple[float | None, ...]]]:
    return {
        (outcome.question, attempt.losses)
        for outcome in outcomes
        for attempt in outcome.attempts
        if len(set(attempt.losses)) >= FEWEST_VALUES
    }


def _same_place(case: Case, other: Neighbour) -> list[Fault]:
    """A file system that ignores case would write two tables or pages to one place."""
    own, theirs = case.entry.result, other.entry.result
    places = (entry_path(own).lower(), entry_path(theirs).lower())
    names = [(own.data.name, theirs.data.name), (own.threat.name, theirs.threat.name)]
    names.append((own.model.id, theirs.model.id))
    parts = zip(*(place.split("/") for place in places), names, strict=True)
    clashing = [pair for mine, theirs_, pair in parts if mine == theirs_ and pair[0] != pair[1]]
    return [Fault("neighbours", f"{one!r} and {two!r} would share a page") for one, two in clashing]
