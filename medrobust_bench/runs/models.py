"""A model, opened as a run wants it: the one place where evaluation, replay, audit and transfer get theirs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from medrobust_bench.models.adapter import NoScoresError, Prompting
from medrobust_bench.models.averaged import TRIED, AveragedVLM, wrap_if_stochastic
from medrobust_bench.models.cards import Card
from medrobust_bench.models.endpoint.adapter import EndpointVLM
from medrobust_bench.models.endpoint.client import EndpointError, RejectedRequestError
from medrobust_bench.models.endpoint.hybrid import HybridVLM
from medrobust_bench.models.registry import load_model
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.engine.faults import OF_A_QUESTION, OF_THE_RUN, separately

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import ModelRecord


COMPARED = 50
"""Clean questions that a server and the weights for which it answers are both asked, at most."""

ALIKE = 0.98
"""Share of them that they must answer alike."""


def open_model(
    model: Card | Adapter,
    *,
    questions: Sequence[Question],
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
    expected: ModelRecord | None = None,
    replies: Path | None = None,
) -> Adapter:
    """Load a model, wrap it in its expectation where its scores are random, and hold it against what a run had.

    A server is asked the first question, so that it says who it is, and whether it gives scores; its answers are asked
    for twice by the run itself, and never averaged.

    Args:
        model: its card, or the model itself where it is in memory already.
        questions: a few are scored twice, to see whether scores are random; those that the model cannot take are not.
        device: "auto", or a torch device.
        dtype: "auto" takes the card's.
        trust_remote_code: whether code from the checkpoint's repository may run.
        expected: the model of an earlier run, whose weights, template, … this one must have.
        replies: where the replies of a server are kept; unset, in memory.

    Raises:
        InvalidInputError: the model cannot be loaded, or is not the one expected, or its server is not there.
    """
    loaded = (
        load_model(model, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        if isinstance(model, Card)
        else model
    )
    adapter: Adapter
    if isinstance(loaded, EndpointVLM):
        adapter = _introduced(loaded if replies is None else loaded.keeping(replies), questions)
    elif isinstance(loaded, HybridVLM):
        adapter = _agreeing(loaded if replies is None else loaded.keeping(replies), questions)
    else:
        adapter = wrap_if_stochastic(loaded, _takeable(loaded, questions))
    if expected is not None and (changed := _changed(expected, adapter.record)):
        raise InvalidInputError([Problem(expected.id, changed, "give the checkpoint of the run, as it was")])
    return adapter


@contextmanager
def server_faults(model: str, *, remedy: str) -> Iterator[None]:
    """Inside it, a server that answers no more is the user's to mend; what it answered is kept.

    Raises:
        InvalidInputError: with the remedy.
    """
    try:
        yield
    except EndpointError as error:
        raise InvalidInputError(
            [Problem(model, str(error), f"what is finished is kept: {remedy}")]
        ) from error


def gives_scores(adapter: Adapter, questions: Sequence[Question]) -> bool:
    """Whether a model gives scores of options; the first question that it takes tells."""
    for question in questions[:TRIED]:
        try:
            bound = adapter.bind([question])
            with torch.no_grad():
                bound.scores(bound.batch.pixels())
        except NoScoresError:
            return False
        except OF_THE_RUN:
            raise
        except OF_A_QUESTION:
            continue
        return True
    return True


def _introduced(served: EndpointVLM, questions: Sequence[Question]) -> EndpointVLM:
    """A server's model that has said who it is now, in its answer to the first question that it takes."""
    said, anew = "", served.asking(served.chat.client.anew())
    for question in questions[:TRIED]:
        bound = anew.bind([question])
        try:
            with server_faults(served.id, remedy="start the server, or correct --base-url"):
                bound.answer(bound.batch.images)
        except RejectedRequestError as error:
            said = said or str(error)
        else:
            return anew.asking(anew.chat.client.remembering())
    remedy = (
        f"{served.chat.client.listed()}; does the model take images? Settings for the server go into the `endpoint` "
        "section of a card"
    )
    raise InvalidInputError([Problem(served.id, f"the server does not take a request: {said}", remedy)])


def _agreeing(hybrid: HybridVLM, questions: Sequence[Question]) -> HybridVLM:
    """Weights and the server that answers for them, once they were seen to answer alike.

    Raises:
        InvalidInputError: they do not.
    """
    hybrid = replace(hybrid, served=_introduced(hybrid.served, questions))
    with server_faults(hybrid.served.id, remedy="see to the server and give the same command again"):
        compared = hybrid.comparing(questions[:COMPARED])
    agreed, of = compared.agreed or 0, compared.compared or 1
    if agreed < ALIKE * of:
        what = f"its server answers {agreed} of {of} clean questions as the local weights do, less than {ALIKE:.0%}"
        remedy = (
            "serve the same weights, template and dtype; or measure the server alone: --model openai:NAME"
        )
        raise InvalidInputError([Problem(hybrid.served.id, what, remedy)])
    return compared


def _weights(model: ModelRecord) -> str:
    return "unknown" if model.weights_sha256 is None else model.weights_sha256[:12]


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
        return f"had the weights {_weights(then)} in the run and has {_weights(now)} now"
    if (server := _server(then)) != _server(now):
        return f"was answered by {server} in the run and is by {_server(now)} now"
    if then.identity is None or now.identity is None:
        return ""
    parts = then.identity.differences(now.identity)
    return f"has another {', another '.join(parts)} than in the run" if parts else ""


def _server(model: ModelRecord) -> str:
    """Who answers for a model, wherever it is now, and how it is asked."""
    server = model.server
    if server is None:
        return "its own weights"
    return f"{server.answered_as or server.model}, asked in the way {server.request_sha256[:12]}"


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
