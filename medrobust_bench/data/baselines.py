"""What a data set gives away without its images: the accuracies of guessing, and of reading the options alone.

A model that is hardly better than these has not been shown to look at the image.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.rows import same_option
from medrobust_bench.records import WithoutImages

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question


@dataclass(frozen=True, slots=True)
class Baselines:
    """Accuracies over the same questions, each between 0 and 1.

    Attributes:
        n: number of questions.
        chance: expected accuracy of a uniform guess among each question's options.
        majority_letter: of always giving the commonest letter (A, B, …) of these questions: the best constant answer.
        option_texts: of giving the option whose text was right most often when it was offered in the training split
            (see `option_text_choices`); None without a training split.
        with_question: the same with the question's text known as well; None without a training split.
    """

    n: int
    chance: float
    majority_letter: float
    option_texts: float | None = None
    with_question: float | None = None


def baselines(questions: Sequence[Question], training: Sequence[Question] = ()) -> Baselines:
    """The baselines of some questions.

    Args:
        questions: at least one.
        training: the training split; empty where there is none.

    Raises:
        ValueError: no questions.
    """
    if not questions:
        raise ValueError("no questions, no baseline")
    n = len(questions)
    letters = Counter(question.answer for question in questions)
    options, with_question = (
        None
        if not training
        else _right(questions, option_text_choices(questions, training, with_question=known)) / n
        for known in (False, True)
    )
    return Baselines(
        n=n,
        chance=sum(1 / len(question.options) for question in questions) / n,
        majority_letter=letters.most_common(1)[0][1] / n,
        option_texts=options,
        with_question=with_question,
    )


def without_images(dataset: Dataset) -> WithoutImages:
    """What the questions of an opened data set give away without any image."""
    found = baselines(dataset.questions)
    texts = dataset.option_texts
    right = (
        None
        if texts is None
        else sum(texts[question.id] == question.answer for question in dataset.questions) / found.n
    )
    return WithoutImages(chance=found.chance, majority=found.majority_letter, option_texts=right)


def option_text_choices(
    questions: Sequence[Question], training: Sequence[Question], *, with_question: bool = False
) -> list[int]:
    """The options that a reader without images would choose, from how often each text was right in training.

    Each text has a rate: how often it was right among the training questions that offered it, by Laplace's rule of
    succession, (right + 1) / (offered + 2), so that a text which was right once of once does not outweigh one that was
    right nine times of ten. The option with the highest rate is chosen; among equals the first.

    Args:
        questions: whose options to choose from.
        training: questions with their answers; must be others.
        with_question: count texts for each question text by itself, and fall back to all where it is new.
    """
    everywhere = _rates(training, with_question=False)
    here = _rates(training, with_question=True) if with_question else {}
    choices = []
    for question in questions:
        about = same_option(question.text) if with_question else None
        rates = []
        for option in question.options:
            text = same_option(option)
            rates.append(here.get((about, text), everywhere.get((None, text), _UNSEEN)))
        choices.append(rates.index(max(rates)))
    return choices


_UNSEEN = 1 / 2  # Laplace's rate of a text that was never offered


def _rates(training: Sequence[Question], *, with_question: bool) -> dict[Hashable, float]:
    offered: defaultdict[Hashable, int] = defaultdict(int)
    right: defaultdict[Hashable, int] = defaultdict(int)
    for question in training:
        about = same_option(question.text) if with_question else None
        for place, option in enumerate(question.options):
            key = (about, same_option(option))
            offered[key] += 1
            right[key] += place == question.answer
    return {key: (right[key] + 1) / (count + 2) for key, count in offered.items()}


def _right(questions: Sequence[Question], choices: Sequence[int]) -> int:
    return sum(choice == question.answer for choice, question in zip(choices, questions, strict=True))
