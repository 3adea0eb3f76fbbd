"""LoRA adapters of PEFT: part of a model, and never measured as if they were one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from medrobust_bench.problems import Problem

if TYPE_CHECKING:
    from pathlib import Path

ADAPTER_FILE = "adapter_config.json"


def adapter_problem(folder: Path) -> Problem:
    """What to do with a folder that holds nothing but adapters, or adapters beside a model."""
    try:
        base = json.loads((folder / ADAPTER_FILE).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, LookupError, TypeError):
        base = None
    onto = f"AutoModelForImageTextToText.from_pretrained({base or 'its base'!r})"
    remedy = (
        f"merge it first, in Python: peft.PeftModel.from_pretrained({onto}, {str(folder)!r}).merge_and_unload()"
        ".save_pretrained(FOLDER); save the base's processor there too and give FOLDER"
    )
    beside = (folder / "config.json").is_file()
    what = "holds a LoRA adapter beside its model" if beside else "is a LoRA adapter, not a whole model"
    return Problem(str(folder), what, f"take {ADAPTER_FILE} away, or {remedy}" if beside else remedy)
