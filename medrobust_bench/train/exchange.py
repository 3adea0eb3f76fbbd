"""Exchanged prompts: the same question about a stranger's image, on which another of its options is right.

A model that answers from the words alone is right on a question and, with the same answer, wrong on its exchanged
prompt. Pairs of images with one question and two answers are what Goyal et al. 2017 (arXiv:1612.00837) balanced VQA
by; here they are drawn from the training questions themselves. Grey or noise in the place of the image would not do:
a model can notice them, and answer by heart otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from medrobust_bench.specs.seeds import Purpose, stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medrobust_bench.data.question import Question


class Exchange:
    """Draws whose image a question is asked about, among images for which its options hold the answer.

    A stranger is another question of the same words whose right answer is one of the options here. So the data say
    themselves what is right on its image, and nothing is guessed; a question whose words nobody else is asked, or whose
    other options are never right, has no stranger and stays as it is.

    First an option is drawn, evenly among those that are right on some image, its own right one included; then one of
    these images. Of an exchanged prompt the words therefore say nothing about the answer: over m such options whoever
    does not look earns 1/m, whatever else is known by heart.

    Args:
        questions: of a training; who a stranger is depends on them alone, not on their order.
        share: of the prompts that are drawn so, in [0, 1]; the others stay as they are. At 1 every question that can
            be is asked evenly.
    """

    def __init__(self, questions: Iterable[Question], share: float = 1.0) -> None:
        self._share = share
        self._right: dict[tuple[str, str], list[Question]] = {}
        for question in sorted(questions, key=lambda question: question.id):
            self._right.setdefault(_answered(question, question.answer), []).append(question)

    def __call__(self, question: Question, seed: int) -> Question:
        """The question about the image that is drawn for it, with the option that is right there.

        Args:
            question: any question.
            seed: decides the draw; a step and a question have one.
        """
        draw = stream(seed, Purpose.TRAINING, 2)
        known = self._strangers(question)
        if draw.random() >= self._share or not known:
            return question
        options = sorted({*known, question.answer})
        chosen = options[draw.integers(len(options))]
        if chosen == question.answer:
            return question
        return _about(question, chosen, known[chosen][draw.integers(len(known[chosen]))])

    def counterpart(self, question: Question, seed: int) -> Question | None:
        """The same question about an image with another right answer; None where there is none.

        Args:
            question: any question, exchanged or not.
            seed: decides which of several.
        """
        draw = stream(seed, Purpose.TRAINING, 3)
        known = self._strangers(question)
        if not known:
            return None
        options = sorted(known)
        chosen = options[draw.integers(len(options))]
        return _about(question, chosen, known[chosen][draw.integers(len(known[chosen]))])

    def _strangers(self, question: Question) -> dict[int, list[Question]]:
        """By index of the option that is right there, the right one of the question itself left out."""
        right = _answered(question, question.answer)
        found = {}
        for option in range(len(question.options)):
            key = _answered(question, option)
            others = [] if key == right else self._right.get(key, [])
            others = [other for other in others if other.image != question.image]
            if others:
                found[option] = others
        return found


def _about(question: Question, option: int, stranger: Question) -> Question:
    """The question with the stranger's image, and what is known of it."""
    return replace(
        question,
        image=stranger.image,
        answer=option,
        modality=stranger.modality,
        group=stranger.group,
        explanation=stranger.explanation,
    )


def _answered(question: Question, option: int) -> tuple[str, str]:
    return _plain(question.text), _plain(question.options[option])


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
