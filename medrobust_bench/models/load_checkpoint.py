"""Model and processor from what people have: a whole checkpoint, a quantised one, or an adapter for a base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import AutoConfig, AutoProcessor

from medrobust_bench.models.load_faults import cannot_load
from medrobust_bench.models.peft_checkpoint import PeftCheckpoint, fetched, is_peft
from medrobust_bench.models.weights_digest import weights_sha256
from medrobust_bench.models.whole_checkpoint import load_whole
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Base

if TYPE_CHECKING:
    import torch


def load_checkpoint(
    source: str | Path,
    *,
    dtype: str,
    device_map: str | dict[str, torch.device],
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any, Base | None]:
    """Load a model and its processor.

    Args:
        source: local folder or hub id, of a model or of an adapter that PEFT saved.
        dtype: "auto", or the name of a torch dtype.
        device_map: "auto" over all devices, or one device for everything: `{"": device}`.
        revision: hub commit or tag.
        trust_remote_code: run code that comes with the checkpoint.

    Returns:
        Model, processor, and of an adapter what it was merged into.

    Raises:
        InvalidInputError: one of them cannot be loaded.
    """
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    quantised: str | None = None
    try:
        folder = source if isinstance(source, Path) else fetched(source, revision)
        peft = PeftCheckpoint.read(folder) if folder is not None and is_peft(folder) else None
        whole, of_whole = (
            (source, options) if peft is None else (peft.base, {**options, "revision": peft.base_revision})
        )
        config = AutoConfig.from_pretrained(whole, **of_whole)
        quantised = _quantised(config)
        if peft is not None and quantised:
            raise _rounds(source, peft, quantised)
        own = None if peft is None else peft.processor
        processor = AutoProcessor.from_pretrained(
            own or whole, padding_side="left", **(options if own else of_whole)
        )
        # Quantised weights are placed as they are read: they cannot be moved later.
        placed = {"device_map": device_map} if quantised or device_map == "auto" else {}
        model = load_whole(whole, config=config, dtype=dtype, **placed, **of_whole)
    except InvalidInputError:
        raise
    except (OSError, ValueError, ImportError) as error:
        raise cannot_load(source, error, quantised=quantised) from error
    base = None
    if peft is not None:
        before = weights_sha256(model.state_dict())
        model, added = peft.merged(model, weights_sha256)
        base = Base(
            source=peft.base.name if isinstance(peft.base, Path) else peft.base,
            revision=peft.base_revision,
            weights_sha256=before,
            adapter_sha256=added,
        )
    if not placed and isinstance(device_map, dict):
        model.to(device_map[""])
    return model, processor, base


def _quantised(config: Any) -> str | None:
    """The method by which a checkpoint is quantised; None where it is not."""
    told = getattr(config, "quantization_config", None)
    method = told.get("quant_method") if isinstance(told, dict) else getattr(told, "quant_method", None)
    return None if told is None else str(getattr(method, "value", method or "an unknown method"))


def _rounds(source: str | Path, peft: PeftCheckpoint, quantised: str) -> InvalidInputError:
    what = (
        f"is an adapter for {peft.base}, which is quantised by {quantised}: merging would round its weights"
    )
    remedy = (
        "name a base that is not quantised in adapter_config.json, or merge the adapter where it was trained"
    )
    return InvalidInputError([Problem(str(source), what, remedy)])
