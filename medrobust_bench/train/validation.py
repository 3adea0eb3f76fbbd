"""How a model in training does on validation questions, clean and under its own inner attack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.train.accuracy import choose
from medrobust_bench.train.inner_attack import InnerAttack, prompt_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
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
) -> dict[str, float]:
    """Greedy accuracy on validation questions, a guide during training.

    The attack is the one that is trained against, at its full radius: neither as strong nor as strict as
    `medrobust run`, whose numbers alone are results.

    Returns:
        "validation_accuracy", and "validation_attacked" where there is an attack.
    """
    clean = choose(model, processor, questions, mode, max_new_tokens=max_new_tokens)
    measured = {"validation_accuracy": clean.accuracy(questions)}
    spec = None if attack is None else attack.at(attack.warmup_steps)
    if attack is not None and spec is not None:
        adapter = HuggingFaceVLM.around(model, processor, mode=mode, max_new_tokens=max_new_tokens)
        inner = InnerAttack(adapter, loss=attack.loss, batch_size=attack.batch_size)
        made = inner.perturb(
            questions,
            [canonical(question.image) for question in questions],
            spec=spec,
            seeds=[prompt_seed(seed, question.id, 0) for question in questions],
        )
        attacked = [showing(question, one.image) for question, one in zip(questions, made, strict=True)]
        measured["validation_attacked"] = choose(
            model, processor, attacked, mode, max_new_tokens=max_new_tokens
        ).accuracy(questions)
    return measured


def showing(question: Question, image: NDArray[np.uint8]) -> Question:
    """The same question about another uint8 image [H, W, 3]."""
    return replace(question, image=ImageBytes(to_png(image), name=question.image.name))
