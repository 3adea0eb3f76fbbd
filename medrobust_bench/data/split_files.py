"""Published split files: one JSON array per modality and split, with the options inside the text.

The format of Med-R1 (Lai et al., Med-R1: Reinforcement Learning for Generalizable Medical Reasoning in
Vision-Language Models, 2025), made from the open part of OmniMedVQA and used by SafeMed-R1 and others:

    {"image": "Images/MIAS/mdb084.png",
     "problem": "What technique is this? A)X-ray, B)MRI, C)Echocardiogram, D)Mammography",
     "solution": "<answer> D </answer>"}

The modality stands in the file's name only (`X-Ray_test.json`), and the question type in that of a second family of
files with the same rows (`Lesion Grading_test.json`). Where those lie beside the first, types are looked up in them;
where not, they are guessed from the wording, and the row says so.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING

from medrobust_bench.data.column_tables import column_files
from medrobust_bench.data.image_files import ImageFolder
from medrobust_bench.data.omnimedvqa import tree_root
from medrobust_bench.data.question import LETTERS, Question
from medrobust_bench.data.rows import (
    PublishedQuestion,
    Reading,
    RowError,
    check_options,
    find_answer,
    read_rows,
    text_of,
)
from medrobust_bench.data.splits import SPLIT_NAMES
from medrobust_bench.data.wording import question_type_from_wording
from medrobust_bench.problems import Problem
from medrobust_bench.specs.vocabulary import MODALITIES, known_modality, known_question_type

if TYPE_CHECKING:
    from medrobust_bench.data.reader import Request

_FILE_NAME = re.compile(
    r"(?P<subject>.+?)(?:_(?P<split>train|validation|valid|val|dev|test))?", re.IGNORECASE
)
_SOLUTION = re.compile(r"\s*<answer>\s*(?P<letter>[A-Z])\s*</answer>\s*")
_MARK_OR_BRACKET = re.compile(r"(?P<open>\()|(?P<comma>,)?\s+(?P<letter>[A-Z])\)(?P<text>(?=[^\s,.;)]))?|\)")


@dataclass(frozen=True, slots=True)
class SplitFile:
    """A split file and what its name says.

    Attributes:
        path: the file.
        subject: name without the split's ending, e.g. "X-Ray".
        split: "train", "validation" or "test"; None where neither the name nor the folder says.
    """

    path: Path
    subject: str
    split: str | None

    @property
    def modality(self) -> str | None:
        """The modality in its name, if it is one of a modality family."""
        return known_modality(self.subject)

    @property
    def question_type(self) -> str | None:
        """The question type in its name, if it is one of a question-type family."""
        return known_question_type(self.subject)


def split_file(path: Path) -> SplitFile:
    """What a file's name (`X-Ray_test.json`), or failing that its folder (`test/X-Ray.json`), says about its rows."""
    match = _FILE_NAME.fullmatch(path.stem)
    subject, ending = (match["subject"], match["split"]) if match else (path.stem, None)
    split = SPLIT_NAMES.get((ending or path.parent.name).lower())
    return SplitFile(path, subject, split)


def find_split_files(source: Path) -> list[SplitFile]:
    """The split files that a path means: the file itself, or every JSON file below a folder, sorted by path."""
    paths = [source] if source.is_file() else sorted(source.rglob("*.json"))
    return [split_file(path) for path in paths if not path.name.startswith(".")]


def holds_split_files(folder: Path) -> bool:
    """Whether a folder is one of split files, rather than of columns (Parquet, Arrow) with JSON files beside them."""
    files = find_split_files(folder)
    named = any(file.modality is not None or file.question_type is not None for file in files)
    return named or (bool(files) and not column_files(folder))


def images_base(source: Path) -> Path | None:
    """The nearest folder, from the split files upwards, that holds an `Images` folder."""
    folder = source.resolve()
    for candidate in (folder, *list(folder.parents)[:4]):
        if (candidate / "Images").is_dir():
            return candidate
    return None


def read_split_files(source: Path, *, base: Path | None, split: str = "all", chosen: bool = False) -> Reading:
    """Read the text of split files; images are located but not opened.

    Args:
        source: a split file, or a folder that holds some at any depth.
        base: the folder that image paths are relative to; None to read the text alone.
        split: the split whose files are read; files that name no split are always read.
        chosen: whether a user named `base`; see `ImageFolder`.
    """
    files = find_split_files(source)
    by_modality = [file for file in files if file.modality is not None]
    by_type = [file for file in files if file.question_type is not None]
    problems: list[Problem] = []
    for file in files:
        if file.modality is not None or file.question_type is not None or not _wanted(file, split):
            continue
        what = f"name {file.path.name!r} tells no modality"
        remedy = f"name it `<modality>_<split>.json` with one of: {', '.join(MODALITIES)}"
        problems.append(Problem(str(file.path), what, remedy))
    if not by_modality and not problems:
        problems.append(_no_modality(source, by_type, split))
    types = _published_types(by_type)
    folder_of_images = None if base is None else ImageFolder(base, chosen=chosen)
    questions: list[PublishedQuestion] = []
    for file in by_modality:
        if file.modality is None or not _wanted(file, split):
            continue
        rows, faults = read_rows(file.path, str(file.path))
        problems += faults
        # Without images nothing opens a path, but a hostile one is reported all the same.
        folder = folder_of_images or ImageFolder(file.path.parent)
        for number, row in rows:
            try:
                questions.append(_published(row, number, file, file.modality, folder, types))
            except RowError as error:
                problems.append(Problem(str(file.path), error.what, error.remedy, number))
    name = source.stem if source.is_file() else source.resolve().name
    no_images = None
    if base is None:
        remedy = "put the `Images` folder beside the split files, or name the folder that holds it (--images)"
        no_images = Problem(str(source), "has no `Images` folder beside it", remedy)
    notes = () if folder_of_images is None else folder_of_images.notes()
    return Reading(name, tuple(questions), tuple(problems), no_images=no_images, notes=notes)


