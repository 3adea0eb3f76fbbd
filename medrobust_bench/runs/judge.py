"""The verdict on what an attack hands in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.image import from_png

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.budget import Budget
    from medrobust_bench.models.adapter import Answer, BoundQuestions


class BudgetExceededError(RuntimeError):
    """An attack returned an image outside its budget: a defect of the attack, never a result."""


def judge(bound: BoundQuestions, pngs: Sequence[bytes], budgets: Sequence[Budget]) -> list[Answer]:
    """Read each PNG back, hold it against its budget, and answer it on the deployed path.

    Args:
        bound: B questions.
        pngs: B encoded adversarial images.
        budgets: what each may differ from the clean image.

    Raises:
        BudgetExceededError: naming the question and the excess.
    """
    images = [from_png(png) for png in pngs]
    for question, clean, image, budget in zip(
        bound.batch.questions, bound.batch.images, images, budgets, strict=True
    ):
        violation = budget.violation(clean, image)
        if violation is not None:
            raise BudgetExceededError(f"{question.id}: {violation}")
    return bound.answer(images)
