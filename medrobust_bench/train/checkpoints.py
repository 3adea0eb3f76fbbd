"""Checkpoints of a training: what it is resumed from, and the model that it leaves behind."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from peft import PeftModel

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import Trainer

CHECKPOINTS = "checkpoints"
_STATE = "trainer_state.json"  # the Trainer writes it last


def last_checkpoint(out: Path) -> Path:
    """The newest whole checkpoint of an unfinished training; one that was cut off while it was written does not count.

    Raises:
        InvalidInputError: the folder holds none, because nothing was saved yet or the training has ended.
    """
    whole = {step_of(path.parent): path.parent for path in (out / CHECKPOINTS).glob(f"checkpoint-*/{_STATE}")}
    for step in sorted(whole, reverse=True):
        try:
            json.loads((whole[step] / _STATE).read_text(encoding="utf-8"))
        except ValueError:
            continue
        return whole[step]
    remedy = "drop --resume and give another --out folder"
    raise InvalidInputError([Problem(str(out), "holds no unfinished training to resume", remedy)])


def step_of(checkpoint: Path | None) -> int:
    """The optimiser steps behind a checkpoint; 0 for None."""
    return 0 if checkpoint is None else int(checkpoint.name.rpartition("-")[2])


class LoadsByName:
    """A Trainer that takes weights up again by the names under which they were saved.

    transformers saves models of the Qwen-VL family, among others, under older names than they have in memory.
    Its Trainer then finds none of them in the checkpoint, and goes on from the base with no more than a warning.
    """

    def _load_from_checkpoint(self: Any, resume_from_checkpoint: str, model: Any = None) -> None:
        model = self.model if model is None else model
        if self.is_fsdp_enabled or isinstance(model, PeftModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype)
        model.load_state_dict(saved.state_dict())


def save_trained(trainer: Trainer, processor: Any, out: Path) -> None:
    """Write the trained model, adapters merged into its weights, and its processor; call it in every process."""
    adapted = isinstance(trainer.model, PeftModel)
    if not adapted:
        trainer.save_model(str(out))
    if trainer.accelerator.is_main_process:
        if adapted:
            trainer.accelerator.unwrap_model(trainer.model).merge_and_unload().save_pretrained(out)
        processor.save_pretrained(out)
        (out / "training_args.bin").unlink(missing_ok=True)  # a pickle; the recipe says the same


def drop_checkpoints(out: Path) -> None:
    """Remove what an ended training could have been resumed from."""
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
