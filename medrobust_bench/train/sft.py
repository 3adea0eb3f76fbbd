"""Supervised fine-tuning: dense text about the image first, the letter last; on attacked images if so asked."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.models.prompt import AnswerMode, prompt_text
from medrobust_bench.train.architecture import build_model, build_processor, whiten_patches
from medrobust_bench.train.examples import (
    DESCRIBE_PROMPT,
    Collator,
    build_examples,
    open_images,
    rationale,
)
from medrobust_bench.train.questions import checkpoint_path, training_questions
from medrobust_bench.train.recipe import write_recipe
from medrobust_bench.train.settings import CURVE_FILE
from medrobust_bench.train.tampering import Tampering
from medrobust_bench.train.tokenizer import learn_tokenizer
from medrobust_bench.train.validation import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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


def fine_tune(settings: SftSettings, out: Path, *, report: Callable[[str], None] = print) -> None:
    """Train as the recipe says and save a checkpoint that the Auto classes of transformers load.

    Args:
        settings: the recipe.
        out: folder for the weights, configuration, processor, recipe and curve; created if needed.
        report: takes one line of progress at a time.

    The outcome is a function of the recipe on one machine; other CPUs and thread counts round differently.

    Raises:
        InvalidInputError: the data cannot be used, the base is not a checkpoint, or it cannot be attacked.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    train, validation = training_questions(settings.data)
    report(f"{len(train)} training questions, {len(validation)} for validation")
    model, processor = _starting_point(settings, train)
    report(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    out.mkdir(parents=True, exist_ok=True)
    write_recipe(settings, out)
    with (out / CURVE_FILE).open("w", encoding="utf-8") as curve:
        for entry in _optimise(model, processor, settings, train, validation):
            line = json.dumps(entry)
            curve.write(line + "\n")
            curve.flush()
            report(line)
            if "validation_accuracy" in entry:  # an interrupted run leaves its last measured state
                model.save_pretrained(out)
                processor.save_pretrained(out)


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
            prompt_text(question, AnswerMode.REASONING),
            prompt_text(question, AnswerMode.LETTER),
            rationale(question),
        )
    ]
    tokenizer = learn_tokenizer(texts, vocabulary=settings.architecture.vocabulary)
    model = build_model(settings.architecture, tokenizer)
    processor = build_processor(settings.architecture, tokenizer)
    sample = train[:: max(1, len(train) // WHITENING_QUESTIONS)]
    whiten_patches(model, processor, [image for (image,) in open_images(sample)])
    return model, processor


def _optimise(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    settings: SftSettings,
    train: Sequence[Question],
    validation: Sequence[Question],
) -> Iterator[dict[str, Any]]:
    """Train the model in place; yields the entries of the curve."""
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: learning_rate_factor(step, warmup=settings.warmup_steps, total=settings.steps),
    )
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.train()
    started = time.monotonic()
    losses: list[float] = []
    for step, batch in enumerate(_batches(model, processor, settings, train), start=1):
        inputs = {name: value.to(model.device) for name, value in batch.inputs.items()}
        loss = completion_loss(
            model(**inputs).logits, batch.targets.to(model.device), batch.weights.to(model.device)
        )
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        evaluate = step % settings.evaluate_every == 0 or step == settings.steps
        if step % REPORT_EVERY == 0 or evaluate:
            entry: dict[str, Any] = {"step": step, "loss": round(sum(losses) / len(losses), 4)}
            losses.clear()
            if evaluate:
                entry |= validate(
                    model, processor, validation, settings.mode, settings.attack, seed=settings.seed
                )
            entry["seconds"] = round(time.monotonic() - started, 1)
            yield entry


def _batches(
    model: PreTrainedModel, processor: ProcessorMixin, settings: SftSettings, train: Sequence[Question]
) -> Iterator[Batch]:
    """The batches of all stages; attacked ones are made when their turn comes, against the model of that moment."""
    collate = Collator(processor, settings.answer_weight)
    stages = [
        build_examples(
            train, stage.tasks, count=stage.steps * settings.batch_size, seed=settings.seed * 1000 + number
        )
        for number, stage in enumerate(settings.stages)
    ]
    if settings.attack is None and settings.noise is None:
        for examples in stages:
            yield from DataLoader(
                examples,  # type: ignore[arg-type]  # a list is a map-style data set
                batch_size=settings.batch_size,
                num_workers=settings.workers,
                collate_fn=collate,
            )
        return
    tamper = Tampering(model, processor, settings)
    everything = [example for examples in stages for example in examples]
    for step in range(settings.steps):
        start = step * settings.batch_size
        yield collate(tamper(everything[start : start + settings.batch_size], step))
