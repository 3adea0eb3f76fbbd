"""A model's chat format: where its template is found, on which day it is rendered, and when it cannot be used."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from jinja2 import TemplateError

from medrobust_bench.problems import InvalidInputError, Problem

TODAY: Final = date(2024, 7, 26)
"""What templates that write the date of the day are told; the day that Llama's own templates fall back to."""

_ASKS_FOR_THE_DAY = "strftime_now"
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
# Not by `strftime`, whose names of days and months follow the machine's language.
_WRITTEN: Final = {
    "%Y": str(TODAY.year),
    "%y": f"{TODAY.year % 100:02}",
    "%m": f"{TODAY.month:02}",
    "%-m": str(TODAY.month),
    "%d": f"{TODAY.day:02}",
    "%-d": str(TODAY.day),
    "%e": f"{TODAY.day:2}",
    "%j": f"{TODAY.timetuple().tm_yday:03}",
    "%B": _MONTHS[TODAY.month - 1],
    "%b": _MONTHS[TODAY.month - 1][:3],
    "%A": _DAYS[TODAY.weekday()],
    "%a": _DAYS[TODAY.weekday()][:3],
    "%F": TODAY.isoformat(),
    "%H": "00",
    "%I": "12",
    "%M": "00",
    "%S": "00",
    "%p": "AM",
    "%Z": "UTC",
    "%z": "+0000",
}
_FIXED_DAY = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('{code}', '{text}')" for code, text in _WRITTEN.items())
    + " }}{% endmacro %}\n"  # the line break goes with the tag, as transformers sets Jinja up
)

# What a template's own expressions raise, beside Jinja's errors: joining a list to a text, and the like.
_TEMPLATE_FAULTS = (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError)


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How the turns of a conversation become the text that a model reads.

    Attributes:
        template: in Jinja, with the day fixed; None where the checkpoint has none.
        beside_the_tokenizer: whether it was found there and not with the processor.
        dated: whether it writes the date of the day.
    """

    template: str | None
    beside_the_tokenizer: bool = False
    dated: bool = False

    @classmethod
    def of(cls, processor: Any) -> ChatFormat:
        """That of a processor or, where it has none, of its tokenizer."""
        own = _usual(getattr(processor, "chat_template", None))
        template = own or _usual(getattr(getattr(processor, "tokenizer", None), "chat_template", None))
        if template is None:
            return cls(None)
        dated = _ASKS_FOR_THE_DAY in template and not template.startswith(_FIXED_DAY)
        return cls(_FIXED_DAY + template if dated else template, own is None, dated)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user has to know of it, one sentence each; nothing where it is as usual."""
        day = f"{TODAY.day} {_MONTHS[TODAY.month - 1]} {TODAY.year}"
        told = {
            "has no chat template: a question stands between the image's token and 'Answer:'": self.template
            is None,
            "has its chat template beside the tokenizer only: it is used": self.beside_the_tokenizer,
            f"has a chat template that writes the day: it is told {day}": self.dated,
        }
        return tuple(note for note, true in told.items() if true)

    def render(self, processor: Any, turns: list[dict[str, Any]], **variables: Any) -> str:
        """A conversation up to where the model begins to write.

        Raises:
            InvalidInputError: the template has a fault, or refuses the conversation.
            ValueError: there is no template.
        """
        if self.template is None:
            raise ValueError("there is no chat template")
        try:
            rendered: str = processor.apply_chat_template(
                turns, chat_template=self.template, tokenize=False, add_generation_prompt=True, **variables
            )
        except _TEMPLATE_FAULTS as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            what = f"cannot be rendered: {said}"
            raise InvalidInputError([Problem("the chat template", what, REMEDY)]) from error
        return rendered


def with_fixed_day(processor: Any) -> Any:
    """The processor as an evaluation renders with it, for whoever else calls its `apply_chat_template`.

    The day is fixed, and the template stands with the processor where it stood beside the tokenizer. The processor
    itself is not changed; where nothing is to be, it is returned.
    """
    template = ChatFormat.of(processor).template
    if template is None or template == processor.chat_template:
        return processor
    fixed = copy.copy(processor)
    fixed.chat_template = template
    return fixed


REMEDY: Final = (
    "mend chat_template.jinja, which gets one user's turn with an image part and a text part; or write the whole "
    "model input as `prompt` into a card"
)


def _usual(template: Any) -> str | None:
    """The template, of several the one called "default"; None where there is none."""
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) and template else None
