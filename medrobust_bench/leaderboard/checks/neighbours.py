"""Whether a submission agrees with the others of its folder: those of the same model, and those of others."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.attacks.plan import Planned
from medrobust_bench.certify.certificate import Certificate
from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.losses import FEWEST_VALUES
from medrobust_bench.leaderboard.checks.threat import attack_of, normal_text
from medrobust_bench.leaderboard.entry import Entry, entry_path
from medrobust_bench.leaderboard.evidence import read_beside
from medrobust_bench.leaderboard.png import NotPlainError, read_plain
from medrobust_bench.runs.audit.rivalry import rivals

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.certificate import Look
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.records import ModelRecord, Outcome

TOLERANCE = 0.01
"""Share of the shared questions on which two submissions of a model may differ: near ties on two machines."""

FEWEST_COUNTS = 10
"""So many certificates with the same counts of several answers do not come about by chance."""


@dataclass(frozen=True)
class Neighbour:
    """Another submission of the folder, as far as it could be read.

    Attributes:
        path: of its file.
        entry: what it holds.
        proof: its evidence, as far as it stands beside the file.
    """

    path: Path
    entry: Entry
    proof: Proof


def agreement(case: Case) -> list[Fault]:
    """Submissions of one model do not contradict each other, and none holds what another model's holds."""
    faults = []
    for other in neighbours(case.path):
        if same_model(case.entry.result.model, other.entry.result.model):
            if _asked(case.entry) == _asked(other.entry):
                faults += [*_clean_lines(case, other), *_broken_inside(case, other), *_repeated(case, other)]
        else:
            faults += [*_same_name(case, other), *_copied(case, other)]
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
            and _asked(entry) == _asked(other.entry)
            and theirs.keys() == own.keys()
        ):
            others.append((other.entry.result.threat, [theirs[question] for question in order]))
    if not others or entry.result.threat.yields != "robust":
        return []
    attacks = [one for one in others if one[0].yields == "robust"]
    found = rivals((entry.result.threat, list(proof.threat)), attacks)
    return [f"{finding.check}: {finding.meaning}" for finding in found if finding.verdict == "fail"]


def neighbours(path: Path) -> Iterator[Neighbour]:
    """The other submissions of the folder in which one stands, those that can be read."""
    root = path.absolute().parents[2]
    for other in sorted(root.glob("*/*/*.json")):
        if other != path.absolute() and not other.is_symlink() and not other.parent.is_symlink():
            found = _read(other, other.stat().st_mtime_ns)
            if found is not None:
                yield found


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> Neighbour | None:
    """What is wrong with another submission is for its own verification to say."""
    try:
        entry = Entry.model_validate_json(path.read_bytes())
        proof = read_beside(path, entry)
    except (OSError, ValidationError):
        return None
    return None if proof is None else Neighbour(path, entry, proof)


def same_model(one: ModelRecord, other: ModelRecord) -> bool:
    """Whether two results are about one model: the same weights, answering in the same way."""
    return _model(one) == _model(other)


def _model(model: ModelRecord) -> Hashable:
    return model.weights_sha256, model.server, model.dtype, model.answer_mode, model.smoothing


def _asked(entry: Entry) -> Hashable:
    return entry.result.data.digest, entry.result.seed


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
    what = f"clean or blind answers are not those of {_name(other)}: {some(differing)}"
    return [Fault("neighbours", what)]


def _clean_answers(outcome: Outcome) -> Hashable:
    return outcome.choice, outcome.text, tuple(sorted((outcome.blind_choices or {}).items()))


def _broken_inside(case: Case, other: Neighbour) -> list[Fault]:
    """What stands in one although the other broke it by an attack that the one's begins with, either way."""
    own, theirs = attack_of(case.specification), attack_of(other.entry.result.threat)
    standing = {o.question for o in other.proof.threat if o.attacked and o.correct}
    faults = []
    for strong, weak, names, images, what in (
        (
            own,
            theirs,
            {name for name, o in case.threat.items() if o.attacked and o.correct},
            _images(case, other.proof),
            f"stands, though an image of {_name(other)}, whose attack is part of this one, broke it",
        ),
        (
            theirs,
            own,
            standing,
            _images(case, case.proof),
            f"stands in {_name(other)}, whose attack this one is part of",
        ),
    ):
        contradicted = [
            name for name in sorted(names & images.keys()) if _part_of(weak, strong, name, images[name], case)
        ]
        if contradicted:
            faults.append(Fault("neighbours", f"{what}: {some(contradicted)}"))
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


def _images(case: Case, proof: Proof) -> dict[str, NDArray[np.uint8]]:
    """The witnesses of a proof by question, those that are plain images of their question's size."""
    found = {}
    for witness in proof.witnesses:
        clean = case.images.get(witness.question)
        if clean is None:
            continue
        try:
            found[witness.question] = read_plain(witness.image, (clean.shape[1], clean.shape[0]))
        except NotPlainError:
            continue
    return found


def _repeated(case: Case, other: Neighbour) -> list[Fault]:
    same = normal_text(case.entry.result.threat) == normal_text(other.entry.result.threat)
    return [Fault("neighbours", f"reports the same measurement as {_name(other)}")] if same else []


def _same_name(case: Case, other: Neighbour) -> list[Fault]:
    own, theirs = case.entry.result.model, other.entry.result.model
    if own.id != theirs.id:
        return []
    return [Fault("neighbours", f"{_name(other)} reports another model under the same name")]


def _copied(case: Case, other: Neighbour) -> list[Fault]:
    curves = _curves(case.proof.threat) & _curves(other.proof.threat)
    if len(curves) > 1:
        return [Fault("neighbours", f"holds {len(curves)} runs of {_name(other)}, loss for loss")]
    own, theirs = _counts(case.proof.threat), _counts(other.proof.threat)
    if len(own) >= FEWEST_COUNTS and own == theirs:
        return [Fault("neighbours", f"holds the counts of {_name(other)}, draw for draw")]
    return []


def _curves(outcomes: tuple[Outcome, ...]) -> set[tuple[str, tuple[float | None, ...]]]:
    return {
        (outcome.question, attempt.losses)
        for outcome in outcomes
        for attempt in outcome.attempts
        if len(set(attempt.losses)) >= FEWEST_VALUES
    }


def _counts(outcomes: tuple[Outcome, ...]) -> dict[str, tuple[Look, ...]]:
    """The counts of certificates in which several answers were given, by question."""
    found = {}
    for outcome in outcomes:
        try:
            certificate = Certificate.model_validate(outcome.certificate)
        except ValidationError:
            continue
        if sum(bool(count) for count in certificate.estimation_counts) > 1:
            found[outcome.question] = certificate.looks
    return found


def _same_place(case: Case, other: Neighbour) -> list[Fault]:
    """A file system that ignores case would write two tables or pages to one place."""
    own, theirs = case.entry.result, other.entry.result
    places = (entry_path(own).lower(), entry_path(theirs).lower())
    names = [(own.data.name, theirs.data.name), (own.threat.name, theirs.threat.name)]
    names.append((own.model.id, theirs.model.id))
    parts = zip(*(place.split("/") for place in places), names, strict=True)
    clashing = [pair for mine, theirs_, pair in parts if mine == theirs_ and pair[0] != pair[1]]
    return [Fault("neighbours", f"{one!r} and {two!r} would share a page") for one, two in clashing]


def _name(other: Neighbour) -> str:
    return "/".join(other.path.parts[-3:])
