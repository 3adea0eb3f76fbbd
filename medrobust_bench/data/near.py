"""Near-duplicate images: the same picture resized, compressed again, or cropped a little.

Three steps. A perceptual hash of 255 bits (signs of the low frequencies of the discrete cosine transform about their
median, as pHash; of the whole picture and of six slightly cropped ones) finds candidates. Each candidate pair is then
laid over each other, with the margins that fit best, and compared by the correlation of its fine structure: pictures of
one kind look alike in the large, and only copies look alike in the small. This is done twice: roughly, on fine
structure that is taken from each whole picture once, which gives up on nearly every pair of pictures of one kind; and
for what is left exactly, with the fine structure of each cropped picture.
"""

from __future__ import annotations

import csv
import os
from concurrent.futures import ThreadPoolExecutor
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
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.data.image import ImageSource

SAME = 0.96
"""Correlation of fine structure from which two pictures count as near-duplicates."""

_CANDIDATE = 64  # largest distance of hashes, of 255 bits
_HASHED_SIDE, _COMPARED_SIDE, _ROUGH_SIDE = 64, 96, 48
_LEAST = (0.5, 0.65, 0.7)  # rough correlation after one round, two, and more; copies reach 0.7, 0.85, 0.88
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
_WHOLE = (0.0, 0.0, 0.0, 0.0)
_STEPS = (0.02, 0.01, 0.005)
_ROUNDS = 6
_ROWS, _COLUMNS = 64, 1024
_HEADER = ("image_sha256", "near_duplicates")

Margins = tuple[float, float, float, float]
"""Shares of a picture that are cut off: left, top, right, bottom."""


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

    The time grows with the pairs that look alike in the large (about a millisecond for two pictures of one kind, ten
    for a copy), and with the square of the number of images, whose hashes are compared (0.04 microseconds for a pair).

    Args:
        images: of distinct content; all must decode.
        progress: called with the steps done and in all.
    """
    hashes = (
        np.stack([_hashes(_grey(image)) for image in images]) if images else np.empty((0, 7, 4), np.uint64)
    )
    candidates = hash_candidates(hashes)
    look = lru_cache(maxsize=2048)(lambda place: _Look.of(_grey(images[place]), hashes[place]))
    pairs = []
    for done, (first, second) in enumerate(candidates, start=1):
        likeness = _likeness(look(first), look(second))
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


def hash_candidates(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Pairs of which one, cropped or not, hashes like the other as a whole, in order.

    Every pair is looked at, in blocks that stay in a core's cache. An index over parts of the hashes (Norouzi, Punjani
    and Fleet 2012) gains nothing at this radius, a quarter of the bits: of 16 parts of 16 bits one would have to differ
    in at most 4 places, and nearly every pair of unlike pictures has one among 7 hashes that does.

    Args:
        hashes: [images, 7, 4], the whole picture's first.
    """
    words = np.ascontiguousarray(hashes.transpose(1, 2, 0))
    starts = range(0, len(hashes), _ROWS)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # numpy lets other threads run
        found = pool.map(lambda start: _alike(words, start), starts)
        return sorted({pair for pairs in found for pair in pairs})


