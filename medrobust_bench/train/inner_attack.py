"""The inner maximisation of adversarial training: one small change per image, against the model as it now is."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from medrobust_bench.attacks.art_estimator import TensorEstimator
from medrobust_bench.attacks.budget import LEVELS, ball_budget
from medrobust_bench.attacks.losses import CrossEntropy, completion_loss, first_difference, loss_at
from medrobust_bench.attacks.pgd import StartedPgd, random_starts
from medrobust_bench.data.image import rows_of_one_shape
from medrobust_bench.data.question import LETTERS
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.seeds import Purpose, stream
from medrobust_bench.train.mixture import BALL, MixtureSettings, further_images, worst_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions, Generation
    from medrobust_bench.models.answers.strategy import AnswerStrategy
    from medrobust_bench.models.huggingface import HuggingFaceVLM
    from medrobust_bench.specs.pgd import PgdSpec
    from medrobust_bench.train.settings import NoiseSettings


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What the inner attack made of one image.

    Attributes:
        image: uint8 [H, W, 3], within the budget.
        clean_choice: the model's greedy answer on the clean image; None where it could not be parsed or was not asked.
        clean_loss: what is ascended (nats), on the clean image; None unless measured.
        loss: the same on `image`.
        threat: whose image it is: "ball", or one of the mixture.
    """

    image: NDArray[np.uint8]
    clean_choice: int | None = None
    clean_loss: float | None = None
    loss: float | None = None
    threat: str = BALL


@dataclass(frozen=True, slots=True)
class Target:
    """The completion whose likelihood the attack lowers.

    Attributes:
        tokens: its tokens.
        places: positions of the tokens that count.
    """

    tokens: list[int]
    places: Collection[int]


class TargetLoss:
    """Negative log-likelihood of completions of B bound questions, as a function of pixels.

    Args:
        bound: B questions.
        targets: B completions; None takes the letter of the right option (for models that answer with a letter).
    """

    def __init__(self, bound: BoundQuestions, targets: Sequence[Target] | None) -> None:
        self._bound = bound
        self._targets = targets

    def nll(self, pixels: torch.Tensor) -> torch.Tensor:
        """Nats [B], differentiable in pixels [B, 3, H, W] in [0, 1]."""
        generation = self._bound.generation
        if self._targets is None or generation is None:
            return loss_at(CrossEntropy(), self._bound, pixels, [""] * len(pixels)).value
        scored = generation.logits(pixels, [target.tokens for target in self._targets])
        counts = torch.zeros(scored.tokens.shape, dtype=torch.bool)
        for row, target in enumerate(self._targets):
            counts[row, list(target.places)] = True
        return completion_loss(scored, counts.to(scored.tokens.device))

    def gradient(self, pixels: torch.Tensor) -> torch.Tensor:
        """Gradient [B, 3, H, W] of each question's loss in its own pixels."""
        pixels = pixels.detach().clamp(0, 1).requires_grad_()
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.nll(pixels).sum(), pixels)
        return gradient

    def values(self, pixels: torch.Tensor) -> list[float]:
        """The loss of each question, without a gradient."""
        with torch.no_grad():
            values: list[float] = self.nll(pixels).tolist()
        return values


