"""From a recipe to a checkpoint by reinforcement: GRPO, plain or adversarial."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import AutoProcessor
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from medrobust_bench.models.whole_checkpoint import load_whole
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.callbacks import KeptCurve, Progress, UnvaryingRewards
from medrobust_bench.train.checkpoints import CHECKPOINTS, last_checkpoint, save_trained, step_of
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.grpo_arguments import check_groups, grpo_arguments, require_trl
from medrobust_bench.train.prompts import check_processor
from medrobust_bench.train.questions import (
    SkippedQuestions,
    checkpoint_path,
    in_plain_words,
    training_questions,
    usable_questions,
)
from medrobust_bench.train.recipe import check_same_recipe, read_rl_recipe, write_recipe
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.train.rl_settings import RlSettings

# What a line of progress shows of what is logged; the curve holds everything.
SHOWN = (
    "reward",
    "robust_accuracy",
    "clean_accuracy",
    "format_rate",
    "groups_without_variance",
    "kept_without_variance",
    "grad_norm",
    "attack/eps",
    "validation_accuracy",
    "validation_exchanged",
    "validation_attacked",
    "seconds/attack",
    "seconds/generation",
    "seconds/update",
)


def reinforce(
    settings: RlSettings,
    out: Path,
    *,
    resume: bool = False,
    use_vllm: bool = False,
    report: Callable[[str], None] = print,
) -> None:
    """Train as the recipe says and save a checkpoint that the Auto classes of transformers load.

    Runs in one process, or in each of several that accelerate or torchrun start. Checkpoints to resume from are kept
    in a folder inside `out`; adapters are merged into the weights at the end.

    Args:
        settings: the recipe.
        out: folder for the weights, configuration, processor, recipe and curve; created if needed.
        resume: go on from the last checkpoint in `out`.
        use_vllm: let vLLM generate the rollouts.
        report: takes one line of progress at a time.

    Raises:
        InvalidInputError: TRL, recipe, data, base or processor cannot be used, there is nothing to resume, or it has
            another recipe; before the model is loaded. The model has no such modules as `lora` names.
    """
    require_trl()
    if resume:
        check_same_recipe(settings, read_rl_recipe, out)
    arguments = grpo_arguments(settings, out / CHECKPOINTS, use_vllm=use_vllm)
    check_groups(arguments)
    source = checkpoint_path(settings.base)
    last = last_checkpoint(out) if resume else None
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    train, validation = training_questions(settings.data, report)
    if len(train) < settings.drawn * arguments.world_size:
        what = f"{len(train)} training questions do not fill a step of {settings.drawn} prompts per process"
        raise InvalidInputError([Problem("data", what, "lower prompts or give more data")])
    processor = AutoProcessor.from_pretrained(source, padding_side="left", **settings.processor)
    check_processor(processor, settings.mode)
    train = in_plain_words(train, processor)
    validation, unusable = usable_questions(validation, processor, settings.mode)
    skipped = SkippedQuestions(out, report, process=arguments.process_index)

    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    dtype = torch.bfloat16 if settings.lora and arguments.bf16 else torch.float32
    model = load_whole(source, dtype=dtype)
    if settings.lora is not None:
        settings.lora.check(model)
    trainer = AtGrpoTrainer(
        model,
        questions=train,
        settings=settings,
        args=arguments,
        processing_class=processor,
        validation=validation,
        skipped=skipped,
        peft_config=None if settings.lora is None else settings.lora.config(),
    )
    main = trainer.accelerator.is_main_process
    if main:
        report(f"{len(train)} training questions, {len(validation)} for validation")
        out.mkdir(parents=True, exist_ok=True)
        write_recipe(settings, out)
        trainer.add_callback(KeptCurve(StepLog(out / CURVE_FILE), report, SHOWN))
        trainer.add_callback(Progress(report))
        trainer.add_callback(UnvaryingRewards(settings.mode, report))
    skipped.begin(step_of(last))
    skipped.add(unusable if main else {}, step=0, asked=len(validation) + len(unusable))
    for printer in (ProgressCallback, PrinterCallback):  # `report` takes their place
        trainer.remove_callback(printer)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    save_trained(trainer, processor, out)
