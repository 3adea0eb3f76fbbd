"""Requests to an OpenAI-compatible server: several at a time, tried again where that helps, never asked twice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from medrobust_bench.models.endpoint.cache import ReplyCache, request_key
from medrobust_bench.models.endpoint.reply import MalformedReplyError, read_reply
from medrobust_bench.problems import InvalidInputError, Problem, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import openai

    from medrobust_bench.models.endpoint.reply import Reply
    from medrobust_bench.models.endpoint.settings import EndpointSettings, Prices
    from medrobust_bench.records import UsageRecord

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds, those of the openai client


_SOON = 10.0  # seconds in which a list of models is there, or is done without
_SHOWN = 10
"""Names of models that a message lists at most."""


class EndpointError(RuntimeError):
    """A request that the server did not answer, however often it was asked."""


class RejectedRequestError(ValueError):
    """A request that the server does not take (400, 413, 422); asking again would not help."""


@dataclass
class Usage:
    """What was asked of a server; counts are of this process.

    Attributes:
        requests: requests that were answered by the server.
        cached: requests that were answered by the cache.
        retries: tries that failed.
        prompt_tokens: tokens read by the server.
        completion_tokens: tokens written by it.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, reply: Reply | None, *, retries: int = 0, cached: bool = False) -> None:
        """Count a reply, or None for tries that came to nothing."""
        with self._lock:
            self.retries += retries
            if reply is None:
                return
            if cached:
                self.cached += 1
                return
            self.requests += 1
            self.prompt_tokens += reply.prompt_tokens
            self.completion_tokens += reply.completion_tokens

    def cost(self, prices: Prices) -> float:
        """In the currency of the prices."""
        return (self.prompt_tokens * prices.input + self.completion_tokens * prices.output) / 1e6


