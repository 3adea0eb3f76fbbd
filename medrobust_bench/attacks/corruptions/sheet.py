"""Contact sheets, one a modality: `python -m medrobust_bench.attacks.corruptions.sheet FOLDER [--data FOLDER]`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image, ImageDraw, ImageFont

from medrobust_bench.attacks.corruptions.calibrate import calibration_images
from medrobust_bench.attacks.corruptions.registry import kinds_for
from medrobust_bench.attacks.corruptions.severity import SEVERITIES, amount_of
from medrobust_bench.data.phantoms.phantom import BANKS
from medrobust_bench.specs.seeds import Purpose, question_seed, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Corruption
    from medrobust_bench.attacks.corruptions.severity import Origin

_GAP, _CAPTION = 6, 15


def contact_sheet(
    image: NDArray[np.uint8], modality: str, kinds: Sequence[Corruption], origin: Origin, side: int
) -> Image.Image:
    """One row a kind: the clean image and severities 1 to 5, each with its amount below, `side` pixels wide at most."""
    scale = side / max(image.shape[:2])
    width, height = (round(length * scale) for length in image.shape[1::-1])
    sheet = Image.new(
        "RGB", ((width + _GAP) * (len(SEVERITIES) + 1), (height + _CAPTION) * len(kinds)), "white"
    )
    brush = ImageDraw.Draw(sheet)
    filter_ = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    for down, corruption in enumerate(kinds):
        cells = [(corruption.kind, image)]
        for severity in SEVERITIES:
            amount = amount_of(corruption, modality, severity, origin)
            rng = stream(question_seed(0, corruption.kind), Purpose.NOISE)
            cells.append(
                (
                    f"{severity}: {_short(amount)} {_short_unit(corruption.unit)}",
                    corruption(image, amount, rng),
                )
            )
        for across, (caption, picture) in enumerate(cells):
            left, top = across * (width + _GAP), down * (height + _CAPTION)
            sheet.paste(Image.fromarray(picture).resize((width, height), filter_), (left, top))
            brush.text((left, top + height), caption, fill="black", font=_fitting(caption, width))
    return sheet


def _short(amount: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{amount:.3g}'):,.10g}"


def _short_unit(unit: str) -> str:
    """Without what it is a share of: the table beside the sheet says that."""
    return re.split(r" (?:of|a|at|over) ", unit, maxsplit=1)[0]


def _fitting(caption: str, width: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The largest font in which a caption fits under its picture."""
    fonts = (ImageFont.load_default(size=size) for size in range(11, 5, -1))
    return next((font for font in fonts if font.getlength(caption) <= width), ImageFont.load_default(size=6))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Clinical images; else phantoms.")
@click.option("--index", default=0, show_default=True, help="Which image.")
@click.option("--side", default=150, show_default=True, help="Pixels of a picture on the sheet.")
@click.option("--general/--own", default=False, help="The kinds of all modalities, or each modality's own.")
def main(folder: Path, data: Path | None, index: int, side: int, general: bool) -> None:
    """Write a contact sheet of every modality's corruptions, severities 1 to 5, into FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    origin: Origin = "phantoms" if data is None else "clinical"
    for modality in BANKS:
        image = calibration_images(data, modality, index + 1)[index]
        kinds = [
            kind
            for kind in kinds_for(modality)
            if (kind.modalities is None or len(kind.modalities) > 1) == general
        ]
        name = f"{modality.split()[0].lower()}{'-general' if general else ''}.png"
        contact_sheet(image, modality, kinds, origin, side).save(folder / name, optimize=True)


if __name__ == "__main__":
    main()
