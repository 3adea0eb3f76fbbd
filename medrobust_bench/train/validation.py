"""How a model in training does on validation questions, clean and under its own inner attack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.image import ImageBytes, canonical, rows_of_one_shape, to_png
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.train.exchange import Exchange
from medrobust_bench.train.inner_attack import InnerAttack, frozen_eval, prompt_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.train.settings import AttackSettings


def validate(
    model: Any,
    processor: Any,
    questions: Sequence[Question],
    mode: AnswerMode,
    attack: AttackSettings | None,
    *,
    seed: int = 0,
    max_new_tokens: int = 128,
    exchanged: bool = False,
) -> dict[str, float]:
    """Greedy accuracy on validation questions, a guide during training.

    The attack is the one that is trained against, at its full radius: neither as strong nor as strict as
    `medrobust run`, whose numbers alone are results.

    Args:
        model: in training.
        processor: its processor.
        questions: those of the validation.
        mode: how they are asked.
        attack: that of the recipe.
        seed: of the recipe.
        max_new_tokens: length limit of an answer.
        exchanged: whether to ask about strangers' images as well.

    Returns:
        "validation_accuracy"; "validation_exchanged", of the questions about a stranger's image each, where some can
        be asked so; and "validation_attacked" where there is an attack.
    """
    adapter = HuggingFaceVLM(model, processor, mode=mode, max_new_tokens=max_new_tokens)
    measured = {"validation_accuracy": accuracy(adapter, questions)}
    if exchanged:
        exchange = Exchange(questions)
        drawn = [exchange.counterpart(question, prompt_seed(seed, question.id, 0)) for question in questions]
        others = [question for question in drawn if question is not None]
        if others:
            measured["validation_exchanged"] = accuracy(adapter, others)
    spec = None if attack is None else attack.at(attack.warmup_steps)
    if attack is not None and spec is not None:
        inner = InnerAttack(adapter, loss=attack.loss, batch_size=attack.batch_size)
        made = inner.perturb(
            questions,
            [canonical(question.image) for question in questions],
            spec=spec,
            seeds=[prompt_seed(seed, question.id, 0) for question in questions],
        )
        attacked = [showing(question, one.image) for question, one in zip(questions, made, strict=True)]
        measured["validation_attacked"] = accuracy(adapter, attacked)
    return measured


def accuracy(adapter: HuggingFaceVLM, questions: Sequence[Question]) -> float:
    """Share of right answers in [0, 1]; an unparsable one is wrong."""
    answers = answer_together(adapter, questions)
    right = [answer.choice == question.answer for answer, question in zip(answers, questions, strict=True)]
    return sum(right) / len(right)


def answer_together(
    adapter: HuggingFaceVLM, questions: Sequence[Question], *, batch_size: int = 64
) -> list[Answer]:
    """What a model in training answers on the deployed path, in batches of one image shape."""
    found: dict[int, Answer] = {}
    images = [canonical(question.image) for question in questions]
    with frozen_eval(adapter):
        for rows in rows_of_one_shape(images, batch_size):
            bound = adapter.bind([questions[row] for row in rows])
            found.update(zip(rows, bound.answer(bound.batch.images, exact=False), strict=True))
    return [found[row] for row in range(len(questions))]


def showing(question: Question, image: NDArray[np.uint8]) -> Question:
    """The same question about another uint8 image [H, W, 3]."""
    return replace(question, image=ImageBytes(to_png(image), name=question.image.name))
