from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from huggingface_hub import constants

from medrobust_bench.models.hub_reach import offline_where_unreachable
from tests.models.endpoint.server import serving

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "address", [lambda: f"http://127.0.0.1:{unused_port()}", lambda: "http://hub.invalid"]
)
def test_a_hub_that_is_not_there_is_not_waited_for(
    address: Callable[[], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address())
    with offline_where_unreachable():
        assert constants.is_offline_mode()
    assert not constants.is_offline_mode(), "another model may be asked for when the network is back"
    assert "only what is in the cache is used" in caplog.text


def test_a_hub_that_answers_is_asked_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("unused") as server:  # answers 501 to HEAD
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        with offline_where_unreachable():
            assert not constants.is_offline_mode()


def test_who_is_offline_by_choice_stays_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with offline_where_unreachable():
        pass
    assert constants.is_offline_mode()
