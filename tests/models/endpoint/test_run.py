"""A run against a model behind a server: what it measures, what it refuses, what it keeps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medrobust_bench import evaluate, load_run
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import ImageBytes, to_png
from medrobust_bench.data.question import Question
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.transfer import Transfer
from medrobust_bench.records.witness import read_witnesses, write_witnesses
from medrobust_bench.testing import check_adapter
from tests.models.endpoint.models import by_brightness, by_words
from tests.models.endpoint.server import Fault, Server, completion, serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("openai")


def questions(levels: tuple[int, ...] = (60, 126, 129, 200), size: int = 12) -> Dataset:
    """Grey images that are dark (A) or bright (B); those near the middle can be attacked."""
    made = []
    for number, level in enumerate(levels):
        image = np.random.default_rng(number).integers(level - 3, level + 4, (size, size, 3)).astype(np.uint8)
        made.append(
            Question(
                id=f"q{number}",
                image=ImageBytes(to_png(image)),
                text="Which?",
                options=("dark", "bright", "neither"),
                answer=int(level > 127),
                modality="xray",
                question_type="modality",
                dataset="grey",
            )
        )
    return Dataset(name="grey", split="test", questions=tuple(made))


def run_on(server: Server, out: Path, *threats: str, **more: Any) -> Any:
    settings: dict[str, Any] = {"data": questions(), "model": "openai:m", "base_url": server.url} | more
    return evaluate(threats=list(threats) or ["clean"], out=out, **settings)


@pytest.mark.parametrize("model", [by_brightness, by_words])
def test_a_server_is_measured_clean_under_chance_and_by_its_answers(
    tmp_path: Path, model: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    with serving(model) as server:
        run = run_on(server, tmp_path, "noise:draws=3", "rays:queries=40", "corruption:jpeg,severity=1")
        asked = len(server.seen)
    correct = {
        name: [outcome.correct for outcome in outcomes] for (_, name), outcomes in run.outcomes.items()
    }
    assert correct["clean"] == [True] * 4
    assert correct["rays:queries=40"] == [True, False, False, True]
    assert correct["noise:draws=3"] == [True] * 4
    record = run.record.models["openai:m"]
    assert record.weights_sha256 is None
    assert record.server is not None
    assert (record.server.answered_as, record.server.fingerprint) == ("served-model", "fp_1")
    assert record.server.scores == (model is by_brightness)
    assert (
        f"openai:m: weights unknown; answers of served-model at {server.url}, fp_1."
        in run.table().replace("\\", "")
    )
    usage = run.usage("openai:m")
    assert usage.requests == asked
    assert usage.prompt_tokens == 100 * asked
    assert usage.cost is None


def test_scores_let_square_and_certification_run_and_answers_alone_do_not(tmp_path: Path) -> None:
    with serving(by_brightness) as server:
        run = run_on(server, tmp_path / "scores", "square:queries=40")
        assert [o.correct for o in run.outcomes["openai:m", "square:queries=40"]][:2] == [True, False]
    with serving(by_words) as server:
        with pytest.raises(InvalidInputError) as caught:
            run_on(server, tmp_path / "words", "square", "certified-l2-quick:base=likelihood")
        (problem,) = caught.value.problems
        assert "no scores of options, which square, certified-l2-quick:base=likelihood need" in problem.what
        assert "take rays instead; base=generate certifies by counting answers" in problem.remedy
        assert len(server.seen) == 2, "one question, with and without log-probabilities"
        run = run_on(server, tmp_path / "counted", "certified-l2-quick:n=60")
        certificate = run.outcomes["openai:m", "certified-l2-quick:n=60"][0].certificate
        assert certificate is not None
        assert certificate["looks"][-1]["counts"][0] == certificate["looks"][-1]["n"]


def test_threats_that_need_gradients_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with serving(by_brightness) as server:
        with pytest.raises(InvalidInputError) as caught:
            run_on(server, tmp_path, "noise", "pgd-linf", "patch")
        assert not server.seen
    (problem,) = caught.value.problems
    assert "no gradient in the pixels, which pgd-linf, patch need" in problem.what
    for possible in ("noise", "rays", "corruptions", "medrobust transfer"):
        assert possible in problem.remedy


def test_what_a_run_was_stopped_in_is_not_asked_again(tmp_path: Path) -> None:
    threats = ["noise:draws=3", "rays:queries=40"]
    card = tmp_path / "card.md"
    with serving(by_words) as server:
        card.write_text(card_text(server.url))
        whole = run_on(server, tmp_path / "whole", *threats, model=str(card))
        needed = len(server.seen)
    with serving(by_words) as server:

        def stops(body: dict[str, Any]) -> dict[str, Any]:
            if len(server.seen) >= 25:
                server.faults = [Fault.ERROR] * 1000
            return by_words(body)

        server.answer = stops
        card.write_text(card_text(server.url, retries=0))
        with pytest.raises(InvalidInputError, match="medrobust run --resume"):
            run_on(server, tmp_path / "cut", *threats, model=str(card))
        kept = RunFolder(tmp_path / "cut").read_usage("served")
        assert kept is not None
        before, server.answer, server.faults = len(server.seen), by_words, []
        prices = {"price_input": 2.0, "price_output": 10.0}
        again = run_on(server, tmp_path / "cut", *threats, model=str(card), resume=True, **prices)
        assert len(server.seen) - before == needed - kept.requests + 1, "one tells who the server is now"
    for name in ("clean", *threats):
        mine, theirs = again.outcomes["served", name], whole.outcomes["served", name]
        assert [outcome.choice for outcome in mine] == [outcome.choice for outcome in theirs]
    assert again.usage("served").requests == needed
    assert again.usage("served").cost == pytest.approx(needed * (100 * 2 + 10 * 10) / 1e6)


def test_a_server_may_move_but_not_become_another_while_a_run_is_stopped(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    settings: dict[str, Any] = {"model": str(card), "concurrency": 1}
    with serving(by_words) as server:
        card.write_text(card_text(server.url, retries=0))
        server.faults = [Fault.NONE] * 30 + [Fault.ERROR] * 100
        with pytest.raises(InvalidInputError, match="medrobust run --resume"):
            run_on(server, tmp_path / "run", "rays:queries=40", **settings)
    with (
        serving(lambda body: {**by_words(body), "model": "another"}) as server,
        pytest.raises(InvalidInputError, match=r"is not the model of the interrupted run.*another fp_1"),
    ):
        run_on(server, tmp_path / "run", "rays:queries=40", **settings, resume=True)
    with serving(by_words) as server:
        again = run_on(server, tmp_path / "run", "rays:queries=40", **settings, resume=True)
        assert server.seen
        assert len(again.outcomes["served", "clean"]) == 4


def card_text(url: str, *, retries: int = 6) -> str:
    return f"""---
