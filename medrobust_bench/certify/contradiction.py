"""Certificates held against attacks: no verified L2 witness may lie inside a certified ball.

Only an attack on the *smoothed* model can contradict its certificate; the plain model may well be broken there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.certify.fault import Fault
from medrobust_bench.data.image import canonical, from_png
from medrobust_bench.records.witness import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.certify.stored import StoredRow
    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import AnyWitness


def contradictions(
    rows: Sequence[StoredRow],
    witnesses: Sequence[AnyWitness],
    questions: Mapping[str, Question],
    *,
    clean: Sequence[Outcome] = (),
) -> list[Fault]:
    """Certificates inside whose radius a witness, or the clean image itself, got another answer.

    An abstention of the smoothed model contradicts nothing, since a certificate speaks of its exact prediction.
    By chance an honest certificate is contradicted with probability α, and once more the answer's own α per image.

    Args:
        rows: certificates of one smoothed model.
        witnesses: images that broke the same smoothed model.
        questions: by id, with the clean images.
        clean: how the same smoothed model answered the clean images.
    """
    by_question: dict[str, list[AnyWitness]] = {}
    for witness in witnesses:
        by_question.setdefault(witness.question, []).append(witness)
    faults = []
    for row in rows:
        certificate = row.certificate
        for outcome in clean:
            if outcome.question != row.outcome.question or certificate.prediction is None:
                continue
            if outcome.choice not in (None, certificate.prediction):
                what = f"{outcome.question} is certified, yet its clean image is answered {outcome.choice}"
                faults.append(Fault("witness", what, (row.line,)))
        for witness in by_question.get(row.outcome.question, []):
            if witness.choice is None or witness.choice == certificate.prediction:
                continue
            original = canonical(questions[witness.question].image)
            if sha256(witness.image) != witness.sha256 or sha256(original.tobytes()) != witness.clean_sha256:
                what = f"a witness of {witness.question} is not the image that its digest names"
                faults.append(Fault("witness", what, (row.line,)))
                continue
            distance = l2_distance(original, from_png(witness.image))
            if distance < certificate.radius:
                what = (
                    f"{witness.question} is certified up to {certificate.radius:.6g}, yet answered "
                    f"{witness.choice} at distance {distance:.6g} ({witness.model} under {witness.threat})"
                )
                faults.append(Fault("witness", what, (row.line,)))
    return faults


def l2_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Euclidean distance of two 8-bit images [H, W, 3], pixels in [0, 1]; infinite between different sizes."""
    if first.shape != second.shape:
        return float("inf")
    return float(np.linalg.norm((first.astype(np.float64) - second) / 255))
