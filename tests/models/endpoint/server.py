"""A small server of chat completions that misbehaves on demand."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Fault(StrEnum):
    """What goes wrong with a request."""

    NONE = "none"
    RATE = "429"
    ERROR = "500"
    CUT = "cut"
    SLOW = "slow"
    HTML = "html"
    HALF = "half a JSON"
    EMPTY = "no choices"
    BAD = "400"
    KEY = "401"
    UNKNOWN = "404"


def completion(
    text: str | None, *, finish: str = "stop", logprobs: dict[str, float] | None = None, **message: Any
) -> dict[str, Any]:
    """The body of a chat completion."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish,
    }
    if logprobs is not None:
        alternatives = [
            {"token": token, "logprob": value, "bytes": None} for token, value in logprobs.items()
        ]
        choice["logprobs"] = {"content": [alternatives[0] | {"top_logprobs": alternatives}]}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "served-model",
        "system_fingerprint": "fp_1",
        "choices": [choice],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


@dataclass
class Server:
    """A running server.

    Attributes:
        answer: makes the body of a reply from the body of a request; or the address of a server to ask, /v1 included.
        faults: what happens to the next requests, one each; then all is well.
        seen: the bodies of the requests, in the order of their arrival.
        keys: what they gave as their key.
        most_at_once: the largest number of requests at the same time.
    """

    answer: Callable[[dict[str, Any]], dict[str, Any]] | str
    faults: list[Fault] = field(default_factory=list)
    delay: float = 0.0
    seen: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, body: dict[str, Any]) -> bytes:
        if isinstance(self.answer, str):
            request = urllib.request.Request(
                f"{self.answer}/chat/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as response:
                content: bytes = response.read()
            return content
        return json.dumps(self.answer(body)).encode()


@contextmanager
def serving(answer: Callable[[dict[str, Any]], dict[str, Any]] | str) -> Iterator[Server]:
    """A server on a free port of this machine, for as long as the block runs."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            with server._lock:
                server._at_once += 1
                server.most_at_once = max(server.most_at_once, server._at_once)
                fault = server.faults.pop(0) if server.faults else Fault.NONE
            try:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server._lock:
                    server.seen.append(body)
                    server.keys.append(self.headers.get("Authorization", ""))
                self.respond(fault, body)
            finally:
                with server._lock:
                    server._at_once -= 1

        def do_GET(self) -> None:
            self.send(200, b'{"object": "list", "data": [{"id": "m-7b"}, {"id": "m-72b"}]}')

        def respond(self, fault: Fault, body: dict[str, Any]) -> None:
            time.sleep(server.delay)
            match fault:
                case Fault.RATE:
                    self.send(429, b'{"error": {"message": "too many requests"}}', {"Retry-After": "0.05"})
                case Fault.ERROR:
                    self.send(500, b'{"error": {"message": "out of memory"}}')
                case Fault.CUT:
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"id": ')
                    self.close_connection = True
                case Fault.SLOW:
                    time.sleep(1.5)
                    self.close_connection = True
                case Fault.HTML:
                    self.send(200, b"<html>Bad gateway</html>")
                case Fault.HALF:
                    self.send(200, server.reply(body)[:40])
                case Fault.EMPTY:
                    self.send(200, b'{"choices": []}')
                case Fault.BAD:
                    self.send(400, b'{"error": {"message": "logprobs are not supported"}}')
                case Fault.KEY:
                    said = f"Incorrect API key provided: {self.headers['Authorization'].split()[-1]}"
                    self.send(401, json.dumps({"error": {"message": said}}).encode())
                case Fault.UNKNOWN:
                    self.send(404, b'{"error": {"message": "no such model"}}')
                case _:
                    self.send(200, server.reply(body))

        def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(content)),
                **(headers or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Listener(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that went away
            pass

    listener = Listener(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    thread = threading.Thread(target=listener.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
