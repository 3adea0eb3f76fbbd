"""A model, opened as a run wants it: the one place where evaluation, replay, audit and verification get theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from medrobust_bench.models.adapter import Prompting
from medrobust_bench.models.averaged import TRIED, AveragedVLM, wrap_if_stochastic
from medrobust_bench.models.cards import Card
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.engine.faults import separately

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import ModelRecord
    from medrobust_bench.specs.settings import RunSettings


def card_of(name: str, settings: RunSettings) -> Card:
    """The card of a model of a run, with what its settings put in the place of the card's.

    Raises:
        InvalidInputError: see `resolve`.
    """
    return resolve(
        name,
        answer_mode=None if settings.answer_mode is None else AnswerMode(settings.answer_mode),
        revision=settings.revision,
        max_new_tokens=settings.max_new_tokens,
    )


def open_model(
    model: Card | Adapter,
    *,
    questions: Sequence[Question],
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    expected: ModelRecord | None = None,
) -> Adapter:
    """Load a model, wrap it in its expectation where its scores are random, and hold it against what a run had.

    Args:
        model: its card, or the model itself where it is in memory already.
        questions: a few are scored twice, to see whether scores are random; those that the model cannot take are not.
        device: "auto", or a torch device.
        dtype: "auto" takes the card's.
        trust_remote_code: whether code from the checkpoint's repository may run.
        expected: the model of an earlier run, whose weights, template, … this one must have.

    Raises:
        InvalidInputError: the model cannot be loaded, or is not the one expected.
    """
    loaded = (
        load_model(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        if isinstance(model, Card)
        else model
    )
    adapter = wrap_if_stochastic(loaded, _takeable(loaded, questions))
    if expected is not None and (changed := _changed(expected, adapter.record)):
        raise InvalidInputError([Problem(expected.id, changed, "give the checkpoint of the run, as it was")])
    return adapter


class Asked(NamedTuple):
    """How questions are put to a model.

    Attributes:
        prompt: the whole input of one question as text; None where only a server knows it.
        notes: what is unusual in it, one sentence each.
    """

    prompt: str | None
    notes: tuple[str, ...]


def how_asked(adapter: Adapter, question: Question) -> Asked:
    """What a model is really given for a question."""
    while isinstance(adapter, AveragedVLM):
        adapter = adapter.base
    if isinstance(adapter, Prompting):
        return Asked(adapter.render(question), adapter.notes)
    return Asked(None, ())


def _changed(then: ModelRecord, now: ModelRecord) -> str:
    """In what a model is not the one of an earlier run; "" where it is. It may be loaded on another device."""
    if then.weights_sha256 != now.weights_sha256:
        return f"had the weights {then.weights_sha256[:12]} in the run and has {now.weights_sha256[:12]} now"
    if then.identity is None or now.identity is None:
        return ""
    parts = then.identity.differences(now.identity)
    return f"has another {', another '.join(parts)} than in the run" if parts else ""


def _takeable(adapter: Adapter, questions: Sequence[Question]) -> list[Question]:
    """The first few questions that a model can score, of one image shape; none where it can take none of them."""
    for start in range(0, len(questions), TRIED):
        part = questions[start : start + TRIED]

        def score(rows: Sequence[int], part: Sequence[Question] = part) -> None:
            bound = adapter.bind([part[row] for row in rows])
            with torch.no_grad():
                bound.scores(bound.batch.pixels())

        taken, _failed = separately(score, range(len(part)))
        if taken:
            rows, _result = taken[0]
            return [part[row] for row in rows]
    return []