id: served
title: Served
adapter: endpoint
source: m
endpoint:
  base_url: {url}
  retries: {retries}
answer_mode: generate
system: You read images.
max_new_tokens: 64
licence: unknown
training_data: {{description: unknown, trained_on_omnimedvqa: unknown}}
evaluated: false
---

A model behind a server.
"""


def test_a_card_says_how_a_server_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "card.md"
    with serving(by_words) as server:
        path.write_text(card_text(server.url))
        run_on(server, tmp_path / "run", model=str(path), base_url=None)
        body = server.seen[0]
    assert body["messages"][0] == {"role": "system", "content": "You read images."}
    assert body["max_tokens"] == 64
    assert "logprobs" not in body


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("revision: main", "a server does not say, or does not take it"),
        ("smoothing: {sigma: 0.25, n: 10, alpha: 0.1}", "a server does not say"),
        ("dtype: auto\nendpoints: {}", "endpoints"),
    ],
)
def test_a_card_that_makes_no_sense_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "card.md"
    path.write_text(card_text("http://localhost:1/v1").replace("licence", f"{line}\nlicence"))
    with pytest.raises(InvalidInputError, match=said):
        evaluate(model=str(path), threats="clean", data=questions(), out=tmp_path / "run")


def test_an_answer_that_changes_when_it_is_asked_for_again_is_seen(tmp_path: Path) -> None:
    given: list[int] = []

    def moody(body: dict[str, Any]) -> dict[str, Any]:
        given.append(1)
        return completion("A") if len(given) <= 4 else completion("B")

    with serving(moody) as server:
        run = run_on(server, tmp_path, answer_mode="generate")
    assert [outcome.steady for outcome in run.outcomes["openai:m", "clean"]] == [False] * 4


def test_refusals_are_counted_apart(tmp_path: Path) -> None:
    with serving(lambda _: completion(None, refusal="I will not.")) as server:
        run = run_on(server, tmp_path, answer_mode="generate")
    assert all(outcome.choice is None for outcome in run.outcomes["openai:m", "clean"])
    usage = run.usage("openai:m")
    assert usage.refused == usage.requests > 0


def test_a_server_that_is_not_there_and_a_mode_it_cannot_have_are_input_errors(tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text(card_text("http://127.0.0.1:9/v1", retries=0))
    given: dict[str, Any] = {"threats": "clean", "data": questions(), "out": tmp_path / "run"}
    with pytest.raises(InvalidInputError, match="start the server"):
        evaluate(model=str(card), **given)
    with pytest.raises(InvalidInputError, match="does not score the texts of options"):
        evaluate(model=str(card), answer_mode="option-text", **given)
    with pytest.raises(InvalidInputError, match="base_url"):
        evaluate(model="openai:m", base_url="localhost", **given)
    with pytest.raises(InvalidInputError, match="the environment has no NO_SUCH_KEY"):
        evaluate(model="openai:m", base_url="https://example.org/v1", key_variable="NO_SUCH_KEY", **given)


def test_no_key_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with serving(by_words) as server:
        run_on(server, tmp_path)
        assert set(server.keys) == {"Bearer sk-very-secret"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    assert not any(b"sk-very-secret" in path.read_bytes() for path in files)
    assert load_run(tmp_path).record.models["openai:m"].server is not None
    assert json.loads((tmp_path / "run.json").read_text())["models"]["openai:m"]["weights_sha256"] is None


def test_images_that_broke_one_model_are_put_to_another(tmp_path: Path) -> None:
    with serving(by_words) as server:
        run = run_on(server, tmp_path / "run", "rays:queries=40", "noise:draws=1")
        (rays, noise) = run.transfer(
            "openai:m", base_url=server.url, threats=["rays:queries=40", "noise:draws=1"]
        )
        asked = len(server.seen)
        assert (rays.both_right, rays.broken, rays.transferred) == (4, 2, 2)
        assert rays.rate is not None
        assert rays.rate.value == 1.0
        assert (rays.target_clean.value, rays.target_accuracy.value) == (1.0, 0.5)
        assert (noise.broken, noise.rate) == (0, None)
        assert run.transfer("openai:m", base_url=server.url) == [rays, noise]
        # By letter and, as it gives no log-probabilities, in words: who the server is now.
        assert len(server.seen) == asked + 2, "a transfer that is made again asks nothing else twice"
    with serving(lambda _: completion("A")) as server:
        (other,) = run.transfer("openai:always-a", base_url=server.url, threats=["rays:queries=40"])
    # It is right on the two dark images, one of which was broken for the first model, and holds that.
    assert (other.both_right, other.broken, other.transferred) == (2, 1, 0)
    folder = run.transfer_folder("openai:always-a")
    assert "to openai:always-a: grey (test), n 4, both right 2**" in (folder / "transfer.md").read_text()
    (file,) = folder.glob("*.json")
    assert Transfer.model_validate_json(file.read_bytes()) == other


@pytest.mark.parametrize(
    ("model", "named"), [(by_words, "no scores of options"), (by_brightness, "one finite score")]
)
def test_a_self_test_says_what_can_be_run(
    model: Callable[[dict[str, Any]], dict[str, Any]], named: str
) -> None:
    with serving(model) as server:
        report = check_adapter(load_model(resolve("openai:m", endpoint={"base_url": server.url})))
    assert report.passed
    assert named in str([check.meaning for check in report.checks])
    assert "only gradient-free threats" in report.checks[0].meaning


def test_a_witness_that_is_not_the_runs_is_refused(tmp_path: Path) -> None:
    with serving(by_words) as server:
        run = run_on(server, tmp_path / "run", "rays:queries=40")
        (file,) = (tmp_path / "run" / "witnesses").glob("*.parquet")
        first, *rest = read_witnesses(file)
        write_witnesses(file, [first.model_copy(update={"image": rest[0].image}), *rest])
        with pytest.raises(InvalidInputError, match="is not the image that the run recorded"):
            run.transfer("openai:m", base_url=server.url)
        with pytest.raises(InvalidInputError, match="use one of rays:queries=40"):
            run.transfer("openai:m", base_url=server.url, threats=["pgd-linf"])
