"""One image under one acquisition fault, clean and at every severity, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.data.image import canonical
from medrobust_bench.reports.run_page.gallery import data_uri, option_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Outcome


@dataclass(frozen=True, slots=True)
class Cell:
    """One image of a strip.

    Attributes:
        caption: "clean" or the severity.
        image: data URI.
        said: the option that was given, as letter and text; "" where it was not asked.
        right: whether that is the right one.
    """

    caption: str
    image: str
    said: str = ""
    right: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """A fault at every severity on one image, and what a model made of those that it was asked about."""

    model: str
    threat: str
    modality: str
    question: str
    asked: str
    right: str
    kind: str
    cells: tuple[Cell, ...]


def strip(outcome: Outcome, question: Question, kind: str, images: Mapping[int, NDArray[np.uint8]]) -> Strip:
    """A strip, ready for a page.

    Args:
        outcome: of the question under a threat that met the kind.
        question: whose image it is.
        kind: of fault.
        images: by severity, uint8 [H, W, 3], made as those of the outcome.
    """
    choices = {one.severity: one.choice for one in outcome.alterations if one.what == kind}
    cells = [_cell("clean", canonical(question.image), question, outcome.clean_choice)]
    for severity, image in images.items():
        caption = f"severity {severity}"
        known = severity in choices
        cells.append(
            _cell(caption, image, question, choices[severity]) if known else Cell(caption, data_uri(image))
        )
    return Strip(
        model=outcome.model,
        threat=outcome.threat,
        modality=question.modality,
        question=question.id,
        asked=question.text,
        right=option_name(question, question.answer),
        kind=kind,
        cells=tuple(cells),
    )


def _cell(caption: str, image: NDArray[np.uint8], question: Question, choice: int | None) -> Cell:
    return Cell(caption, data_uri(image), option_name(question, choice), choice == question.answer)