class InnerAttack:
    """PGD with ART's steps on questions bound to a model in training.

    Unlike an evaluation it neither stops at success nor asks the deployed path: it hands over ART's last iterate,
    rounded to 8 bits into the budget.

    Args:
        adapter: around the model in training.
        loss: see `AttackSettings.loss`.
        batch_size: questions per pass.
        mixture: threats beside the ball, the worst of which is handed over; None for the ball alone.

    Raises:
        InvalidInputError: no gradient reaches the pixels of this model, or its batches mix questions.
    """

    def __init__(
        self, adapter: HuggingFaceVLM, *, loss: str, batch_size: int, mixture: MixtureSettings | None = None
    ) -> None:
        self._mixture = mixture
        self._adapter = adapter
        self._loss = loss
        self._batch_size = batch_size
        with frozen_eval(adapter):
            if not adapter.differentiable:
                raise _unfit(
                    adapter, "no gradient reaches its pixels", "take a model with continuous image features"
                )
            if not adapter.batchable:
                raise _unfit(adapter, "a question's logits depend on its batch", "take another model")

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self._adapter.device

    def batches(self, images: Sequence[NDArray[np.uint8]]) -> list[list[int]]:
        """Positions of images that are attacked together: of one shape, at most `batch_size`."""
        return rows_of_one_shape(images, self._batch_size)

    def perturb(
        self,
        questions: Sequence[Question],
        images: Sequence[NDArray[np.uint8]],
        *,
        spec: PgdSpec,
        seeds: Sequence[int],
        completions: Sequence[str] | None = None,
        measure: bool = False,
        passes: int = 0,
    ) -> list[Perturbed]:
        """Attack each question once.

        Args:
            questions: N questions.
            images: their clean canonical images, N arrays uint8 [H, W, 3].
            spec: norm, radius and steps.
            seeds: N seeds of the random starts; the change of a question depends on nothing else about its batch.
            completions: N texts whose likelihood is lowered; unset, what the model writes on the clean image, with
                the right letter in the place of its own.
            measure: evaluate the loss on clean and attacked images, two more forward passes.
            passes: run at least so many batches, repeating the first one in vain. Where the model is sharded over
                processes, all of them have to run equally many.
        """
        found: dict[int, Perturbed] = {}
        batches = self.batches(images)
        with frozen_eval(self._adapter):
            for rows in [*batches, *batches[:1] * (passes - len(batches))]:
                texts = None if completions is None else [completions[row] for row in rows]
                made = self._perturb_batch(
                    [questions[row] for row in rows],
                    [images[row] for row in rows],
                    spec,
                    [seeds[row] for row in rows],
                    texts,
                    measure,
                )
                found.update(zip(rows, made, strict=True))
        return [found[row] for row in range(len(questions))]

    def _perturb_batch(
        self,
        questions: list[Question],
        images: list[NDArray[np.uint8]],
        spec: PgdSpec,
        seeds: list[int],
        completions: list[str] | None,
        measure: bool,
    ) -> list[Perturbed]:
        bound = self._adapter.bind_batch(questions, images)
        pixels = bound.batch.pixels()
        choices: list[int | None] = [None] * len(questions)
        targets = None
        if bound.generation is not None:
            if completions is None:
                answers = bound.answer(images, exact=False)
                choices = [answer.choice for answer in answers]
                completions = [
                    corrected(self._adapter.strategy, answer.text, question, words=self._loss == "words")
                    for answer, question in zip(answers, questions, strict=True)
                ]
            targets = [
                self._target(bound.generation, row, text, question)
                for row, (text, question) in enumerate(zip(completions, questions, strict=True))
            ]
        elif completions is None:
            with torch.no_grad():
                choices = list(bound.scores(pixels).argmax(1).tolist())
        loss = TargetLoss(bound, targets)
        height, width = pixels.shape[2:]
        offsets = torch.from_numpy(random_starts(spec, height, width, seeds, 0)).to(
            pixels.device, pixels.dtype
        )
        radius = spec.radius(height, width)
        attack = StartedPgd(
            TensorEstimator(bound, loss),
            offsets,
            norm=np.inf if spec.norm == "linf" else 2,
            eps=radius,
            eps_step=radius * float(spec.step_size / spec.eps),
            max_iter=spec.steps,
        )
        last = attack.run(pixels, None).permute(0, 2, 3, 1).cpu().numpy()
        budget = ball_budget(spec)
        made = [budget.round(clean, image) for clean, image in zip(images, last, strict=True)]
        threats = [BALL] * len(made)
        if self._mixture is not None:
            others = further_images(self._mixture, bound, loss, seeds, steps=spec.steps)
            made, threats = worst_of({BALL: made, **others}, loss, pixels.device)
        before: list[float] | list[None] = [None] * len(made)
        after: list[float] | list[None] = [None] * len(made)
        if measure:
            before, after = loss.values(pixels), loss.values(to_pixels(made, pixels.device))
        return [Perturbed(*fields) for fields in zip(made, choices, before, after, threats, strict=True)]

    def _target(self, generation: Generation, row: int, completion: str, question: Question) -> Target:
        tokens = generation.tokens(row, completion)
        if self._loss == "completion":
            return Target(tokens, range(len(tokens)))
        rivals = (
            generation.rewrite(row, completion, option, words=self._loss == "words")
            for option in range(len(question.options))
            if option != question.answer
        )
        differences = (first_difference(tokens, generation.tokens(row, rival)) for rival in rivals)
        places = {difference.position for difference in differences if difference is not None}
        assert places, "the adapter has checked that letters are tokens of their own"
        return Target(tokens, places)


