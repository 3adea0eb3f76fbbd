"""A server's model bound to questions: what threats without gradients need of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medrobust_bench.data.image import canonical
from medrobust_bench.models.adapter import NoScoresError
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.endpoint.bound import EndpointQuestions
from medrobust_bench.models.endpoint.chat import Chat
from medrobust_bench.models.endpoint.client import ChatClient
from medrobust_bench.models.endpoint.settings import EndpointSettings
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from tests.models.endpoint.models import by_brightness
from tests.models.endpoint.server import Server, completion, serving

pytest.importorskip("openai")

QUESTIONS = synthetic_questions()[:3]


def bound(server: Server, *, letters: bool = True) -> EndpointQuestions:
    chat = Chat(ChatClient(EndpointSettings(model="m", base_url=server.url, retries=0)), letters=letters)
    images = [canonical(question.image) for question in QUESTIONS]
    return EndpointQuestions.bind(chat, QUESTIONS, images, STRATEGIES[AnswerMode.LETTER].prompt)


def test_scores_follow_the_image_and_answers_the_scores() -> None:
    with serving(by_brightness) as server:
        questions = bound(server)
        dark, bright = torch.zeros_like(questions.batch.pixels()), torch.ones_like(questions.batch.pixels())
        for pixels, letter in ((dark, 0), (bright, 1)):
            scores = questions.scores(pixels)
            assert scores.shape == (3, max(len(question.options) for question in QUESTIONS))
            assert scores.argmax(1).tolist() == [letter] * 3
            images = [np.full((*questions.batch.shape, 3), 255 * letter, np.uint8)] * 3
            assert [answer.choice for answer in questions.answer(images)] == [letter] * 3
        assert questions.generation is None
        for row, question in enumerate(QUESTIONS):
            assert torch.isinf(scores[row, len(question.options) :]).all()


def test_rows_are_asked_as_they_were_and_known_ones_are_not_asked_again() -> None:
    with serving(by_brightness) as server:
        questions = bound(server)
        images = list(questions.batch.images)
        whole = questions.answer(images)
        asked = len(server.seen)
        assert questions.select([2, 0]).answer([images[2], images[0]]) == [whole[2], whole[0]]
        assert len(server.seen) == asked


def test_without_log_probabilities_there_are_answers_but_no_scores() -> None:
    with serving(lambda _: completion("The answer is B.")) as server:
        questions = bound(server)
        assert [answer.choice for answer in questions.answer(list(questions.batch.images))] == [1, 1, 1]
        with pytest.raises(NoScoresError, match="gives no log-probabilities"):
            questions.scores(questions.batch.pixels())
