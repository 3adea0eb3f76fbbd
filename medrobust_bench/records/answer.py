"""How a generated answer was read, and what it was where nothing could be read."""

from __future__ import annotations

from enum import StrEnum


class Tier(StrEnum):
    """By which rule a generated answer was read; see `medrobust_bench.models.read_answer`."""

    STRICT = "strict"
    PATTERN = "pattern"
    TAGS = "tags"
    BOXED = "boxed"
    STATED = "stated"
    LETTER = "letter"
    TEXT = "text"
    UNPARSED = "unparsed"


class AnswerKind(StrEnum):
    """What a generated answer was; all but `READ` count as wrong."""

    READ = "read"
    UNPARSED = "unparsed"
    TRUNCATED = "truncated"
    REFUSED = "refused"