def _alike(words: NDArray[np.uint64], start: int) -> set[tuple[int, int]]:
    """Pairs of some images, cropped or not, and any other as a whole that hash alike.

    Args:
        words: [7, 4, images].
        start: place of the first of `_ROWS` images.
    """
    variants, parts, count = words.shape
    rows = words[:, :, start : start + _ROWS, None]
    found = set()
    for others in range(0, count, _COLUMNS):
        whole = words[0, :, None, others : others + _COLUMNS]
        apart = np.empty((rows.shape[2], whole.shape[2]), np.uint64)
        bits, distance = np.empty(apart.shape, np.uint8), np.empty(apart.shape, np.uint8)
        for variant in range(variants):
            np.bitwise_count(np.bitwise_xor(rows[variant, 0], whole[0], out=apart), out=distance)
            for part in range(1, parts):
                np.bitwise_count(np.bitwise_xor(rows[variant, part], whole[part], out=apart), out=bits)
                np.add(distance, bits, out=distance)  # at most 255: one of the 256 bits is never set
            if distance.min() <= _CANDIDATE:
                near = np.argwhere(distance <= _CANDIDATE) + np.array((start, others))
                found |= {(min(pair), max(pair)) for pair in near.tolist() if pair[0] != pair[1]}
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture as it is compared.

    Attributes:
        image: in grey levels.
        hashes: of it, and of its cropped forms.
        band: its fine structure.
        target: the same, small and standardised: what another picture's is laid over roughly.
    """

    image: Image.Image
    hashes: NDArray[np.uint64]
    band: Image.Image
    target: NDArray[np.float64]

    @classmethod
    def of(cls, image: Image.Image, hashes: NDArray[np.uint64]) -> _Look:
        band = Image.fromarray(_band(_shrunk(image, _WHOLE, _COMPARED_SIDE)).astype(np.float32))
        return cls(image, hashes, band, _rough(band, _WHOLE))


def _likeness(one: _Look, other: _Look) -> float:
    """Correlation of the fine structure of two pictures, one of them cropped so that it fits best."""
    return max(_fitted(one, other), _fitted(other, one))


def _fitted(cropped: _Look, whole: _Look) -> float:
    """Best correlation over the margins of the first picture; an upper bound far below `SAME` where it is hopeless."""

    def roughly(margins: Margins) -> float:
        return float((_rough(cropped.band, margins) * whole.target).mean())

    nearest = int(np.bitwise_count(cropped.hashes ^ whole.hashes[0]).sum(1).argmin())
    found, best = _ascend(roughly, _MARGINS[nearest], _STEPS, least=_LEAST)
    if best < _LEAST[-1]:
        return best
    target = _fine(_shrunk(whole.image, _WHOLE, _COMPARED_SIDE))

    def exactly(margins: Margins) -> float:
        return float((_fine(_shrunk(cropped.image, margins, _COMPARED_SIDE)) * target).mean())

    return _ascend(exactly, found, _STEPS[1:])[1]


def _ascend(
    score: Callable[[Margins], float], start: Margins, steps: Sequence[float], *, least: Sequence[float] = ()
) -> tuple[Margins, float]:
    """The margins of highest score by coordinate ascent, and the score; given up where a round ends below `least`."""
    found, best = start, score(start)
    rounds = 0
    for step in steps:
        for _ in range(_ROUNDS):
            before = best
            for side in range(4):
                for change in (step, -step):
                    margin = min(_LARGEST_MARGIN, max(0.0, found[side] + change))
                    tried: Margins = (*found[:side], margin, *found[side + 1 :])  # type: ignore[assignment]
                    if tried != found and (value := score(tried)) > best + 1e-4:
                        found, best = tried, value
            if least and best < least[min(rounds, len(least) - 1)]:
                return found, best
            rounds += 1
            if best == before:
                break
    return found, best


def _rough(band: Image.Image, margins: Margins) -> NDArray[np.float64]:
    """A part of fine structure, small and standardised."""
    width, height = band.size
    left, top, right, bottom = margins
    box = (left * width, top * height, (1 - right) * width, (1 - bottom) * height)
    small = band.resize((_ROUGH_SIDE, _ROUGH_SIDE), Image.Resampling.BILINEAR, box=box)
    return _standardised(np.asarray(small, dtype=np.float64))


def _fine(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Structure between about one and four pixels, with mean 0 and standard deviation 1."""
    return _standardised(_band(levels))


def _band(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    band: NDArray[np.float64] = gaussian_filter(levels - gaussian_filter(levels, 4), 0.8)
    return band


def _standardised(values: NDArray[np.float64]) -> NDArray[np.float64]:
    standardised: NDArray[np.float64] = (values - values.mean()) / (values.std() + 1e-6)
    return standardised
