"""From what a user types after `--model` to a card, and from a card to a loaded model."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from pydantic import ValidationError

from medrobust_bench import extensions
from medrobust_bench.models.cards import ENDPOINT, Card, TrainingData, read_card, read_cards
from medrobust_bench.models.endpoint.settings import EndpointOptions, EndpointSettings
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError, Problem, near

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from medrobust_bench.models.adapter import Adapter

ADAPTER_GROUP = "medrobust_bench.adapters"
HUGGING_FACE = "huggingface"
SERVED = "openai:"
"""How the name of a model behind a server begins."""

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)+")
_CALLED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

_NO_FOLDER = "correct the source; for a shipped model, reinstall medrobust-bench"
_LOAD_REMEDY = (
    "check the name and the network; accept a gated model's licence on the hub and run `hf auth login`; "
    "or download it and give the folder"
)

_logger = logging.getLogger(__name__)


@runtime_checkable
class AdapterLoader(Protocol):
    """What an entry point of the group `medrobust_bench.adapters` names: a function from card to adapter."""

    def __call__(self, card: Card, *, device: str, dtype: str, trust_remote_code: bool) -> Adapter:
        """Load the card's model; raises OSError when its weights cannot be had."""
        ...


def resolve(
    name: str,
    *,
    answer_mode: AnswerMode | None = None,
    revision: str | None = None,
    max_new_tokens: int | None = None,
    endpoint: Mapping[str, Any] | None = None,
    answers_from: str | None = None,
) -> Card:
    """The card of a model.

    Args:
        name: a card's id, a card's file (`*.md`), a local folder with a checkpoint, or a hub id
            (`owner/name`, or `owner/name/folder` where a repository holds several checkpoints); tried in this
            order. A folder that is called like a card needs `./` in front. `openai:NAME` is the model that a server
            calls NAME. With `=NAME` behind it, results call the model NAME: two folders of one name can so run
            together.
        answer_mode: replaces the card's, and with it the instruction, which belongs to the mode; for a model without a
            card, default `letter`.
        revision: replaces the card's hub revision.
        max_new_tokens: replaces the card's length limit of a completion.
        endpoint: of a model behind a server, fields of `EndpointOptions` that replace the card's.
        answers_from: of a model with weights at hand, what a server calls the same weights: it answers for them, and is
            where `endpoint` says.

    Raises:
        InvalidInputError: nothing of that name, everything wrong with the card, an adapter that is not installed,
            or a local checkpoint that is not there. A hub id is not looked up, nor a server.
    """
    found = _named(name)
    changes = {"answer_mode": answer_mode, "revision": revision, "max_new_tokens": max_new_tokens}
    given: dict[str, object] = {key: value for key, value in changes.items() if value is not None}
    pins = found.identity
    if pins is not None and max_new_tokens is not None:
        pins = pins.model_copy(update={"generation": None})
    if answer_mode not in (None, found.answer_mode):
        given["instruction"] = None
        pins = pins and pins.of_checkpoint  # the other pins are those of the card's own mode
    given["identity"] = pins
    card = found.model_copy(update=given)
    _loader(card)
    if card.adapter == ENDPOINT:
        if answers_from is not None:
            what = "is behind a server already: there are no weights for which another could answer"
            raise InvalidInputError([Problem(name, what, "remove --answers-from, or give the weights")])
        return _of_server(card, endpoint or {})
    if answers_from is not None or card.answers_from is not None:
        card = _with_server(card, answers_from, endpoint or {})
    # What the source of another adapter means is for that adapter to say.
    local = card.adapter == HUGGING_FACE and isinstance(checkpoint(card), Path)
    if local and revision is not None:
        what = f"has no revision {revision!r}: it is a folder on this machine"
        raise InvalidInputError([Problem(name, what, "remove --revision, or give a hub id")])
    return card


def unpinned(card: Card) -> Card:
    """The card without its digests: whatever its source holds now is loaded."""
    return card.model_copy(update={"weights_sha256": None, "identity": None})


def load_model(
    card: Card, *, device: str = "auto", dtype: str = "auto", trust_remote_code: bool = False
) -> Adapter:
    """Load the model of a card and compare it with the card's digests.

    Args:
        card: from `resolve`.
        device: "auto", "cpu", "cuda", "cuda:1", …
        dtype: "auto" takes the card's.
        trust_remote_code: whether code from the checkpoint's repository may run; recorded in the result.

    Raises:
        InvalidInputError: unknown adapter, missing or unreadable checkpoint, or weights, tokenizer, … other than
            the card's.
    """
    where = str(card.path or card.id)
    chosen = card.dtype if dtype == "auto" else dtype
    load = _loader(card)
    try:
        adapter = load(card, device=device, dtype=chosen, trust_remote_code=trust_remote_code)
    except OSError as error:
        reason = str(error).strip() or type(error).__name__
        what = f"{card.source} cannot be loaded: {reason.splitlines()[0]}"
        raise InvalidInputError([Problem(where, what, _LOAD_REMEDY)]) from error
    _check_weights(card, adapter, where)
    _check_identity(card, adapter, where)
    if card.answers_from is not None:
        return _answered_elsewhere(card, adapter, card.answers_from)
    if card.smoothing is None:
        return adapter
    from medrobust_bench.models.averaged import smoothed

    return smoothed(adapter, card.smoothing)


