"""Whether a model is shown the image and asked as its answers will be read: found out when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.image import canonical
from medrobust_bench.models.answer_marks import THOUGHTS, opened_thought
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.models.huggingface import HuggingFaceVLM

_WITHOUT_IMAGE = "leaves the image out: the model would answer without seeing it"
# What processors raise about a text or an image that they cannot take.
_PROCESSOR_FAULTS = (ValueError, TypeError, LookupError, RuntimeError, AttributeError)

THINK = THOUGHTS[0][0]


def check_prompt(adapter: HuggingFaceVLM, where: str) -> None:
    """Put one synthetic question to a model as far as its own inputs.

    Args:
        adapter: the model.
        where: what problems call it.

    Raises:
        InvalidInputError: its template has a fault, leaves the image out, or begins a rationale where the answer mode
            expects an answer at once; or its processor cannot take the question.
    """
    question = synthetic_questions()[0]
    try:
        prompt = adapter.render(question)
    except InvalidInputError as error:
        raise InvalidInputError(
            [Problem(f"{where}: {problem.where}", problem.what, problem.remedy) for problem in error.problems]
        ) from error
    called = "the chat template" if adapter.prompt is None else "the card's prompt"
    if problem := _unexpected_thought(adapter, prompt, f"{where}: {called}"):
        raise InvalidInputError([problem])
    try:
        inputs = adapter.process([prompt], [canonical(question.image)])
    except _PROCESSOR_FAULTS as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        token = getattr(adapter.processor, "image_token", None)
        missing = isinstance(token, str) and token not in prompt
        what = _WITHOUT_IMAGE if missing else f"gives an input that the processor cannot take: {said}"
        raise InvalidInputError([Problem(f"{where}: {called}", what, _remedy(adapter))]) from error
    if adapter.forbidden_tokens and not set(adapter.forbidden_tokens) & set(inputs["input_ids"][0].tolist()):
        raise InvalidInputError([Problem(f"{where}: {called}", _WITHOUT_IMAGE, _remedy(adapter))])


def _unexpected_thought(adapter: HuggingFaceVLM, prompt: str, where: str) -> Problem | None:
    """A rationale that the template begins, and that nobody expects or could read."""
    opened = opened_thought(prompt)
    if not opened:
        return None
    if not adapter.strategy.generates:
        what = f"begins a rationale ({opened}), but answer mode {adapter.mode} expects the answer at once"
        return Problem(where, what, f"use --answer-mode {AnswerMode.GENERATE} or {AnswerMode.REASONING}")
    strict = STRATEGIES[AnswerMode.REASONING]
    if adapter.strategy == strict and opened != THINK:
        what = f"begins a rationale with {opened}, but a strict card reads {THINK}…</think>"
        return Problem(where, what, f"use --answer-mode {AnswerMode.GENERATE}")
    return None


def _remedy(adapter: HuggingFaceVLM) -> str:
    token = getattr(adapter.processor, "image_token", None)
    named = f" ({token})" if isinstance(token, str) else ""
    return (
        f"let it render the image part of the user's turn as the image token{named}, or give a card whose `prompt` "
        "holds it"
    )
