"""Replies that were paid for already."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from medrobust_bench.models.endpoint.reply import Reply
from medrobust_bench.models.endpoint.settings import Prices
from medrobust_bench.records import UsageRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TOTALS = """SELECT COUNT(*), SUM(json_extract(reply, '$.prompt_tokens')),
SUM(json_extract(reply, '$.completion_tokens')), SUM(json_extract(reply, '$.refused')),
SUM(json_extract(reply, '$.truncated')) FROM replies"""
_NAMES = "SELECT DISTINCT json_extract(reply, '$.fingerprint') FROM replies"
_SCHEMA = "CREATE TABLE IF NOT EXISTS replies (request TEXT PRIMARY KEY, reply TEXT NOT NULL) STRICT"


class ReplyCache:
    """Replies by everything that enters a request: server, model, words, image, sampling settings.

    A SQLite file, so that several threads and processes may share it and a killed run loses nothing. A reply is written
    before it is used.

    Args:
        path: the file, made where there is none; None keeps replies in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            ":memory:" if path is None else path, check_same_thread=False, timeout=60, isolation_level=None
        )
        if path is not None:
            self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute(_SCHEMA)

    def get(self, key: str) -> Reply | None:
        """The reply to a request, None where it was not asked yet."""
        with self._lock:
            row = self._connection.execute("SELECT reply FROM replies WHERE request = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return Reply.model_validate_json(row[0])
        except ValidationError:  # written by another version: asked again
            return None

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply; the first one to a request stays."""
        with self._lock:
            self._connection.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, reply.model_dump_json())
            )

    def totals(self, prices: Prices) -> UsageRecord:
        """What all replies that are kept have cost."""
        with self._lock:
            counts = self._connection.execute(_TOTALS).fetchone()
            named = self._connection.execute(_NAMES).fetchall()
        requests, prompt, completion, refused, truncated = (int(count or 0) for count in counts)
        return UsageRecord(
            requests=requests,
            prompt_tokens=prompt,
            completion_tokens=completion,
            refused=refused,
            truncated=truncated,
            cost=(prompt * prices.input + completion * prices.output) / 1e6 if prices != Prices() else None,
            fingerprints=tuple(sorted(name for (name,) in named if name)),
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def request_key(base_url: str, body: Mapping[str, Any], *, repeat: int = 0) -> str:
    """Hex SHA-256 of a request, the key left out: it never decides an answer.

    Args:
        base_url: of the server.
        body: of the request.
        repeat: how often the same was asked before on purpose.
    """
    parts = {"base_url": base_url, "body": body} | ({"repeat": repeat} if repeat else {})
    canonical = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
