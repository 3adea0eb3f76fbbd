"""A server is asked once for everything, again where that helps, and its key stays in the environment."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from medrobust_bench.models.endpoint import client as module
from medrobust_bench.models.endpoint.cache import ReplyCache, request_key
from medrobust_bench.models.endpoint.client import ChatClient, EndpointError, RejectedRequestError
from medrobust_bench.models.endpoint.reply import MalformedReplyError, Reply, read_reply
from medrobust_bench.models.endpoint.settings import EndpointSettings, Prices
from medrobust_bench.problems import InvalidInputError
from tests.models.endpoint.server import Fault, Server, completion, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("openai")

KEY = "sk-very-secret-1234567890"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(lambda body: completion(f"echo {body['messages'][-1]['content']}")) as running:
        yield running


def client_of(server: Server, cache: ReplyCache | None = None, **settings: Any) -> ChatClient:
    given: dict[str, Any] = {"model": "m", "base_url": server.url, "timeout": 1.0, "retries": 3} | settings
    return ChatClient(EndpointSettings(**given), cache)


def body(text: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}], **more}


def test_replies_come_in_the_order_of_the_requests_and_several_at_a_time(server: Server) -> None:
    server.delay = 0.05
    client = client_of(server, concurrency=4)
    replies = client.complete([body(str(number)) for number in range(12)])
    assert [reply.text for reply in replies] == [f"echo {number}" for number in range(12)]
    assert 1 < server.most_at_once <= 4
    assert (client.usage.requests, client.usage.prompt_tokens, client.usage.completion_tokens) == (
        12,
        1200,
        120,
    )
    assert client.usage.cost(Prices(input=2.0, output=10.0)) == pytest.approx((1200 * 2 + 120 * 10) / 1e6)


@pytest.mark.parametrize(
    "fault", [Fault.RATE, Fault.ERROR, Fault.CUT, Fault.SLOW, Fault.HTML, Fault.HALF, Fault.EMPTY]
)
def test_what_passes_is_asked_again(server: Server, fault: Fault) -> None:
    server.faults = [fault, fault]
    client = client_of(server)
    assert client.complete([body()])[0].text == "echo hello"
    assert len(server.seen) == 3
    assert server.seen[0] == server.seen[2]
    assert client.usage.retries == 2
    assert client.usage.requests == 1


@pytest.mark.parametrize("fault", [Fault.RATE, Fault.ERROR, Fault.CUT, Fault.HTML])
def test_what_does_not_pass_is_given_up_with_its_reason(server: Server, fault: Fault) -> None:
    server.faults = [fault] * 10
    with pytest.raises(EndpointError) as caught:
        client_of(server, retries=2).complete([body()])
    assert server.url in str(caught.value)
    assert len(server.seen) == 3


def test_a_server_that_is_not_there_is_said_so(server: Server) -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        client_of(server, base_url="http://127.0.0.1:9/v1", retries=0).complete([body()])


@pytest.mark.parametrize(
    ("fault", "said"), [(Fault.KEY, "OPENAI_API_KEY"), (Fault.UNKNOWN, "the server lists m-7b, m-72b")]
)
def test_what_only_the_user_can_mend_is_an_input_error_at_once(
    server: Server, fault: Fault, said: str
) -> None:
    server.faults = [fault]
    with pytest.raises(InvalidInputError) as caught:
        client_of(server).complete([body()])
    assert said in caught.value.problems[0].remedy
    assert len(server.seen) == 1


def test_a_request_that_is_not_taken_is_not_repeated(server: Server) -> None:
    server.faults = [Fault.BAD]
    with pytest.raises(RejectedRequestError, match="logprobs are not supported"):
        client_of(server).complete([body()])
    assert len(server.seen) == 1


# The key


def test_the_key_goes_to_the_server_and_nowhere_else(server: Server, tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    client = client_of(server, cache)
    client.complete([body()])
    assert server.keys == [f"Bearer {KEY}"]
    server.faults = [Fault.KEY]
    with pytest.raises(InvalidInputError) as caught:
        client.complete([body("other")])
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in repr(client.settings) + client.settings.model_dump_json()
    cache.close()
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.iterdir())


def test_a_missing_key_is_told_before_anything_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    far = EndpointSettings(model="m", base_url="https://example.org/v1", key_variable="MY_KEY")
    with pytest.raises(InvalidInputError, match="the environment has no MY_KEY"):
        ChatClient(far)
    for near in ("http://localhost:8000/v1", "http://127.0.0.1:1/v1", "http://[::1]:1/v1"):
        assert EndpointSettings(model="m", base_url=near, key_variable="MY_KEY").key()


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://x/v1", "https://user:pw@x/v1", "https://x/v1?key=1", "https://", ""]
)
def test_an_address_is_checked_and_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"base_url"):
        EndpointSettings(model="m", base_url=url)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="api_key"):
        EndpointSettings(model="m", api_key="sk-1")  # type: ignore[call-arg]


# The cache


def test_nothing_is_asked_twice_and_a_new_process_knows_it_too(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "replies.sqlite"
    first = client_of(server, ReplyCache(path))
    assert first.complete([body("a"), body("b")]) == first.complete([body("a"), body("b")])
    assert len(server.seen) == 2
    second = client_of(server, ReplyCache(path))
    assert second.complete([body("b")])[0].text == "echo b"
    assert len(server.seen) == 2
    assert (second.usage.requests, second.usage.cached, second.usage.completion_tokens) == (0, 1, 0)


def test_what_was_answered_before_a_failure_is_kept(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    server.faults = [Fault.NONE, Fault.NONE, Fault.ERROR]
    client = client_of(server, ReplyCache(path), concurrency=1, retries=0)
    with pytest.raises(EndpointError):
        client.complete([body("a"), body("b"), body("c")])
    again = client_of(server, ReplyCache(path), concurrency=1, retries=0)
    assert [reply.text for reply in again.complete([body("a"), body("b"), body("c")])] == [
        "echo a",
        "echo b",
        "echo c",
    ]
    assert (again.usage.requests, again.usage.cached) == (1, 2)


def test_an_interrupt_starts_nothing_more_and_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.delay = 0.1
    client = client_of(server, ReplyCache(tmp_path / "replies.sqlite"), concurrency=2)

    def interrupted(*_: object, **__: object) -> None:
        time.sleep(0.15)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.complete([body(str(number)) for number in range(20)])
    time.sleep(0.5)
    asked = len(server.seen)
    assert asked < 20
    monkeypatch.undo()
    client.complete([body(str(number)) for number in range(20)])
    assert client.usage.cached == asked


def test_everything_that_enters_a_request_enters_its_key() -> None:
    base = body("a")
    keys = {
        request_key("http://x/v1", base),
        request_key("http://y/v1", base),
        request_key("http://x/v1", base | {"model": "n"}),
        request_key("http://x/v1", base | {"seed": 1}),
        request_key("http://x/v1", body("b")),
        request_key("http://x/v1", base | {"stop": ["x"]}),
    }
    assert len(keys) == 6
    assert request_key("http://x/v1", dict(reversed(base.items()))) in keys


def test_a_reply_that_another_version_wrote_is_asked_again(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite")
    cache.put("k", Reply(text="x"))
    assert cache.get("k") == Reply(text="x")
    cache._connection.execute("UPDATE replies SET reply = '{\"words\": 1}'")
    assert cache.get("k") is None


# Replies


def test_a_rationale_that_the_server_took_out_is_put_back() -> None:
    for field in ("reasoning_content", "reasoning"):
        reply = read_reply(json.dumps(completion("<answer>B</answer>", **{field: "Not A."})))
        assert reply.text == "<think>Not A.</think><answer>B</answer>"
    assert read_reply(json.dumps(completion("B", reasoning_content=None))).text == "B"


def test_what_a_reply_says_of_itself_is_kept() -> None:
    reply = read_reply(json.dumps(completion("B", finish="length", logprobs={"B": -0.1, "A": -2.5})))
    assert (reply.truncated, reply.refused) == (True, False)
    assert reply.first_token == (("B", -0.1), ("A", -2.5))
    assert (reply.model, reply.fingerprint, reply.prompt_tokens, reply.completion_tokens) == (
        "served-model",
        "fp_1",
        100,
        10,
    )
    assert read_reply(json.dumps(completion(None, refusal="I cannot."))).refused
    assert read_reply(json.dumps(completion(None, finish="content_filter"))).refused


NO_COMPLETIONS = ["", "no", "null", "[]", "{}", '{"choices": null}', '{"choices": [{}]}', "[" * 100_000]


@pytest.mark.parametrize("text", NO_COMPLETIONS, ids=lambda text: text[:20])
def test_what_is_no_completion_is_malformed(text: str) -> None:
    with pytest.raises(MalformedReplyError):
        read_reply(text)
