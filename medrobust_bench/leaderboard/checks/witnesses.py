"""The images that broke an answer: one for each and no other, plain PNGs inside their budget."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.leaderboard.checks.threat import attack_of
from medrobust_bench.leaderboard.entry import WITNESSES
from medrobust_bench.leaderboard.png import NotPlainError, read_plain

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from numpy.typing import NDArray

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.records.witness import AnyWitness


def of_broken_answers(case: Case) -> list[Fault]:
    """A witness for every broken answer and no other."""
    if case.specification.yields == "certified" or case.specification.remade:
        return []
    broken = {o.question for o in case.proof.threat if o.attacked and not o.correct}
    if broken and WITNESSES not in {file.name for file in case.entry.evidence}:
        return [Fault("witnesses", "answers were broken, and no image is there to show it")]
    faults = []
    counts = Counter(witness.question for witness in case.proof.witnesses)
    if repeated := [question for question, count in counts.items() if count > 1]:
        faults.append(Fault("witnesses", f"more than one for {some(repeated)}"))
    if missing := sorted(broken - counts.keys()):
        faults.append(Fault("witnesses", f"none for {some(missing)}"))
    if needless := sorted(counts.keys() - broken):
        faults.append(Fault("witnesses", f"for answers that were not broken: {some(needless)}"))
    return faults


def inside_their_budget(case: Case) -> list[Fault]:
    """Each is what the journal says, made of the question's own image, changed, and inside its budget."""
    threat = attack_of(case.specification)
    if threat is None:
        return []
    return [
        Fault("witnesses", f"{witness.question}: {what}")
        for witness in case.proof.witnesses
        if (what := _fault(witness, case, threat)) is not None
    ]


def _fault(witness: AnyWitness, case: Case, threat: Threat) -> str | None:
    outcome = case.threat[witness.question]
    said = (witness.model, witness.threat, witness.answer, witness.choice, witness.sha256, witness.text)
    told = (
        outcome.model,
        outcome.threat,
        outcome.answer,
        outcome.choice,
        outcome.witness_sha256,
        outcome.text,
    )
    if said != told:
        return "the witness says something else than the journal"
    if hashlib.sha256(witness.image).hexdigest() != witness.sha256:
        return "the image is not the one that was judged: another SHA-256"
    clean = case.images[witness.question]
    if witness.clean_sha256 != case.digests[witness.question]:
        return "the witness was made from another clean image"
    height, width = clean.shape[:2]
    try:
        pixels = read_plain(witness.image, (width, height))
    except NotPlainError as error:
        return f"the image {error}"
    if np.array_equal(pixels, clean):
        return "the image is the clean one, which was answered right"
    return threat.budget((height, width), case.seed(witness.question)).violation(clean, pixels)


def witness_images(
    case: Case, proof: Proof, questions: Container[str]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The witnesses of a proof about these questions, one by one, those that are plain images of their question's size.

    Yields:
        The question and the image.
    """
    for witness in proof.witnesses:
        clean = case.images.get(witness.question) if witness.question in questions else None
        if clean is None:
            continue
        with suppress(NotPlainError):
            yield witness.question, read_plain(witness.image, (clean.shape[1], clean.shape[0]))