def _wanted(file: SplitFile, split: str) -> bool:
    return split == "all" or file.split in (split, None)


def _no_modality(source: Path, by_type: list[SplitFile], split: str) -> Problem:
    if by_type:
        what = "holds files per question type only, which do not tell an image's modality"
        return Problem(str(source), what, "put the files per modality beside them")
    return Problem(
        str(source), "holds no split files (*.json)", "name a folder of split files or an OmniMedVQA folder"
    )


def _published_types(files: list[SplitFile]) -> dict[tuple[str, str], str]:
    """Question type by (image, problem), from every file of the question-type family.

    The two families were split apart at random, so that a test row of one may be a training row of the other: all
    splits are looked at. Unusable rows are passed over here; they are no questions of their own.
    """
    types: dict[tuple[str, str], str] = {}
    for file in files:
        if file.question_type is None:
            continue
        rows, _ = read_rows(file.path, str(file.path))
        for _, row in rows:
            image, problem = row.get("image"), row.get("problem")
            if isinstance(image, str) and isinstance(problem, str):
                types[image.strip(), problem.strip()] = file.question_type
    return types


def _published(
    row: dict[str, object],
    number: int,
    file: SplitFile,
    modality: str,
    images: ImageFolder,
    types: dict[tuple[str, str], str],
) -> PublishedQuestion:
    if "question_id" in row and "problem" not in row:
        raise RowError(
            "is a row of OmniMedVQA, not of a split file", "name the folder that holds `QA_information`"
        )
    image_path, problem = text_of(row, "image"), text_of(row, "problem")
    text, options = parse_problem(problem)
    answer = parse_solution(text_of(row, "solution"), len(options))
    find_answer(options[answer], options)  # a right option that stands there twice makes two letters right
    published_type = types.get((image_path, problem))
    image = images.image(image_path)
    dataset = image_path.removeprefix("Images/").split("/")[0]
    # The id depends on content alone, so that it survives new rows and reordering.
    content = hashlib.sha256(f"{image_path}\n{problem}".encode()).hexdigest()
    question = Question(
        id=f"{dataset}_{content[:16]}",
        image=image,
        text=text,
        options=options,
        answer=answer,
        modality=modality,
        question_type=published_type or question_type_from_wording(text, options),
        dataset=dataset,
    )
    return PublishedQuestion(
        question,
        str(file.path),
        number,
        image_path,
        split=file.split,
        type_inferred=published_type is None,
    )


def parse_problem(problem: str) -> tuple[str, tuple[str, ...]]:
    """Split "Question? A)one, B)two, C)three" into the question and its options.

    Options hold commas, brackets and pieces that look like a letter of their own ("(T1, B)"). A letter counts when it
    comes in its order, after white space, and from B on after a comma before that. Inside an open bracket it counts
    only when text follows it at once ("OCT (Optical, C)MRI"), since published brackets are not always closed.

    Raises:
        RowError: no options are found, there are too few or too many, or one is empty.
    """
    marks: list[re.Match[str]] = []
    depth = 0
    for match in _MARK_OR_BRACKET.finditer(problem):
        in_turn = match["letter"] == ascii_uppercase[len(marks) : len(marks) + 1] and (
            match["comma"] or not marks
        )
        if match["open"]:
            depth += 1
        elif in_turn and (depth == 0 or match["text"] is not None):
            marks.append(match)
            depth = 0
        else:
            depth = max(0, depth - 1)
    if not marks:
        raise RowError("has no options in its `problem`", "write them as `Question? A)one, B)two`")
    ends = [*(mark.start() for mark in marks[1:]), len(problem)]
    options = tuple(problem[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True))
    check_options(options)
    text = problem[: marks[0].start()].strip()
    if not text:
        raise RowError("has no question before its options", "write `problem` as `Question? A)one, B)two`")
    return text, options


def parse_solution(solution: str, n_options: int) -> int:
    """Index of the option in "<answer> C </answer>".

    Raises:
        RowError: it is written otherwise, or names an option that is not there.
    """
    match = _SOLUTION.fullmatch(solution)
    if match is None:
        raise RowError(f"solution {solution!r} cannot be read", "write it as `<answer> C </answer>`")
    index = LETTERS.find(match["letter"])
    if not 0 <= index < n_options:
        what = f"solution {match['letter']} is not among its {n_options} options"
        raise RowError(what, "name one of the row's options")
    return index


def holds_published_rows(path: Path) -> bool:
    """Whether a JSON file begins with a row of the two published layouts, rather than with a user's own table."""
    try:
        with path.open("rb") as stream:
            head = stream.read(8192)
    except OSError:
        return True  # to be told by the reader
    return not head.strip() or any(key in head for key in (b'"problem"', b'"gt_answer"'))


class SplitFiles:
    """Published split files: one of them, or a folder of them."""

    name = "split files"
    reads = "a published split file (`X-Ray_test.json`) or a folder of those"

    def recognises(self, source: str) -> bool:
        """Whether it is a JSON file with such rows, or a folder with some at any depth that is no OmniMedVQA tree."""
        path = Path(source)
        if path.is_file():
            return path.suffix == ".json" and holds_published_rows(path)
        return path.is_dir() and tree_root(path) is None and holds_split_files(path)

    def read(self, source: str, request: Request) -> Reading:
        """See `read_split_files`; without images, the text alone."""
        path = Path(source)
        base = images_base(path) if request.images is None else request.images.resolve()
        return read_split_files(path, base=base, split=request.split, chosen=request.images is not None)


SPLIT_FILES = SplitFiles()
