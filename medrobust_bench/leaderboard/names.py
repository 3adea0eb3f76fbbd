"""Names of data sets, threats and models: as names of files, and told apart by the eye."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MODEL: Final = re.compile(r"[A-Za-z0-9]([\w.+/ -]{0,118}\w)?", re.ASCII)
"""What a model or data set may be called in a submission."""

THREAT: Final = re.compile(r"[A-Za-z0-9]([\w.+:=,/-]{0,198}\w)?", re.ASCII)
"""What a threat may be called in a submission."""

FILES: Final = (".json", ".jsonl", ".yaml", ".yml", ".parquet", ".md")
"""Endings of names that would be taken for files."""

BOASTS: Final = ("official", "maintainer", "verified", "rank 1", "winner", "state of the art")
"""What no title of a card may claim, nor its id, nor a threat of one's own."""

_ALIKE = str.maketrans(
    "01|ijl5$"
    "\N{CYRILLIC SMALL LETTER A}\N{CYRILLIC SMALL LETTER IE}\N{CYRILLIC SMALL LETTER O}"
    "\N{CYRILLIC SMALL LETTER ER}\N{CYRILLIC SMALL LETTER ES}\N{CYRILLIC SMALL LETTER U}"
    "\N{CYRILLIC SMALL LETTER HA}\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}"
    "\N{CYRILLIC SMALL LETTER DZE}\N{CYRILLIC SMALL LETTER EM}\N{CYRILLIC SMALL LETTER TE}"
    "\N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER OMICRON}\N{GREEK SMALL LETTER RHO}"
    "\N{GREEK SMALL LETTER NU}\N{GREEK SMALL LETTER IOTA}",
    "olllllss" + "aeopcyxlsmt" + "aopvl",
)
"""Letters that a reader takes for another, after Unicode's list of confusables (UTS #39)."""


def boasts(title: str) -> str | None:
    """The claim that a title, an id or the name of a threat makes, or seems to make; None where it makes none."""
    words = list(filter(None, map(skeleton, re.split(r"[\W_]+", title))))
    runs = ["".join(words[first:last]) for first in range(len(words)) for last in range(first + 1, first + 5)]
    for claim in BOASTS:
        said = skeleton(claim)
        # "officially" and "maintainers" as well, but a LoRA of rank 16 is no first.
        if said in runs or (claim.isalpha() and any(word.startswith(said) for word in words)):
            return claim
    return None


_SCRIPTS: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "GEORGIAN")
"""Whose letters look like each other's."""


def mixes_scripts(name: str) -> bool:
    """Whether a word holds letters of two scripts that look alike (UTS #39, "mixed-script confusables")."""
    for word in name.split():
        scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word if letter.isalpha()}
        if len(scripts & set(_SCRIPTS)) > 1:
            return True
    return False


def slug(name: str) -> str:
    """A name as a file name: letters, digits, underscores, dots and hyphens, no dot at either end."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"


def harmless(name: str, form: re.Pattern[str]) -> bool:
    """Whether a name may stand in paths, tables and pages.

    Args:
        name: of a model, a data set or a threat.
        form: `MODEL` or `THREAT`.
    """
    return bool(form.fullmatch(name)) and ".." not in name and not name.lower().endswith(FILES)


def skeleton(name: str) -> str:
    """Equal for names that the eye takes for one another: case, accents, separators, 0 and o, 1 and l, rn and m."""
    folded = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(letter for letter in folded if letter.isalnum() or letter in "|$").translate(_ALIKE)
    return letters.replace("rn", "m").replace("vv", "w")
