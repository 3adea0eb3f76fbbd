"""How a model's answer is obtained: what it is asked to write, how options are scored, how a completion is read.

One class per `AnswerMode`, shared by evaluation and training. To add a mode: a member of `AnswerMode`, a class that is
an `AnswerStrategy`, and its line in `STRATEGIES`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
}
