"""Supervised fine-tuning: dense text about the image first, the letter last; on attacked images if so asked."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.architecture import build_model, build_processor, whiten_patches
from medrobust_bench.train.curve import Curve
from medrobust_bench.train.examples import (
    DESCRIBE_PROMPT,
    Collator,
    build_examples,
    open_images,
    rationale,
)
from medrobust_bench.train.questions import checkpoint_path, training_questions
from medrobust_bench.train.recipe import read_sft_recipe, write_recipe
from medrobust_bench.train.settings import RECIPE_FILE
from medrobust_bench.train.snapshot import drop_snapshot, load_snapshot, save_snapshot
from medrobust_bench.train.tampering import Tampering
from medrobust_bench.train.tokenizer import learn_tokenizer
from medrobust_bench.train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel, ProcessorMixin

    from medrobust_bench.data.question import Question
    from medrobust_bench.train.examples import Batch
    from medrobust_bench.train.settings import SftSettings

REPORT_EVERY = 20
TOKENIZER_QUESTIONS = 4000
WHITENING_QUESTIONS = 600
FINAL_RATE = 0.1


def learning_rate_factor(step: int, *, warmup: int, total: int) -> float:
    """Share of the peak learning rate at a zero-based step: a linear rise, then a cosine down to `FINAL_RATE`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return FINAL_RATE + (1 - FINAL_RATE) * (1 + math.cos(math.pi * progress)) / 2


