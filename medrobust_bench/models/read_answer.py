"""Which option a model's free text names.

A completion is read tier by tier. The first tier that finds something decides, and decides for good: where it finds
two different options, or a letter that no option has, the completion is unparsed. Nothing is ever guessed.

1. `pattern`: what the model card's own regular expression marks.
2. `tags`: what stands in `<answer>…</answer>` or another pair that models are trained to put around an answer.
3. `boxed`: what stands in `\\boxed{…}`.
4. `stated`: an explicit statement: "the answer is …", "Answer: …", "option B is correct", `"answer": "B"`.
5. `letter`: an option letter by itself, or in front of its option ("B", "(B)", "B. adenoma", "adenoma (B)").
6. `text`: the text of an option in a sentence, where exactly one option fits and nothing denies it.

What a pattern, tags or a box mark is read by tiers 4 to 6; a mark that names nothing leaves the completion unparsed,
since what a model marks is its answer. A rationale is left out before anything is read: it weighs all options.

Users of other harnesses report, and this one avoids: an option drawn at random where none is found (MMMU's reader and
all that copy it), the most similar option (MedEvalKit), "A" from "A patient …" (VLMEvalKit), "I" from "because I …",
the letters of "None of the above" (inspect_ai), the last capital letter of the text (evalscope).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import (
    box_marks,
    pattern_marks,
    tag_marks,
    without_markup,
    without_thought,
)
from medrobust_bench.records.answer import AnswerKind, Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.models.option_names import Name, OptionNames

__all__ = ["UNPARSED", "AnswerKind", "ReadAnswer", "Tier", "kind_of", "namings", "read_answer", "refuses"]


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What was read in a completion.

    Attributes:
        choice: index of the option; None where none is named, or more than one.
        tier: the rule that decided; `Tier.UNPARSED` where `choice` is None.
        span: start and end, in characters of the completion, of the letter or option text that decided; None where
            `choice` is None. Where the answer is repeated, its first naming in the deciding tier.
    """

    choice: int | None
    tier: Tier
    span: tuple[int, int] | None


_STRICT = re.compile(
    r"\s*<think>(?P<rationale>.*?)</think>\s*<answer>\s*(?P<letter>[A-J])\s*</answer>\s*", re.DOTALL
)
UNPARSED = ReadAnswer(choice=None, tier=Tier.UNPARSED, span=None)


def read_answer(
    completion: str,
    options: Sequence[str],
    *,
    pattern: str | None = None,
    thought: str | None = None,
    strict: bool = False,
) -> ReadAnswer:
    """Read which option a completion names.

    A completion that was cut short should not be given here: its last words may be half of an answer.

    Args:
        completion: what the model wrote, special tokens included, with `<think>` in front where the chat template
            had opened the rationale.
        options: 2 to 10 option texts, which the model saw as A, B, …
        pattern: a model card's regular expression for the answer: its group `answer`, else its first group, else
            the whole match. Where it does not match, the other tiers read.
        thought: a model card's regular expression for the rationale, which is left out; None for the usual tags,
            `answer_marks.THOUGHTS`.
        strict: accept exactly one rationale and one letter, `<think>…</think><answer>B</answer>`, and nothing else.

    Raises:
        ValueError: fewer than 2 or more than 10 options.
        re.error: a faulty regular expression.
    """
    if strict:
        _check(options)
        return _read_strictly(completion, options)
    return _decided(*namings(completion, options, pattern=pattern, thought=thought))


def namings(
    completion: str, options: Sequence[str], *, pattern: str | None = None, thought: str | None = None
) -> tuple[Tier, list[Name]]:
    """The deciding tier of a completion, and every place at which it names an option; see `read_answer`."""
    from medrobust_bench.models.option_names import OptionNames  # its expressions take 0.1 s to compile

    _check(options)
    visible = without_thought(completion, thought)
    names = OptionNames(without_markup(visible), tuple(options))
    for tier, marks in (
        (Tier.PATTERN, pattern_marks(pattern, visible)),
        (Tier.TAGS, tag_marks(visible)),
        (Tier.BOXED, box_marks(visible)),
    ):
        if marks:
            return tier, [name for mark in marks for name in _unmarked(names, *mark)[1]]
    return _unmarked(names, 0, len(visible))


def refuses(completion: str) -> bool:
    """Whether a completion says that it does not answer.

    Such words do not outweigh an answer: "I cannot diagnose this, but the answer is B" is B. Ask where nothing is read.
    """
    from medrobust_bench.models.option_names import refusal

    return refusal(without_markup(without_thought(completion)))


def kind_of(
    answer: ReadAnswer, completion: str, *, truncated: bool = False, refused: bool = False
) -> AnswerKind:
    """What became of a question, for counting.

    Args:
        answer: what was read in the completion.
        completion: what the model wrote.
        truncated: whether it was cut short by its length limit: nothing counts as read, since more would have come.
        refused: whether the server or its filter said that the model refuses.
    """
    if refused:
        return AnswerKind.REFUSED
    if truncated:
        return AnswerKind.TRUNCATED
    if answer.choice is not None:
        return AnswerKind.READ
    return AnswerKind.REFUSED if refuses(completion) else AnswerKind.UNPARSED


def _check(options: Sequence[str]) -> None:
    if not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"{len(options)} options, must be 2 to {len(LETTERS)}")


def _unmarked(names: OptionNames, start: int, end: int) -> tuple[Tier, list[Name]]:
    """The first tier of unmarked text that finds something between two places, and what it finds."""
    for tier, find in ((Tier.STATED, names.stated), (Tier.LETTER, names.letters), (Tier.TEXT, names.texts)):
        if found := find(start, end):
            return tier, found
    return Tier.UNPARSED, []


def _decided(tier: Tier, names: Sequence[Name]) -> ReadAnswer:
    choices = {name.choice for name in names}
    if len(choices) != 1 or None in choices:
        return UNPARSED
    return ReadAnswer(choice=names[0].choice, tier=tier, span=(names[0].start, names[0].end))


def _read_strictly(completion: str, options: Sequence[str]) -> ReadAnswer:
    match = _STRICT.fullmatch(completion)
    if match is None or "<think>" in match["rationale"] or "<answer>" in match["rationale"]:
        return UNPARSED
    choice = LETTERS.index(match["letter"])
    if choice >= len(options):
        return UNPARSED
    return ReadAnswer(choice=choice, tier=Tier.STRICT, span=match.span("letter"))