class ChatClient:
    """A server, asked for chat completions.

    Args:
        settings: of the server.
        cache: replies that are known; by default in memory only.

    Attributes:
        usage: what was asked, in this process.
        first: the first reply, in which the server says what it is; None before.

    Raises:
        InvalidInputError: the package `openai` is missing, or the key.
    """

    def __init__(self, settings: EndpointSettings, cache: ReplyCache | None = None) -> None:
        self.settings = settings
        self.usage = Usage()
        self.first: Reply | None = None
        self._repeat = 0
        self._remembers = True
        self._cache = cache or ReplyCache()
        self._key = settings.key()
        self._openai = _package()
        self._client = self._openai.OpenAI(
            base_url=settings.base_url,
            api_key=self._key,
            timeout=settings.timeout,
            max_retries=settings.retries,
        )

    def afresh(self) -> ChatClient:
        """The same, which asks once more what it has asked already; what it asked then is known again, too."""
        other = copy(self)
        other._repeat = self._repeat + 1
        return other

    def keeping(self, cache: ReplyCache) -> ChatClient:
        """The same with other replies that are known."""
        other = copy(self)
        other._cache = cache
        return other

    def anew(self) -> ChatClient:
        """The same, which asks the server whatever is known already: to hear who it is now. What it says is kept."""
        other = copy(self)
        other._remembers, other.first = False, None
        return other

    def remembering(self) -> ChatClient:
        """The same, which asks for nothing that is known."""
        other = copy(self)
        other._remembers = True
        return other

    def listed(self) -> str:
        """Which models the server says it has, for a remedy."""
        names = self.served()
        shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        return f"the server lists {shown}" if names else "the server lists no models"

    def served(self) -> tuple[str, ...]:
        """The names of the models that the server lists; none where it lists none."""
        try:
            quick = self._client.with_options(max_retries=0, timeout=_SOON)
            return tuple(printable(model.id) for model in quick.models.list())
        except (
            self._openai.OpenAIError,
            TypeError,
        ):  # a list is a courtesy; what stands in its place may be anything
            return ()

    def totals(self) -> UsageRecord:
        """What was asked in this process and in those before it, as far as replies were kept."""
        return self._cache.totals(self.settings.prices)

    def complete(self, bodies: Sequence[Mapping[str, Any]]) -> list[Reply]:
        """The replies to requests, in their order; each is kept as soon as it is there, and equal ones are asked once.

        Raises:
            InvalidInputError: the server refuses the key or does not know the model.
            RejectedRequestError: the server does not take a request.
            EndpointError: no answer after all tries.
        """
        keys = [request_key(self.settings.base_url, body, repeat=self._repeat) for body in bodies]
        pool = ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="endpoint")
        try:
            futures = {
                key: pool.submit(self._one, key, body)
                for key, body in dict(zip(keys, bodies, strict=True)).items()
            }
            wait(futures.values(), return_when=FIRST_EXCEPTION)
            for future in futures.values():
                if future.done() and future.exception() is not None:
                    future.result()  # raises
            return [futures[key].result() for key in keys]
        finally:  # also on Ctrl-C: what has not begun is not begun
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, key: str, body: Mapping[str, Any]) -> Reply:
        if self._remembers and (known := self._cache.get(key)):
            self.usage.add(known, cached=True)
            self.first = self.first or known
            return known
        reply = self._ask(body)
        self._cache.put(key, reply)
        self.first = self.first or reply
        return reply

    def _ask(self, body: Mapping[str, Any]) -> Reply:
        fault = ""
        for attempt in range(self.settings.retries + 1):
            if attempt:
                time.sleep(min(_FIRST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE))
            response = self._send(body)
            try:
                reply = read_reply(response.text)
            except MalformedReplyError as error:
                fault = str(error)
                self.usage.add(None, retries=response.retries_taken + 1)
                continue
            self.usage.add(reply, retries=response.retries_taken)
            return reply
        raise EndpointError(self._said(f"{self.settings.base_url} answers no chat completion ({fault})"))

    def _send(self, body: Mapping[str, Any]) -> Any:
        """The raw response; its status was fine."""
        errors = self._openai
        try:
            return self._client.chat.completions.with_raw_response.create(
                messages=body["messages"],
                model=body["model"],
                extra_body={name: value for name, value in body.items() if name not in ("messages", "model")},
            )
        except (errors.AuthenticationError, errors.PermissionDeniedError) as error:
            raise self._refused(error, f"check {self.settings.key_variable} and what it may use") from None
        except errors.NotFoundError as error:
            raise self._refused(error, f"check the address and the name; {self.listed()}") from None
        except errors.APIStatusError as error:
            if error.status_code in (400, 413, 422):
                raise RejectedRequestError(self._said(_in_full(error))) from None
            self.usage.add(None, retries=self.settings.retries)
            raise EndpointError(self._said(f"{self.settings.base_url}: {_in_full(error)}")) from None
        except errors.APIConnectionError as error:
            self.usage.add(None, retries=self.settings.retries)
            cause = error.__cause__ or error
            what = f"{self.settings.base_url} cannot be reached: {error.message} ({type(cause).__name__})"
            raise EndpointError(self._said(what)) from None

    def _refused(self, error: openai.APIStatusError, remedy: str) -> InvalidInputError:
        return InvalidInputError([Problem(self.settings.base_url, self._said(_in_full(error)), remedy)])

    def _said(self, message: str) -> str:
        """A message for people, from which the key is taken out: some servers repeat it."""
        return printable(message.replace(self._key, "…"))[:500]


def _in_full(error: openai.APIStatusError) -> str:
    """What a server said; the client leaves out what does not stand under `error`."""
    said = error.body.get("detail", error.body) if isinstance(error.body, dict) else error.body
    bare = error.message == f"Error code: {error.status_code}"
    return f"{error.message}: {said}" if bare and said else str(error.message)


def _package() -> Any:
    try:
        import openai
    except ImportError as error:
        remedy = "pip install 'medrobust-bench[endpoint]'"
        problem = Problem("--base-url", "the package openai is not installed", remedy)
        raise InvalidInputError([problem]) from error
    return openai
