"""Questions bound to a Hugging Face model: from here on a function of pixels only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from medrobust_bench.models.adapter import Answer, Focus, ReferenceLoss, RivalLeads
from medrobust_bench.models.completion import THINK, completion_tokens, opens_rationale, part, say_instead
from medrobust_bench.models.prompt import AnswerMode, parse_completion
from medrobust_bench.models.scoring import (
    EMPTY_RATIONALE,
    continuation_tokens,
    lead_of_reference,
    letter_tokens,
    pad_right,
    score_letters,
    token_log_likelihood,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.completion import Parting
    from medrobust_bench.models.huggingface import HuggingFaceVLM
    from medrobust_bench.models.image_path import ImageCall


@dataclass(eq=False)
class HuggingFaceQuestions:
    """B questions as one left-padded batch.

    Attributes:
        adapter: the model.
        questions: the questions.
        images: the clean canonical images, B arrays uint8 [H, W, 3].
        prompts: the rendered prompts.
        text: model inputs that do not depend on the pixels, each with B rows.
        growth: what one more token adds to each of them that has a column per token, [B, 1, ...].
        image_inputs: names of the model inputs that come from the image processor.
        call: how the processor calls its image processor.
        lead: tokens that stand between the prompt and the answer letter.
        letters: [5, S] token ids of the option letters (see `scoring.letter_tokens`); None in option-text mode.
        option_texts: per question and option the tokens of the option text; empty in the other modes.
        references: completions on the clean images by row of the batch first bound, shared by all selections.
        rows: which row of that batch each question is.
        partings: where completions that mean other options part from a completion, shared in the same way.
    """

    adapter: HuggingFaceVLM
    questions: tuple[Question, ...]
    images: list[NDArray[np.uint8]]
    prompts: tuple[str, ...]
    text: dict[str, torch.Tensor]
    growth: dict[str, torch.Tensor]
    image_inputs: frozenset[str]
    call: ImageCall
    lead: tuple[int, ...]
    letters: torch.Tensor | None
    option_texts: tuple[tuple[tuple[int, ...], ...], ...]
    rows: tuple[int, ...]
    references: dict[int, list[int]] = field(default_factory=dict)
    partings: dict[tuple[int, tuple[int, ...], int, Focus], dict[int, Parting]] = field(default_factory=dict)

    @classmethod
    def create(
        cls,
        adapter: HuggingFaceVLM,
        questions: tuple[Question, ...],
        images: list[NDArray[np.uint8]],
        prompts: Sequence[str],
        inputs: dict[str, Any],
        call: ImageCall,
    ) -> HuggingFaceQuestions:
        """Bind from what the processor made of the clean 8-bit images."""
        image_inputs = frozenset(inputs) & frozenset(call.outputs)
        text = adapter.place({name: value for name, value in inputs.items() if name not in image_inputs})
        lead: list[int] = []
        letters = None
        option_texts: tuple[tuple[tuple[int, ...], ...], ...] = ()
        if adapter.mode is AnswerMode.OPTION_TEXT:
            option_texts = tuple(
                tuple(
                    tuple(continuation_tokens(adapter.tokenizer, prompt, option))
                    for option in question.options
                )
                for question, prompt in zip(questions, prompts, strict=True)
            )
        else:
            bridge = "" if adapter.mode is AnswerMode.LETTER else EMPTY_RATIONALE
            if opens_rationale(prompts[0]):
                bridge = bridge.removeprefix(THINK)
            lead, letters = letter_tokens(adapter.tokenizer, prompts[0], bridge)
            letters = letters.to(adapter.device)
        return cls(
            adapter=adapter,
            questions=questions,
            images=images,
            prompts=tuple(prompts),
            text=text,
            growth=adapter.growth(text),
            image_inputs=image_inputs,
            call=call,
            lead=tuple(lead),
            letters=letters,
            option_texts=option_texts,
            rows=tuple(range(len(questions))),
        )

    def select(self, rows: Sequence[int]) -> HuggingFaceQuestions:
        """The bound batch of these rows only, in this order; repeated rows are allowed."""
        index = torch.tensor(rows, device=self.adapter.device)
        text = {name: value[index] for name, value in self.text.items()}
        padding = int((text["attention_mask"] == 0).cumprod(1).sum(1).amin())
        return replace(
            self,
            questions=tuple(self.questions[row] for row in rows),
            images=[self.images[row] for row in rows],
            prompts=tuple(self.prompts[row] for row in rows),
            text={
                name: value[:, padding:] if name in self.growth or name == "input_ids" else value
                for name, value in text.items()
            },
            growth={name: value[index] for name, value in self.growth.items()},
            option_texts=tuple(self.option_texts[row] for row in rows) if self.option_texts else (),
            rows=tuple(self.rows[row] for row in rows),
        )

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.adapter.device

    @property
    def generates(self) -> bool:
        """Whether the model reasons before it answers."""
        return self.adapter.mode is AnswerMode.REASONING

    def option_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Scores [B, K] of the options as a function of pixels [B, 3, H, W] in [0, 1]; see `BoundQuestions`."""
        if self.letters is not None:
            return self._letter_scores(self.image_features(pixels))
        return self._option_text_scores(self.image_features(pixels[self._option_rows()]))

    def reference_loss(self, pixels: torch.Tensor, answers: Sequence[int]) -> ReferenceLoss:
        """Negative log-likelihood of the reference answers; see `BoundQuestions`."""
        tie = tie_of(self.adapter.deployed.dtype)
        if self.adapter.mode is not AnswerMode.REASONING:
            scores = self.option_logits(pixels)
            reference = torch.tensor(answers, device=scores.device)
            nll = cross_entropy(scores, reference, reduction="none")
            lead = lead_of_reference(scores.detach(), reference)
            return ReferenceLoss(nll=nll, doubt=lead < tie, left=lead < 0)
        tokens, real, logits = self.completion_logits(self.image_features(pixels), self._reference_tokens())
        nll = -(token_log_likelihood(logits, tokens).masked_fill(~real, 0.0)).sum(-1)
        lead = lead_of_reference(logits.detach(), tokens).masked_fill(~real, torch.inf).amin(-1)
        return ReferenceLoss(nll=nll, doubt=lead < tie, left=lead < 0)

    def rival_leads(
        self,
        pixels: torch.Tensor,
        answers: Sequence[int],
        *,
        focus: Focus = Focus.WORDS,
        said: Sequence[str] = (),
    ) -> RivalLeads:
        """How far the wrong options are ahead; see `BoundQuestions`."""
        tie = tie_of(self.adapter.deployed.dtype)
        if self.adapter.mode is not AnswerMode.REASONING:
            scores = self.option_logits(pixels)
            reference = torch.tensor(answers, device=scores.device)
            leads = scores - scores.gather(1, reference.unsqueeze(1))
            leads = leads.scatter(1, reference.unsqueeze(1), -torch.inf)
            lead = lead_of_reference(scores.detach(), reference)
            return RivalLeads(leads=leads, doubt=lead < tie, left=lead < 0)
        texts = said if focus is Focus.RESAMPLED and said else [""] * len(answers)
        spoken = [self._spoken(row, text) for row, text in enumerate(texts)]
        tokens, real, logits = self.completion_logits(self.image_features(pixels), spoken)
        lead = lead_of_reference(logits.detach(), tokens).masked_fill(~real, torch.inf).amin(-1)
        by_row = [
            self._leads(row, logits[row], spoken[row], answer, focus) for row, answer in enumerate(answers)
        ]
        return RivalLeads(
            leads=pad_sequence(by_row, batch_first=True, padding_value=-torch.inf),
            doubt=lead < tie,
            left=lead < 0,
        )

    def answer(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """The deployed path, one question at a time; see `BoundQuestions`."""
        deployed = replace(self, adapter=self.adapter.deployed)
        if self.adapter.mode is AnswerMode.REASONING:
            return deployed._parsed(deployed._completions(images))
        return [Answer(choice=deployed._choice(row, image)) for row, image in enumerate(images)]

    def answer_together(self, images: Sequence[NDArray[np.uint8]]) -> list[Answer]:
        """All images in one batch where text is generated; see `BoundQuestions`."""
        if self.adapter.mode is not AnswerMode.REASONING or not self.adapter.batchable:
            return self.answer(images)
        return self._parsed(self.adapter.complete_batch(self.prompts, images))

    def image_features(self, pixels: torch.Tensor, *, eight_bit: bool = True) -> dict[str, Any]:
        """The model inputs that come from the image, as a function of pixels [B, 3, H, W] in [0, 1].

        Args:
            pixels: [B, 3, H, W] float in [0, 1].
            eight_bit: imitate the official 8-bit resize; without, the path is smooth.
        """
        returned = self.call.replay(self.adapter.processor.image_processor, pixels, eight_bit=eight_bit)
        return {name: torch.as_tensor(value) for name, value in returned.items() if name in self.image_inputs}

    def next_token_logits(self, features: dict[str, Any]) -> torch.Tensor:
        """Logits [B, V] of the token after the prompt."""
        return self.adapter.logits({**self.text, **features}, keep=1)[:, -1]

    def completion_logits(
        self, features: dict[str, Any], completions: Sequence[Sequence[int]]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Score completions all at once, as generation would have scored them token by token.

        Args:
            features: image inputs of B images.
            completions: B rows of token ids.

        Returns:
            Token ids [B, N] padded right, [B, N] bool that tells them from padding, and float32 logits [B, N, V].
        """
        tokens, real = pad_right(completions, self.adapter.tokenizer.pad_token_id, self.adapter.device)
        logits = self._continuation_logits(features, tokens, real)[:, :-1].float()
        forbidden = torch.tensor(self.adapter.forbidden_tokens, dtype=torch.long, device=logits.device)
        return tokens, real, logits.index_fill(-1, forbidden, -torch.inf)

    def _choice(self, row: int, image: NDArray[np.uint8]) -> int:
        """The option of highest score on one 8-bit image."""
        alone = self.select([row])
        with torch.inference_mode():
            if self.letters is not None:
                scores = alone._letter_scores(alone._official_features(image, copies=1))
            else:
                scores = alone._option_text_scores(
                    alone._official_features(image, len(self.questions[row].options))
                )
        return int(scores[0].argmax())

    def _parsed(self, completions: Sequence[Sequence[int]]) -> list[Answer]:
        texts = [self._completion_text(row, tokens) for row, tokens in enumerate(completions)]
        counts = [len(question.options) for question in self.questions]
        return [
            Answer(choice=parse_completion(text, count), text=text)
            for text, count in zip(texts, counts, strict=True)
        ]

    def _completions(self, images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """The greedy completions on 8-bit images, each as the model writes it for that question alone.

        Token by token, one question at a time, they took three quarters of a run of a tiny model. So a completion is
        guessed and confirmed: the guess is that of the clean image, or else what the model writes for all of
        the batch at once. Only what is not confirmed is generated alone.
        """
        known: dict[int, list[int]] = {}
        for row, image in enumerate(images):
            reference = self.references.get(self.rows[row])
            if reference is not None and (
                np.array_equal(image, self.images[row]) or self._confirms(row, image, reference)
            ):
                known[row] = reference
        rest = [row for row in range(len(images)) if row not in known]
        for row, guess in zip(rest, self._guesses(rest, images), strict=True):
            confirmed = bool(guess) and self._confirms(row, images[row], guess)
            known[row] = guess if confirmed else self.adapter.complete(self.prompts[row], images[row])
            if np.array_equal(images[row], self.images[row]):
                self.references.setdefault(self.rows[row], known[row])
        return [known[row] for row in range(len(images))]

    def _guesses(self, rows: Sequence[int], images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """What the model writes for these rows at once, in parts where memory runs out; empty where of no use."""
        if len(rows) < 2 or not self.adapter.batchable or not self._exact:
            return [[]] * len(rows)
        try:
            return self.adapter.complete_batch(
                [self.prompts[row] for row in rows], [images[row] for row in rows]
            )
        except torch.OutOfMemoryError:
            half = len(rows) // 2
            return [*self._guesses(rows[:half], images), *self._guesses(rows[half:], images)]

    def _confirms(self, row: int, image: NDArray[np.uint8], completion: list[int]) -> bool:
        """Whether greedy decoding would write this completion, by one forward pass on the question alone.

        It would where every token is ahead of its rivals. Half precision is too coarse to tell: step by step and all at
        once, it may round to different tokens.
        """
        if not self._exact:
            return False
        alone = self.select([row])
        with torch.inference_mode():
            features = alone._official_features(image, copies=1)
            tokens, _, logits = alone.completion_logits(features, [completion])
        return bool(lead_of_reference(logits, tokens).amin() > tie_of(self.adapter.dtype))

    @property
    def _exact(self) -> bool:
        return self.adapter.dtype.itemsize >= torch.float32.itemsize

    def _official_features(self, image: NDArray[np.uint8], copies: int) -> dict[str, Any]:
        """What the unmodified processor makes of one 8-bit image of a batch of one, several times over."""
        official = self.adapter.process(self.prompts * copies, [image] * copies)
        return {name: official[name] for name in self.image_inputs}

    def _letter_scores(self, features: dict[str, Any]) -> torch.Tensor:
        assert self.letters is not None
        if self.lead:
            lead = torch.tensor(self.lead, device=self.adapter.device).expand(len(self.questions), -1)
            logits = self._continuation_logits(features, lead, torch.ones_like(lead, dtype=torch.bool))[:, -1]
        else:
            logits = self.next_token_logits(features)
        counts = torch.tensor([len(question.options) for question in self.questions], device=logits.device)
        columns = torch.arange(int(counts.max()), device=logits.device)
        scores = score_letters(logits, self.letters)[:, : len(columns)]
        return scores.masked_fill(columns >= counts.unsqueeze(1), -torch.inf)

    def _option_text_scores(self, features: dict[str, Any]) -> torch.Tensor:
        """Mean log-likelihood per token [B, K] of the option texts in one forward pass.

        Args:
            features: image inputs with one image per option of every question, see `_option_rows`.
        """
        texts = [text for options in self.option_texts for text in options]
        tokens, real = pad_right(texts, self.adapter.tokenizer.pad_token_id, self.adapter.device)
        every_option = self.select(self._option_rows())
        logits = every_option._continuation_logits(features, tokens, real)[:, :-1]
        likelihood = token_log_likelihood(logits, tokens).masked_fill(~real, 0.0).sum(1) / real.sum(1)
        counts = [len(options) for options in self.option_texts]
        return pad_sequence(list(torch.split(likelihood, counts)), batch_first=True, padding_value=-torch.inf)

    def _option_rows(self) -> list[int]:
        """For every option of every question, the question's row."""
        return [row for row, options in enumerate(self.option_texts) for _ in options]

    def _continuation_logits(
        self, features: dict[str, Any], tokens: torch.Tensor, real: torch.Tensor
    ) -> torch.Tensor:
        """Logits [B, N + 1, V] of each of N tokens after the prompt (right-padded), and of the token after them."""
        inputs = dict(self.text)
        for name, column in self.growth.items():
            added = column.expand(-1, tokens.shape[1], *column.shape[2:])
            inputs[name] = torch.cat([inputs[name], added], dim=1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tokens], dim=1)
        inputs["attention_mask"][:, -tokens.shape[1] :] *= real
        inputs.update(features)
        return self.adapter.logits(inputs, keep=tokens.shape[1] + 1)

    def _spoken(self, row: int, text: str) -> list[int]:
        """The tokens of what the model wrote; without `text` those of its completion on the clean image."""
        if not text:
            return self._reference(row)
        return completion_tokens(self.adapter.tokenizer, self.prompts[row], text)

    def _leads(
        self, row: int, logits: torch.Tensor, spoken: Sequence[int], answer: int, focus: Focus
    ) -> torch.Tensor:
        """Lead [K] of each option where a completion that means it parts from what was spoken.

        Args:
            logits: [N, V] that predict the N tokens of `spoken`.
        """
        leads = [logits.new_full((), -torch.inf)] * len(self.questions[row].options)
        for other, parting in self._partings(row, spoken, answer, focus).items():
            leads[other] = logits[parting.position, parting.rival] - logits[parting.position, parting.spoken]
        return torch.stack(leads)

    def _partings(self, row: int, spoken: Sequence[int], answer: int, focus: Focus) -> dict[int, Parting]:
        """By wrong option, where a completion that means it parts from what was spoken; found on first use."""
        key = (self.rows[row], tuple(spoken), answer, focus)
        if key not in self.partings:
            options, text = self.questions[row].options, self._completion_text(row, spoken)
            found = {}
            for other in set(range(len(options))) - {answer}:
                instead = say_instead(text, options, answer, other, words=focus is Focus.WORDS)
                rival = completion_tokens(self.adapter.tokenizer, self.prompts[row], instead)
                if parting := part(spoken, rival):
                    found[other] = parting
            self.partings[key] = found
        return self.partings[key]

    def _reference_tokens(self) -> list[list[int]]:
        return [self._reference(row) for row in range(len(self.rows))]

    def _reference(self, row: int) -> list[int]:
        """The completion on the clean image, generated on first use."""
        if self.rows[row] not in self.references:
            replace(self, adapter=self.adapter.deployed)._completions(self.images)
        return self.references[self.rows[row]]

    def _completion_text(self, row: int, tokens: Sequence[int]) -> str:
        text = self.adapter.decode(tokens)
        return THINK + text if opens_rationale(self.prompts[row]) else text


def tie_of(dtype: torch.dtype) -> float:
    """Below this lead (in logits) float path and 8-bit path, batch and single question, may pick differently."""
    return 0.02 if dtype in (torch.float32, torch.float64) else 0.3
