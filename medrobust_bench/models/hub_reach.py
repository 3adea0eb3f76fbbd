"""Whether the hub can be reached, asked once instead of waited for."""

from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from huggingface_hub import constants

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 5.0
"""Seconds for the hub to answer at all."""

_logger = logging.getLogger(__name__)


@contextmanager
def offline_where_unreachable() -> Iterator[None]:
    """Inside it, a hub that cannot be reached is not asked: only what is in the cache is found.

    The hub's client would try six times for every file that it asks for, and wait 23 seconds in all between.
    """
    if constants.HF_HUB_OFFLINE or not _is_out_of_reach(constants.ENDPOINT):
        yield
        return
    _logger.warning("%s cannot be reached: only what is in the cache is used", constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _is_out_of_reach(address: str) -> bool:
    """Whether nobody is at an address; whatever else is wrong with it is for the hub's client to say."""
    if "all" in urllib.request.getproxies():  # $ALL_PROXY, which only that client goes through
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE):
            return False
    except urllib.error.URLError as error:
        return isinstance(error.reason, socket.gaierror | ConnectionRefusedError | TimeoutError)
    except OSError as error:
        return isinstance(error, TimeoutError)
