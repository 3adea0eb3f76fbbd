"""Images that stand on both sides of a split.

A model that was trained on a test image has seen the answer's image before: its accuracy there, clean or robust, says
little about new patients. Images are compared by content where their files are at hand, else by published path. Neither
finds crops, rescaled copies or other slices of the same patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from medrobust_bench.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Leak:
    """Held-out images of one modality that also stand in the other set.

    Attributes:
        modality: modality of the held-out images.
        held_out: name of the set that should hold unseen images.
        seen: name of the set in which they stand again.
        images: the images (or groups) found in both, by key (path, digest, name), sorted.
        total: number of distinct held-out images (or groups) of the modality.
        kind: what was compared: "images", "near-duplicates", or "groups" (patients, studies).
    """

    modality: str
    held_out: str
    seen: str
    images: tuple[str, ...]
    total: int
    kind: str = "images"


def find_leaks(
    held_out: Mapping[str, Set[str]],
    seen: Mapping[str, Set[str]],
    *,
    held_out_name: str,
    seen_name: str,
    kind: str = "images",
) -> tuple[Leak, ...]:
    """Compare two sets of image keys.

    Args:
        held_out: keys (content digests, or published paths) of the held-out images by modality.
        seen: keys of the other set; an image counts as seen whatever modality it is listed under.
        held_out_name: what to call the first set.
        seen_name: what to call the second set.
        kind: what the keys stand for; see `Leak`.

    Returns:
        One entry for each modality with a leak, in the order of `held_out`.
    """
    all_seen = frozenset[str]().union(*seen.values())
    leaks = []
    for modality, keys in held_out.items():
        shared = keys & all_seen
        if shared:
            leaks.append(Leak(modality, held_out_name, seen_name, tuple(sorted(shared)), len(keys), kind))
    return tuple(leaks)


def content_keys(dataset: Dataset) -> dict[str, frozenset[str]]:
    """Content digests of a data set's images by modality, in the order of first appearance."""
    keys: dict[str, set[str]] = {}
    for question in dataset.questions:
        keys.setdefault(question.modality, set()).add(question.image.digest())
    return {modality: frozenset(digests) for modality, digests in keys.items()}
