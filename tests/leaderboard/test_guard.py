"""Work that must neither last nor swell, nor end what called for it."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from medrobust_bench.leaderboard.guard import Ended, Guard, unlimited
from medrobust_bench.problems import InvalidInputError, Problem


def double(number: int) -> int:
    return 2 * number


def last(seconds: float) -> None:
    time.sleep(seconds)


def swell() -> int:
    return np.empty(2 * 10**9, dtype=np.uint8).size


def swell_allowed() -> int:
    unlimited()
    return swell()


def crash() -> None:
    os._exit(7)


def refuse() -> None:
    raise InvalidInputError([Problem("here", "is wrong", "right it")])


def test_work_goes_on_after_every_piece_that_had_to_be_ended() -> None:
    with Guard(seconds=3, memory=10**9) as guard:
        assert guard.call(double, 2) == 4
        endless = guard.call(last, 60)
        assert isinstance(endless, Ended)
        assert endless.why == "took longer than 3 seconds"
        assert isinstance(guard.call(swell), Ended)
        crashed = guard.call(crash)
        assert isinstance(crashed, Ended)
        assert "exit code 7" in crashed.why
        with pytest.raises(InvalidInputError, match="here: is wrong"):
            guard.call(refuse)
        assert guard.call(double, 3) == 6
        assert guard.call(swell_allowed) == 2 * 10**9, (
            "work that has looked at what is a stranger's may need more"
        )
        assert isinstance(guard.call(swell), Ended), "and the next piece of work may not"
