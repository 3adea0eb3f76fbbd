"""Models, threats and data by name, for those who write Python; `medrobust_bench` offers all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.models.cards import Card
    from medrobust_bench.specs.threat import ThreatSpec


def list_threats() -> tuple[ThreatSpec, ...]:
    """The official specifications, by name."""
    from medrobust_bench.specs.registry import official_threats

    return official_threats()


def load_threat(text: str) -> Threat | AlteringThreat | Certification:
    """A threat or certification, ready to be handed to `evaluate`.

    Args:
        text: as after `--threat`: an official name, a kind of another package, or a YAML file; each also with
            overrides, such as "pgd-linf:eps=4/255,steps=50".

    Raises:
        InvalidInputError: unknown name or key, unreadable file, or a value out of range.
    """
    from medrobust_bench.runs.threats import load_threat

    return load_threat(text)


def list_models() -> dict[str, Card]:
    """The model registry: cards by id."""
    from medrobust_bench.models.cards import read_cards

    return read_cards()


def load_model(
    name: str,
    *,
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None = None,
    revision: str | None = None,
    max_new_tokens: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Adapter:
    """A model, loaded; its weights are held against its card.

    Args:
        name: card id, card file, checkpoint folder or hub id.
        answer_mode: instead of the card's.
        revision: hub commit or tag, instead of the card's.
        max_new_tokens: length limit of a generated answer, instead of the card's.
        device: "auto" (CUDA where there is one), or a torch device.
        dtype: "auto" takes the card's.
        trust_remote_code: run code from the checkpoint's repository.

    Raises:
        InvalidInputError: there is no such model, it cannot be loaded, or its weights are not the card's.
    """
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.models.registry import load_model, resolve

    mode = None if answer_mode is None else AnswerMode(answer_mode)
    card = resolve(name, answer_mode=mode, revision=revision, max_new_tokens=max_new_tokens)
    return load_model(card, device=device, dtype=dtype, trust_remote_code=trust_remote_code)


def load_data(
    source: str | Path | Reader = "phantoms",
    *,
    split: Literal["train", "validation", "test", "all"] = "test",
    modalities: Sequence[str] = (),
    limit: int | None = None,
    skip_invalid: bool = False,
    images: str | Path | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set, completely checked, or a balanced, seeded part of it.

    Args:
        source: as after `--data`, or a reader of your own.
        split: image-disjoint part.
        modalities: only these; empty for all.
        limit: number of questions; unset, all.
        skip_invalid: leave faulty rows out; `Dataset.skipped` lists them.
        images: folder of the images, where it is not found.
        seed: of the sample.

    Raises:
        InvalidInputError: everything that is wrong with it, together.
    """
    from pathlib import Path

    from medrobust_bench.data.source import open_data

    return open_data(
        source,
        split=split,
        skip_invalid=skip_invalid,
        modalities=modalities,
        images=None if images is None else Path(images),
        limit=limit,
        sample_seed=seed,
    )
