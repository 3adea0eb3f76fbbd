"""OmniMedVQA as published: `Images/…` and `QA_information/{Open,Restricted}-access/*.json`.

Hu et al., OmniMedVQA: A New Large-Scale Comprehensive Evaluation Benchmark for Medical LVLM, CVPR 2024.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.data.image_files import ImageFolder
from medrobust_bench.data.question import Question
from medrobust_bench.data.rows import (
    PublishedQuestion,
    Reading,
    RowError,
    check_options,
    find_answer,
    name_of,
    read_rows,
    text_of,
)
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.vocabulary import modality_name, question_type_name

if TYPE_CHECKING:
    from medrobust_bench.data.reader import Request

NAME = "omnimedvqa"
"""What results call it, whatever its folder is called: its questions stand on one board. A digest tells which."""

QUESTIONS_FOLDER = "QA_information"
RESTRICTED_FOLDER = "Restricted-access"

_UNNAMED = "unknown"  # what the publisher writes where nobody knows the modality

_OPTION_KEY = re.compile(r"option_[A-Z]")


def tree_root(folder: Path) -> Path | None:
    """The folder with `QA_information`: `folder` itself or its one level of wrapping, as in the published archive."""
    for candidate in (folder, folder / "OmniMedVQA"):
        if (candidate / QUESTIONS_FOLDER).is_dir():
            return candidate
    return None


def read_tree(root: Path, *, images: Path | None = None) -> Reading:
    """Read the text of every question file of a tree; images are located but not opened.

    Rows whose modality the publisher calls unknown are left out, with one entry in `skipped` for each file. Everything
    else that cannot be used is a problem.

    Args:
        root: the folder that holds `QA_information`.
        images: the folder that image paths are relative to, if it is not `root`.
    """
    questions: list[PublishedQuestion] = []
    problems: list[Problem] = []
    skipped: list[Problem] = []
    folder_of_images = ImageFolder(images or root, chosen=images is not None)
    folder = root / QUESTIONS_FOLDER
    files = sorted(path for path in folder.rglob("*.json") if not path.name.startswith("."))
    if not files:
        what = "holds no question files (*.json)"
        problems.append(Problem(str(folder), what, "unpack the data set again, completely"))
    for path in files:
        where = str(path)
        rows, faults = read_rows(path, where)
        problems += faults
        left_out = 0
        restricted = RESTRICTED_FOLDER in path.relative_to(folder).parts
        for number, row in rows:
            try:
                if "modality" in row and "modality_type" not in row:
                    row = {**row, "modality_type": row["modality"]}
                if text_of(row, "modality_type").casefold() == _UNNAMED:
                    left_out += 1
                    continue
                question, image_path = _question(row, folder_of_images)
            except RowError as error:
                problems.append(Problem(where, error.what, error.remedy, number))
                continue
            questions.append(PublishedQuestion(question, where, number, image_path, restricted=restricted))
        if left_out:
            what = f"{left_out} of {len(rows)} rows left out: their publisher calls the modality unknown"
            skipped.append(Problem(where, what, "nothing to do, or write the modality into the rows"))
    return Reading(
        NAME,
        tuple(questions),
        tuple(problems),
        tuple(skipped),
        notes=folder_of_images.notes(),
    )


def _question(row: dict[str, object], images: ImageFolder) -> tuple[Question, str]:
    image_path = text_of(row, "image_path")
    # A null stands for no option, as tables write it.
    options = tuple([text_of(row, key) for key in _option_keys(tuple(row)) if row[key] is not None])
    check_options(options)
    question = Question(
        id=text_of(row, "question_id"),
        image=images.image(image_path),
        text=text_of(row, "question"),
        options=options,
        answer=find_answer(text_of(row, "gt_answer"), options),
        modality=modality_name(name_of(row, "modality_type")),
        question_type=question_type_name(name_of(row, "question_type")),
        dataset=text_of(row, "dataset"),
    )
    return question, image_path


@lru_cache(maxsize=256)  # the rows of a file have the same keys
def _option_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Those of a row's keys that name options, in the order of their letters."""
    return tuple(sorted(key for key in keys if _OPTION_KEY.fullmatch(key)))


class OmniMedVQA:
    """A tree as published; without splits, so that an image's split follows from its content."""

    name = NAME
    reads = f"a folder that holds `{QUESTIONS_FOLDER}` (OmniMedVQA)"

    def recognises(self, source: str) -> bool:
        """Whether it is a folder with `QA_information` in it, or in the folder around it."""
        return Path(source).is_dir() and tree_root(Path(source)) is not None

    def read(self, source: str, request: Request) -> Reading:
        """See `read_tree`."""
        root = tree_root(Path(source))
        if root is None:
            raise InvalidInputError(
                [Problem(source, f"holds no `{QUESTIONS_FOLDER}`", "name the data set's folder")]
            )
        return read_tree(root, images=request.images)


OMNIMEDVQA = OmniMedVQA()