def corrected(strategy: AnswerStrategy, completion: str, question: Question, *, words: bool) -> str:
    """A completion with the right answer in the place of its own; nothing but the answer where it cannot be read.

    Args:
        strategy: that reads and writes it.
        completion: what the model wrote.
        question: with the right answer.
        words: exchange it wherever the rationale names it, not only where the answer is given.
    """
    choice = strategy.read(completion, question.options).choice
    if choice is None:
        return strategy.write("", LETTERS[question.answer])
    return strategy.rewrite(completion, question.options, choice, question.answer, words=words)


def prompt_seed(seed: int, question: str, step: int) -> int:
    """The seed of all that is drawn about one question at one optimiser step (63 bits), the same in every process."""
    digest = hashlib.sha256(f"{seed}\x1f{question}\x1f{step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stays_clean(seed: int, clean_share: float) -> bool:
    """Whether the prompt of this seed is left clean."""
    return bool(stream(seed, Purpose.TRAINING).random() < clean_share)


def with_noise(image: NDArray[np.uint8], noise: NoiseSettings, seed: int) -> NDArray[np.uint8]:
    """A uint8 image with Gaussian noise, clipped and rounded to 8 bits; as it is for the share that gets none."""
    if stream(seed, Purpose.TRAINING, 1).random() >= noise.share:
        return image
    draw = stream(seed, Purpose.NOISE).standard_normal(image.shape)
    noisy = np.rint(image + noise.sigma * LEVELS * draw).clip(0, LEVELS)
    return np.asarray(noisy, dtype=np.uint8)


@contextmanager
def frozen_eval(adapter: HuggingFaceVLM) -> Iterator[None]:
    """Inside it the adapter's model is in evaluation mode, its weights are frozen and it decodes greedily.

    Afterwards every module has the mode, every weight the flag, and every configuration the settings of before. A model
    that is sharded over processes (FSDP2) may then hold other tensors as its weights than it held before, gathered
    ones for shards or shards for gathered ones: those have the flag as well.
    """
    modules: list[Any] = list(adapter.model.modules())
    modes = [module.training for module in modules]
    decoding = [(m, m.generation_config) for m in modules if "generation_config" in vars(m)]
    trained = {name: weight for name, weight in adapter.model.named_parameters() if weight.requires_grad}
    adapter.model.eval()
    for weight in trained.values():
        weight.requires_grad_(False)
    for module, _ in decoding:
        module.generation_config = adapter.greedy
    try:
        yield
    finally:
        held = dict(adapter.model.named_parameters())
        for name, weight in trained.items():
            weight.requires_grad_(True)
            held[name].requires_grad_(True)
        for module, configuration in decoding:
            module.generation_config = configuration
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _unfit(adapter: HuggingFaceVLM, what: str, remedy: str) -> InvalidInputError:
    return InvalidInputError(
        [Problem(type(adapter.model).__name__, f"{what}: it cannot be attacked", remedy)]
    )
