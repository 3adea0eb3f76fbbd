"""How a question is put to a model: the user's turn, and the model's own chat format around it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.chat_format import ChatFormat
from medrobust_bench.models.conversation import conversation

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question

# Chat templates that can be told to think or not listen to this variable.
_THINKING = "enable_thinking"


class AnswerMode(StrEnum):
    """How a model's answer is obtained; what each does is in `medrobust_bench.models.answers`.

    `LETTER`: the option letter with the highest next-token logit.
    `OPTION_TEXT`: the option with the highest length-normalised likelihood (OmniMedVQA's prefix score).
    `REASONING`: greedy generation of `<think>…</think><answer>B</answer>`, parsed strictly.
    `GENERATE`: greedy generation of an answer in the model's own words, read by the tiers of `read_answer`.
    """

    LETTER = "letter"
    OPTION_TEXT = "option-text"
    REASONING = "reasoning"
    GENERATE = "generate"


def lettered_options(question: Question) -> str:
    """The options, one per line: "A) cyst"."""
    return "\n".join(f"{letter}) {option}" for letter, option in zip(LETTERS, question.options, strict=False))


def chat_prompt(
    processor: Any, words: str, *, image: bool = True, thinks: bool | None = None, system: str | None = None
) -> str:
    """The user's turn in the model's chat format, up to where the model begins to write.

    Args:
        processor: of the model; without a chat template, the words between its image token and "Answer:".
        words: what the user says, image aside.
        image: whether an image goes before the words.
        thinks: what a template that can be told to think or not is told; None: nothing.
        system: the system turn of the model's card; without a chat template, a paragraph in front.

    Raises:
        InvalidInputError: the template has a fault, or refuses the words.
    """
    form = ChatFormat.of(processor)
    if form.template is None:
        token = getattr(processor, "image_token", None)
        picture = f"{token}\n" if image and isinstance(token, str) else ""
        return "\n\n".join(filter(None, [system, f"{picture}{words}\nAnswer:"]))
    told = template_variables(form, thinks)
    return form.render(processor, conversation(words, system=system, image=image), **told)


def template_variables(form: ChatFormat, thinks: bool | None) -> dict[str, bool]:
    """What a template that can be told to think or not is told; nothing where it cannot, or `thinks` is None."""
    return {_THINKING: thinks} if thinks is not None and _THINKING in (form.template or "") else {}