def checkpoint(card: Card) -> str | Path:
    """Where the card's weights are: a local folder, or a hub id.

    Raises:
        InvalidInputError: a local folder without a checkpoint.
    """
    where = str(card.path or card.id)
    if card.shipped:
        return _checkpoint_folder(Path(__file__).parents[1] / card.source, where)
    if _is_path(card.source):
        folder = Path(card.source).expanduser()
        return _checkpoint_folder(folder if card.path is None else card.path.parent / folder, where)
    return card.source


def _of_server(card: Card, changes: Mapping[str, Any]) -> Card:
    """The card of a model behind a server, with these options in place of its own."""
    options = {**dict(card.endpoint or EndpointOptions()), **changes}
    return _changed(card, "endpoint", EndpointOptions, options)


def _with_server(card: Card, model: str | None, changes: Mapping[str, Any]) -> Card:
    """The card of weights for which a server answers."""
    named = {} if model is None else {"model": model}
    return _changed(
        card, "answers_from", EndpointSettings, {**dict(card.answers_from or ()), **named, **changes}
    )


def _changed(card: Card, name: str, kind: type[EndpointOptions], options: Mapping[str, Any]) -> Card:
    """A card with another section about a server, checked as a whole."""
    try:
        return Card.model_validate({**dict(card), name: kind.model_validate(options)})
    except ValidationError as error:
        raise InvalidInputError(
            [
                Problem(
                    str(card.path or card.id),
                    f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": "),
                    "correct the flag, or the card",
                )
                for fault in error.errors()
            ]
        ) from error


def _named(name: str) -> Card:
    """The card of `SOURCE` or `SOURCE=NAME`; a folder whose own name has an equals sign is no such thing."""
    source, equals, called = name.rpartition("=")
    if not equals or Path(name).expanduser().exists():
        return _find(name)
    if not _CALLED.fullmatch(called):
        what = f"calls {source} {called!r}"
        remedy = "write SOURCE=NAME, the name of letters, digits, dots, dashes and underscores"
        raise InvalidInputError([Problem("--model", what, remedy)])
    return _find(source).model_copy(update={"id": called, "title": called})


def _find(name: str) -> Card:
    cards = read_cards()
    if name in cards:
        return cards[name]
    if served := name.removeprefix(SERVED) if name.startswith(SERVED) else "":
        return _ad_hoc(name, served, adapter=ENDPOINT)
    path = Path(name).expanduser()
    if path.suffix == ".md":
        return read_card(path)
    if path.is_dir():
        return _ad_hoc(path.resolve().name, str(_checkpoint_folder(path.resolve(), name)))
    if path.exists():
        what = "is a file, not a checkpoint"
        raise InvalidInputError(
            [Problem(name, what, "give the folder that holds config.json and the weights")]
        )
    if _HUB_ID.fullmatch(name) and not _is_path(name):
        return _ad_hoc(name, name)
    if _is_path(name):
        raise InvalidInputError([Problem(name, "is no folder", "give the folder that holds config.json")])
    remedy = near(name, cards) + (
        "`medrobust models` lists the cards; a card file, a folder or a hub id (owner/name) will do as well"
    )
    raise InvalidInputError([Problem("--model", f"there is no model {name!r}", remedy)])


def _is_path(name: str) -> bool:
    """Whether a name can only mean a local path."""
    return name.startswith(("./", "../", "~")) or Path(name).is_absolute()


def _ad_hoc(model_id: str, source: str, *, adapter: str = HUGGING_FACE) -> Card:
    """The card of a model that has none."""
    return Card(
        id=model_id,
        title=model_id,
        adapter=adapter,
        source=source,
        answer_mode=AnswerMode.LETTER,
        licence="unknown",
        training_data=TrainingData(description="unknown", trained_on_omnimedvqa="unknown"),
        evaluated=False,
    )


