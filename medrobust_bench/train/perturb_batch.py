"""Augmented, attacked and noisy images in the place of the examples' own, against the model as it now is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.image import canonical
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode, chat_prompt
from medrobust_bench.train.augmentation import augmented
from medrobust_bench.train.examples import DESCRIBE_PROMPT
from medrobust_bench.train.inner_attack import InnerAttack, prompt_seed, stays_clean, with_noise
from medrobust_bench.train.validation import showing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.train.examples import Example
    from medrobust_bench.train.settings import SftSettings


class BatchPerturbation:
    """Augmentation, inner attack and noise of a recipe (Madry et al. 2018; Cohen et al. 2019) on training examples.

    The attack raises the negative log-likelihood of the completion that is taught, teacher-forced, with the model in
    evaluation mode. What becomes of an image depends on recipe, question, optimiser step and weights; not on its
    place in the batch, on its company or on the process.

    Args:
        model: image-text-to-text model in training, on its device.
        processor: its processor.
        settings: attack, noise and seed.

    Raises:
        InvalidInputError: the model cannot be attacked.
    """

    def __init__(self, model: Any, processor: Any, settings: SftSettings) -> None:
        self._settings = settings
        self._inner: dict[bool, InnerAttack] = {}  # by whether a description is asked for, or an answer
        if settings.attack is not None:
            size, mixture = settings.attack.batch_size, settings.attack.mixture
            answering = HuggingFaceVLM(model, processor, mode=settings.mode)
            prompt = chat_prompt(processor, DESCRIBE_PROMPT)
            describing = HuggingFaceVLM(model, processor, mode=AnswerMode.REASONING, prompt=prompt)
            self._inner = {
                False: InnerAttack(answering, loss=settings.attack.loss, batch_size=size, mixture=mixture),
                True: InnerAttack(describing, loss="completion", batch_size=size, mixture=mixture),
            }

    def __call__(self, examples: Sequence[Example], step: int) -> list[Example]:
        """The examples of a zero-based optimiser step with other images, in their order."""
        seeds = [prompt_seed(self._settings.seed, example.question.id, step) for example in examples]
        images = [canonical(example.question.image) for example in examples]
        augmentation = self._settings.augmentation
        if augmentation is not None:
            images = [
                augmented(image, augmentation, seed, question=example.question)
                for example, image, seed in zip(examples, images, seeds, strict=True)
            ]
        self._attack(examples, images, seeds, step)
        noise = self._settings.noise
        if noise is not None:
            images = [with_noise(image, noise, seed) for image, seed in zip(images, seeds, strict=True)]
        return [
            replace(example, question=showing(example.question, image))
            for example, image in zip(examples, images, strict=True)
        ]

    def _attack(
        self, examples: Sequence[Example], images: list[Any], seeds: Sequence[int], step: int
    ) -> None:
        """Put attacked images in the place of all but the clean share."""
        attack = self._settings.attack
        spec = None if attack is None else attack.at(step)
        if attack is None or spec is None:
            return
        chosen = [row for row, seed in enumerate(seeds) if not stays_clean(seed, attack.clean_share)]
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
                images[row] = one.image
