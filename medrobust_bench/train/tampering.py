"""Training examples on images that somebody has tampered with, against the model as it now is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.image import canonical
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.train.examples import DESCRIBE_PROMPT
from medrobust_bench.train.inner_attack import InnerAttack, prompt_seed, stays_clean, with_noise
from medrobust_bench.train.validation import showing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.train.examples import Example
    from medrobust_bench.train.settings import AttackSettings, SftSettings


class Tampering:
    """Puts attacked and noisy images in the place of the examples' own (Madry et al. 2018; Cohen et al. 2019).

    The attack raises the negative log-likelihood of the completion that is taught, teacher-forced.

    Args:
        model: image-text-to-text model in training.
        processor: its processor.
        settings: attack, noise and seed.

    Raises:
        InvalidInputError: the model cannot be attacked.
    """

    def __init__(self, model: Any, processor: Any, settings: SftSettings) -> None:
        self._attack = None if settings.attack is None else _Attack(model, processor, settings)
        self._noise = settings.noise
        self._seed = settings.seed

    def __call__(self, examples: Sequence[Example], step: int) -> list[Example]:
        """The examples of a zero-based optimiser step, in their order; they depend on nothing else of their batch."""
        seeds = [prompt_seed(self._seed, example.question.id, step) for example in examples]
        images = [canonical(example.question.image) for example in examples]
        if self._attack is not None:
            images = self._attack(examples, images, seeds, step)
        if self._noise is not None:
            images = [with_noise(image, self._noise, seed) for image, seed in zip(images, seeds, strict=True)]
        return [
            replace(example, question=showing(example.question, image))
            for example, image in zip(examples, images, strict=True)
        ]


class _Attack:
    """The inner attack on examples of both prompts: the question, and the request for a description."""

    def __init__(self, model: Any, processor: Any, settings: SftSettings) -> None:
        assert settings.attack is not None
        self._settings: AttackSettings = settings.attack
        size = self._settings.batch_size
        answering = HuggingFaceVLM(model, processor, mode=settings.mode)
        prompt = chat_prompt(processor, DESCRIBE_PROMPT)
        describing = HuggingFaceVLM(model, processor, mode=AnswerMode.REASONING, prompt=prompt)
        self._inner = {
            False: InnerAttack(answering, loss=self._settings.loss, batch_size=size),
            True: InnerAttack(describing, loss="completion", batch_size=size),
        }

    def __call__(
        self, examples: Sequence[Example], images: Sequence[Any], seeds: Sequence[int], step: int
    ) -> list[Any]:
        found = list(images)
        spec = self._settings.at(step)
        if spec is None:
            return found
        chosen = [row for row, seed in enumerate(seeds) if not stays_clean(seed, self._settings.clean_share)]
        for describes, inner in self._inner.items():
            rows = [row for row in chosen if (examples[row].prompt == DESCRIBE_PROMPT) is describes]
            made = inner.perturb(
                [examples[row].question for row in rows],
                [images[row] for row in rows],
                spec=spec,
                seeds=[seeds[row] for row in rows],
                completions=[examples[row].completion for row in rows],
            )
            for row, one in zip(rows, made, strict=True):
                found[row] = one.image
        return found
