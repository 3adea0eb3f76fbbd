"""Training examples on images that somebody has tampered with, the model in training as it now is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medrobust_bench.data.image import canonical
from medrobust_bench.models.huggingface import HuggingFaceVLM
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
        self._settings = settings
        self._inner: InnerAttack | None = None
        if settings.attack is not None:
            adapter = HuggingFaceVLM.around(model, processor, mode=settings.mode)
            self._inner = InnerAttack(
                adapter, loss=settings.attack.loss, batch_size=settings.attack.batch_size
            )

    def __call__(self, examples: Sequence[Example], step: int) -> list[Example]:
        """The examples of a zero-based optimiser step, in their order; they depend on nothing else of their batch."""
        seeds = [prompt_seed(self._settings.seed, example.question.id, step) for example in examples]
        images = [canonical(example.question.image) for example in examples]
        noise = self._settings.noise
        if self._settings.attack is not None and self._inner is not None:
            self._attack(self._settings.attack, self._inner, examples, images, seeds, step)
        if noise is not None:
            images = [with_noise(image, noise, seed) for image, seed in zip(images, seeds, strict=True)]
        return [
            replace(example, question=showing(example.question, image))
            for example, image in zip(examples, images, strict=True)
        ]

    @staticmethod
    def _attack(
        attack: AttackSettings,
        inner: InnerAttack,
        examples: Sequence[Example],
        images: list[Any],
        seeds: Sequence[int],
        step: int,
    ) -> None:
        """Exchange the images that do not stay clean."""
        spec = attack.at(step)
        if spec is None:
            return
        chosen = [row for row, seed in enumerate(seeds) if not stays_clean(seed, attack.clean_share)]
        made = inner.perturb(
            [examples[row].question for row in chosen],
            [images[row] for row in chosen],
            spec=spec,
            seeds=[seeds[row] for row in chosen],
            completions=[examples[row].completion for row in chosen],
        )
        for row, one in zip(chosen, made, strict=True):
            images[row] = one.image
