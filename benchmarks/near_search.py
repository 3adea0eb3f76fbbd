"""How long the search for near-duplicates compares hashes: each with each as written down, and in blocks.

`python benchmarks/near_search.py` makes random hashes with planted copies, checks that both name the same pairs, and
prints processor time a pair and, computed from it, of 100,000 images. A minute of one thread.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.data.near import hash_candidates
from medrobust_bench.reports.grid import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

RADIUS = 64  # of 255 bits
LARGE = 100_000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 5000, 10000])
    rows = []
    for count in parser.parse_args().images:
        hashes = planted(count, np.random.default_rng(count))
        times = []
        found = []
        for search in (each_with_each, hash_candidates):
            began = time.process_time()
            found.append(search(hashes))
            times.append(time.process_time() - began)
        if found[0] != found[1]:
            raise SystemExit(f"{count} images: the searches name different pairs")
        pairs = count * (count - 1) / 2
        large = LARGE * (LARGE - 1) / 2
        cells = [f"{taken / pairs * 1e6:.3f} µs ({taken / pairs * large / 60:.1f} min)" for taken in times]
        rows.append((f"{count:,}", str(len(found[0])), *cells))
    header = ("Images", "Candidates", "Each with each, a pair (100,000 images)", "In blocks")
    print(Grid("", header, tuple(rows), names=1).markdown())


def planted(count: int, draw: np.random.Generator) -> NDArray[np.uint64]:
    """Random hashes [count, 7, 4], one in ten of which has a copy with up to 80 of its bits changed."""
    bits = draw.random((count, 7, 256)) < 0.5
    for place in range(0, count - 1, 10):
        bits[place + 1, draw.integers(7)] = bits[place, 0]
        bits[place + 1, :, draw.choice(256, draw.integers(80), replace=False)] ^= True
    bits[..., 0] = False
    return np.packbits(bits, axis=2).view(np.uint64)


def each_with_each(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """The definition: an image's hashes, cropped or not, against all others' whole ones."""
    near = np.zeros((len(hashes), len(hashes)), bool)
    for place, own in enumerate(hashes):
        apart = np.bitwise_count(own[:, None] ^ hashes[None, :, 0]).sum(axis=2, dtype=np.uint16).min(axis=0)
        near[place] = apart <= RADIUS
    either = np.triu(near | near.T, k=1)
    return [(int(first), int(second)) for first, second in np.argwhere(either)]


if __name__ == "__main__":
    main()
