"""Near-duplicate images: the same picture resized, compressed again, or cropped a little.

Two steps. A perceptual hash of 255 bits (signs of the low frequencies of the discrete cosine transform about their
median, as pHash; of the whole picture and of six slightly cropped ones) finds candidates. Each candidate pair is then
laid over each other, with the margins that fit best, and compared by the correlation of its fine structure: pictures of
one kind look alike in the large, and only copies look alike in the small.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from medrobust_bench.data.image import canonical
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.data.image import ImageSource

SAME = 0.96
"""Correlation of fine structure from which two pictures count as near-duplicates."""

_CANDIDATE = 64  # largest distance of hashes, of 255 bits
_HASHED_SIDE, _COMPARED_SIDE = 64, 96
_LARGEST_MARGIN = 0.12
_MARGINS = (  # left, top, right, bottom
    (0.0, 0.0, 0.0, 0.0),
    (0.025, 0.025, 0.025, 0.025),
    (0.05, 0.05, 0.05, 0.05),
    (0.0, 0.0, 0.07, 0.07),
    (0.07, 0.0, 0.0, 0.07),
    (0.0, 0.07, 0.07, 0.0),
    (0.07, 0.07, 0.0, 0.0),
)
_STEPS = (0.02, 0.01, 0.005)
_ROUNDS = 6
_ROWS = 256
_HEADER = ("image_sha256", "near_duplicates")

Margins = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class NearPair:
    """Two images that are near-duplicates of each other.

    Attributes:
        first: place of one of them in what was compared.
        second: place of the other; larger.
        likeness: correlation of their fine structure, `SAME` to 1.
    """

    first: int
    second: int
    likeness: float


def near_pairs(
    images: Sequence[ImageSource], *, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[NearPair]:
    """Every pair of near-duplicates.

    The time grows with the number of pairs that look alike in the large: about 0.05 seconds for each.

    Args:
        images: of distinct content; all must decode.
        progress: called with the steps done and in all.
    """
    hashes = (
        np.stack([_hashes(_grey(image)) for image in images]) if images else np.empty((0, 7, 4), np.uint64)
    )
    candidates = list(_candidates(hashes))
    grey = lru_cache(maxsize=512)(lambda place: _grey(images[place]))
    pairs = []
    for done, (first, second) in enumerate(candidates, start=1):
        likeness = _likeness(grey(first), grey(second), hashes[first], hashes[second])
        if likeness >= SAME:
            pairs.append(NearPair(first, second, round(likeness, 4)))
        progress(done, len(candidates))
    return pairs


def near_clusters(digests: Sequence[str], pairs: Sequence[NearPair]) -> dict[str, str]:
    """The cluster of every image that has near-duplicates: the least digest among them.

    Args:
        digests: of the images that were compared, in their order.
        pairs: what `near_pairs` found.
    """
    leaders: dict[str, str] = {}

    def leader(digest: str) -> str:
        while leaders.get(digest, digest) != digest:
            digest = leaders[digest]
        return digest

    for pair in pairs:
        low, high = sorted((leader(digests[pair.first]), leader(digests[pair.second])))
        leaders[low], leaders[high] = low, low
    return {digest: leader(digest) for digest in sorted(leaders)}


def write_clusters(path: Path, clusters: Mapping[str, str]) -> None:
    """Write clusters as a CSV file that a data card can name (`source.near`)."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_HEADER, *sorted(clusters.items())])


def read_clusters(path: Path) -> dict[str, str]:
    """Read what `write_clusters` wrote.

    Raises:
        InvalidInputError: it is no such file.
    """
    remedy = "write it with `medrobust data check SOURCE --near --near-out FILE`"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file))
            if tuple(header) != _HEADER or any(len(row) != len(_HEADER) for row in rows):
                raise ValueError("other columns than " + ", ".join(_HEADER))
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInputError(
            [Problem(str(path), f"is no list of near-duplicates: {error}", remedy)]
        ) from error
    return dict(rows)


def _grey(image: ImageSource) -> Image.Image:
    return Image.fromarray(canonical(image)).convert("L")


def _shrunk(image: Image.Image, margins: Sequence[float], side: int) -> NDArray[np.float64]:
    width, height = image.size
    left, top, right, bottom = margins
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    kind = Image.Resampling.BOX if min(image.size) > side else Image.Resampling.BICUBIC
    return np.asarray(image.resize((side, side), kind, box=box), dtype=np.float64)


def _hashes(image: Image.Image) -> NDArray[np.uint64]:
    """Hashes of the picture and its slightly cropped forms, [7, 4] words of 64 bits."""
    bits = np.zeros((len(_MARGINS), 256), dtype=bool)
    for row, margins in enumerate(_MARGINS):
        low = dctn(_shrunk(image, margins, _HASHED_SIDE), norm="ortho")[:16, :16].ravel()[1:]
        bits[row, 1:] = low > np.median(low)
    return np.packbits(bits, axis=1).view(np.uint64)


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Pairs of which one, cropped or not, hashes like the other as a whole."""
    count = len(hashes)
    for start in range(0, count, _ROWS):
        rows = hashes[start : start + _ROWS]
        cropped_rows = _nearest(rows, hashes[:, 0])  # the rows cropped, against the others whole
        cropped_others = _nearest(hashes, rows[:, 0]).T
        near = np.minimum(cropped_rows, cropped_others) <= _CANDIDATE
        for row, column in np.argwhere(near):
            if start + row < column:
                yield int(start + row), int(column)


def _nearest(variants: NDArray[np.uint64], whole: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Smallest distance of any variant to a whole picture, [variants, whole]."""
    least = np.full((len(variants), len(whole)), 256, dtype=np.uint16)
    for variant in range(variants.shape[1]):
        distance = np.zeros_like(least)
        for word in range(variants.shape[2]):
            distance += np.bitwise_count(variants[:, None, variant, word] ^ whole[None, :, word])
        np.minimum(least, distance, out=least)
    return least


def _likeness(
    one: Image.Image, other: Image.Image, one_hashes: NDArray[np.uint64], other_hashes: NDArray[np.uint64]
) -> float:
    """Correlation of the fine structure of two pictures, one of them cropped so that it fits best."""
    pairs = ((one, other, one_hashes, other_hashes), (other, one, other_hashes, one_hashes))
    return max(
        _fitted(cropped, whole, _MARGINS[int(np.bitwise_count(variants ^ wholes[0]).sum(1).argmin())])
        for cropped, whole, variants, wholes in pairs
    )


def _fitted(cropped: Image.Image, whole: Image.Image, margins: Margins) -> float:
    """Best correlation over the margins of the first picture, by coordinate ascent."""
    target = _fine(_shrunk(whole, (0, 0, 0, 0), _COMPARED_SIDE))

    def score(tried: Sequence[float]) -> float:
        return float((_fine(_shrunk(cropped, tried, _COMPARED_SIDE)) * target).mean())

    found, best = list(margins), score(margins)
    for step in _STEPS:
        for _ in range(_ROUNDS):
            before = best
            for side in range(4):
                for change in (step, -step):
                    tried = [*found]
                    tried[side] = min(_LARGEST_MARGIN, max(0.0, tried[side] + change))
                    if tried != found and (value := score(tried)) > best + 1e-4:
                        found, best = tried, value
            if best == before:
                break
    return best


def _fine(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Structure between about one and four pixels, with mean 0 and standard deviation 1."""
    band = gaussian_filter(levels - gaussian_filter(levels, 4), 0.8)
    standardised: NDArray[np.float64] = (band - band.mean()) / (band.std() + 1e-6)
    return standardised
