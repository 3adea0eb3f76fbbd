"""Claims about corrupted images and injected text: every image is made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import remade_image
from medrobust_bench.certify.fault import Fault
from medrobust_bench.data.image import canonical

if TYPE_CHECKING:
    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.records import Outcome

_SHOWN = 20


def check_alterations(entry: Entry, proof: Proof, dataset: Dataset, threat: AlteringThreat) -> list[Fault]:
    """Every question met what the threat makes of it, and every image, made again, is the one of the journal."""
    if proof.witnesses:
        return [Fault("witnesses", "images that can be made again are not stored")]
    questions = {question.id: question for question in dataset.questions}
    faults = []
    for outcome in proof.threat:
        what = _fault(outcome, questions[outcome.question], entry.selection.seed, threat)
        if what is not None:
            faults.append(Fault("alterations", f"{outcome.question}: {what}"))
        if len(faults) == _SHOWN:
            break
    return faults


def _fault(outcome: Outcome, question: Question, seed: int, threat: AlteringThreat) -> str | None:
    """What is wrong with one line of the journal, in a few words."""
    asked = threat.spec.yields == "corrupted" or outcome.clean_choice == outcome.answer
    alterations = outcome.alterations
    if asked and (lacking := threat.missing(question, alterations)):
        return lacking
    if not asked and alterations:
        return "was altered although the clean answer is wrong"
    if outcome.attacked != bool(alterations):
        return "does not say whether it was altered"
    if not alterations:
        return None if outcome.choice == outcome.clean_choice else "has another answer without an alteration"
    if any(
        alteration.choice is not None and not 0 <= alteration.choice < len(question.options)
        for alteration in alterations
    ):
        return "an answer is none of the options"
    wrong = [alteration.choice for alteration in alterations if alteration.choice != outcome.answer]
    if outcome.choice != (wrong[0] if wrong else outcome.answer):
        return "its verdict is not that of its images"
    clean = canonical(question.image)
    made = (remade_image(threat, question, clean, seed, alteration) for alteration in alterations)
    return next((what for image, what in made if image is None), None)
