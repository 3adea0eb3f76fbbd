"""What opening a large data set costs: CPU time, peak memory, files read, images decoded.

    python -m benchmarks.opening --questions 88996 --folder large

Builds a tree in OmniMedVQA's layout once (synthetic pictures of 1,278 sizes, every file of its own content; about
48 KB each, 4 GB for the full size), then opens it in fresh processes: for the first time, again, and as a small
sample. The folder stays, so that two versions can be measured on the same files.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = 1278
QUESTIONS_PER_IMAGE = 88_996 / 82_061
MODALITIES = (
    "CT(Computed Tomography)",
    "Dermoscopy",
    "Fundus Photography",
    "Microscopy Images",
    "MR (Mag-netic Resonance Imaging)",
    "OCT (Optical Coherence Tomography",
    "ultrasound",
    "X-Ray",
)
TYPES = (
    "Modality Recognition",
    "Anatomy Identification",
    "Disease Diagnosis",
    "Lesion Grading",
    "Other Biological Attributes",
)
PROBE = """
import json, resource, sys, time
from medrobust_bench.data import image as images, image_files
from medrobust_bench.data.source import open_data
from medrobust_bench.specs.settings import RunSettings
counts = {"read": 0, "decoded": 0}
reading, decoding = images.ImageFile.read, image_files.decode
def read(self):
    counts["read"] += 1
    return reading(self)
def decode(*given, **options):
    counts["decoded"] += 1
    return decoding(*given, **options)
images.ImageFile.read, image_files.decode, images.decode = read, decode, decode
from medrobust_bench.data.reopen import open_asked
from medrobust_bench.runs.plan import make_plan
limit = int(sys.argv[2]) or None
start = time.process_time(), time.perf_counter()
settings = RunSettings(data=sys.argv[1], limit=limit)
dataset = open_asked(settings, limit=limit)
opened = time.process_time() - start[0], time.perf_counter() - start[1]
plan = make_plan(settings, dataset, models=("m",), threats=())
planned = time.process_time() - start[0], time.perf_counter() - start[1]
print(json.dumps({"questions": len(dataset.questions), "chunks": len(plan.chunks), "open": opened,
    "plan": planned, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **counts}))
"""


def main() -> None:
    """Build what is missing, measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=88_996)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "medrobust-large")
    parser.add_argument("--limit", type=int, default=100)
    given = parser.parse_args()
    tree = given.folder / f"tree-{given.questions}"
    if not tree.exists():
        build(tree, given.questions)
    print(measure(tree, limit=given.limit))


def measure(tree: Path, *, limit: int) -> str:
    """The table: first opening, second opening, a sample; each in a process of its own, with a cache of its own."""
    lines = [
        "| opening | questions | files read | images decoded | open: CPU (wall), s | to the plan, s | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as cache:
        for name, size in (
            (f"first, --limit {limit}", limit),
            (f"again, --limit {limit}", limit),
            ("first, all", 0),
            ("again, all", 0),
        ):
            out = subprocess.run(
                [sys.executable, "-c", PROBE, str(tree), str(size)],
                env={**os.environ, "MEDROBUST_CACHE": cache},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            seen = json.loads(out)
            opened, planned = ("{:.1f} ({:.1f})".format(*seen[part]) for part in ("open", "plan"))
            lines.append(
                f"| {name} | {seen['questions']:,} | {seen['read']:,} | {seen['decoded']:,} | {opened} | {planned} | "
                f"{seen['rss']:.0f} |"
            )
    return "\n".join(lines)


def build(tree: Path, questions: int) -> None:
    """A data set of that many questions in OmniMedVQA's layout."""
    draw = random.Random(0)
    pictures = [picture(seed) for seed in range(min(SIZES, questions))]
    rows: dict[str, list[dict[str, str]]] = {}
    images = round(questions / QUESTIONS_PER_IMAGE)
    for number in range(questions):
        picked = number % images
        collection = f"Collection {picked % 42:02d}"
        path = f"Images/{collection}/{picked % 7}/image {picked:06d}.jpg"
        if number < images:
            file = tree / path
            file.parent.mkdir(parents=True, exist_ok=True)
            # Bytes behind the end of a JPEG are not decoded, and make it another file.
            file.write_bytes(pictures[picked % len(pictures)] + picked.to_bytes(8, "big"))
        options = draw.sample(["cyst", "nodule", "fracture", "no finding", "oedema", "haemorrhage"], 4)
        row = {
            "dataset": collection,
            "question_id": f"{collection}_{number:06d}",
            "question_type": TYPES[number % len(TYPES)],
            "question": f"What does image {number} show in the region that is marked by the arrow?",
            "gt_answer": options[number % 4],
            "image_path": path,
            **{f"option_{letter}": text for letter, text in zip("ABCD", options, strict=True)},
            "modality_type": MODALITIES[picked % len(MODALITIES)],
        }
        rows.setdefault(collection, []).append(row)
    folder = tree / "QA_information" / "Open-access"
    folder.mkdir(parents=True)
    for collection, listed in rows.items():
        (folder / f"{collection}.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")


def picture(seed: int) -> bytes:
    """A JPEG of about 48 KB, each of another size."""
    rng = np.random.default_rng(seed)
    height, width = 260 + seed % 37 * 12, 260 + seed // 37 * 10
    coarse = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).resize((width, height))
    noisy = np.asarray(coarse, np.int16) + rng.integers(-9, 10, (height, width, 1), dtype=np.int16)
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, format="JPEG", quality=75)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
