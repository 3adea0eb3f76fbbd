"""The answer strategies by mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medrobust_bench.models.answers.generated import Generated
from medrobust_bench.models.answers.letter import Letter
from medrobust_bench.models.answers.option_text import OptionText
from medrobust_bench.models.answers.reasoning import INSTRUCTION, Reasoning
from medrobust_bench.models.prompt import AnswerMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.answers.strategy import AnswerStrategy
    from medrobust_bench.models.cards import FrontMatter

STRATEGIES: Final[dict[AnswerMode, AnswerStrategy]] = {
    AnswerMode.LETTER: Letter(),
    AnswerMode.OPTION_TEXT: OptionText(),
    AnswerMode.REASONING: Reasoning(),
    AnswerMode.GENERATE: Generated(),
}

_SCORED: dict[AnswerMode, Callable[[str], AnswerStrategy]] = {
    AnswerMode.LETTER: Letter,
    AnswerMode.OPTION_TEXT: OptionText,
}
_MARKS = "<answer>", "\\boxed{"
"""What an instruction may ask for right before the letter."""


def strategy_of(card: FrontMatter) -> AnswerStrategy:
    """How the model of a card is asked and read: as its mode says, with the card's instruction and patterns."""
    thinks = card.answer_mode is AnswerMode.REASONING
    if card.strict and thinks:
        return STRATEGIES[card.answer_mode]
    if scored := _SCORED.get(card.answer_mode):
        return STRATEGIES[card.answer_mode] if card.instruction is None else scored(card.instruction)
    instruction = card.instruction or (INSTRUCTION if thinks else Generated().instruction)
    asked = f"{card.system or ''}{instruction}"
    return Generated(
        instruction=instruction,
        pattern=card.answer,
        thought=card.thought,
        mark=next((mark for mark in _MARKS if mark in asked), ""),
        thinks=thinks,
    )
