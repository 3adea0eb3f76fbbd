"""Weights at hand for gradients, and a server that serves the same weights for answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from medrobust_bench import evaluate
from medrobust_bench.models.adapter import afresh
from medrobust_bench.models.endpoint.adapter import EndpointVLM
from medrobust_bench.models.endpoint.hybrid import HybridVLM
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError
from tests.models.endpoint.models import Brightness, by_words
from tests.models.endpoint.server import Server, completion, serving
from tests.models.endpoint.test_run import questions

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("openai")


def hybrid(server: Server, **more: Any) -> HybridVLM:
    served = load_model(resolve("openai:m", endpoint={"base_url": server.url}, **more))
    assert isinstance(served, EndpointVLM)
    return HybridVLM(Brightness(), served)


def test_gradients_are_local_and_every_verdict_is_the_servers(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"threats": "pgd-linf", "data": questions()}
    with serving(by_words) as server:
        run = evaluate(model=hybrid(server), out=tmp_path / "hybrid", **asked)
        usage = run.usage("brightness")
        assert usage is not None
        assert usage.requests == len(server.seen) >= 4 + 4 + 4
    alone = evaluate(model=Brightness(), out=tmp_path / "alone", **asked)
    for name in ("clean", "pgd-linf"):
        here, there = (one.outcomes["brightness", name] for one in (alone, run))
        assert [outcome.correct for outcome in here] == [outcome.correct for outcome in there]
    assert [outcome.correct for outcome in run.outcomes["brightness", "pgd-linf"]] == [
        True,
        False,
        False,
        True,
    ]
    record = run.record.models["brightness"]
    assert record.weights_sha256 == alone.record.models["brightness"].weights_sha256
    assert record.server is not None
    assert (record.server.compared, record.server.agreed) == (4, 4)


def test_a_server_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    with (
        serving(lambda _: completion("The answer is A.")) as server,
        pytest.raises(InvalidInputError, match="answers 2 of 4 clean questions as the local weights do"),
    ):
        evaluate(model=hybrid(server), threats="clean", data=questions(), out=tmp_path)


def test_rows_and_a_second_asking_reach_the_server() -> None:
    with serving(by_words) as server:
        bound = hybrid(server, max_new_tokens=8).bind(questions().questions)
        images = list(bound.batch.images)
        whole = bound.answer(images)
        asked = len(server.seen)
        assert bound.select([3, 1]).answer([images[3], images[1]]) == [whole[3], whole[1]]
        assert len(server.seen) == asked
        assert afresh(bound).answer(images) == whole
        assert len(server.seen) == asked + 4
        assert bound.scores(bound.batch.pixels()).argmax(1).tolist() == [answer.choice for answer in whole]


def test_a_card_names_the_server_of_its_weights_and_flags_do() -> None:
    card = resolve("tiny-sft-letter", answers_from="mine", endpoint={"base_url": "http://localhost:1/v1"})
    assert card.answers_from is not None
    assert (card.answers_from.model, card.answers_from.base_url) == ("mine", "http://localhost:1/v1")
    assert resolve("tiny-sft-letter", endpoint={"base_url": "http://localhost:1/v1"}).answers_from is None
    with pytest.raises(InvalidInputError, match="is behind a server already"):
        resolve("openai:m", answers_from="mine")
    with pytest.raises(InvalidInputError, match="a smoothed answer is many"):
        resolve("safemed-r1-tiny-smoothed", answers_from="mine")
