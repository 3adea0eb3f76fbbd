"""One chunk of questions under one threat: bind, attack, judge, record."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from functools import cached_property, partial
from math import isfinite
from typing import TYPE_CHECKING, Any

from medrobust_bench.attacks.attack_result import attack_standing, settled
from medrobust_bench.data.image import DecodedImage, to_png
from medrobust_bench.models.adapter import Recalling, afresh, in_full_precision
from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.records import AttemptRecord, Outcome
from medrobust_bench.records.witness import Witness, sha256
from medrobust_bench.runs.audit.blindness import answers_without_image
from medrobust_bench.runs.audit.rivalry import searches_by_gradient
from medrobust_bench.runs.judge import judge
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.attack_result import AttackResult, Attempt
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, BoundQuestions


class Chunk:
    """Questions of one image shape, bound to one model; every threat works on the same binding.

    Args:
        adapter: the model.
        model: its registry id, as the journal names it.
        questions: B questions of one canonical image shape.
        seed: the run's seed.
        batch_size: noisy images per forward pass at most, where certificates are drawn.
        float32_attack: whether what a model in half precision leaves standing is attacked again with gradients in
            float32.
    """

    def __init__(
        self,
        adapter: Adapter,
        model: str,
        questions: Sequence[Question],
        *,
        seed: int,
        batch_size: int = 32,
        float32_attack: bool = True,
    ) -> None:
        self.model = model
        self._batch_size = batch_size
        self._float32_attack = float32_attack
        self.questions = tuple(questions)
        self.seed = seed
        self._adapter = adapter
        self._memory = MemoryLimit()
        self._bound = adapter.bind(questions)
        self._images_sha256 = [sha256(image.tobytes()) for image in self._bound.batch.images]

    def select(self, rows: Sequence[int]) -> Chunk:
        """These questions only, in this order, as they are bound already."""
        if len(rows) == len(self.questions):
            return self
        part = copy.copy(self)
        part.__dict__.pop("_in_full_precision", None)
        part.questions = tuple(self.questions[row] for row in rows)
        part._bound = self._bound.select(rows)
        part._images_sha256 = [self._images_sha256[row] for row in rows]
        return part

    def clean(self) -> list[Outcome]:
        """Answer the clean images on the deployed path, and once more to see whether they repeat."""
        start, images = time.perf_counter(), self._bound.batch.images
        answers = self._bound.answer(images)
        decoded = [
            replace(question, image=DecodedImage(image, question.image))
            for question, image in zip(self.questions, images, strict=True)
        ]
        # Bound anew, since a bound batch remembers what it generated.
        again = afresh(self._adapter.bind(decoded)).answer(images)
        seconds = _share(start, len(answers))
        written = self._bound.written() if isinstance(self._bound, Recalling) else [None] * len(answers)
        return [
            self._outcome(
                row,
                CLEAN.name,
                clean_choice=answer.choice,
                choice=answer.choice,
                correct=answer.choice == self.questions[row].answer,
                text=answer.text,
                kind=answer.kind,
                tier=answer.tier,
                tokens=written[row],
                steady=answer == second,
                forward_passes=2,
                seconds=seconds,
            )
            for row, (answer, second) in enumerate(zip(answers, again, strict=True))
        ]

    def recall(self, clean: Mapping[str, Outcome]) -> None:
        """Take what was written on the clean images before this process, by question id, as written."""
        if isinstance(self._bound, Recalling):
            before = [clean.get(question.id) for question in self.questions]
            self._bound.recall(
                {
                    row: (one.tokens, one.text)
                    for row, one in enumerate(before)
                    if one is not None and one.tokens
                }
            )

    def without_images(
        self, clean: Sequence[Outcome], sampled: frozenset[str], others: Mapping[str, Question]
    ) -> list[Outcome]:
        """Ask the sampled questions that were answered right again, with their images replaced.

        Args:
            clean: what `clean()` gave, in order.
            sampled: ids of questions, of this chunk or others.
            others: by id, the question whose image is shown instead; see `strangers`.
        """
        rows = [row for row, outcome in enumerate(clean) if outcome.correct and outcome.question in sampled]
        outcomes = list(clean)
        if not rows:
            return outcomes
        start = time.perf_counter()
        choices = answers_without_image(self._bound.select(rows), seed=self.seed, others=others)
        seconds = _share(start, len(rows))
        for row, chosen in zip(rows, choices, strict=True):
            before = outcomes[row]
            outcomes[row] = before.model_copy(
                update={
                    "blind_choices": chosen,
                    "forward_passes": before.forward_passes + len(chosen),
                    "seconds": before.seconds + seconds,
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
        start = time.perf_counter()
        bound = self._bound.select(rows)
        seeds = [question_seed(self.seed, question.id) for question in bound.batch.questions]
        results = self._search(threat, bound, seeds)
        stands = any(result.answer is None for result in results)
        again = stands and searches_by_gradient(threat.spec) and self._float32_attack
        if again and self._in_full_precision is not None:
            precise = self._in_full_precision.select(rows)
            results = attack_standing(results, precise, seeds, partial(self._search, threat))
        results = settled(results, bound)
        pngs = [to_png(result.image) for result in results]
        budgets = [threat.budget(bound.batch.shape, seed) for seed in seeds]
        verdicts = judge(bound, pngs, budgets)
        seconds = time.perf_counter() - start
        passes = [result.forward_passes + result.checks + 1 for result in results]
        witnesses = []
        for row, png, verdict, result, forward in zip(rows, pngs, verdicts, results, passes, strict=True):
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
                kind=verdict.kind,
                tier=verdict.tier,
                witness_sha256=None if correct else sha256(png),
                steady=clean[row].steady,
                rounded_away=result.rounded_away and correct,
                attempts=[_attempt(attempt) for attempt in result.attempts],
                forward_passes=forward,
                backward_passes=result.backward_passes,
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
        start = time.perf_counter()
        bound = self._bound.select(rows)
        seeds = [question_seed(self.seed, question.id) for question in bound.batch.questions]
        trials = threat.meet(bound, seeds)
        seconds, total = time.perf_counter() - start, max(1, sum(trial.forward_passes for trial in trials))
        for row, trial in zip(rows, trials, strict=True):
            if (said := trial.said) is not None:
                outcomes[row] = self._outcome(
                    row,
                    name,
                    clean_choice=clean[row].choice,
                    choice=said.choice,
                    attacked=True,
                    correct=said.choice == self.questions[row].answer,
                    text=said.text,
                    kind=said.kind,
                    tier=said.tier,
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
            start = time.perf_counter()
            seed = question_seed(self.seed, question.id)
            certificate = certification.certify(self._bound.select([row]), seed, batch_size=self._batch_size)
            yield self._outcome(
                row,
                certification.spec.name,
                clean_choice=before.choice,
                choice=certificate.prediction,
                correct=certificate.prediction == question.answer,
                steady=before.steady,
                certificate=certificate.model_dump(mode="json"),
                forward_passes=certificate.draws,
                seconds=_share(start, 1),
            )

    @cached_property
    def _in_full_precision(self) -> BoundQuestions | None:
        """The questions with gradients in float32; None where theirs are no coarser."""
        return in_full_precision(self._bound)

    def _search(self, threat: Threat, bound: BoundQuestions, seeds: Sequence[int]) -> list[AttackResult]:
        """Run the attack, in parts where memory runs out (an outcome does not depend on its company)."""
        return self._memory.run(
            lambda rows: threat.search(bound.select(rows), [seeds[row] for row in rows]), range(len(seeds))
        )

    def _outcome(self, row: int, threat: str, **fields: Any) -> Outcome:
        question = self.questions[row]
        return Outcome(
            model=self.model,
            threat=threat,
            question=question.id,
            image_sha256=self._images_sha256[row],
            group=question.group,
            modality=question.modality,
            question_type=question.question_type,
            answer=question.answer,
            **fields,
        )


def _attempt(attempt: Attempt) -> AttemptRecord:
    return AttemptRecord(
        objective=attempt.objective,
        losses=tuple(float(f"{loss:.6g}") if isfinite(loss) else None for loss in attempt.losses),
        broken=attempt.broken,
    )


def _share(start: float, n: int) -> float:
    """Seconds since then, for each of n questions."""
    return round((time.perf_counter() - start) / n, 6)
