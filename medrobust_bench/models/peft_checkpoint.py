"""A checkpoint that holds only what fine-tuning added to a base: LoRA and its kin, as PEFT saves them.

The base is found by the name that the adapter's config gives it, loaded whole, and the adapter is merged into it: from
then on it is a model like any other. Both digests go into the record.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_WHOLE = ("model.safetensors", "model.safetensors.index.json")
_FILES = (CONFIG, WEIGHTS, "*.json", "*.jinja", "*.model", "*.txt")
_PROCESSOR = ("processor_config.json", "preprocessor_config.json")


def is_peft(folder: Path) -> bool:
    """Whether a folder holds an adapter and no weights of a whole model."""
    return (folder / CONFIG).is_file() and not any((folder / name).is_file() for name in _WHOLE)


@dataclass(frozen=True, slots=True)
class PeftCheckpoint:
    """An adapter folder.

    Attributes:
        folder: where it lies on this machine.
        base: hub id, or folder on this machine, of the model that it changes.
        base_revision: hub commit or tag of the base; None follows its main branch.
    """

    folder: Path
    base: str | Path
    base_revision: str | None

    @classmethod
    def read(cls, folder: Path) -> PeftCheckpoint:
        """Read the config of an adapter folder.

        Raises:
            InvalidInputError: no safetensors weights, a config that names no base, or a base that is not there.
        """
        if not (folder / WEIGHTS).is_file():
            remedy = "save the adapter again with `save_pretrained`, which writes safetensors"
            raise InvalidInputError([Problem(str(folder), f"is an adapter without {WEIGHTS}", remedy)])
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            base, revision = config["base_model_name_or_path"], config.get("revision")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            what, remedy = f"cannot be read: {error}", "write base_model_name_or_path into it"
            raise InvalidInputError([Problem(str(folder / CONFIG), what, remedy)]) from error
        if not isinstance(base, str) or not base or not isinstance(revision, str | None):
            remedy = "write the base's hub id or folder into base_model_name_or_path"
            raise InvalidInputError([Problem(str(folder / CONFIG), "names no base model", remedy)])
        path = Path(base).expanduser()
        beside = folder / path
        if beside.is_dir() or path.is_dir():
            return cls(folder, (beside if beside.is_dir() else path).resolve(), None)
        if path.is_absolute() or base.startswith((".", "~")) or base.count("/") != 1:
            what = f"its base {base} is not on this machine"
            remedy = f"write the base's folder or hub id into base_model_name_or_path of {folder / CONFIG}"
            raise InvalidInputError([Problem(str(folder), what, remedy)])
        return cls(folder, base, revision)

    @property
    def processor(self) -> Path | None:
        """The folder, where a processor was saved with the adapter; else the base's is taken."""
        return self.folder if any((self.folder / name).is_file() for name in _PROCESSOR) else None

    def merged(self, base: Any, digest: Callable[[dict[str, Any]], str]) -> tuple[Any, str]:
        """The base with the adapter merged into its weights.

        Args:
            base: the loaded model, changed in place.
            digest: of named tensors.

        Returns:
            The model, and the digest of the adapter's tensors.

        Raises:
            InvalidInputError: peft is not installed, the adapter does not belong to the base, or its kind cannot be
                merged.
        """
        try:
            from peft import PeftConfig, get_peft_model
            from peft.utils import load_peft_weights, set_peft_model_state_dict
        except ImportError as error:
            remedy = "pip install 'medrobust-bench[train]', or merge the adapter into its base"
            raise InvalidInputError(
                [Problem(str(self.folder), "is an adapter, which needs peft", remedy)]
            ) from error
        remedy = "give the adapter and the base that belong together, or merge it where it was trained"
        try:
            weights = load_peft_weights(str(self.folder), device="cpu")
            config = PeftConfig.from_pretrained(str(self.folder))
            config.inference_mode = True
            model = get_peft_model(base, config)
            found = set_peft_model_state_dict(model, weights)
        except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
            what = f"does not fit its base {self.base}: {str(error).splitlines()[0]}"
            raise InvalidInputError([Problem(str(self.folder), what, remedy)]) from error
        missing = [name for name in found.missing_keys if getattr(model, "prefix", "lora_") in name]
        for names, what in (
            (missing, "are missing, and would be random"),
            (found.unexpected_keys, "have no place in the base"),
        ):
            if names:
                said = f"{len(names)} tensors {what}: {', '.join(sorted(names)[:5])}"
                raise InvalidInputError([Problem(str(self.folder), said, remedy)])
        if not hasattr(model, "merge_and_unload"):
            what = f"is an adapter of kind {config.peft_type}, which cannot be merged into its base"
            raise InvalidInputError(
                [Problem(str(self.folder), what, "give a LoRA adapter, or a whole model")]
            )
        return model.merge_and_unload(), digest(weights)


def fetched(source: str, revision: str | None) -> Path | None:
    """The folder into which an adapter on the hub is downloaded; None where the repository holds a whole model.

    Raises:
        OSError: as the hub raises it.
    """
    from huggingface_hub import snapshot_download
    from transformers.utils import cached_file

    options: dict[str, Any] = {
        "revision": revision,
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,  # what is in the cache is found there later
    }
    if cached_file(source, CONFIG, **options) is None:
        return None
    if any(cached_file(source, name, **options) for name in _WHOLE[1:]):
        return None
    folder = Path(snapshot_download(source, revision=revision, allow_patterns=list(_FILES)))
    return folder if is_peft(folder) else None
