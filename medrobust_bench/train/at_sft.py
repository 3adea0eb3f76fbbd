"""Adversarial fine-tuning: supervised learning on attacked images, the method that adversarial GRPO is held against."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.data.image import canonical
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.train.examples import Collator, build_examples
from medrobust_bench.train.inner_attack import InnerAttack, prompt_seed, stays_clean, with_noise
from medrobust_bench.train.prompts import check_processor
from medrobust_bench.train.questions import checkpoint_path, training_questions
from medrobust_bench.train.settings import CURVE_FILE, RECIPE_FILE
from medrobust_bench.train.sft import REPORT_EVERY, completion_loss, learning_rate_factor
from medrobust_bench.train.validation import showing, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.train.examples import Example
    from medrobust_bench.train.rl_settings import AtSftSettings


def fine_tune_adversarially(
    settings: AtSftSettings, out: Path, *, report: Callable[[str], None] = print
) -> None:
    """Train as the recipe says and save a checkpoint that the Auto classes of transformers load.

    Every step, the inner attack raises the negative log-likelihood of the completion that is taught, teacher-forced
    (Madry et al. 2018), and the model learns that completion on the changed image.

    Args:
        settings: the recipe.
        out: folder for the weights, configuration, processor, recipe and curve; created if needed.
        report: takes one line of progress at a time.

    Raises:
        InvalidInputError: the data cannot be used, the base is not a checkpoint, or it cannot be attacked.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    train, validation = training_questions(settings.data)
    report(f"{len(train)} training questions, {len(validation)} for validation")
    source = checkpoint_path(settings.base)
    processor = AutoProcessor.from_pretrained(source, padding_side="left")
    check_processor(processor, settings.mode)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).to(device)
    out.mkdir(parents=True, exist_ok=True)
    recipe = yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True), sort_keys=False)
    (out / RECIPE_FILE).write_text(recipe, encoding="utf-8")
    with (out / CURVE_FILE).open("w", encoding="utf-8") as curve:
        for entry in _optimise(model, processor, settings, train, validation):
            line = json.dumps(entry)
            curve.write(line + "\n")
            curve.flush()
            report(line)
            if "validation_accuracy" in entry:  # an interrupted run leaves its last measured state
                model.save_pretrained(out)
                processor.save_pretrained(out)


def _optimise(
    model: Any,
    processor: Any,
    settings: AtSftSettings,
    train: Sequence[Question],
    validation: Sequence[Question],
) -> Iterator[dict[str, Any]]:
    """Train the model in place; yields the entries of the curve."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    others = [weight for weight in model.parameters() if weight.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: learning_rate_factor(step, warmup=settings.warmup_steps, total=settings.steps),
    )
    collate = Collator(processor, settings.answer_weight)
    adapter = HuggingFaceVLM.around(model, processor, mode=settings.mode)
    inner = InnerAttack(adapter, loss=settings.attack.loss, batch_size=settings.attack.batch_size)
    model.train()
    started = time.monotonic()
    losses: list[float] = []
    for step, examples in enumerate(_batches(settings, train), start=1):
        inputs, weights = collate(_attacked(inner, settings, examples, step - 1))
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        logits = model(**inputs).logits
        loss = completion_loss(logits, inputs["input_ids"], weights.to(logits.device))
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


def _batches(settings: AtSftSettings, train: Sequence[Question]) -> Iterator[list[Example]]:
    """The examples of each step of all stages."""
    for number, stage in enumerate(settings.stages):
        count = stage.steps * settings.batch_size
        examples = build_examples(train, stage.tasks, count=count, seed=settings.seed * 1000 + number)
        for start in range(0, count, settings.batch_size):
            yield examples[start : start + settings.batch_size]


def _attacked(
    inner: InnerAttack, settings: AtSftSettings, examples: Sequence[Example], step: int
) -> list[Example]:
    """The examples of a step with attacked and noisy images, in their order."""
    seeds = [prompt_seed(settings.seed, example.question.id, step) for example in examples]
    images = [canonical(example.question.image) for example in examples]
    spec = settings.attack.at(step)
    if spec is not None:
        share = settings.attack.clean_share
        chosen = [row for row, seed in enumerate(seeds) if not stays_clean(seed, share)]
        made = inner.perturb(
            [examples[row].question for row in chosen],
            [images[row] for row in chosen],
            spec=spec,
            seeds=[seeds[row] for row in chosen],
            completions=[examples[row].completion for row in chosen],
        )
        for row, one in zip(chosen, made, strict=True):
            images[row] = one.image
    if settings.noise is not None:
        images = [with_noise(image, settings.noise, seed) for image, seed in zip(images, seeds, strict=True)]
    return [
        replace(example, question=showing(example.question, image))
        for example, image in zip(examples, images, strict=True)
    ]
