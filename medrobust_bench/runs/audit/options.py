"""Controls in the text: the order of the options, and the option scored against the one generated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from medrobust_bench.runs.audit.check import FIRST_TOKEN, OPTION_ORDER, Check, Skipped, below

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Finding
    from medrobust_bench.runs.audit.subject import Subject

ORDER = Check(
    "order of the options", "options", "Does the answer stay when the options change places?", OPTION_ORDER
)
SAME_VERDICT = Check(
    "scored and generated verdict",
    "options",
    "Is the option scored highest the one that is generated?",
    FIRST_TOKEN,
)


def option_order(subject: Subject) -> Finding:
    """Share of right answers that stay right when every option moves one place on."""
    kept = 0
    for group in subject.groups:
        moved = [rotated(question) for question in group.bound.batch.questions]
        answers = subject.adapter.bind(moved).answer(group.bound.batch.images)
        kept += sum(answer.choice == question.answer for answer, question in zip(answers, moved, strict=True))
    share = kept / len(subject.questions)
    verdict = below(share, warn=0.7, fail=0.4)
    reading = "" if verdict == "pass" else ": it answers by position, not by content"
    return ORDER.find(share, verdict, f"{share:.0%} of the right answers stay when the options move{reading}")


def same_verdict(subject: Subject) -> Finding | Skipped:
    """Share of clean images on which the option of highest score is the one that the model generates."""
    if not subject.generates:
        return Skipped(SAME_VERDICT.name, "the model scores options, nothing is generated")
    same = 0
    for group in subject.groups:
        with torch.no_grad():
            scored = group.bound.scores(group.pixels).argmax(1).tolist()
        same += sum(own == answer for own, answer in zip(scored, group.bound.batch.answers, strict=True))
    share = same / len(subject.questions)
    verdict = below(share, warn=0.5, fail=-1)
    reading = "" if verdict == "pass" else ": attacks on the letter alone would miss what it says"
    return SAME_VERDICT.find(share, verdict, f"the two agree on {share:.0%} of the clean images{reading}")


def rotated(question: Question) -> Question:
    """The same question with every option one place further, the last one first."""
    options = (question.options[-1], *question.options[:-1])
    return replace(question, options=options, answer=(question.answer + 1) % len(options))
