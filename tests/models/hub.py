"""A model hub on this machine: folders served as the Hugging Face Hub serves repositories."""

from __future__ import annotations

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

COMMIT = "a" * 40


class Hub:
    """Repositories `owner/name` under a folder, at revision main or v1.

    Args:
        folder: holds the repositories.
        gated: those that nobody is let into.
    """

    def __init__(self, folder: Path, gated: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.gated = gated
        self.asked: list[str] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                path = unquote(urlparse(self.path).path).strip("/")
                hub.asked.append(path)
                api = path.startswith("api/models/")
                parts = path.removeprefix("api/models/").split("/")
                repo, rest = "/".join(parts[:2]), parts[2:]
                revision = rest[1] if len(rest) > 1 else "main"
                if not (hub.folder / repo).is_dir():
                    return self.say(401, error="RepoNotFound")
                if repo in hub.gated and not api:
                    return self.say(403, error="GatedRepo")
                if revision not in ("main", "v1", COMMIT):
                    return self.say(404, error="RevisionNotFound")
                if api:
                    files = [one for one in sorted((hub.folder / repo).rglob("*")) if one.is_file()]
                    names = [one.relative_to(hub.folder / repo).as_posix() for one in files]
                    if rest[:1] == ["tree"] and not (hub.folder / repo / "/".join(rest[2:])).is_dir():
                        return self.say(404, error="EntryNotFound")
                    if rest[:1] == ["tree"]:
                        told: object = [
                            {"type": "file", "path": name, "size": one.stat().st_size, "oid": self.tag(one)}
                            for name, one in zip(names, files, strict=True)
                        ]
                    else:
                        told = {
                            "id": repo,
                            "sha": COMMIT,
                            "siblings": [{"rfilename": name} for name in names],
                        }
                    return self.say(200, json.dumps(told).encode() if body else b"", kind="application/json")
                file = hub.folder / repo / "/".join(rest[2:])
                if not file.is_file():
                    return self.say(404, error="EntryNotFound")
                return self.say(200, file.read_bytes(), tag=self.tag(file), body=body)

            @staticmethod
            def tag(file: Path) -> str:
                return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()

            def say(
                self,
                status: int,
                content: bytes = b"",
                *,
                error: str = "",
                tag: str = "",
                kind: str = "",
                body: bool = True,
            ) -> None:
                self.send_response(status)
                told = {"X-Error-Code": error, "ETag": f'"{tag}"' if tag else "", "Content-Type": kind}
                for name, value in {**told, "X-Repo-Commit": COMMIT}.items():
                    if value:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if body:
                    self.wfile.write(content)

        return Handler


@contextmanager
def serving(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Within, huggingface_hub asks this hub, with an empty cache of its own."""
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), hub.handler())
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