def _checkpoint_folder(folder: Path, where: str) -> Path:
    if not folder.is_dir():
        raise InvalidInputError([Problem(where, f"there is no folder {folder}", _NO_FOLDER)])
    if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
        remedy = "give the folder that `save_pretrained` wrote, of a model or of an adapter for one"
        raise InvalidInputError([Problem(where, f"{folder} holds no config.json", remedy)])
    damaged = [
        path.name
        for path in sorted(folder.glob("*config.json"))
        if path.name != "adapter_config.json" and not _is_json_object(path)  # which has a reader of its own
    ]
    if damaged:  # some of them transformers would do without, in silence
        what = f"{folder} holds a damaged {', '.join(damaged)}"
        raise InvalidInputError([Problem(where, what, "fetch it again: it may be cut off")])
    return folder


def _is_json_object(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _loader(card: Card) -> AdapterLoader:
    if card.adapter in _BUILT_IN:
        return _BUILT_IN[card.adapter]
    added = extensions.extension(ADAPTER_GROUP, card.adapter)
    if added is None:
        known = ", ".join([*_BUILT_IN, *extensions.names(ADAPTER_GROUP)])
        remedy = f"install the package that provides it; known here: {known}"
        raise InvalidInputError(
            [Problem(str(card.path or card.id), f"there is no adapter {card.adapter!r}", remedy)]
        )
    if not isinstance(added.value, AdapterLoader):
        raise added.refused("cannot be called", "name the function that loads an adapter from a card")
    return added.value


def _load_hugging_face(card: Card, *, device: str, dtype: str, trust_remote_code: bool) -> Adapter:
    source = checkpoint(card)  # before the import, which takes seconds

    if isinstance(source, Path):
        return _load_transformers(
            card, source, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )
    from medrobust_bench.models.hub_reach import offline_where_unreachable

    with offline_where_unreachable():
        if source.count("/") > 1:
            source = _download_folder(source, card.revision)
        return _load_transformers(
            card, source, device=device, dtype=dtype, trust_remote_code=trust_remote_code
        )


def _load_transformers(
    card: Card, source: str | Path, *, device: str, dtype: str, trust_remote_code: bool
) -> Adapter:
    from medrobust_bench.models.answers.registry import strategy_of
    from medrobust_bench.models.huggingface import HuggingFaceVLM

    length = {} if card.max_new_tokens is None else {"max_new_tokens": card.max_new_tokens}
    return HuggingFaceVLM.from_pretrained(
        source,
        id=card.id,
        mode=card.answer_mode,
        revision=card.revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        prompt=card.prompt,
        strategy=strategy_of(card),
        system=card.system,
        stop=card.stop,
        **length,
    )


def _answered_elsewhere(card: Card, local: Adapter, settings: EndpointSettings) -> Adapter:
    """Local weights for which a server answers, with the same length limit."""
    from medrobust_bench.models.endpoint.adapter import open_server
    from medrobust_bench.models.endpoint.hybrid import HybridVLM
    from medrobust_bench.models.huggingface import HuggingFaceVLM

    if isinstance(local, HuggingFaceVLM):
        card = card.model_copy(update={"max_new_tokens": local.max_new_tokens})
    return HybridVLM(local, open_server(card, settings))


def _load_endpoint(card: Card, *, device: str, dtype: str, trust_remote_code: bool) -> Adapter:
    from medrobust_bench.models.endpoint.adapter import open_endpoint

    return open_endpoint(card)


_BUILT_IN: Final[dict[str, AdapterLoader]] = {HUGGING_FACE: _load_hugging_face, ENDPOINT: _load_endpoint}


def _download_folder(source: str, revision: str | None) -> Path:
    """Fetch one folder of a hub repository that holds several checkpoints."""
    from huggingface_hub import snapshot_download

    owner, name, folder = source.split("/", 2)
    root = snapshot_download(f"{owner}/{name}", revision=revision, allow_patterns=f"{folder}/*")
    return _checkpoint_folder(Path(root) / folder, source)


def _check_weights(card: Card, adapter: Adapter, where: str) -> None:
    if card.weights_sha256 is None:
        return
    record = adapter.record
    if record.dtype != card.dtype:
        message = "%s: weights not compared with the card, whose digest is for %s, not %s"
        _logger.warning(message, card.id, card.dtype, record.dtype)
    elif record.weights_sha256 != card.weights_sha256:
        what = (
            f"the weights of {card.source} have the digest {record.weights_sha256}, not {card.weights_sha256}"
        )
        remedy = "fetch the checkpoint again, pin its revision, or correct weights_sha256 in the card"
        raise InvalidInputError([Problem(where, what, remedy)])


def _check_identity(card: Card, adapter: Adapter, where: str) -> None:
    """Hold tokenizer, template and the rest against the card's pins."""
    if card.identity is None or (found := adapter.record.identity) is None:
        return
    if parts := card.identity.differences(found):
        what = f"another {', another '.join(parts)} than the card pins"
        remedy = f"fetch the checkpoint again, or pin what it is now with `medrobust models pin {card.path} --write`"
        raise InvalidInputError([Problem(where, what, remedy)])
