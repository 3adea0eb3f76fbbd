"""What decides a model's answers beside its weights, as one SHA-256 for each part: `ModelRecord.identity`.

Every digest is that of canonical JSON (keys sorted, no blanks), so that it is the same on every machine. Of settings,
only what differs from their class's defaults enters, so that a newer transformers that adds a setting changes nothing.
Left out are version stamps, paths, notes on floating-point types, and what concerns training or outputs alone.

- configuration: the checkpoint's `config.json` as it was understood.
- tokenizer: vocabulary, merges, added tokens, normaliser, what comes before and after; of tokenizers that are not
  "fast", the vocabulary and the special tokens. Padding and truncation do not enter.
- chat template: the whole model input of a fixed user's turn with an image, as rendered on a fixed day.
- image processor: its settings.
- generation: greedy decoding as it is done (length limit, end-of-text tokens, tokens that are ruled out), of models
  that write.
- prompt: what the user says about a fixed question (layout and instruction), and the card's `prompt`, if any.
- strategy: answer mode, and how completions are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.records.model import Identity

if TYPE_CHECKING:
    from medrobust_bench.models.huggingface import HuggingFaceVLM

PROBE = "What does the image show?"
"""What the user says where the chat template is rendered."""

_STAMPS = (
    "name_or_path", "architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "processor_class",
    "image_processor_type", "feature_extractor_type",
)  # fmt: skip
_OF_OUTPUTS = (
    "use_cache", "return_dict", "output_attentions", "output_hidden_states", "problem_type", "id2label", "label2id",
    "chunk_size_feed_forward", "return_tensors", "data_format", "device", "disable_grouping", "attn_implementation",
)  # fmt: skip
_OF_TRAINING = ("initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout")
_OF_GENERATION = ("bos_token_id", "eos_token_id", "pad_token_id")
"""Copied into configurations by some versions; what is in effect is in the generation settings."""
_NOT_DECISIVE = frozenset((*_STAMPS, *_OF_OUTPUTS, *_OF_TRAINING, *_OF_GENERATION))


def identify(adapter: HuggingFaceVLM) -> Identity:
    """The digests of an opened model."""
    return Identity(
        configuration=digest(stated(adapter.model.config)),
        tokenizer=digest(tokenizer_settings(adapter.tokenizer)),
        chat_template=digest(adapter.render_words(PROBE)),
        image_processor=digest(image_settings(adapter.processor.image_processor)),
        generation=digest(_generation(adapter)) if adapter.strategy.generates else None,
        prompt=digest([adapter.strategy.prompt(synthetic_questions()[0]), adapter.prompt]),
        strategy=digest({"mode": adapter.mode.value, "settings": _fields(adapter.strategy)}),
    )


def digest(value: Any) -> str:
    """Hex SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_named)
    return hashlib.sha256(text.encode()).hexdigest()


def _named(value: Any) -> str:
    """For what JSON does not know: never where it lies in memory."""
    return f"{type(value).__name__} {getattr(value, 'value', '')}"


def stated(config: Any) -> dict[str, Any]:
    """What a configuration says beyond the defaults of its class, those of the parts inside included."""
    try:
        usual = type(config)().to_dict()
    except (TypeError, ValueError, AttributeError, KeyError):  # strangers' classes need arguments
        usual = {}
    told: dict[str, Any] = {"class": type(config).__name__}
    for name, value in config.to_dict().items():
        part = getattr(config, name, None)
        if name in _NOT_DECISIVE or name.startswith("_"):
            continue
        if hasattr(part, "to_dict") and hasattr(type(part), "model_type"):
            told[name] = stated(part)
        elif name not in usual or value != usual[name]:
            told[name] = _decisive(value)
    return told


def tokenizer_settings(tokenizer: Any) -> Any:
    """What decides which tokens a text becomes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return {"vocabulary": tokenizer.get_vocab(), "special": tokenizer.all_special_tokens}
    parts = json.loads(backend.to_str())
    return {name: _present(part) for name, part in parts.items() if name not in _PADDING}


_PADDING = ("padding", "truncation", "version")


def image_settings(image_processor: Any) -> dict[str, Any]:
    """What an image processor does beyond the defaults of its class."""
    kind = type(image_processor)
    try:
        usual = kind().to_dict()
    except (TypeError, ValueError, AttributeError, KeyError):
        usual = {}
    settings = image_processor.to_dict()
    told = {
        name: _decisive(value)
        for name, value in settings.items()
        if name not in _NOT_DECISIVE
        and not name.startswith("_")
        and (name not in usual or value != usual[name])
    }
    return {"class": kind.__name__.removesuffix("Fast"), **told}


def _generation(adapter: HuggingFaceVLM) -> dict[str, Any]:
    """The settings of greedy decoding that do something; which of the others are null, 0 or 1 changes with versions."""
    told = {
        name: _decisive(value)
        for name, value in adapter.greedy.to_dict().items()
        if name not in _OF_SAMPLING and not name.startswith("_") and value not in (None, False, 1)
    }
    return {**told, "max_new_tokens": adapter.max_new_tokens}


def _fields(strategy: Any) -> dict[str, Any]:
    """The settings of a strategy that were given, by name; how it reads completions is code."""
    return {
        "class": type(strategy).__name__,
        **{
            one.name: value
            for one in fields(strategy)
            if (value := getattr(strategy, one.name)) != one.default and value is not None
        },
    }


def _decisive(value: Any) -> Any:
    """A setting without what is not decisive inside it; tuples as lists, keys as text."""
    if isinstance(value, Mapping) or hasattr(value, "items"):
        return {
            str(name): _decisive(part) for name, part in dict(value).items() if str(name) not in _NOT_DECISIVE
        }
    if isinstance(value, (list, tuple)):
        return [_decisive(part) for part in value]
    if isinstance(value, set | frozenset):
        return sorted(_decisive(part) for part in value)
    return value


_OF_SAMPLING = (
    "temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "max_length",
    "transformers_version",
)  # fmt: skip


def _present(value: Any) -> Any:
    """A part of a tokenizer without the settings that are null, which newer versions add."""
    if isinstance(value, dict):
        return {name: _present(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [_present(part) for part in value]
    return value
