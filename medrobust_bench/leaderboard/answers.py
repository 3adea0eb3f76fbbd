"""Which answers count as right where models are ranked: the bits of a journal that ranks are computed from."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.certify.certificate import Certificate
from medrobust_bench.specs.certification import CertificationSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.records import Outcome
    from medrobust_bench.specs.threat import ThreatSpec


@dataclass(frozen=True, slots=True)
class Counted:
    """One answer.

    Attributes:
        right: whether it counts as right: robust, or certified at the smallest radius.
        image: SHA-256 of the image that it is about.
    """

    right: bool
    image: str


Answers = dict[str, Counted]
"""By question."""


def counted(outcomes: Sequence[Outcome], threat: ThreatSpec) -> Answers:
    """The answers of a journal.

    Args:
        outcomes: under the threat, one per question.
        threat: of the result.

    Raises:
        ValueError: a certificate that is none.
    """
    radius = float(threat.radii[0]) if isinstance(threat, CertificationSpec) else 0.0
    return {o.question: Counted(_counts(o, radius), o.image_sha256) for o in outcomes}


def to_csv(answers: Answers) -> bytes:
    """As a file that stands beside a submission whose journal is elsewhere."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("question", "image", "right"))
    writer.writerows((name, one.image, int(one.right)) for name, one in answers.items())
    return buffer.getvalue().encode()


def from_csv(content: bytes) -> Answers:
    """See `to_csv`.

    Raises:
        ValueError: it is another file.
    """
    header, *rows = csv.reader(io.StringIO(content.decode()), strict=True)
    if header != ["question", "image", "right"] or any(len(row) != 3 or row[2] not in "01" for row in rows):
        raise ValueError("is not a file of answers")
    return {name: Counted(right == "1", image) for name, image, right in rows}


def _counts(outcome: Outcome, radius: float) -> bool:
    if outcome.certificate is None:
        return outcome.correct
    return Certificate.model_validate(outcome.certificate).certifies(outcome.answer, radius)
