"""The answer strategies by mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from medrobust_bench.models.answers.generated import Generated
from medrobust_bench.models.answers.letter import Letter
from medrobust_bench.models.answers.option_text import OptionText
from medrobust_bench.models.answers.reasoning import Reasoning
from medrobust_bench.models.prompt import AnswerMode

if TYPE_CHECKING:
    from medrobust_bench.models.answers.strategy import AnswerStrategy

STRATEGIES: Final[dict[AnswerMode, AnswerStrategy]] = {
    AnswerMode.LETTER: Letter(),
    AnswerMode.OPTION_TEXT: OptionText(),
    AnswerMode.REASONING: Reasoning(),
    AnswerMode.GENERATE: Generated(),
}
