"""A multiple-choice question as a chat request, and its answer as an option."""

from __future__ import annotations

import base64
import io
import math
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.endpoint.client import RejectedRequestError
from medrobust_bench.models.read_answer import UNPARSED, AnswerKind, Tier, kind_of, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.models.endpoint.client import ChatClient
    from medrobust_bench.models.endpoint.reply import Reply
    from medrobust_bench.models.read_answer import ReadAnswer


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked about one image.

    Attributes:
        words: question, lettered options and instruction.
        options: the option texts.
    """

    words: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What a server's model answered.

    Attributes:
        choice: index of the option; None for all kinds but `AnswerKind.READ`.
        kind: whether it was read, and if not, why.
        tier: the rule that read a generated answer; None where the letters' log-probabilities decided.
        text: what the model wrote, rationale included.
        scores: log-probability of each option's letter; None without log-probabilities.
    """

    choice: int | None
    kind: AnswerKind
    tier: Tier | None
    text: str
    scores: tuple[float, ...] | None = None


class Chat:
    """A server's model that answers multiple-choice questions about images.

    By letter, the log-probabilities of the first token decide where the server gives them; elsewhere, and for models
    that think, an answer is generated and read.

    Args:
        client: of the server.
        letters: whether to ask for the letters' log-probabilities at all.
        system: the system turn of the model's card.
        stop: texts that end a completion.
        read: reads a completion, a card's `read`; by default `read_answer`.
    """

    def __init__(
        self,
        client: ChatClient,
        *,
        letters: bool,
        system: str | None = None,
        stop: Sequence[str] = (),
        read: Callable[[str, Sequence[str]], ReadAnswer] = read_answer,
    ) -> None:
        self.client = client
        self._letters = letters
        self._system = system
        self._stop = list(stop)
        self._read = read

    @property
    def gives_letters(self) -> bool:
        """Whether letters' log-probabilities are asked for, and not known to be withheld."""
        return self._letters

    def afresh(self) -> Chat:
        """The same, which asks once more what it has asked already."""
        return self.asking(self.client.afresh())

    def asking(self, client: ChatClient) -> Chat:
        """The same with another client."""
        other = copy(self)
        other.client = client
        return other

    def constant(self) -> dict[str, Any]:
        """What every request holds beside question and image."""
        settings = self.client.settings
        return settings.request() | {
            "letters": self._letters,
            "length": settings.max_tokens,
            "system": self._system,
            "stop": self._stop,
        }

    def ask(self, prompts: Sequence[Prompt], images: Sequence[NDArray[np.uint8]]) -> list[EndpointAnswer]:
        """The answers to B prompts about B images, arrays uint8 [H, W, 3].

        Raises:
            InvalidInputError: the server refuses the key or does not know the model.
            RejectedRequestError: the server does not take a request.
            EndpointError: no answer after all tries.
        """
        if self._letters and prompts:
            answers = self._by_letter(prompts, images)
            if answers is not None:
                return answers
            self._letters = False
        bodies = [self._body(prompt, image) for prompt, image in zip(prompts, images, strict=True)]
        replies = self.client.complete(bodies)
        return [self._generated(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

    def _by_letter(
        self, prompts: Sequence[Prompt], images: Sequence[NDArray[np.uint8]]
    ) -> list[EndpointAnswer] | None:
        """Answers by log-probability; None where the server gives none."""
        more = {
            "logprobs": True,
            "top_logprobs": self.client.settings.top_logprobs,
            self.client.settings.length_parameter: 1,
        }
        bodies = [self._body(prompt, image) | more for prompt, image in zip(prompts, images, strict=True)]
        try:
            (first,) = self.client.complete(bodies[:1])  # one question tells
        except RejectedRequestError:
            return None
        if first.first_token is None and not first.refused:
            return None
        replies = [first, *self.client.complete(bodies[1:])]
        return [self._lettered(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]

    def _body(self, prompt: Prompt, image: NDArray[np.uint8]) -> dict[str, Any]:
        settings = self.client.settings
        picture = {"type": "image_url", "image_url": {"url": data_url(image)}}
        turns: list[dict[str, Any]] = [{"role": "system", "content": self._system}] if self._system else []
        turns.append({"role": "user", "content": [picture, {"type": "text", "text": prompt.words}]})
        stop = {"stop": self._stop} if self._stop else {}
        return settings.request() | stop | {"messages": turns, settings.length_parameter: settings.max_tokens}

    def _lettered(self, prompt: Prompt, reply: Reply) -> EndpointAnswer:
        scores = letter_scores(dict(reply.first_token or ()), len(prompt.options))
        best = max(scores)
        if reply.refused or scores.count(best) > 1:
            kind = AnswerKind.REFUSED if reply.refused else AnswerKind.UNPARSED
            return EndpointAnswer(None, kind, None, reply.text, scores)
        return EndpointAnswer(scores.index(best), AnswerKind.READ, None, reply.text, scores)

    def _generated(self, prompt: Prompt, reply: Reply) -> EndpointAnswer:
        text = reply.text + self._ending(reply.text) if not reply.truncated else reply.text
        answer = UNPARSED if reply.truncated else self._read(text, prompt.options)
        kind = kind_of(answer, text, truncated=reply.truncated, refused=reply.refused)
        choice = answer.choice if kind is AnswerKind.READ else None
        return EndpointAnswer(choice, kind, answer.tier, text)

    def _ending(self, text: str) -> str:
        """The stop text that a server cut off: it closes the last tag that is open."""
        closing = (stop for stop in self._stop if stop.startswith("</"))
        return next((stop for stop in closing if text.count(stop.replace("/", "")) > text.count(stop)), "")


def data_url(image: NDArray[np.uint8]) -> str:
    """An image [H, W, 3] as PNG in a data URL, to the last bit."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def letter_scores(first_token: Mapping[str, float], count: int) -> tuple[float, ...]:
    """Log-probability of each option letter: its spellings, with a space or bracket around it, add up.

    Args:
        first_token: log-probabilities of alternatives for the first token.
        count: number of options.

    Returns:
        `count` finite values. A letter that is not among the alternatives gets the log-probability of the least likely
        one, which bounds its own; so do all where no letter is among them. Without alternatives all are 0.
    """
    mass = [0.0] * count
    for token, logprob in first_token.items():
        letter = token.strip(" \t\n▁Ġ(*[")
        if len(letter) == 1 and 0 <= LETTERS.find(letter) < count:
            mass[LETTERS.index(letter)] += math.exp(logprob)
    bound = min(first_token.values(), default=0.0)
    return tuple(math.log(value) if value > 0 else bound for value in mass)
