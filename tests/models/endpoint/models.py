"""Models that a small server can play: what they answer depends on the image and on nothing else."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from medrobust_bench.testing import ToyAdapter
from tests.models.endpoint.server import completion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import ModelRecord


def image_of(body: dict[str, Any]) -> NDArray[np.uint8]:
    """The image of a request."""
    url = body["messages"][-1]["content"][0]["image_url"]["url"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))


def by_brightness(body: dict[str, Any]) -> dict[str, Any]:
    """A model that prefers A the more, the darker the image is."""
    bright = 0.05 + 0.9 * float(image_of(body).mean()) / 255
    logprobs = {"A": math.log(1 - bright), "B": math.log(bright), "C": -9.0}
    return completion(max(logprobs, key=lambda token: logprobs[token]), logprobs=logprobs)


def by_words(body: dict[str, Any]) -> dict[str, Any]:
    """The same in words, without log-probabilities."""
    return completion("The answer is A." if image_of(body).mean() < 255 / 2 else "The answer is B.")


class Brightness(ToyAdapter):
    """The weights of that model: the scores of its options are linear in the mean brightness."""

    @property
    def record(self) -> ModelRecord:
        return super().record.model_copy(update={"id": "brightness"})

    def parameters(self, question: Question, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        weight = torch.zeros(len(question.options), size, dtype=torch.float64)
        weight[0], weight[1] = -100 / size, 100 / size
        bias = torch.tensor([50.0, -50.0] + [-1000.0] * (len(question.options) - 2), dtype=torch.float64)
        return weight, bias
