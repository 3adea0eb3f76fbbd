"""What a check is: a question about an attack, where it comes from, and how its findings are written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from medrobust_bench.records import Finding

Verdict = Literal["pass", "warn", "fail"]

AUTOATTACK: Final = "Croce and Hein 2020, arXiv:2003.01690, and the flags of their AutoAttack"
CARLINI: Final = "Carlini et al. 2019, arXiv:1902.06705"
OBFUSCATED: Final = "Athalye et al. 2018, arXiv:1802.00420"
INDICATORS: Final = "Pintor et al. 2022, arXiv:2106.09947"
DISCRETE: Final = "Carlini and Wagner 2017, arXiv:1608.04644"
IMAGE_MATTERS: Final = "Goyal et al. 2017, arXiv:1612.00837"
OPTION_ORDER: Final = "Zheng et al. 2024, arXiv:2309.03882"
FIRST_TOKEN: Final = "Wang et al. 2024, arXiv:2402.14499"
HERE: Final = "this project"


@dataclass(frozen=True, slots=True)
class Check:
    """One question that an audit asks.

    Attributes:
        name: what findings call it.
        family: artefact, gradient, optimisation, masking, blindness, options or baseline.
        asks: the question, in one line.
        source: who proposed it.
    """

    name: str
    family: str
    asks: str
    source: str

    def find(self, value: float | str | None, verdict: Verdict, meaning: str) -> Finding:
        """What was found; a number is kept to four digits."""
        if isinstance(value, float):
            value = float(f"{value:.4g}")
        return Finding(check=self.name, value=value, verdict=verdict, meaning=meaning, source=self.source)


@dataclass(frozen=True, slots=True)
class Skipped:
    """A check that does not apply.

    Attributes:
        check: its name.
        why: the reason.
    """

    check: str
    why: str


def above(value: float, *, warn: float, fail: float) -> Verdict:
    """The verdict on a value that is the worse the larger it is: `warn` and `fail` are the largest that pass."""
    return "fail" if value > fail else "warn" if value > warn else "pass"


def below(value: float, *, warn: float, fail: float) -> Verdict:
    """The verdict on a value that is the worse the smaller it is: `warn` and `fail` are the smallest that pass."""
    return above(-value, warn=-warn, fail=-fail)


def count_verdict(count: int) -> Verdict:
    """The verdict on questions that contradict the attack: one may be luck, two are not."""
    return above(count, warn=0, fail=1)
