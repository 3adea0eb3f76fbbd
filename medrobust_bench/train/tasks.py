"""What training teaches: the tasks of an example, and the formats of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from medrobust_bench.models.prompt import AnswerMode


class Task(StrEnum):
    """What one training example asks for.

    `DESCRIBE`: say what the image shows; no question, no options.
    `REASON`: `<think>what is seen, the answer in words, B.</think><answer>B</answer>`.
    `DIRECT`: `<think></think><answer>B</answer>`, the rationale left empty.
    `LETTER`: the letter alone.
    `TICK`: as `LETTER`, and along the prompt: the words of the right option where an option begins and for as long as
        it reads the same, yes or no at its end. One letter says little of how to get there; this says it step by step.
    `READ`, `READ_DIRECT`: as `REASON` and `DIRECT`, but the description is given in words in place of the image. What
        there is to learn about options and letters is learnt sooner where nothing is left to guess, and cheaper.
    `MATCH`: nothing but the options, which are then named in random order, each with its letter: several lookups in
        every example, where a question has one.
    """

    DESCRIBE = "describe"
    REASON = "reason"
    DIRECT = "direct"
    LETTER = "letter"
    READ = "read"
    READ_DIRECT = "read-direct"
    TICK = "tick"
    MATCH = "match"


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A way to answer that training can teach.

    Attributes:
        tasks: those whose completion is such an answer; the first teaches it.
        shape: what it looks like.
        reasons: whether a rationale comes before the answer.
    """

    tasks: tuple[Task, ...]
    shape: str
    reasons: bool


FORMATS = {
    AnswerMode.REASONING: AnswerFormat(
        (Task.REASON, Task.DIRECT), "<think>…</think><answer>B</answer>", reasons=True
    ),
    AnswerMode.LETTER: AnswerFormat((Task.LETTER, Task.TICK), "a letter alone", reasons=False),
}
"""The formats by answer mode; other modes are ways to ask models that were not trained here."""
