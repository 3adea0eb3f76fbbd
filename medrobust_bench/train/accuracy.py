"""How many validation questions a model in training answers right, in batches."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

import torch

from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.prompt import AnswerMode, parse_completion, prompt_text
from medrobust_bench.models.scoring import EMPTY_RATIONALE
from medrobust_bench.train.examples import open_images, render_prompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, ProcessorMixin

    from medrobust_bench.data.question import Question


@dataclass(frozen=True, slots=True)
class Choices:
    """Answers to a sequence of questions.

    Attributes:
        choices: index of the chosen option per question, None where the completion could not be parsed.
        completions: what was written; empty strings where letters were compared.
    """

    choices: tuple[int | None, ...]
    completions: tuple[str, ...]

    def accuracy(self, questions: Sequence[Question]) -> float:
        """Share of right answers in [0, 1]; an unparsable one is wrong."""
        right = [choice == question.answer for choice, question in zip(self.choices, questions, strict=True)]
        return sum(right) / len(right)


@torch.inference_mode()
def choose(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    questions: Sequence[Question],
    mode: AnswerMode,
    *,
    direct: bool = False,
    batch_size: int = 64,
    max_new_tokens: int = 128,
) -> Choices:
    """Answer questions greedily.

    Args:
        mode: `LETTER` compares the next-token logits of the letters; `REASONING` generates and parses.
        direct: reasoning only: compare the letters after a forced empty rationale instead of generating.
        batch_size: questions per forward pass, padded on the left.
        max_new_tokens: limit of a generated completion.
    """
    tokenizer = processor.tokenizer
    letters = torch.tensor([tokenizer(letter, add_special_tokens=False).input_ids[-1] for letter in LETTERS])
    # Of the vocabulary's logits only those that are compared: those of all positions take gigabytes.
    last_only = {"logits_to_keep": 1} if "logits_to_keep" in signature(model.forward).parameters else {}
    training = model.training
    model.eval()
    choices: list[int | None] = []
    completions: list[str] = []
    for start in range(0, len(questions), batch_size):
        chunk = questions[start : start + batch_size]
        prefix = EMPTY_RATIONALE if direct else ""
        inputs = processor(
            text=[render_prompt(processor, prompt_text(question, mode)) + prefix for question in chunk],
            images=open_images(chunk),
            padding=True,
            return_tensors="pt",
        ).to(model.device)
        if mode is AnswerMode.LETTER or direct:
            scores = model(**inputs, **last_only).logits[:, -1].cpu()[:, letters]
            choices += [
                int(row[: len(question.options)].argmax())
                for row, question in zip(scores, chunk, strict=True)
            ]
            completions += [""] * len(chunk)
        else:
            output = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)
            written = tokenizer.batch_decode(output[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
            choices += [
                parse_completion(text, len(question.options))
                for text, question in zip(written, chunk, strict=True)
            ]
            completions += written
    model.train(training)
    return Choices(tuple(choices), tuple(completions))
