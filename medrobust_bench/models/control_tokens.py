"""Words of a question that a model would take for its control tokens, made plain text.

`<|image_pad|>` in a question would announce an image that is not there, `<|im_end|>` would end the user's turn.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from medrobust_bench.models.chat_format import ChatFormat

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question

_MARK = re.compile(r"\w+_(?:token|tag)")


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of a model.

    Attributes:
        texts: what is written for them.
    """

    texts: frozenset[str]

    @classmethod
    def of(cls, processor: Any) -> ControlTokens:
        """The special tokens of a processor's tokenizer, added tokens that stand in its chat template, and the marks
        that the processor itself looks for (`image_token`, `boi_token`, `global_image_tag`, …).
        """
        tokenizer = processor.tokenizer
        template = ChatFormat.of(processor).template or ""
        texts = {
            token.content
            for token in tokenizer.added_tokens_decoder.values()
            if token.special or token.content in template
        }
        texts |= set(tokenizer.all_special_tokens)
        texts |= {
            value
            for holder in (processor, tokenizer)
            for name, value in vars(holder).items()
            if _MARK.fullmatch(name) and isinstance(value, str)
        }
        return cls(frozenset(text for text in texts if text.strip()))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self.texts, key=lambda text: (-len(text), text))
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def neutralised(self, text: str) -> str:
        """The text with a blank behind the first letter of whatever would be a control token: `< |image_pad|>`."""
        while (plain := self._pattern.sub(_apart, text)) != text:
            text = plain
        return text

    def in_plain_words(self, question: Question) -> Question:
        """The question with its text and options neutralised; the same one where there is nothing to change."""
        text, options = self.neutralised(question.text), tuple(map(self.neutralised, question.options))
        if (text, options) == (question.text, question.options):
            return question
        return replace(question, text=text, options=options)


def _apart(match: re.Match[str]) -> str:
    text = match[0]
    return f"{text[0]} {text[1:]}" if len(text) > 1 else " "
