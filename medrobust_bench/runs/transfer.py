"""The images that broke one model's answers, put to another model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.data.image import from_png
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Failure
from medrobust_bench.records.transfer import TransferOutcome
from medrobust_bench.records.witness import sha256
from medrobust_bench.runs.engine.faults import separately
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter, Answer, BoundQuestions
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import AnyWitness

    Attack = tuple[str, str]
    """Names of a model and of the threat that attacked it."""


def transferred(
    adapter: Adapter,
    chunks: Sequence[Sequence[Question]],
    *,
    target: str,
    clean: Mapping[str, Sequence[Outcome]],
    witnesses: Mapping[Attack, Sequence[AnyWitness]],
) -> tuple[dict[Attack, list[TransferOutcome]], tuple[Failure, ...]]:
    """Answer every clean image and every witness of a run with another model, on its deployed path.

    Args:
        adapter: the other model.
        chunks: the run's questions, as it bound them.
        target: what the other model is called.
        clean: by model of the run, its clean outcomes.
        witnesses: by model and threat of the run.

    Returns:
        By model and threat of the run one outcome per question, in the order of the chunks; and the questions that the
        other model could not take.

    Raises:
        InvalidInputError: a witness is of another image than the question's.
    """
    sources = {
        model: {outcome.question: outcome for outcome in outcomes} for model, outcomes in clean.items()
    }
    found = {attack: {witness.question: witness for witness in all_} for attack, all_ in witnesses.items()}
    outcomes: dict[Attack, list[TransferOutcome]] = {attack: [] for attack in witnesses}
    failures: list[Failure] = []
    for questions in chunks:

        def work(
            rows: Sequence[int], questions: Sequence[Question] = questions
        ) -> dict[Attack, list[TransferOutcome]]:
            bound = adapter.bind([questions[row] for row in rows])
            answers = bound.answer(bound.batch.images)
            return {
                attack: _on_witnesses(bound, answers, sources[attack[0]], by_question)
                for attack, by_question in found.items()
            }

        done, alone = separately(work, range(len(questions)))
        for _rows, part in done:
            for attack, some in part.items():
                outcomes[attack] += some
        failures += [
            Failure.of(error, model=target, threat=CLEAN.name, question=questions[row].id)
            for row, error in alone
        ]
    return outcomes, tuple(failures)


def _on_witnesses(
    bound: BoundQuestions,
    clean: Sequence[Answer],
    source: Mapping[str, Outcome],
    witnesses: Mapping[str, AnyWitness],
) -> list[TransferOutcome]:
    """What bound questions of the target come to, with its answers to their clean images, on the source's witnesses."""
    questions, images = bound.batch.questions, bound.batch.images
    rows = [row for row, question in enumerate(questions) if question.id in witnesses]
    _check([witnesses[questions[row].id] for row in rows], [images[row].tobytes() for row in rows])
    changed = [from_png(witnesses[questions[row].id].image) for row in rows]
    given = dict(zip(rows, bound.select(rows).answer(changed) if rows else [], strict=True))
    outcomes = []
    for row, question in enumerate(questions):
        before, witness = source.get(question.id), witnesses.get(question.id)
        if before is None:  # failed with the source
            continue
        outcomes.append(
            TransferOutcome(
                question=question.id,
                cluster=before.cluster,
                answer=question.answer,
                source_clean=before.choice,
                target_clean=clean[row].choice,
                witness_sha256=None if witness is None else witness.sha256,
                source_choice=None if witness is None else witness.choice,
                target_choice=given[row].choice if row in given else None,
            )
        )
    return outcomes


def _check(witnesses: Sequence[AnyWitness], images: Sequence[bytes]) -> None:
    problems = []
    for witness, image in zip(witnesses, images, strict=True):
        where = f"{witness.model} under {witness.threat}: witness of {witness.question}"
        if sha256(witness.image) != witness.sha256:
            remedy = "take the folder as the run wrote it"
            problems.append(Problem(where, "is not the image that the run recorded", remedy))
        elif sha256(image) != witness.clean_sha256:
            remedy = "give the data set of the run"
            problems.append(Problem(where, "is made of another image than the data set has", remedy))
    if problems:
        raise InvalidInputError(problems)
