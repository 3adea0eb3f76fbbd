"""How likely a language model finds an answer: option letters, option texts, whole completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.answer_marks import opened_thought

if TYPE_CHECKING:
    from collections.abc import Sequence


class UnreadableLettersError(ValueError):
    """The tokenizer does not tell the option letters apart by a single token."""


def letter_tokens(
    tokenizer: Any, prompt: str, lead: str = "", *, needed: int = len(LETTERS)
) -> tuple[list[int], torch.Tensor]:
    """The tokens by which a model names the options after a prompt.

    Args:
        tokenizer: the model's tokenizer.
        prompt: the whole model input as text, up to where the model begins to write.
        lead: what the model is made to write before the letter.
        needed: how many letters, from A on.

    Returns:
        The tokens of `lead`, and [needed, S] token ids: the letters in each of the S spellings (with and without a
        space before) in which they are single tokens.

    Raises:
        UnreadableLettersError: no spelling gives that many different single tokens after the same context.
    """
    start = _tokens(tokenizer, prompt)
    leads: list[list[int]] = []
    spellings: list[list[int]] = []
    for space in ("", " "):
        written = [_tokens(tokenizer, prompt + lead + space + letter) for letter in LETTERS[:needed]]
        shared = _common_prefix(written)
        ids = [row[shared] for row in written if len(row) == shared + 1]
        if shared < len(start) or written[0][: len(start)] != start or len(set(ids)) != needed:
            continue
        if not leads or (leads[0] == written[0][len(start) : shared] and ids not in spellings):
            leads.append(written[0][len(start) : shared])
            spellings.append(ids)
    if not spellings:
        raise UnreadableLettersError(
            f"the tokenizer does not write the option letters A to {LETTERS[needed - 1]} as different tokens"
        )
    return leads[0], torch.tensor(spellings).T


def continuation_tokens(tokenizer: Any, prompt: str, text: str) -> list[int]:
    """Tokens of `text` as the model would write it after `prompt`.

    A space goes between the two unless the prompt ends with white space or a special token, as the model's own
    training text had it.
    """
    glued = prompt[-1:].isspace() or any(prompt.endswith(token) for token in tokenizer.all_special_tokens)
    start, whole = _tokens(tokenizer, prompt), _tokens(tokenizer, prompt + ("" if glued else " ") + text)
    return whole[len(start) :] if whole[: len(start)] == start else _tokens(tokenizer, text)


def token_log_likelihood(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-likelihood (nats) of each token.

    Args:
        logits: [R, N, V], the prediction of each token.
        tokens: [R, N] token ids.

    Returns:
        [R, N] float32.
    """
    return logits.float().log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def lead_of_reference(logits: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """How far the reference is ahead of its best rival; negative where a rival wins.

    Args:
        logits: [..., K].
        reference: [...] indices into K.

    Returns:
        [...] in the units of `logits`.
    """
    own = logits.gather(-1, reference.unsqueeze(-1))
    rivals = logits.scatter(-1, reference.unsqueeze(-1), -torch.inf)
    return own.squeeze(-1) - rivals.amax(-1)


def completion_tokens(tokenizer: Any, prompt: str, completion: str) -> list[int]:
    """Tokens of a completion as they follow its prompt."""
    completion = completion.removeprefix(opened_thought(prompt))
    start, whole = _tokens(tokenizer, prompt), _tokens(tokenizer, prompt + completion)
    return whole[len(start) :] if whole[: len(start)] == start else _tokens(tokenizer, completion)


def pad_right(
    rows: Sequence[Sequence[int]], fill: int, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows of unequal length as [R, N] ids, and [R, N] bool that tells tokens from padding."""
    longest = max((len(row) for row in rows), default=0)
    ids = torch.tensor(
        [[*row, *[fill] * (longest - len(row))] for row in rows], dtype=torch.long, device=device
    )
    lengths = torch.tensor([len(row) for row in rows], device=device)
    return ids.reshape(len(rows), longest), torch.arange(longest, device=device) < lengths.unsqueeze(1)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _common_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Number of leading elements that all rows share."""
    return next(
        (n for n, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), min(map(len, rows))
    )
