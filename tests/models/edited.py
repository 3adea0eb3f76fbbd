"""A shipped checkpoint with something changed in it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medrobust_bench

if TYPE_CHECKING:
    from collections.abc import Callable

SHIPPED = Path(medrobust_bench.__file__).parent / "checkpoints" / "tiny-sft-letter"
TEMPLATE = (SHIPPED / "chat_template.jinja").read_text(encoding="utf-8")


def copied(folder: Path) -> Path:
    """The checkpoint, copied."""
    shutil.copytree(SHIPPED, folder)
    return folder


def with_json(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """One of its JSON files changed in place."""
    path = folder / name
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return folder


def with_template(folder: Path, template: str | None) -> Path:
    """Its chat template exchanged; None takes it away."""
    path = folder / "chat_template.jinja"
    if template is None:
        path.unlink()
    else:
        path.write_text(template, encoding="utf-8")
    return folder


def template_beside_the_tokenizer(folder: Path) -> Path:
    """Its chat template moved into `tokenizer_config.json`."""
    with_template(folder, None)
    return with_json(folder, "tokenizer_config.json", lambda c: c.update(chat_template=TEMPLATE))
