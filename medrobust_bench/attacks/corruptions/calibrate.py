"""Make a table of severities: `python -m medrobust_bench.attacks.corruptions.calibrate [--data FOLDER]`."""

from __future__ import annotations

import json
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from skimage.metrics import structural_similarity

from medrobust_bench.attacks.corruptions.levels import planes
from medrobust_bench.attacks.corruptions.registry import OWN
from medrobust_bench.attacks.corruptions.severity import SEVERITIES, Calibration, Steps, ladder
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.phantom import BANKS, Phantom
from medrobust_bench.data.source import open_data
from medrobust_bench.specs.seeds import Purpose, question_seed, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.attacks.corruptions.corruption import Corruption, Image
    from medrobust_bench.attacks.corruptions.severity import Origin

_FIRST = tuple((index / 10) ** 1.5 for index in range(11))
"""Shares of the way to the harshest that are measured first: closer at the mild end, where SSIM falls fastest."""
_ROUNDS = 4
_CLOSE = 0.01
"""Largest distance from the ladder at which the search ends."""


def ssim(clean: Image, corrupted: Image) -> float:
    """Mean structural similarity as scikit-image takes it: windows of 7 by 7 pixels, the mean over the channels."""
    grey = len(planes(clean)) == len(planes(corrupted)) == 1
    first, second = (clean[:, :, :1], corrupted[:, :, :1]) if grey else (clean, corrupted)
    return float(structural_similarity(first, second, data_range=255, channel_axis=2))


def mean_ssim(corruption: Corruption, amount: float, images: Sequence[Image]) -> float:
    """Mean SSIM of corrupted images to the clean ones; image i is corrupted with the i-th stream of the kind."""
    seed = question_seed(0, corruption.kind)
    return float(
        np.mean(
            [
                ssim(image, corruption(image, amount, stream(seed, Purpose.NOISE, index)))
                for index, image in enumerate(images)
            ]
        )
    )


def calibrated(corruption: Corruption, images: Sequence[Image]) -> Steps:
    """The five amounts whose mean SSIM lies on the ladder; fifths of the harshest where the kind moves the picture.

    Fifths as well where no five amounts on the ladder give falling SSIM.
    The curve is measured at a few shares, read backwards by linear interpolation, and measured again there.
    """

    def measured(share: float) -> float:
        if share not in curve:
            curve[share] = mean_ssim(corruption, corruption.amount(share), images)
        return curve[share]

    curve: dict[float, float] = {}
    shares = fifths = [severity / len(SEVERITIES) for severity in SEVERITIES]
    if not corruption.moves:
        targets = ladder(min(measured(share) for share in _FIRST))
        for _ in range(_ROUNDS):
            shares = _read_backwards(curve, targets)
            misses = [abs(measured(share) - target) for share, target in zip(shares, targets, strict=True)]
            if max(misses) < _CLOSE:
                break
        reached = [measured(share) for share in shares]
        if any(later >= earlier for earlier, later in pairwise(reached)):
            shares = (
                fifths  # of whole qualities, neighbouring ones may be the same or the milder one the worse
            )
    amounts = [float(f"{corruption.amount(share):.4g}") for share in shares]
    return Steps.model_validate({"amounts": amounts, "ssim": [round(measured(share), 3) for share in shares]})


def _read_backwards(curve: dict[float, float], targets: Sequence[float]) -> list[float]:
    shares = sorted(curve)
    falling = np.minimum.accumulate([curve[share] for share in shares])
    return [float(share) for share in np.interp(-np.array(targets), -falling, shares)]


def calibration_images(data: Path | None, modality: str, count: int) -> list[Image]:
    """Canonical images of a modality: training phantoms, or pictures spread evenly over a data set."""
    if data is None:
        return [canonical(Phantom(modality, index, "train")) for index in range(count)]
    questions = open_data(data, split="all", skip_invalid=True, modalities=[modality]).questions
    sources = [next(same).image for _, same in groupby(questions, key=lambda question: question.image.name)]
    step = max(1, len(sources) // count)
    return [canonical(source) for source in sources[::step][:count]]


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="Clinical images in OmniMedVQA's layout; else phantoms."
)
@click.option("--images", default=8, show_default=True, help="Images of each modality.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind; the others keep their rows.")
@click.option("--out", type=click.Path(path_type=Path), help="Instead of the table of this package.")
def main(data: Path | None, images: int, kinds: tuple[str, ...], out: Path | None) -> None:
    """Calibrate the severities of every kind in every modality by SSIM, and write the table."""
    origin: Origin = "phantoms" if data is None else "clinical"
    path = out or Path(__file__).with_name("severities") / f"{origin}.json"
    steps: dict[str, dict[str, Steps]] = {}
    if kinds:
        steps = dict(Calibration.model_validate_json(path.read_text("utf-8")).steps)
    chosen = [corruption for corruption in OWN if not kinds or corruption.kind in kinds]
    for corruption in chosen:
        steps[corruption.kind] = {}
    for modality in BANKS:
        pictures = calibration_images(data, modality, images)
        for corruption in chosen:
            if corruption.occurs_in(modality):
                steps[corruption.kind][modality] = calibrated(corruption, pictures)
                row = steps[corruption.kind][modality]
                click.echo(f"{modality}: {corruption.kind}: {row.amounts} gives {row.ssim}")
    ordered = {corruption.kind: steps[corruption.kind] for corruption in OWN if corruption.kind in steps}
    write(path, Calibration(origin=origin, images=images, steps=ordered))


def write(path: Path, table: Calibration) -> None:
    """Write a table with one line for each kind and modality, so that changes can be read."""
    lines = [f'{{"origin": "{table.origin}", "images": {table.images}, "steps": {{']
    for kind, rows in table.steps.items():
        lines.append(f" {json.dumps(kind)}: {{")
        inner = [
            f"  {json.dumps(name)}: {json.dumps(row.model_dump(mode='json'))}" for name, row in rows.items()
        ]
        lines.append(",\n".join(inner))
        lines.append(" }," if kind != list(table.steps)[-1] else " }")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "}}"]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
