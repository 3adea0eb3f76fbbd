"""What many witnesses cost in memory and time: gathering them for a submission, and reading them for its verification.

    python -m benchmarks.witnesses --count 3000

Writes that many images of 256 KB as a run keeps them, then in fresh processes does with them what `medrobust submit`
and `medrobust verify` do before they look at any of them: gather them in one file; hash, check and index that file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from medrobust_bench.records.witness import Witness, sha256, write_witnesses

SIZE = 256 * 1024
CHUNK = 32
MEASURED = """
import hashlib, resource, sys, time
from pathlib import Path
from medrobust_bench.records.witness import stored_witnesses, write_rows
from medrobust_bench.leaderboard.evidence import _witnesses
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
if sys.argv[2] == "submit":
    found = [one for path in sorted((folder / "run").glob("*.parquet")) for one in stored_witnesses(path)]
    with (folder / "gathered.parquet").open("wb") as file:
        write_rows(file, found, model="other")
else:
    with (folder / "gathered.parquet").open("rb") as file:
        hashlib.file_digest(file, "sha256")
    found, faults = _witnesses(folder / "gathered.parquet", most=10**6)
    assert not faults, faults
    assert all(hashlib.sha256(one.image).hexdigest() == one.sha256 for one in found)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = time.process_time() - start
print(f"| {sys.argv[2]} | {len(found):,} | {seconds:.1f} | {before / 1024:.0f} | {peak / 1024:.0f} |")
"""


def main() -> None:
    """Write, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3000)
    count = parser.parse_args().count
    print("| | images | CPU, s | MB before | peak MB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, count, CHUNK):
            chunk = [made(number) for number in range(first, min(first + CHUNK, count))]
            write_witnesses(Path(folder) / "run" / f"m--t--{first // CHUNK:05d}.parquet", chunk)
        for step in ("submit", "verify"):
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, folder, step], check=True, capture_output=True, text=True
            )
            print(done.stdout.strip())


def made(number: int) -> Witness:
    """A witness with an image that is no picture."""
    image = os.urandom(SIZE)
    return Witness(
        model="m",
        threat="t",
        question=f"q{number}",
        image=image,
        sha256=sha256(image),
        clean_sha256="c",
        answer=0,
        choice=1,
        text="",
    )


if __name__ == "__main__":
    main()
