"""From a recipe to a checkpoint by reinforcement: GRPO, plain or adversarial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.train.curve import Curve
from medrobust_bench.train.grpo_arguments import check_groups, grpo_arguments, require_trl
from medrobust_bench.train.prompts import check_processor
from medrobust_bench.train.questions import checkpoint_path, training_questions
from medrobust_bench.train.recipe import write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.train.rl_settings import LoraSettings, RlSettings

CHECKPOINTS = "checkpoints"

# What a line of progress shows of what is logged; the curve holds everything.
SHOWN = (
    "reward",
    "robust_accuracy",
    "clean_accuracy",
    "format_rate",
    "groups_without_variance",
    "grad_norm",
    "attack/eps",
    "validation_accuracy",
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
        InvalidInputError: TRL, recipe, data, base or processor cannot be used; before the model is loaded.
    """
    require_trl()
    arguments = grpo_arguments(settings, out / CHECKPOINTS, use_vllm=use_vllm)
    check_groups(arguments)
    source = checkpoint_path(settings.base)
    last = _last_checkpoint(out) if resume else None
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    train, validation = training_questions(settings.data)
    if len(train) < settings.prompts * arguments.world_size:
        what = f"{len(train)} training questions do not fill a step of {settings.prompts} prompts per process"
        raise InvalidInputError([Problem("data", what, "lower prompts or give more data")])
    processor = AutoProcessor.from_pretrained(source, padding_side="left")
    check_processor(processor, settings.mode)

    from medrobust_bench.train.at_grpo import AtGrpoTrainer

    dtype = torch.bfloat16 if settings.lora and arguments.bf16 else torch.float32
    trainer = AtGrpoTrainer(
        AutoModelForImageTextToText.from_pretrained(source, dtype=dtype),
        questions=train,
        settings=settings,
        args=arguments,
        processing_class=processor,
        validation=validation,
        peft_config=None if settings.lora is None else _lora(settings.lora),
    )
    main = trainer.accelerator.is_main_process
    if main:
        report(f"{len(train)} training questions, {len(validation)} for validation")
        out.mkdir(parents=True, exist_ok=True)
        write_recipe(settings, out)
        trainer.add_callback(KeptCurve(Curve(out), report))
    for printer in (ProgressCallback, PrinterCallback):  # `report` takes their place
        trainer.remove_callback(printer)
    trainer.train(resume_from_checkpoint=last)
    if settings.lora is None:
        trainer.save_model(str(out))
    elif main:
        trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(out)
    if main:
        processor.save_pretrained(out)
        (out / "training_args.bin").unlink(missing_ok=True)  # a pickle; the recipe says the same


class KeptCurve(TrainerCallback):  # type: ignore[misc]
    """Keeps what TRL logs, without the steps that a resumed run repeats.

    Args:
        curve: where.
        report: takes what matters of each step as one line.
    """

    def __init__(self, curve: Curve, report: Callable[[str], None]) -> None:
        self._curve = curve
        self._report = report

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Drop what lies behind the step that training begins at."""
        self._curve.begin(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **more: Any) -> None:
        """Append what was logged at a step; the summary at the end of a training is no step."""
        if "loss" not in logs:
            return
        numbers = {name: round(value, 6) for name, value in logs.items() if isinstance(value, int | float)}
        self._curve.add({"step": state.global_step, **numbers})
        shown = " ".join(f"{name}={numbers[name]:.3g}" for name in SHOWN if name in numbers)
        self._report(f"step {state.global_step}/{state.max_steps}: {shown}")


def _last_checkpoint(out: Path) -> str:
    from transformers.trainer_utils import get_last_checkpoint

    folder = out / CHECKPOINTS
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last is None:
        raise InvalidInputError([Problem(str(out), "holds no checkpoint to resume from", "drop --resume")])
    return str(last)


def _lora(settings: LoraSettings) -> Any:
    from peft import LoraConfig

    modules = settings.target_modules
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
    )
