"""One chunk of questions under one threat: bind, attack, judge, record."""

from __future__ import annotations

import time
from functools import cached_property
from math import isfinite
from typing import TYPE_CHECKING, Any

import torch

from medrobust_bench.attacks.attack_result import worse
from medrobust_bench.data.image import to_png
from medrobust_bench.models.adapter import HalfPrecision
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.records import AttemptRecord, Outcome
from medrobust_bench.records.witness import Witness, sha256
from medrobust_bench.runs.audit.blindness import answers_without_image
from medrobust_bench.runs.judge import judge
from medrobust_bench.runs.meter import Meter, MeteredQuestions
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.attack_result import Attempt, Finding
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter


class Chunk:
    """Questions of one image shape, bound to one model; every threat works on the same binding.

    Args:
        adapter: the model.
        model: its registry id, as the journal names it.
        questions: B questions of one canonical image shape.
        seed: the run's seed.
    """

    def __init__(self, adapter: Adapter, model: str, questions: Sequence[Question], *, seed: int) -> None:
        self.model = model
        self.questions = tuple(questions)
        self.seed = seed
        self._meter = Meter()
        self._adapter = adapter
        self._bound = MeteredQuestions(adapter.bind(questions), self._meter)
        self._images_sha256 = [sha256(image.tobytes()) for image in self._bound.images]

    def clean(self) -> list[Outcome]:
        """Answer the clean images on the deployed path, and once more to see whether the model is steady."""
        stopwatch = Stopwatch(self._meter)
        answers = self._bound.answer(self._bound.images)
        # Bound anew, since a bound batch remembers what it generated.
        again = MeteredQuestions(self._adapter.bind(self.questions), self._meter).answer(self._bound.images)
        costs = stopwatch.shares(len(answers))
        return [
            self._outcome(
                row,
                CLEAN.name,
                clean_choice=answer.choice,
                choice=answer.choice,
                correct=answer.choice == self.questions[row].answer,
                text=answer.text,
                steady=answer == second,
                **cost,
            )
            for row, (answer, second, cost) in enumerate(zip(answers, again, costs, strict=True))
        ]

    def without_images(self, clean: Sequence[Outcome], sampled: frozenset[str]) -> list[Outcome]:
        """Ask the sampled questions that were answered right again, with their images replaced.

        Args:
            clean: what `clean()` gave, in order.
            sampled: ids of questions, of this chunk or others.
        """
        rows = [row for row, outcome in enumerate(clean) if outcome.correct and outcome.question in sampled]
        outcomes = list(clean)
        if not rows:
            return outcomes
        stopwatch = Stopwatch(self._meter)
        choices = answers_without_image(self._bound.select(rows), seed=self.seed)
        for row, chosen, cost in zip(rows, choices, stopwatch.shares(len(rows)), strict=True):
            before = outcomes[row]
            outcomes[row] = before.model_copy(
                update={
                    "blind_choices": chosen,
                    "forward_passes": before.forward_passes + cost["forward_passes"],
                    "seconds": before.seconds + cost["seconds"],
                }
            )
        return outcomes

    def attack(self, threat: Threat, clean: Sequence[Outcome]) -> tuple[list[Outcome], list[Witness]]:
        """Attack the questions that were answered right; the others are lost already.

        What a model of half precision leaves standing is attacked again with gradients in float32.

        Args:
            threat: the adversary.
            clean: what `clean()` gave, in order.

        Raises:
            BudgetExceededError: the attack left its budget.
        """
        name = threat.spec.name
        outcomes = [
            self._outcome(
                row,
                name,
                clean_choice=outcome.choice,
                choice=outcome.choice,
                correct=False,
                steady=outcome.steady,
            )
            for row, outcome in enumerate(clean)
        ]
        rows = [row for row, outcome in enumerate(clean) if outcome.correct]
        if not rows:
            return outcomes, []
        stopwatch = Stopwatch(self._meter)
        bound = self._bound.select(rows)
        seeds = [question_seed(self.seed, question.id) for question in bound.questions]
        findings = self._search(threat, bound, seeds)
        standing = [place for place, finding in enumerate(findings) if finding.answer is None]
        if standing and threat.needs_gradient and self._upcast is not None:
            again = self._upcast.select([rows[place] for place in standing])
            later = self._search(threat, again, [seeds[place] for place in standing])
            for place, finding in zip(standing, later, strict=True):
                findings[place] = worse(findings[place], finding)
        pngs = [to_png(finding.image) for finding in findings]
        budgets = [
            threat.budget(image.shape[:2], seed) for image, seed in zip(bound.images, seeds, strict=True)
        ]
        verdicts = judge(bound, pngs, budgets)
        seconds = stopwatch.seconds()
        passes = [finding.forward_passes + finding.checks + 1 for finding in findings]
        witnesses = []
        for row, png, verdict, finding, forward in zip(rows, pngs, verdicts, findings, passes, strict=True):
            question = self.questions[row]
            correct = verdict.choice == question.answer
            if not correct:
                witnesses.append(
                    Witness(
                        model=self.model,
                        threat=name,
                        question=question.id,
                        image=png,
                        sha256=sha256(png),
                        clean_sha256=self._images_sha256[row],
                        answer=question.answer,
                        choice=verdict.choice,
                        text=verdict.text,
                    )
                )
            outcomes[row] = self._outcome(
                row,
                name,
                clean_choice=question.answer,
                choice=verdict.choice,
                attacked=True,
                correct=correct,
                text=verdict.text,
                witness_sha256=None if correct else sha256(png),
                steady=clean[row].steady,
                rounded_away=finding.rounded_away and correct,
                attempts=[_attempt(attempt) for attempt in finding.attempts],
                forward_passes=forward,
                backward_passes=finding.backward_passes,
                seconds=round(seconds * forward / sum(passes), 6),
            )
        return outcomes, witnesses

    def alter(self, threat: AlteringThreat, clean: Sequence[Outcome]) -> list[Outcome]:
        """Alter images in ways that can be repeated; no image is kept.

        What chance does is asked of every question, what an adversary chooses of those that were answered right.

        Args:
            threat: corruptions, or injected text.
            clean: what `clean()` gave, in order.
        """
        name, chance = threat.spec.name, threat.spec.yields == "corrupted"
        outcomes = [
            self._outcome(
                row,
                name,
                clean_choice=before.choice,
                choice=before.choice,
                correct=before.correct,
                steady=before.steady,
            )
            for row, before in enumerate(clean)
        ]
        rows = [row for row, before in enumerate(clean) if chance or before.correct]
        if not rows:
            return outcomes
        stopwatch = Stopwatch(self._meter)
        bound = self._bound.select(rows)
        seeds = [question_seed(self.seed, question.id) for question in bound.questions]
        trials = threat.meet(bound, [question.answer for question in bound.questions], seeds)
        seconds, total = stopwatch.seconds(), max(1, sum(trial.forward_passes for trial in trials))
        for row, trial in zip(rows, trials, strict=True):
            if trial.alterations:
                answer = self.questions[row].answer
                choice = trial.decisive(answer).choice
                outcomes[row] = self._outcome(
                    row,
                    name,
                    clean_choice=clean[row].choice,
                    choice=choice,
                    attacked=True,
                    correct=choice == answer,
                    text=trial.text,
                    steady=clean[row].steady,
                    alterations=trial.alterations,
                    forward_passes=trial.forward_passes,
                    seconds=round(seconds * trial.forward_passes / total, 6),
                )
        return outcomes

    def certify(
        self, certification: Certification, clean: Sequence[Outcome], rows: Sequence[int]
    ) -> Iterator[Outcome]:
        """Certify questions one by one; the smoothed model may be right where the plain one is wrong.

        Args:
            certification: what is certified.
            clean: what `clean()` gave, in order.
            rows: of the questions.
        """
        for row in rows:
            question, before = self.questions[row], clean[row]
            stopwatch = Stopwatch(self._meter)
            seed = question_seed(self.seed, question.id)
            certificate = certification.certify(self._bound.select([row]), seed)
            (cost,) = stopwatch.shares(1)
            yield self._outcome(
                row,
                certification.spec.name,
                clean_choice=before.choice,
                choice=certificate.prediction,
                correct=certificate.prediction == question.answer,
                steady=before.steady,
                certificate=certificate.model_dump(mode="json"),
                **cost,
            )

    @cached_property
    def _upcast(self) -> MeteredQuestions | None:
        """The questions with gradients in float32; None where theirs are no coarser."""
        adapter = self._adapter.upcast() if isinstance(self._adapter, HalfPrecision) else None
        return None if adapter is None else MeteredQuestions(adapter.bind(self.questions), self._meter)

    def _search(self, threat: Threat, bound: MeteredQuestions, seeds: Sequence[int]) -> list[Finding]:
        """Run the attack; where memory runs out, in halves (an outcome does not depend on its company)."""
        answers = [question.answer for question in bound.questions]
        try:
            return threat.search(bound, to_pixels(bound.images, bound.device), answers, seeds)
        except torch.OutOfMemoryError:
            if len(answers) == 1:
                raise
        torch.cuda.empty_cache()
        half = len(answers) // 2
        parts = (range(half), range(half, len(answers)))
        return [
            finding
            for part in parts
            for finding in self._search(threat, bound.select(part), seeds[part.start : part.stop])
        ]

    def _outcome(self, row: int, threat: str, **fields: Any) -> Outcome:
        question = self.questions[row]
        return Outcome(
            model=self.model,
            threat=threat,
            question=question.id,
            image_sha256=self._images_sha256[row],
            modality=question.modality,
            question_type=question.question_type,
            answer=question.answer,
            **fields,
        )


class Stopwatch:
    """What has been spent since it was made."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._forward, self._backward = meter.forward_passes, meter.backward_passes
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Wall time so far."""
        return time.perf_counter() - self._start

    def shares(self, n: int) -> list[dict[str, Any]]:
        """The cost so far, split over n questions so that the parts add up to it."""
        seconds = self.seconds()
        forward = _split(self._meter.forward_passes - self._forward, n)
        backward = _split(self._meter.backward_passes - self._backward, n)
        return [
            {"forward_passes": f, "backward_passes": b, "seconds": round(seconds / n, 6)}
            for f, b in zip(forward, backward, strict=True)
        ]


def _attempt(attempt: Attempt) -> AttemptRecord:
    return AttemptRecord(
        objective=attempt.objective,
        losses=tuple(float(f"{loss:.6g}") if isfinite(loss) else None for loss in attempt.losses),
        broken=attempt.broken,
    )


def _split(total: int, n: int) -> list[int]:
    quotient, remainder = divmod(total, n)
    return [quotient + (part < remainder) for part in range(n)]
