"""The stored images of a run: inside their budget, of their clean image, and still answered wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.image import from_png
from medrobust_bench.records.witness import sha256
from medrobust_bench.runs.audit.check import DISCRETE, HERE, Check, Skipped, above

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medrobust_bench.records import Finding
    from medrobust_bench.records.witness import AnyWitness
    from medrobust_bench.runs.audit.subject import Subject

BUDGET = Check(
    "stored images in budget", "artefact", "Is every stored 8-bit image inside its budget, in integers?", HERE
)
UNCHANGED = Check(
    "stored images unchanged",
    "artefact",
    "Are the stored images those that were judged, of the same originals?",
    HERE,
)
STILL_BROKEN = Check(
    "stored images still break",
    "artefact",
    "Does every stored image, read back and judged alone, still break the answer?",
    DISCRETE,
)


def stored_images(subject: Subject, witnesses: Mapping[str, AnyWitness]) -> list[Finding | Skipped]:
    """The witnesses of one model under one threat.

    Args:
        subject: bound to the questions whose witnesses are looked at.
        witnesses: by question.
    """
    outside, changed, held, asked = [], 0, 0, 0
    for group in subject.groups:
        for row, question in enumerate(group.bound.batch.questions):
            witness = witnesses.get(question.id)
            if witness is None:
                continue
            asked += 1
            clean, image = group.bound.batch.images[row], from_png(witness.image)
            changed += sha256(witness.image) != witness.sha256
            changed += sha256(clean.tobytes()) != witness.clean_sha256
            violation = subject.threat.budget(clean.shape[:2], group.seeds[row]).violation(clean, image)
            outside += [f"{question.id} {violation}"] if violation else []
            (answer,) = group.bound.select([row]).answer([image])
            held += answer.choice == question.answer
    if not asked:
        why = "none of the sampled questions was broken"
        return [Skipped(check.name, why) for check in (BUDGET, UNCHANGED, STILL_BROKEN)]
    return [
        BUDGET.find(
            len(outside),
            above(len(outside), warn=0, fail=0),
            outside[0] if outside else f"all {asked} are inside",
        ),
        UNCHANGED.find(
            changed,
            above(changed, warn=0, fail=0),
            f"{changed} digests differ" if changed else f"all {asked} digests agree",
        ),
        STILL_BROKEN.find(
            held,
            above(held, warn=0, fail=0),
            f"{held} of {asked} are answered right now" if held else f"all {asked} still break the answer",
        ),
    ]
