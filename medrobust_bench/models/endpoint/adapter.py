"""A model behind a server, as the rest of the program sees a model."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from medrobust_bench.data.image import ImageBytes, canonical
from medrobust_bench.data.question import Question
from medrobust_bench.models.answers.registry import strategy_of
from medrobust_bench.models.endpoint.bound import EndpointQuestions
from medrobust_bench.models.endpoint.cache import ReplyCache
from medrobust_bench.models.endpoint.chat import Chat
from medrobust_bench.models.endpoint.client import ChatClient
from medrobust_bench.models.endpoint.settings import EndpointOptions, EndpointSettings
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.records import ModelRecord, ServerRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.models.answers.strategy import AnswerStrategy
    from medrobust_bench.models.cards import Card

_FIXED = Question(
    id="fixed",
    image=ImageBytes(b""),
    text="What is shown?",
    options=("one", "two"),
    answer=0,
    modality="xray",
    question_type="modality",
    dataset="fixed",
)
"""What the instruction is read off."""


@dataclass(frozen=True, slots=True)
class EndpointVLM:
    """A server's model. Its weights are unknown, and no gradient reaches the pixels.

    Attributes:
        id: what results call it.
        mode: how its answers are obtained.
        strategy: what it is asked.
        chat: how.
    """

    id: str
    mode: AnswerMode
    strategy: AnswerStrategy
    chat: Chat

    differentiable = False

    @property
    def record(self) -> ModelRecord:
        """See `Adapter`; what the server says about itself is known after the first answer."""
        return ModelRecord(
            id=self.id,
            dtype="unknown",
            answer_mode=self.mode.value,
            parameters=0,
            server=self.server,
        )

    @property
    def server(self) -> ServerRecord:
        """The server, as far as it is known."""
        settings, first = self.chat.client.settings, self.chat.client.first
        constant = {**self.chat.constant(), "instruction": self.strategy.prompt(_FIXED)}
        return ServerRecord(
            base_url=settings.base_url,
            model=settings.model,
            answered_as=None if first is None else first.model,
            fingerprint=None if first is None else first.fingerprint,
            scores=self.chat.gives_letters,
            request_sha256=hashlib.sha256(json.dumps(constant, sort_keys=True).encode()).hexdigest(),
        )

    def bind(self, questions: Sequence[Question]) -> EndpointQuestions:
        """See `Adapter`."""
        images = [canonical(question.image) for question in questions]
        return EndpointQuestions.bind(self.chat, questions, images, self.strategy.prompt)

    def keeping(self, path: Path) -> EndpointVLM:
        """The same model, whose replies are kept in a file and taken from there."""
        return self.asking(self.chat.client.keeping(ReplyCache(path)))

    def asking(self, client: ChatClient) -> EndpointVLM:
        """The same model with another client."""
        return replace(self, chat=self.chat.asking(client))


def open_endpoint(card: Card) -> EndpointVLM:
    """The model of a card with adapter `endpoint`; nothing is asked yet.

    Raises:
        InvalidInputError: the package `openai` is missing, or the key.
    """
    options = card.endpoint or EndpointOptions()
    return open_server(card, EndpointSettings(model=card.source, **dict(options)))


def open_server(card: Card, settings: EndpointSettings) -> EndpointVLM:
    """A server's model, asked and read as a card says.

    Raises:
        InvalidInputError: the package `openai` is missing, or the key.
    """
    length = {} if card.max_new_tokens is None else {"max_tokens": card.max_new_tokens}
    chat = Chat(
        ChatClient(settings.model_copy(update=length)),
        letters=card.answer_mode is AnswerMode.LETTER,
        system=card.system,
        stop=card.stop,
        read=card.read,
    )
    return EndpointVLM(id=card.id, mode=card.answer_mode, strategy=strategy_of(card), chat=chat)
