"""What a reasoning model would have written had it meant another option.

An attack on a reasoning model needs to know at which token of a completion the answer is decided. The completion
is rewritten for each wrong option, and where the two token sequences part is that token.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from medrobust_bench.data.question import LETTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

THINK = "<think>"

_LETTER = re.compile(r"(?P<before><answer>\s*)[A-E](?=\s*</answer>)")


class Parting(NamedTuple):
    """The first token at which two completions differ.

    Attributes:
        position: how many tokens they share.
        spoken: the token that was written.
        rival: the token that the other completion has there.
    """

    position: int
    spoken: int
    rival: int


def say_instead(completion: str, options: Sequence[str], answer: int, other: int, *, words: bool) -> str:
    """A completion as it would read had the model meant another option.

    Args:
        completion: what the model wrote.
        options: the question's options.
        answer: the option that it meant.
        other: the option that it should mean.
        words: exchange the option wherever the completion names it, not only the letter of the answer.
    """
    if words:
        named = re.compile(rf"(?<!\w){re.escape(options[answer])}(?!\w)", re.IGNORECASE)
        completion = named.sub(lambda match: _in_the_case_of(match[0], options[other]), completion)
    return _LETTER.sub(lambda match: match["before"] + LETTERS[other], completion)


def part(spoken: Sequence[int], rival: Sequence[int]) -> Parting | None:
    """Where two token sequences part; None where one continues the other."""
    for position, (own, other) in enumerate(zip(spoken, rival, strict=False)):
        if own != other:
            return Parting(position, own, other)
    return None


def completion_tokens(tokenizer: Any, prompt: str, completion: str) -> list[int]:
    """Tokens of a completion as they follow its prompt."""
    if opens_rationale(prompt):
        completion = completion.removeprefix(THINK)
    start, whole = _tokens(tokenizer, prompt), _tokens(tokenizer, prompt + completion)
    return whole[len(start) :] if whole[: len(start)] == start else _tokens(tokenizer, completion)


def opens_rationale(prompt: str) -> bool:
    """Whether the chat template has begun the model's rationale for it."""
    return prompt.rstrip().endswith(THINK)


def _in_the_case_of(written: str, option: str) -> str:
    """An option capitalised where the one that it replaces begins with a capital letter."""
    return option[:1].upper() + option[1:] if written[:1].isupper() else option


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
