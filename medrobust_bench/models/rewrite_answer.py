"""A completion as it would read had the model meant another option."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import plain_signs, without_thought
from medrobust_bench.models.read_answer import namings

if TYPE_CHECKING:
    from collections.abc import Sequence


def rewrite_answer(
    completion: str,
    options: Sequence[str],
    other: int,
    *,
    words: bool,
    pattern: str | None = None,
    thought: str | None = None,
) -> str:
    """Rewrite a completion to answer with another option.

    An attack compares the two token by token: where they part is where the answer is decided.

    Args:
        completion: what the model wrote.
        options: the question's options.
        other: index of the option that it should mean.
        words: exchange the option's words in the rationale as well, not only in the answer.
        pattern: as in `read_answer`.
        thought: as in `read_answer`.

    Returns:
        The completion with letter and words of its answer exchanged; unchanged where it names no option, or two.
    """
    _, names = namings(completion, options, pattern=pattern, thought=thought)
    choices = {name.choice for name in names}
    if len(choices) != 1 or None in choices:
        return completion
    answer = next(choice for choice in choices if choice is not None)
    visible = completion if words else without_thought(completion, thought)
    option = re.compile(rf"(?<!\w){_words(options[answer])}(?!\w)", re.IGNORECASE)
    places = {
        (match.start(), match.end()): _in_the_case_of(match[0], options[other])
        for match in option.finditer(visible)
    }
    for name in names:
        written = completion[name.start : name.end]
        if plain_signs(written).upper() == LETTERS[answer]:
            places[name.start, name.end] = LETTERS[other] if written.isupper() else LETTERS[other].lower()
        else:
            places[name.start, name.end] = _in_the_case_of(written, options[other])
    for start, end in sorted(places, reverse=True):
        completion = completion[:start] + places[start, end] + completion[end:]
    return completion


def _words(option: str) -> str:
    """A regular expression for an option's text, white space and hyphens aside."""
    return r"[\s_\-]+".join(re.escape(word) for word in re.split(r"[\s_\-]+", option) if word) or "(?!)"


def _in_the_case_of(written: str, option: str) -> str:
    """An option capitalised where the one that it replaces begins with a capital letter."""
    return option[:1].upper() + option[1:] if written[:1].isupper() else option
