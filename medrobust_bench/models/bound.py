"""Questions bound to a Hugging Face model: from here on a function of pixels only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.adapter import Answer, Batch, CompletionLogits
from medrobust_bench.models.answer_marks import opened_thought
from medrobust_bench.models.memory import MemoryLimit
from medrobust_bench.models.non_finite import naming, refuse_non_finite
from medrobust_bench.models.read_answer import UNPARSED, Tier, kind_of
from medrobust_bench.models.scoring import (
    completion_tokens,
    lead_of_reference,
    pad_right,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.answers.strategy import OptionScorer
    from medrobust_bench.models.huggingface import HuggingFaceVLM
    from medrobust_bench.models.image_path import ImageCall


@dataclass(frozen=True, slots=True)
class CompletionCache:
    """What the deployed model wrote, as token ids; one for all selections of a bound batch.

    A batch that is bound anew has a new one, and so asks the model again. Rows are those of the batch first bound.

    Attributes:
        clean: by row, on the clean image.
        alone: by row and image, as the model writes it for that question alone.
        guess: by row, of the images last answered in company, what was written, for a claim that is to be confirmed.
    """

    clean: dict[int, list[int]] = field(default_factory=dict)
    alone: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)
    guess: dict[int, dict[bytes, list[int]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class HuggingFaceQuestions:
    """B questions as one left-padded batch.

    Attributes:
        adapter: the model.
        batch: see `BoundQuestions`.
        prompts: the rendered prompts.
        text: model inputs that do not depend on the pixels, each with B rows.
        per_token_inputs: what one more token adds to each of them that has a column per token, [B, 1, ...].
        image_inputs: names of the model inputs that come from the image processor.
        call: how the processor calls its image processor.
        scorer: scores the options.
        rows: which row of the batch first bound each question is.
        cache: of completions.
    """

    adapter: HuggingFaceVLM
    batch: Batch
    prompts: tuple[str, ...]
    text: dict[str, torch.Tensor]
    per_token_inputs: dict[str, torch.Tensor]
    image_inputs: frozenset[str]
    call: ImageCall
    scorer: OptionScorer
    rows: tuple[int, ...]
    cache: CompletionCache

    @classmethod
    def create(
        cls,
        adapter: HuggingFaceVLM,
        batch: Batch,
        prompts: Sequence[str],
        inputs: dict[str, Any],
        call: ImageCall,
    ) -> HuggingFaceQuestions:
        """Bind from what the processor made of the clean 8-bit images."""
        image_inputs = frozenset(inputs) & frozenset(call.outputs)
        text = adapter.place({name: value for name, value in inputs.items() if name not in image_inputs})
        return cls(
            adapter=adapter,
            batch=batch,
            prompts=tuple(prompts),
            text=text,
            per_token_inputs=adapter.per_token_inputs(text),
            image_inputs=image_inputs,
            call=call,
            scorer=adapter.strategy.scorer(adapter.tokenizer, prompts, batch.questions, adapter.device),
            rows=tuple(range(len(batch))),
            cache=CompletionCache(),
        )

    @property
    def generation(self) -> HuggingFaceGeneration | None:
        """See `BoundQuestions`."""
        return HuggingFaceGeneration(self) if self.adapter.strategy.generates else None

    def select(self, rows: Sequence[int]) -> HuggingFaceQuestions:
        """The bound batch of these rows only, in this order; repeated rows are allowed."""
        index = torch.tensor(rows, device=self.adapter.device)
        text = {name: value[index] for name, value in self.text.items()}
        padding = int((text["attention_mask"] == 0).cumprod(1).sum(1).amin())
        return replace(
            self,
            batch=self.batch.rows(rows),
            prompts=tuple(self.prompts[row] for row in rows),
            text={
                name: value[:, padding:] if name in self.per_token_inputs or name == "input_ids" else value
                for name, value in text.items()
            },
            per_token_inputs={name: value[index] for name, value in self.per_token_inputs.items()},
            scorer=self.scorer.select(rows),
            rows=tuple(self.rows[row] for row in rows),
        )

    def upcast(self) -> HuggingFaceQuestions | None:
        """See `HalfPrecision`; what is known of the clean images stays known."""
        precise = self.adapter.upcast()
        return None if precise is None else replace(self, adapter=precise)

    def afresh(self) -> HuggingFaceQuestions:
        """See `Remembering`."""
        return replace(self, cache=CompletionCache())

    def written(self) -> list[list[int] | None]:
        """See `Recalling`."""
        return [self.cache.clean.get(row) for row in self.rows]

    def recall(self, completions: Mapping[int, tuple[Sequence[int], str]]) -> None:
        """See `Recalling`."""
        for row, (tokens, text) in completions.items():
            if self.completion_text(row, tokens) == text:
                key = self.rows[row], _digest(self.batch.images[row])
                self.cache.clean[self.rows[row]] = self.cache.alone[key] = list(tokens)

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `BoundQuestions`; in parts where memory runs out, unless a gradient is to be taken through all of it."""
        if torch.is_grad_enabled() and pixels.requires_grad:
            return self._scores(pixels)
        each = MemoryLimit().run(
            lambda rows: (
                self.select(rows)._scores(pixels[rows[0] : rows[-1] + 1]).unbind()
                if len(rows) < len(self.rows)
                else self._scores(pixels).unbind()
            ),
            range(len(self.rows)),
        )
        return pad_sequence(each, batch_first=True, padding_value=-torch.inf)

    def _scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.scorer.scores(
            self, lambda rows: self.image_features(pixels if rows is None else pixels[rows])
        )

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        """See `BoundQuestions`."""
        deployed = replace(self, adapter=self.adapter.deployed)
        return deployed._answer_alone(images) if exact else deployed._answer_together(images)

    def _answer_alone(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        if self.adapter.strategy.generates:
            return self._read(self.completions(images))
        return [
            Answer(choice)
            for row, image in enumerate(images)
            for choice in self.select([row])._best_options([image])
        ]

    def _answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        if self.adapter.strategy.generates:
            return self._read(self._guesses(images))
        return MemoryLimit().run(
            lambda rows: [
                Answer(choice) for choice in self.select(rows)._best_options([images[row] for row in rows])
            ],
            range(len(images)),
        )

    def _best_options(self, images: Sequence[NDArray[np.uint8]]) -> list[int]:
        """The options of highest score on 8-bit images."""
        every = range(len(images))
        with torch.inference_mode():
            scores = self.scorer.scores(self, lambda rows: self._official_features(images, rows or every))
        best: list[int] = scores.argmax(1).tolist()
        return best

    def _read(self, completions: Sequence[Sequence[int]]) -> list[Answer]:
        return [self._read_one(row, tokens) for row, tokens in enumerate(completions)]

    def _read_one(self, row: int, tokens: Sequence[int]) -> Answer:
        text = self.completion_text(row, tokens)
        read = self.adapter.strategy.read(text, self.batch.questions[row].options)
        # A whole answer of the strict format has nothing more to come.
        truncated = self.adapter.is_truncated(tokens) and read.tier is not Tier.STRICT
        read = UNPARSED if truncated else read
        return Answer(read.choice, text, tier=read.tier, kind=kind_of(read, text, truncated=truncated))

    def completion_text(self, row: int, tokens: Sequence[int]) -> str:
        """What a completion says, what the prompt began for it included."""
        text = self.adapter.decode(tokens)
        return opened_thought(self.prompts[row]) + text

    def image_features(self, pixels: torch.Tensor, *, eight_bit: bool = True) -> dict[str, Any]:
        """The model inputs that come from the image, as a function of pixels [B, 3, H, W] in [0, 1].

        Args:
            pixels: [B, 3, H, W] float in [0, 1].
            eight_bit: imitate the official 8-bit resize; without, the path is smooth.
        """
        returned = self.call.replay(self.adapter.processor.image_processor, pixels, eight_bit=eight_bit)
        return {name: torch.as_tensor(value) for name, value in returned.items() if name in self.image_inputs}

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """See `TextBatch`."""
        return pad_right(rows, self.adapter.tokenizer.pad_token_id, self.adapter.device)

    def next_token_logits(self, features: dict[str, Any]) -> torch.Tensor:
        """Logits [B, V] of the token after the prompt.

        Raises:
            NonFiniteLogitsError: naming the questions for which they are no numbers.
        """
        logits = self.adapter.logits({**self.text, **features}, keep=1)[:, -1]
        refuse_non_finite(logits, self.batch.questions)
        return logits

    def continuation_logits(
        self, features: dict[str, Any], tokens: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Logits [B, N + 1, V] of each of N tokens after the prompt (padded right), and of the token after them.

        Raises:
            NonFiniteLogitsError: naming the questions for which they are no numbers.
        """
        inputs = dict(self.text)
        for name, column in self.per_token_inputs.items():
            added = column.expand(-1, tokens.shape[1], *column.shape[2:])
            inputs[name] = torch.cat([inputs[name], added], dim=1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
        inputs["attention_mask"][:, -tokens.shape[1] :] *= real
        inputs.update(features)
        logits = self.adapter.logits(inputs, keep=tokens.shape[1] + 1)
        refuse_non_finite(
            logits, self.batch.questions, torch.cat([torch.ones_like(real[:, :1]), real], dim=1)
        )
        return logits

    def completion_logits(
        self, features: dict[str, Any], completions: Sequence[Sequence[int]]
    ) -> CompletionLogits:
        """Score B completions all at once, as generation would have scored them token by token."""
        tokens, real = self.pad(completions)
        logits = self.continuation_logits(features, tokens, real)[:, :-1].float()
        forbidden = torch.tensor(self.adapter.forbidden_tokens, dtype=torch.long, device=logits.device)
        return CompletionLogits(tokens, real, logits.index_fill(-1, forbidden, -torch.inf))

    def completions(self, images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """The greedy completions on 8-bit images, each as the model writes it for that question alone.

        Token by token, one question at a time, they took three quarters of a run of a tiny model. So nothing is
        generated twice, and a completion is guessed and confirmed: the guess is what was written about this image in
        company, or about the clean image, or else what the model writes for all of the batch at once. Only what is
        not confirmed is generated alone.
        """
        known: dict[int, list[int]] = {}
        keys = [(self.rows[row], _digest(image)) for row, image in enumerate(images)]
        for row, key in enumerate(keys):
            if key in self.cache.alone:
                known[row] = self.cache.alone[key]
            elif (guess := self._confirmed_guess(row, images[row], key)) is not None:
                known[row] = guess
        rest = [row for row in range(len(images)) if row not in known]
        new = [row for row in rest if self._guess(keys[row]) is None]
        if len(new) > 1 and self.adapter.batchable and self._exact:
            for row, guess in zip(new, self._write_together(new, images), strict=True):
                if self._confirms(row, images[row], guess):
                    known[row] = guess
        for row in rest:
            if row not in known:
                known[row] = self._write_alone(row, images[row])
        for row, key in enumerate(keys):
            self.cache.alone[key] = known[row]
            if np.array_equal(images[row], self.batch.images[row]):
                self.cache.clean.setdefault(self.rows[row], known[row])
        return [known[row] for row in range(len(images))]

    def _confirmed_guess(
        self, row: int, image: NDArray[np.uint8], key: tuple[int, bytes]
    ) -> list[int] | None:
        """What was written about this image in company, or about the clean one, if greedy decoding writes it alone."""
        guesses = self._guess(key), self.cache.clean.get(key[0])
        return next((guess for guess in guesses if guess and self._confirms(row, image, guess)), None)

    def _guess(self, key: tuple[int, bytes]) -> list[int] | None:
        row, image = key
        return self.cache.guess.get(row, {}).get(image)

    def _guesses(self, images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """The greedy completions, written for all questions at once; what is known to be written alone stays so."""
        keys = [(self.rows[row], _digest(image)) for row, image in enumerate(images)]
        rest = [row for row, key in enumerate(keys) if key not in self.cache.alone]
        if len(rest) == 1:  # in no company
            (row,) = rest
            self.cache.alone[keys[row]] = self._write_alone(row, images[row])
            rest = []
        written = dict(zip(rest, self._write_together(rest, images), strict=True))
        self.cache.guess.update({keys[row][0]: {} for row in rest})
        for row, tokens in written.items():
            of_row, image = keys[row]
            self.cache.guess[of_row][image] = tokens
        return [written[row] if row in written else self.cache.alone[key] for row, key in enumerate(keys)]

    def _write_alone(self, row: int, image: NDArray[np.uint8]) -> list[int]:
        with naming(self.batch.questions[row : row + 1]):
            return self.adapter.complete(self.prompts[row], image)

    def _write_together(self, rows: Sequence[int], images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """What the model writes for these rows at once, in parts where memory runs out."""

        def write(part: Sequence[int]) -> list[list[int]]:
            with naming([self.batch.questions[row] for row in part]):
                return self.adapter.complete_batch(
                    [self.prompts[row] for row in part], [images[row] for row in part]
                )

        return MemoryLimit().run(write, rows)

    def _confirms(self, row: int, image: NDArray[np.uint8], completion: list[int]) -> bool:
        """Whether greedy decoding would write this completion, by one forward pass on the question alone.

        It would where every token is ahead of its rivals. Half precision is too coarse to tell: step by step and all at
        once, it may round to different tokens.
        """
        if not self._exact:
            return False
        alone = self.select([row])
        with torch.inference_mode():
            scored = alone.completion_logits(alone._official_features([image], [0]), [completion])
        return bool(lead_of_reference(scored.logits, scored.tokens).amin() > self.batch.tolerance)

    @property
    def _exact(self) -> bool:
        return self.adapter.dtype.itemsize >= torch.float32.itemsize

    def _official_features(self, images: Sequence[NDArray[np.uint8]], rows: Sequence[int]) -> dict[str, Any]:
        """What the unmodified processor makes of the 8-bit images of these rows."""
        official = self.adapter.process([self.prompts[row] for row in rows], [images[row] for row in rows])
        return {name: official[name] for name in self.image_inputs}


@dataclass(frozen=True, slots=True)
class HuggingFaceGeneration:
    """See `Generation`.

    Attributes:
        bound: whose completions are scored.
    """

    bound: HuggingFaceQuestions

    def clean(self) -> list[list[int]]:
        """See `Generation`; generated on first use."""
        bound = self.bound
        if any(row not in bound.cache.clean for row in bound.rows):
            replace(bound, adapter=bound.adapter.deployed).completions(bound.batch.images)
        return [bound.cache.clean[row] for row in bound.rows]

    def tokens(self, row: int, completion: str) -> list[int]:
        """See `Generation`."""
        return completion_tokens(self.bound.adapter.tokenizer, self.bound.prompts[row], completion)

    def text(self, row: int, tokens: Sequence[int]) -> str:
        """See `Generation`."""
        return self.bound.completion_text(row, tokens)

    def rewrite(self, row: int, completion: str, option: int, *, words: bool) -> str:
        """See `Generation`."""
        question = self.bound.batch.questions[row]
        return self.bound.adapter.strategy.rewrite(
            completion, question.options, question.answer, option, words=words
        )

    def logits(self, pixels: torch.Tensor, completions: Sequence[Sequence[int]]) -> CompletionLogits:
        """See `Generation`."""
        return self.bound.completion_logits(self.bound.image_features(pixels), completions)


def _digest(image: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(image.data if image.flags.c_contiguous else image.tobytes()).digest()


def tie_of(dtype: torch.dtype) -> float:
    """Below this lead (in logits) float path and 8-bit path, batch and single question, may pick differently."""
    return 0.02 if dtype in (torch.float32, torch.float64) else 0.3
