"""Contact sheet of the phantoms: `python -m medrobust_bench.data.phantoms.sheet OUT.png`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image, ImageDraw, ImageFont

from medrobust_bench.data.phantoms.canvas import SIDE
from medrobust_bench.data.phantoms.phantom import BANKS
from medrobust_bench.data.phantoms.questions import phantom_questions

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question

_SCALE, _CAPTION, _GAP = 3, 62, 8


def contact_sheet(questions: dict[str, tuple[Question, ...]]) -> Image.Image:
    """One row per modality, each picture three times its size above its question and answer."""
    cell, high = SIDE * _SCALE + _GAP, SIDE * _SCALE + _CAPTION
    columns = max(len(row) for row in questions.values())
    sheet = Image.new("RGB", (columns * cell + _GAP, len(questions) * high + _GAP), "white")
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for down, row in enumerate(questions.values()):
        for across, question in enumerate(row):
            left, top = _GAP + across * cell, _GAP + down * high
            picture = question.image.open().resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, top))
            lines = textwrap.wrap(question.text, 33) + textwrap.wrap(
                f"Answer: {question.options[question.answer]}", 36
            )
            brush.multiline_text(
                (left, top + SIDE * _SCALE + 2), "\n".join(lines), fill="black", font=font, spacing=2
            )
    return sheet


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--columns", default=10, show_default=True, help="Pictures per modality.")
@click.option("--split", default="test", show_default=True, help="train, validation or test.")
def main(out: Path, columns: int, split: str) -> None:
    """Write a contact sheet of synthetic phantoms to OUT."""
    rows: dict[str, list[Question]] = {modality: [] for modality in BANKS}
    for question in phantom_questions(split, per_modality=columns):
        rows[question.modality].append(question)
    contact_sheet({modality: tuple(row) for modality, row in rows.items()}).save(out, optimize=True)


if __name__ == "__main__":
    main()
