"""Letters, texts and completions are scored by the tokens that the model would write."""

from __future__ import annotations

import math
import re
from types import SimpleNamespace

import pytest
import torch

from medrobust_bench.data.question import LETTERS, Question
from medrobust_bench.models.answers.letter import LetterScorer, letter_scorer
from medrobust_bench.models.scoring import (
    UnreadableLettersError,
    continuation_tokens,
    lead_of_reference,
    letter_tokens,
    pad_right,
    token_log_likelihood,
)
from medrobust_bench.specs.vocabulary import Modality, QuestionType


class Pieces:
    """A tokenizer that takes the longest known piece at each place, single characters otherwise."""

    all_special_tokens = ("<end>",)

    def __init__(self, *pieces: str) -> None:
        self.pieces = sorted(pieces, key=len, reverse=True)

    def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        ids = []
        while text:
            piece = next((piece for piece in self.pieces if text.startswith(piece)), text[0])
            ids.append(self.id(piece))
            text = text[len(piece) :]
        return {"input_ids": ids}

    @staticmethod
    def id(piece: str) -> int:
        return int.from_bytes(piece.encode(), "big")


def ids(*pieces: str) -> list[int]:
    return [Pieces.id(piece) for piece in pieces]


def test_letters_in_both_spellings() -> None:
    lead, letters = letter_tokens(Pieces(*(f" {letter}" for letter in LETTERS)), "Answer:")
    assert lead == []
    assert letters.tolist() == [ids(letter, f" {letter}") for letter in LETTERS]


def test_a_space_of_its_own_is_no_spelling() -> None:
    lead, letters = letter_tokens(Pieces(), "Answer:")
    assert lead == []
    assert letters.tolist() == [ids(letter) for letter in LETTERS]


def test_only_the_spaced_spelling() -> None:
    glued = [f":{letter}" for letter in LETTERS]  # the prompt's last character would melt with the letter
    _, letters = letter_tokens(Pieces(*glued, *(f" {letter}" for letter in LETTERS)), "Answer:")
    assert letters.tolist() == [ids(f" {letter}") for letter in LETTERS]


def test_lead_ends_where_the_letters_differ() -> None:
    pieces = ["<answer", *(f">{letter}" for letter in LETTERS)]
    lead, letters = letter_tokens(Pieces(*pieces), "assistant\n", "<answer>")
    assert lead == ids("<answer")
    assert letters.tolist() == [ids(f">{letter}") for letter in LETTERS]


def test_letters_of_several_tokens_are_refused() -> None:
    class Bytes(Pieces):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [bit for byte in text.encode() for bit in (byte >> 4, byte & 15)]}

    words = Bytes()
    words_ids, letters = letter_tokens(words, "Answer:")
    assert (words_ids, letters.flatten().tolist()) == ([4], list(range(1, 11))), (
        "a shared first half is a lead"
    )

    class Same(Pieces):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [0] * len(text)}

    with pytest.raises(UnreadableLettersError):
        letter_tokens(Same(), "Answer:")


@pytest.mark.parametrize(("prompt", "expected"), [("Q:", " yes"), ("Q:\n", "yes"), ("Q<end>", "yes")])
def test_option_text_follows_the_prompt_as_written_text_would(prompt: str, expected: str) -> None:
    assert continuation_tokens(Pieces("<end>"), prompt, "yes") == ids(*expected)


def test_as_many_letters_as_are_needed() -> None:
    class FiveLetters(Pieces):
        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return super().__call__(re.sub("[F-J]", "?", text), add_special_tokens)

    _, letters = letter_tokens(Pieces(), "answer:")
    assert letters.flatten().tolist() == ids(*"ABCDEFGHIJ")
    _, letters = letter_tokens(FiveLetters(), "answer:", needed=5)
    assert letters.flatten().tolist() == ids(*"ABCDE")
    with pytest.raises(UnreadableLettersError, match="A to J"):
        letter_tokens(FiveLetters(), "answer:")


def test_letters_of_a_question_do_not_depend_on_its_company() -> None:
    """A spelling that only the first five letters have is used for questions that need no more."""
    tokenizer = Pieces(" A", " B", " C", " D", " E")
    few, many = (
        Question(f"{n}", None, "?", tuple("abcdefghij"[:n]), 0, Modality.CT, QuestionType.ANATOMY, "d")
        for n in (2, 7)
    )

    class Text:
        def next_token_logits(self, features: object) -> torch.Tensor:
            return logits

    logits = torch.randn(1, 1 << 14, generator=torch.Generator().manual_seed(0))
    alone = letter_scorer(tokenizer, "answer:", [few], torch.device("cpu"), "")
    both = letter_scorer(tokenizer, "answer:", [many, few], torch.device("cpu"), "")
    expected = alone.scores(Text(), lambda rows: {})
    assert expected.shape == (1, 2)
    logits = logits.expand(2, -1)
    scores = both.scores(Text(), lambda rows: {})
    assert torch.equal(scores[1, :2], expected[0])
    assert scores.isfinite().sum(1).tolist() == [7, 2]
    logits = logits[:1]
    assert torch.equal(both.select([1]).scores(Text(), lambda rows: {}), expected)


def test_spellings_of_a_letter_add_their_probabilities() -> None:
    probabilities = torch.tensor([[0.1, 0.2, 0.3, 0.05, 0.15, 0.2]])
    letters = torch.tensor([[[0, 1], [2, 3]]])
    scorer = LetterScorer(((),), letters, torch.ones_like(letters, dtype=torch.bool))
    scores = scorer.scores(
        SimpleNamespace(next_token_logits=lambda features: probabilities.log()), lambda rows: {}
    )
    torch.testing.assert_close(scores.exp(), torch.tensor([[0.3, 0.35]]))


def test_token_log_likelihood_is_in_nats() -> None:
    logits = torch.tensor([[[0.0, 0.0], [math.log(3.0), 0.0]]])
    expected = torch.tensor([[math.log(1 / 2), math.log(3 / 4)]])
    torch.testing.assert_close(token_log_likelihood(logits, torch.tensor([[1, 0]])), expected)


def test_lead_of_reference() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, -torch.inf]])
    assert lead_of_reference(logits, torch.tensor([1, 0])).tolist() == [2.0, -3.0]


def test_pad_right() -> None:
    tokens, real = pad_right([[5, 6, 7], [8]], 0, torch.device("cpu"))
    assert tokens.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert real.tolist() == [[True, True, True], [True, False, False]]
