"""Which answers count as right where models are ranked: the bits of a journal that ranks are computed from."""

from __future__ import annotations

import csv
import io
import re
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
        right: how much of it is right: 1 or 0 where it is robust or not, or certified at the smallest radius or not;
            under corruptions the share of its images.
        image: SHA-256 of the image that it is about.
    """

    right: float
    image: str


Answers = dict[str, Counted]
"""By question."""


def counted(outcomes: Sequence[Outcome], threat: ThreatSpec) -> Answers:
    """The answers of a journal; questions that no corruption fits do not count under corruptions.

    Args:
        outcomes: under the threat, one per question.
        threat: of the result.

    Raises:
        ValueError: a certificate that is none.
    """
    radius = float(threat.radii[0]) if isinstance(threat, CertificationSpec) else 0.0
    met = [o for o in outcomes if o.alterations or threat.yields != "corrupted"]
    return {o.question: Counted(_counts(o, radius), o.image_sha256) for o in met}


def to_csv(answers: Answers) -> bytes:
    """As a file that stands beside a submission whose journal is elsewhere."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("question", "image", "right"))
    writer.writerows((name, one.image, f"{one.right:.17g}") for name, one in answers.items())
    return buffer.getvalue().encode()


def from_csv(content: bytes) -> Answers:
    """See `to_csv`.

    Raises:
        ValueError: it is another file.
    """
    header, *rows = csv.reader(io.StringIO(content.decode()), strict=True)
    if header != ["question", "image", "right"] or any(len(row) != 3 for row in rows):
        raise ValueError("is not a file of answers")
    return {name: Counted(_share(right), image) for name, image, right in rows}


def _share(text: str) -> float:
    """A share as `to_csv` writes it: 0, 1, or 0. and digits."""
    if not re.fullmatch(r"1|0(\.[0-9]{1,20})?", text):
        raise ValueError(f"{text[:20]!r} is no share")
    return float(text)


def _counts(outcome: Outcome, radius: float) -> float:
    if outcome.certificate is None:
        return outcome.share_right
    return float(Certificate.model_validate(outcome.certificate).certifies(outcome.answer, radius))
