"""What a server answered."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class MalformedReplyError(ValueError):
    """A server's answer that is no chat completion."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Alternative(_Part):
    token: str
    logprob: float


class _Token(_Part):
    token: str
    logprob: float
    top_logprobs: list[_Alternative] = []


class _Logprobs(_Part):
    content: list[_Token] | None = None


class _Message(_Part):
    content: str | None = None
    reasoning_content: str | None = None  # vLLM, SGLang, transformers
    reasoning: str | None = None  # newer vLLM, OpenRouter
    refusal: str | None = None


class _Choice(_Part):
    message: _Message
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Usage(_Part):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(_Part):
    choices: list[_Choice] = Field(min_length=1)
    model: str | None = None
    system_fingerprint: str | None = None
    usage: _Usage | None = None


class Reply(BaseModel):
    """One completion, as it is kept.

    Attributes:
        text: the completion, with the rationale that the server took out put back in front, between <think> tags.
        truncated: whether it was cut short by the length limit.
        refused: whether the server or its filter says so.
        first_token: log-probabilities of what the first token could have been, in the server's order; None without.
        model: the server's name of the model that answered.
        fingerprint: the server's name of its configuration.
        prompt_tokens: tokens read, as the server counts them.
        completion_tokens: tokens written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    truncated: bool = False
    refused: bool = False
    first_token: tuple[tuple[str, float], ...] | None = None
    model: str | None = None
    fingerprint: str | None = None
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


def read_reply(body: str) -> Reply:
    """Read the body of a server's answer.

    Raises:
        MalformedReplyError: it is no chat completion.
    """
    try:
        content: Any = json.loads(body)
        completion = _Completion.model_validate(content)
    except (ValidationError, json.JSONDecodeError, RecursionError) as error:
        raise MalformedReplyError(_fault(error)) from error
    choice, usage = completion.choices[0], completion.usage or _Usage()
    message = choice.message
    thought = message.reasoning_content or message.reasoning
    text = message.content or message.refusal or ""
    return Reply(
        text=f"<think>{thought}</think>{text}" if thought else text,
        truncated=choice.finish_reason == "length",
        refused=message.refusal is not None or choice.finish_reason == "content_filter",
        first_token=_first_token(choice.logprobs),
        model=completion.model,
        fingerprint=completion.system_fingerprint,
        prompt_tokens=max(usage.prompt_tokens, 0),
        completion_tokens=max(usage.completion_tokens, 0),
    )


def _first_token(logprobs: _Logprobs | None) -> tuple[tuple[str, float], ...] | None:
    if logprobs is None or not logprobs.content:
        return None
    first = logprobs.content[0]
    alternatives = {first.token: first.logprob} | {
        alternative.token: alternative.logprob for alternative in first.top_logprobs
    }
    return tuple(alternatives.items())


def _fault(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return f"no JSON: {error}"
