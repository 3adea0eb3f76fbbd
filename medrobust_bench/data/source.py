"""One way to open any data set, and a balanced part of it."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image_files import MISSING, inspect
from medrobust_bench.data.omnimedvqa import read_tree, tree_root
from medrobust_bench.data.rows import without_repeated_ids
from medrobust_bench.data.split_files import find_split_files, images_base, read_split_files
from medrobust_bench.data.splits import SPLITS, split_of, unit_hash
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.vocabulary import in_usual_order, modality_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from medrobust_bench.data.question import Question
    from medrobust_bench.data.rows import PublishedQuestion, Reading

PHANTOMS = "phantoms"


def open_data(
    source: str | Path,
    *,
    split: str = "test",
    skip_invalid: bool = False,
    seed: int = 0,
    modalities: Sequence[str] = (),
    images: Path | None = None,
) -> Dataset:
    """Open a data set and check it completely: every row's text, and every image of the split by decoding it.

    Args:
        source: "phantoms" for the synthetic suite; a folder that holds `QA_information` (an OmniMedVQA tree); a split
            file (`X-Ray_test.json`) or a folder of them.
        split: "train", "validation", "test" or "all". An OmniMedVQA tree, and split files whose names tell no split,
            are split by image content (`splits.split_of`); other split files are taken as published.
        skip_invalid: leave out what is wrong and record it in `Dataset.skipped`, instead of raising.
        seed: seed of the phantoms, or of the split by image content.
        modalities: keep only these, whatever their case or spelling; empty for all. A name that stands nowhere in
            the data set is a problem.
        images: the folder that image paths are relative to. By default the tree's own root, or the nearest folder
            above the split files that holds `Images`.

    Raises:
        InvalidInputError: everything that is wrong, together; or nothing is left to ask.
    """
    if split not in (*SPLITS, "all"):
        problem = Problem("split", f"unknown split {split!r}", f"use one of: {', '.join(SPLITS)}, all")
        raise InvalidInputError([problem])
    if str(source) == PHANTOMS:
        return _open_phantoms(split=split, seed=seed, modalities=modalities)
    reading = read_source(Path(source), split=split, images=images)
    rows, repeated = without_repeated_ids(reading.questions)
    if modalities:
        chosen = choose_modalities(modalities, {row.question.modality for row in rows}, name=reading.name)
        rows = [row for row in rows if row.question.modality in chosen]
    checked = check_images(rows, split=split, seed=seed)
    problems = (*reading.problems, *repeated, *checked.problems)
    if problems and not skip_invalid:
        raise InvalidInputError(problems)
    if not checked.rows:
        scope = f" and modality {', '.join(modalities)}" if modalities else ""
        what = f"has no questions for split {split!r}{scope}"
        raise InvalidInputError([*problems, Problem(str(source), what, "ask for another split or modality")])
    questions = tuple(row.question for row in checked.rows)
    skipped = (*reading.skipped, *checked.skipped, *problems)
    return Dataset(name=reading.name, split=split, questions=questions, skipped=skipped)


def _open_phantoms(*, split: str, seed: int, modalities: Sequence[str]) -> Dataset:
    from medrobust_bench.data.phantoms import open_phantoms

    dataset = open_phantoms(split, seed=seed)
    if not modalities:
        return dataset
    chosen = choose_modalities(
        modalities, {question.modality for question in dataset.questions}, name=PHANTOMS
    )
    questions = tuple(question for question in dataset.questions if question.modality in chosen)
    return dataclasses.replace(dataset, questions=questions)


def choose_modalities(wanted: Sequence[str], present: AbstractSet[str], *, name: str) -> frozenset[str]:
    """The names that a data set has for the modalities that somebody asks for.

    Args:
        wanted: as typed; case and the published spellings of known modalities do not matter.
        present: the modalities of the data set.
        name: what to call the data set.

    Raises:
        InvalidInputError: the data set has no such modality; it lists those that it has.
    """
    by_form = {modality_name(there).casefold(): there for there in present}
    missing = [given for given in wanted if modality_name(given).casefold() not in by_form]
    if missing:
        there = ", ".join(in_usual_order(present)) or "no questions at all"
        what = f"{name} has no questions about {', '.join(missing)}"
        raise InvalidInputError([Problem("modalities", what, f"choose from what it has: {there}")])
    return frozenset(by_form[modality_name(given).casefold()] for given in wanted)


def read_source(source: Path, *, split: str, images: Path | None = None, text_only: bool = False) -> Reading:
    """Read the text of a data set on disk, whatever its layout.

    Args:
        source: see `open_data`.
        split: the split to read, where the publisher fixed splits; "all" for all.
        images: see `open_data`.
        text_only: do without images; paths are still checked.

    Raises:
        InvalidInputError: it is no data set, or its images are nowhere to be found.
    """
    if not source.exists():
        remedy = "check the path, or fetch the data set with `medrobust data fetch omnimedvqa`"
        raise InvalidInputError([Problem(str(source), "does not exist", remedy)])
    if images is not None and not images.is_dir():
        raise InvalidInputError([Problem(str(images), "is no folder", "name the folder that holds `Images`")])
    root = tree_root(source) if source.is_dir() else None
    if root is not None:
        return read_tree(root, images=images)
    if not (source.suffix == ".json" if source.is_file() else find_split_files(source)):
        remedy = "name a folder that holds `QA_information`, a split file (.json) or a folder of those"
        raise InvalidInputError([Problem(str(source), "is no data set", remedy)])
    base = images.resolve() if images is not None else images_base(source)
    if base is None and not text_only:
        remedy = (
            "put the `Images` folder beside the split files, or name the folder that holds it as `images`"
        )
        raise InvalidInputError([Problem(str(source), "has no `Images` folder beside it", remedy)])
    return read_split_files(source, base=base, split=split)


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows whose images are there and decode.

    Attributes:
        rows: the rows of the wanted split.
        digests: content digests of their images, one for each row.
        problems: rows whose image is missing or damaged.
        skipped: rows whose image may rightly be missing, one entry for each file.
    """

    rows: tuple[PublishedQuestion, ...]
    digests: tuple[str, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[Problem, ...]


def check_images(published: Sequence[PublishedQuestion], *, split: str, seed: int) -> CheckedRows:
    """Hash every row's image and decode those of the wanted split; see `open_data` for the arguments.

    A missing image of a restricted collection is expected, since its licence forbids passing it on: such rows are left
    out and counted. A missing image of an open collection is a problem.
    """

    def wanted(digest: str, published_split: str | None) -> bool:
        return split == "all" or (published_split or split_of(digest, seed=seed)) == split

    published_splits = {row.path: row.split for row in published}
    states = inspect(published_splits, decode=lambda path, digest: wanted(digest, published_splits[path]))
    rows: list[PublishedQuestion] = []
    digests: list[str] = []
    problems: list[Problem] = []
    absent: Counter[str] = Counter()
    for row in published:
        state = states[row.path]
        if state.fault == MISSING and row.restricted:
            absent[row.file] += 1
        elif state.digest is None or (state.fault is not None and wanted(state.digest, row.split)):
            remedy = (
                "restore the file from the data set's source"
                if state.fault == MISSING
                else "replace the file"
            )
            problems.append(row.problem(f"{state.fault}: {row.image_path}", remedy))
        elif wanted(state.digest, row.split):
            rows.append(row)
            digests.append(state.digest)
    totals = Counter(row.file for row in published)
    skipped = [
        Problem(
            file,
            f"{count} of {totals[file]} restricted-access rows left out: their images are not here",
            "get the images from their owner and put them under `Images` to include them",
        )
        for file, count in sorted(absent.items())
    ]
    return CheckedRows(tuple(rows), tuple(digests), tuple(problems), tuple(skipped))


def sample(dataset: Dataset, limit: int, *, seed: int = 0) -> Dataset:
    """A part of a data set, balanced over modality, then question type, as far as there are questions.

    Parts are nested: `sample(data, 64)` holds the first 64 questions of `sample(data, 128)`. They depend on the
    questions' ids and the seed, not on the data set's order.

    Args:
        dataset: what to choose from.
        limit: number of questions; a limit above the data set's size gives all of it.
        seed: another seed chooses other questions.
    """
    if limit < 1:
        raise InvalidInputError([Problem("limit", f"is {limit}", "give a limit of at least 1")])
    cells: defaultdict[str, defaultdict[str, list[Question]]] = defaultdict(lambda: defaultdict(list))
    for question in sorted(dataset.questions, key=lambda question: unit_hash(f"sample {seed}", question.id)):
        cells[question.modality][question.question_type].append(question)
    queues = []
    for turn, modality in enumerate(in_usual_order(cells)):
        types = in_usual_order(cells[modality])
        # Each modality begins with another type, so that a small sample does not ask one type alone.
        types = types[turn % len(types) :] + types[: turn % len(types)]
        queues.append(_take_turns([cells[modality][question_type] for question_type in types]))
    chosen = _take_turns(queues)[:limit]
    return dataclasses.replace(dataset, questions=tuple(chosen))


def _take_turns(queues: Sequence[Sequence[Question]]) -> list[Question]:
    """One question from each queue in turn until all are empty."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
