"""A checkpoint is loaded whole or not at all: a model with random parts is another model than the one named."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoModelForImageTextToText
from transformers.utils import logging

from medrobust_bench.models.packed_attention import pack_attention
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from logging import LogRecord
    from pathlib import Path

SHOWN = 5


def check_kind(source: str | Path, config: Any) -> None:
    """Refuse a checkpoint of another kind: a language model alone, a tower alone.

    Raises:
        InvalidInputError: it is no image-text-to-text model.
    """
    own = getattr(config, "auto_map", None) or {}
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or AutoModelForImageTextToText.__name__ in own:
        return
    what = f"{type(config).__name__} is no image-text-to-text model: it takes no image and a text"
    remedy = "give a vision-language model; `medrobust models` lists some"
    raise InvalidInputError([Problem(str(source), what, remedy)])


def load_whole(source: str | Path, **options: Any) -> Any:
    """`AutoModelForImageTextToText.from_pretrained`, refusing what transformers would fill up with random numbers.

    Tensors that a model ties to others, or that its class declares dispensable, are not missing. Packed sequences are
    attended to together (`pack_attention`).

    Args:
        source: local folder or hub id.
        options: of `from_pretrained`.

    Raises:
        InvalidInputError: tensors are missing, of another shape, or have no place in the model, each kind named; or a
            file is no safetensors file (a pointer of git LFS, a download that was cut off).
        OSError, ValueError, ImportError: as `from_pretrained` raises them.
    """
    try:
        with _quietly():
            model, found = AutoModelForImageTextToText.from_pretrained(
                source,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
            )
    except SafetensorError as error:
        what = f"its weights cannot be read: {error}"
        remedy = "fetch the checkpoint again: a download may be cut off, or be a pointer of git LFS"
        raise InvalidInputError([Problem(str(source), what, remedy)]) from error
    if getattr(model, "_hf_peft_config_loaded", False):
        what = "holds a LoRA adapter beside its model, which transformers puts on top"
        remedy = "merge it into the model and save that, or take the adapter away"
        raise InvalidInputError([Problem(str(source), what, remedy)])
    faults = (
        ("are missing, and would be random", sorted(found["missing_keys"])),
        ("have another shape than in the model", sorted(name for name, *_shapes in found["mismatched_keys"])),
        ("have no place in the model", sorted(found["unexpected_keys"])),
    )
    remedy = "give the checkpoint and the config.json that belong together, all of its files"
    problems = [
        Problem(str(source), f"{len(names)} tensors {what}: {_some(names)}", remedy)
        for what, names in faults
        if names
    ]
    if problems:
        raise InvalidInputError(problems)
    pack_attention(model)
    return model


@contextmanager
def _quietly() -> Iterator[None]:
    """Inside it, transformers shows no bar of its own, which would run through that of a command, and no table.

    The table says of tensors what `load_whole` refuses in its own words; should loading fail otherwise, it is shown.
    """
    shown, logger = logging.is_progress_bar_enabled(), logging.get_logger("transformers.modeling_utils")
    tables: list[LogRecord] = []

    def hold(record: LogRecord) -> bool:
        if is_table := "LOAD REPORT" in record.getMessage():
            tables.append(record)
        return not is_table

    logging.disable_progress_bar()
    logger.addFilter(hold)
    try:
        yield
        tables.clear()
    finally:
        logger.removeFilter(hold)
        for table in tables:
            logger.handle(table)
        if shown:
            logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
