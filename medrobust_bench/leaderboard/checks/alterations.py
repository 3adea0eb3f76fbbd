"""Corrupted images and injected text: what was made, made again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import remade_image
from medrobust_bench.certify.fault import SHOWN, Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.runs.threats import open_altering

if TYPE_CHECKING:
    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.records import Outcome


def made_again(case: Case) -> list[Fault]:
    """Every question met what the threat makes of it, and every image, made again, is the one of the journal."""
    strange = [o.question for o in (*case.proof.clean, *case.proof.threat) if o.alterations]
    if not case.specification.remade:
        what = f"images that can be made again, under a threat that makes none: {some(strange)}"
        return [Fault("alterations", what)] if strange else []
    if any(outcome.alterations for outcome in case.proof.clean):
        return [Fault("alterations", f"altered images among the clean ones: {some(strange)}")]
    if case.proof.witnesses:
        return [Fault("alterations", "images are stored that can be made again")]
    threat = open_altering(case.specification)
    faults: list[Fault] = []
    for outcome in case.proof.threat:
        wrong = _fault(outcome, case, threat)
        if wrong is not None:
            faults.append(Fault("alterations", f"{outcome.question}: {wrong}"))
        if len(faults) == SHOWN:
            break
    return faults


def _fault(outcome: Outcome, case: Case, threat: AlteringThreat) -> str | None:
    """What is wrong with one line of the journal, in a few words."""
    question = case.questions[outcome.question]
    asked = threat.spec.yields == "corrupted" or outcome.clean_choice == outcome.answer
    alterations = outcome.alterations
    if asked and (lacking := threat.missing(question, alterations)):
        return lacking
    if not asked and alterations:
        return "was altered although the clean answer is wrong"
    if asked and outcome.correct and outcome.forward_passes < threat.fewest_passes(question):
        return (
            f"stands after {outcome.forward_passes} passes, the threat takes {threat.fewest_passes(question)}"
        )
    if outcome.attacked != bool(alterations):
        return "does not say whether it was altered"
    if outcome.witness_sha256 is not None or outcome.attempts:
        return "tells of a search whose images are stored"
    if not alterations:
        return None if outcome.choice == outcome.clean_choice else "has another answer without an alteration"
    choices = [alteration.choice for alteration in alterations]
    if any(choice is not None and not 0 <= choice < len(question.options) for choice in choices):
        return "an answer is none of the options"
    counted = [alteration.choice for alteration in alterations if alteration.control is None]
    wrong = [choice for choice in counted if choice != outcome.answer]
    if outcome.choice != (wrong[0] if wrong else outcome.answer):
        return "its verdict is not that of its images"
    clean, seed = case.images[outcome.question], case.entry.selection.seed
    made = (remade_image(threat, question, clean, seed, alteration) for alteration in alterations)
    return next((what for image, what in made if image is None), None)
