"""Questions about images become requests, and replies options, refusals or nothing."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from medrobust_bench.models.endpoint.chat import Chat, Prompt, data_url, letter_scores
from medrobust_bench.models.endpoint.client import ChatClient
from medrobust_bench.models.endpoint.settings import EndpointSettings
from medrobust_bench.models.read_answer import AnswerKind, Tier
from tests.models.endpoint.server import Fault, Server, completion, serving

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytest.importorskip("openai")

PROMPT = Prompt(
    "What is this?\nA) Cyst\nB) Nevus\nC) Normal\nAnswer with the letter.", ("Cyst", "Nevus", "Normal")
)


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def chat_of(
    server: Server, *, letters: bool = False, settings: dict[str, Any] | None = None, **more: Any
) -> Chat:
    given = EndpointSettings(model="m", base_url=server.url, retries=0, **(settings or {}))
    return Chat(ChatClient(given), letters=letters, **more)


def test_a_request_holds_the_image_to_the_last_bit_and_what_makes_it_reproducible(
    image: NDArray[np.uint8],
) -> None:
    with serving(lambda _: completion("B")) as server:
        chat_of(
            server, system="Think.", stop=["</answer>"], settings={"seed": 7, "extra_body": {"top_k": 1}}
        ).ask([PROMPT], [image])
    (sent,) = server.seen
    assert {name: value for name, value in sent.items() if name != "messages"} == {
        "model": "m",
        "temperature": 0,
        "seed": 7,
        "top_k": 1,
        "max_tokens": 1024,
        "stop": ["</answer>"],
    }
    system, user = sent["messages"]
    assert system == {"role": "system", "content": "Think."}
    picture, words = user["content"]
    assert words == {"type": "text", "text": PROMPT.words}
    kind, encoded = picture["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    decoded = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.parametrize(
    ("reply", "choice", "kind", "tier"),
    [
        (completion("B"), 1, AnswerKind.READ, Tier.LETTER),
        (completion("<answer>B</answer>", reasoning_content="A? No."), 1, AnswerKind.READ, Tier.TAGS),
        (completion("It might be A or B."), None, AnswerKind.UNPARSED, Tier.UNPARSED),
        (completion("The answer is B, bec", finish="length"), None, AnswerKind.TRUNCATED, Tier.UNPARSED),
        (completion(None, refusal="No."), None, AnswerKind.REFUSED, Tier.UNPARSED),
        (completion("", finish="content_filter"), None, AnswerKind.REFUSED, Tier.UNPARSED),
        (completion("I'm sorry, I can't help with that."), None, AnswerKind.REFUSED, Tier.UNPARSED),
        (completion("I cannot diagnose, but the answer is C."), 2, AnswerKind.READ, Tier.STATED),
        (completion(None), None, AnswerKind.UNPARSED, Tier.UNPARSED),
    ],
)
def test_each_kind_of_answer_is_told_apart(
    image: NDArray[np.uint8], reply: dict[str, Any], choice: int | None, kind: AnswerKind, tier: Tier
) -> None:
    with serving(lambda _: reply) as server:
        (answer,) = chat_of(server).ask([PROMPT], [image])
    assert (answer.choice, answer.kind, answer.tier) == (choice, kind, tier)


def test_a_tag_that_the_stop_text_took_away_is_closed_again(image: NDArray[np.uint8]) -> None:
    with serving(lambda _: completion("<think>A?</think><answer>B")) as server:
        (answer,) = chat_of(server, stop=["</answer>"]).ask([PROMPT], [image])
    assert answer.text == "<think>A?</think><answer>B</answer>"
    assert answer.choice == 1


def test_letters_decide_where_the_server_gives_log_probabilities(image: NDArray[np.uint8]) -> None:
    logprobs = {
        "B": math.log(0.4),
        " C": math.log(0.25),
        "C": math.log(0.2),
        "The": math.log(0.1),
        "D": math.log(0.01),
    }
    with serving(lambda _: completion("B", logprobs=logprobs, finish="length")) as server:
        answers = chat_of(server, letters=True).ask([PROMPT] * 3, [image] * 3)
    assert [answer.choice for answer in answers] == [2, 2, 2], "spellings of a letter add up"
    assert answers[0].scores is not None
    assert answers[0].scores == pytest.approx((math.log(0.01), math.log(0.4), math.log(0.45)))
    assert all(sent["logprobs"] is True and sent["max_tokens"] == 1 for sent in server.seen)


def test_no_letter_among_the_alternatives_is_unparsed(image: NDArray[np.uint8]) -> None:
    with serving(lambda _: completion("The", logprobs={"The": -0.1, "It": -3.0})) as server:
        (answer,) = chat_of(server, letters=True).ask([PROMPT], [image])
    assert (answer.choice, answer.kind) == (None, AnswerKind.UNPARSED)


@pytest.mark.parametrize("rejected", [False, True])
def test_a_server_without_log_probabilities_is_asked_for_an_answer(
    image: NDArray[np.uint8], rejected: bool
) -> None:
    with serving(lambda _: completion("B")) as server:
        server.faults = [Fault.BAD] if rejected else []
        chat = chat_of(server, letters=True)
        first = chat.ask([PROMPT], [image])
        second = chat.ask([PROMPT], [image[::-1].copy()])
    assert [answer.choice for answer in [*first, *second]] == [1, 1]
    assert ["logprobs" in sent for sent in server.seen] == [True, False, False], "tried once"


def test_letter_scores_take_letters_and_nothing_else() -> None:
    scores = letter_scores({"A": -1.0, "▁B": -2.0, "Ġ(C": -3.0, "AB": -0.1, "a": -0.1, "E": -0.1}, 4)
    assert scores == pytest.approx((-1.0, -2.0, -3.0, -3.0)), (
        "a letter that is not listed: at most the least likely"
    )
    assert letter_scores({"The": -0.1, "It": -2.0}, 2) == (-2.0, -2.0), "no letter: none leads"


def test_a_letter_that_is_no_likelier_than_an_unlisted_one_is_not_chosen(image: NDArray[np.uint8]) -> None:
    with serving(lambda _: completion("The", logprobs={"The": -0.1, "B": -4.0})) as server:
        (answer,) = chat_of(server, letters=True).ask([PROMPT], [image])
    assert (answer.choice, answer.kind) == (None, AnswerKind.UNPARSED)


def test_a_data_url_is_a_function_of_the_image_alone(image: NDArray[np.uint8]) -> None:
    assert data_url(image) == data_url(image.copy())
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert data_url(changed) != data_url(image)