def completion_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted negative log-likelihood per learnt token, in nats.

    Args:
        logits: [B, T, V].
        targets: [B, T], what each position should say.
        weights: [B, T], 0 where nothing is learnt. The sum is divided by the number of learnt tokens, not
            by their total weight, so that a heavier answer does not make the text lighter.
    """
    learnt = weights > 0
    nll = cross_entropy(logits[learnt], targets[learnt], reduction="none")
    return (nll * weights[learnt]).mean()


def fine_tune(
    settings: SftSettings, out: Path, *, resume: bool = False, report: Callable[[str], None] = print
) -> None:
    """Train as the recipe says and save a checkpoint that the Auto classes of transformers load.

    Args:
        settings: the recipe.
        out: folder for the weights, configuration, processor, recipe and curve; created if needed.
        resume: go on from where the unfinished training in `out` was last measured; the weights come out as from an
            unbroken one.
        report: takes one line of progress at a time.

    The outcome is a function of the recipe on one machine; other CPUs and thread counts round differently.

    Raises:
        InvalidInputError: the data cannot be used, the base is not a checkpoint, or it cannot be attacked; there is
            nothing to resume, or it has another recipe.
    """
    if resume and (out / RECIPE_FILE).is_file() and read_sft_recipe(str(out / RECIPE_FILE)) != settings:
        remedy = "resume with the recipe that it was started with"
        raise InvalidInputError([Problem(str(out / RECIPE_FILE), "differs from the recipe given", remedy)])
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    before = load_snapshot(out) if resume else None
    train, validation = training_questions(settings.data)
    report(f"{len(train)} training questions, {len(validation)} for validation")
    model, processor = _starting_point(settings, train)
    report(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    learner = Learner(model, settings)
    if before is not None:
        learner.load_state(before)
        report(f"resumed after step {learner.step}")
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(settings, out)
    curve = Curve(out)
    curve.begin(learner.step)
    for entry in _optimise(learner, processor, settings, train, validation):
        report(curve.add(entry))
        if "validation_accuracy" in entry:  # an interrupted run leaves its last measured state
            model.save_pretrained(out)
            processor.save_pretrained(out)
            save_snapshot(learner.state(), out)
    drop_snapshot(out)


def _starting_point(
    settings: SftSettings, train: Sequence[Question]
) -> tuple[PreTrainedModel, ProcessorMixin]:
    if settings.architecture is None:
        assert settings.base is not None  # SftSettings demands one of the two
        source = checkpoint_path(settings.base)
        model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32)
        return model, AutoProcessor.from_pretrained(source, padding_side="left")
    texts = [
        text
        for question in train[:: max(1, len(train) // TOKENIZER_QUESTIONS)]
        for text in (
            DESCRIBE_PROMPT,
            STRATEGIES[AnswerMode.REASONING].prompt(question),
            STRATEGIES[AnswerMode.LETTER].prompt(question),
            rationale(question),
        )
    ]
    tokenizer = learn_tokenizer(texts, vocabulary=settings.architecture.vocabulary)
    model = build_model(settings.architecture, tokenizer)
    processor = build_processor(settings.architecture, tokenizer)
    sample = train[:: max(1, len(train) // WHITENING_QUESTIONS)]
    whiten_patches(model, processor, [image for (image,) in open_images(sample)])
    return model, processor


class Learner:
    """A model and what its training has come to.

    Args:
        model: to train in place; moved to the GPU where there is one.
        settings: the recipe.

    Attributes:
        step: optimiser steps made.
    """

    def __init__(self, model: PreTrainedModel, settings: SftSettings) -> None:
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.step = 0
        self._clip_norm = settings.clip_norm
        self._begun = time.monotonic()
        matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
        others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: learning_rate_factor(step, warmup=settings.warmup_steps, total=settings.steps),
        )

    @property
    def seconds(self) -> float:
        """Spent so far, in this process and in those that it was resumed from."""
        return time.monotonic() - self._begun

    def learn(self, batch: Batch) -> float:
        """One optimiser step; returns the loss before it."""
        device = self.model.device
        inputs = {name: value.to(device) for name, value in batch.inputs.items()}
        loss = completion_loss(
            self.model(**inputs).logits, batch.targets.to(device), batch.weights.to(device)
        )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self._clip_norm)
        self._optimiser.step()
        self._schedule.step()
        self.step += 1
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and numbers."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": [torch.get_rng_state(), *torch.cuda.get_rng_state_all()],
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step = state["step"]
        self._begun = time.monotonic() - state["seconds"]
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"][0])
        torch.cuda.set_rng_state_all(state["random"][1:])


def _optimise(
    learner: Learner,
    processor: ProcessorMixin,
    settings: SftSettings,
    train: Sequence[Question],
    validation: Sequence[Question],
) -> Iterator[dict[str, Any]]:
    """Make the steps that are left; yields the entries of the curve."""
    learner.model.train()
    losses: list[float] = []
    for batch in _batches(learner, processor, settings, train):
        losses.append(learner.learn(batch))
        evaluate = learner.step % settings.evaluate_every == 0 or learner.step == settings.steps
        if learner.step % REPORT_EVERY == 0 or evaluate:
            entry: dict[str, Any] = {"step": learner.step, "loss": round(sum(losses) / len(losses), 4)}
            losses.clear()
            if evaluate:
                entry |= validate(
                    learner.model, processor, validation, settings.mode, settings.attack, seed=settings.seed
                )
            entry["seconds"] = round(learner.seconds, 1)
            yield entry


def _batches(
    learner: Learner, processor: ProcessorMixin, settings: SftSettings, train: Sequence[Question]
) -> Iterator[Batch]:
    """The batches that are left; attacked ones are made in their turn, against the model of that moment."""
    collate = Collator(processor, settings.answer_weight, STRATEGIES[settings.mode].thinks)
    examples = [
        example
        for number, stage in enumerate(settings.stages)
        for example in build_examples(
            train, stage.tasks, count=stage.steps * settings.batch_size, seed=settings.seed * 1000 + number
        )
    ]
    if settings.attack is None and settings.noise is None:
        yield from DataLoader(
            examples[learner.step * settings.batch_size :],  # type: ignore[arg-type]  # a list is a map-style data set
            batch_size=settings.batch_size,
            num_workers=settings.workers,
            collate_fn=collate,
            generator=torch.Generator(),  # leaves torch's own random numbers to the model
        )
        return
    tamper = Tampering(learner.model, processor, settings)
    for step in range(learner.step, settings.steps):
        start = step * settings.batch_size
        yield collate(tamper(examples[start : start + settings.batch_size], step))
