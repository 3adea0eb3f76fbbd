"""One way to open any data set, and a balanced part of it."""

from __future__ import annotations

import dataclasses
import gc
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import cache as remembering
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from medrobust_bench.data.baselines import option_text_choices
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.image import ImageFile
from medrobust_bench.data.image_cache import image_cache
from medrobust_bench.data.image_files import MISSING, inspect, near_miss
from medrobust_bench.data.phantoms.questions import NAME as PHANTOMS
from medrobust_bench.data.reader import Reader, Request, reader_of
from medrobust_bench.data.rows import without_repeated_ids
from medrobust_bench.data.splits import SPLITS, split_keys, split_of, unit_hash
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.specs.vocabulary import in_usual_order, modality_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from medrobust_bench.data.image import ImageSource
    from medrobust_bench.data.image_cache import ImageCache
    from medrobust_bench.data.image_state import ImageState
    from medrobust_bench.data.question import Question
    from medrobust_bench.data.rows import PublishedQuestion, Reading

__all__ = ["PHANTOMS", "check_images", "choose_modalities", "open_data", "read_source", "sample", "set_aside"]


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without cyclic garbage collection: it would look through a hundred thousand new questions again and again.

    It took a third of the time that opening the largest data set took, and found nothing. Afterwards they count as
    old, so that the next collection does not begin with them.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if not gc.get_freeze_count():
                gc.freeze()
                gc.unfreeze()
            gc.enable()


@_collector_paused()
def open_data(
    source: str | Path | Reader,
    *,
    split: str = "test",
    skip_invalid: bool = False,
    seed: int = 0,
    modalities: Sequence[str] = (),
    images: Path | None = None,
    limit: int | None = None,
    sample_seed: int = 0,
    cached: bool = True,
) -> Dataset:
    """Open a data set and check it: every row's text, that every image is there, and those that are asked by decoding.

    Args:
        source: what one of the readers recognises (`reader.readers`): "phantoms", a folder, a file; or a reader.
        split: "train", "validation", "test" or "all". Where the publisher fixed no splits, an image's group, or else
            its content, decides (`splits.split_of`).
        skip_invalid: leave out what is wrong and record it in `Dataset.skipped`, instead of raising.
        seed: seed of the phantoms, or of the split by group and content.
        modalities: keep only these, whatever their case or spelling; empty for all. A name that stands nowhere in
            the data set is a problem.
        images: the folder that image paths are relative to, or the folder of images itself, where it is not found.
        limit: size of a balanced sample, see `sample`, of which alone the images are decoded; None for all.
        sample_seed: seed of the sample.
        cached: take what an earlier opening found out about an image file, where the file has not changed since (see
            `image_cache`); where numbers are to be proven, every file is read again.

    Raises:
        InvalidInputError: everything that is wrong, together; or nothing is left to ask.
    """
    if split not in (*SPLITS, "all"):
        problem = Problem("split", f"unknown split {split!r}", f"use one of: {', '.join(SPLITS)}, all")
        raise InvalidInputError([problem])
    reading = read_source(source, split=split, images=images, seed=seed)
    if reading.no_images is not None:
        raise InvalidInputError([reading.no_images])
    rows, repeated = without_repeated_ids(reading.questions)
    chosen: AbstractSet[str] | None = None
    if modalities:
        chosen = choose_modalities(modalities, {row.question.modality for row in rows}, name=reading.name)
        rows = [row for row in rows if row.question.modality in chosen]
    cache = image_cache() if cached else None
    checked = (
        CheckedRows(tuple(rows))
        if reading.synthetic
        else check_images(rows, split=split, seed=seed, near=reading.near, cache=cache, decode=limit is None)
    )
    questions = tuple(row.question for row in checked.rows)
    texts: dict[str, int] | None = None
    if split not in ("train", "all"):
        training = checked.training or _published_training(source, images=images, seed=seed)
        training = [one for one in training if chosen is None or one.modality in chosen]
        if training:
            choices = option_text_choices(questions, training)
            texts = {question.id: choice for question, choice in zip(questions, choices, strict=True)}
    dataset = Dataset(
        name=reading.name,
        split=split,
        questions=questions,
        synthetic=reading.synthetic,
        states=checked.states,
        notes=reading.notes,
        option_texts=texts,
    )
    part, faults = dataset, checked.problems
    if limit is not None:
        part, found = _sound_sample(dataset, checked.rows, limit, seed=sample_seed, cache=cache)
        faults = (*faults, *found)
    problems = (*reading.problems, *repeated, *faults)
    if problems and not skip_invalid:
        raise InvalidInputError(problems)
    if not part.questions:
        scope = f" and modality {', '.join(modalities)}" if modalities else ""
        what = f"has no questions for split {split!r}{scope}"
        remedy = "ask for another split or modality"
        raise InvalidInputError([*problems, Problem(reading.name, what, remedy)])
    expected = reading.digests.get(split)
    if expected is not None and not modalities and not problems and dataset.digest() != expected:
        what = f"the {split} split has digest {dataset.digest()[:12]}, and its card expects {expected[:12]}"
        remedy = "fetch the revision that the card names, or correct `expect` in a card of your own"
        raise InvalidInputError([Problem(reading.name, what, remedy)])
    return dataclasses.replace(part, skipped=(*reading.skipped, *checked.skipped, *problems))


def _sound_sample(
    dataset: Dataset,
    rows: Sequence[PublishedQuestion],
    limit: int,
    *,
    seed: int,
    cache: ImageCache | None,
) -> tuple[Dataset, list[Problem]]:
    """A balanced sample of the questions whose images decode, and what is wrong with those that would have been in it.

    Only images that stand in the sample, or would have, are decoded.
    """
    if dataset.synthetic:
        return sample(dataset, limit, seed=seed), []
    by_id = {row.question.id: row for row in rows}
    problems: list[Problem] = []
    while True:
        part = sample(dataset, limit, seed=seed)
        decoded = inspect(
            [question.image for question in part.questions], decode=lambda image, digest: True, cache=cache
        )
        states = {question.id: decoded[question.image] for question in part.questions}
        faulty = {name for name, state in states.items() if state.fault is not None}
        problems += [_image_problem(by_id[name], states[name]) for name in states if name in faulty]
        if not faulty:
            return dataclasses.replace(part, states={**part.states, **states}), problems
        left = tuple(question for question in dataset.questions if question.id not in faulty)
        dataset = dataclasses.replace(dataset, questions=left)


def _published_training(source: str | Path | Reader, *, images: Path | None, seed: int) -> list[Question]:
    """The questions of the publisher's training split as far as they are on this machine; their images stay closed."""
    try:
        reading = read_source(source, split="train", images=images, seed=seed, download=False)
    except InvalidInputError:  # there is none, or it was not fetched
        return []
    return [row.question for row in reading.questions if row.split == "train"]


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


def read_source(
    source: str | Path | Reader,
    *,
    split: str,
    images: Path | None = None,
    seed: int = 0,
    download: bool = True,
) -> Reading:
    """Read the text of a data set, whatever its kind; see `open_data` and `Request` for the arguments.

    Raises:
        InvalidInputError: it is no data set, or nothing of it can be read.
    """
    if images is not None and not images.is_dir():
        remedy = "name the folder of the images, or the one that holds it"
        raise InvalidInputError([Problem(str(images), "is no folder", remedy)])
    reader, place = (
        (source, source.name) if isinstance(source, Reader) else (reader_of(str(source)), str(source))
    )
    return reader.read(place, Request(split=split, images=images, seed=seed, download=download))


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedRows:
    """Rows whose images are there and decode.

    Attributes:
        rows: the rows of the wanted split.
        sides: the split of each row.
        digests: content digests of their images, one for each row.
        states: by question id, what its image turned out to be.
        problems: rows whose image is missing or damaged.
        skipped: rows whose image may rightly be missing, one entry for each file.
        training: questions of the training split, where another one is wanted; their images were not decoded.
    """

    rows: tuple[PublishedQuestion, ...]
    sides: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    states: Mapping[str, ImageState] = dataclasses.field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    skipped: tuple[Problem, ...] = ()
    training: tuple[Question, ...] = ()


def check_images(
    published: Sequence[PublishedQuestion],
    *,
    split: str,
    seed: int,
    near: Mapping[str, str] = MappingProxyType({}),
    cache: ImageCache | None = None,
    decode: bool = True,
) -> CheckedRows:
    """Hash every row's image and decode those of the wanted split; see `open_data` and `Reading` for the arguments.

    With `decode` false no image is decoded that the cache does not know, and none is found damaged.

    A missing image of a restricted collection is expected, since its licence forbids passing it on: such rows are left
    out and counted. A missing image of an open collection is a problem.
    """
    split_by = remembering(partial(split_of, seed=seed))
    states = (
        _inspected(published, split=split, split_by=split_by, near=near, cache=cache)
        if decode
        else inspect(
            [row.question.image for row in published], decode=lambda image, digest: False, cache=cache
        )
    )
    of_rows = [states[row.question.image] for row in published]
    places = _places(published, [state.digest for state in of_rows], split_by=split_by, near=near)
    kept: list[tuple[PublishedQuestion, ImageState, str]] = []
    problems: list[Problem] = []
    absent: Counter[str] = Counter()
    for row, state, place in zip(published, of_rows, places, strict=True):
        if state.fault == MISSING and row.restricted:
            absent[row.file] += 1
        elif state.digest is None or (state.fault is not None and split in ("all", place)):
            problems.append(_image_problem(row, state))
        elif split in ("all", place):
            kept.append((row, state, place))
    if not absent and (elsewhere := _images_elsewhere(published, states)) is not None:
        problems = [elsewhere]
    totals = Counter(row.file for row in published) if absent else Counter()
    skipped = [
        Problem(
            file,
            f"{count} of {totals[file]} restricted-access rows left out: their images are not here",
            "get the images from their owner and put them under `Images` to include them",
        )
        for file, count in sorted(absent.items())
    ]
    return CheckedRows(
        rows=tuple(row for row, _state, _place in kept),
        digests=tuple(state.digest or "" for _row, state, _place in kept),
        sides=tuple(place for _row, _state, place in kept),
        states={row.question.id: state for row, state, _place in kept},
        problems=tuple(problems),
        skipped=tuple(skipped),
        training=tuple(
            row.question
            for row, place in zip(published, places, strict=True)
            if place == "train" and split not in ("train", "all")
        ),
    )


def _places(
    rows: Sequence[PublishedQuestion],
    digests: Sequence[str | None],
    *,
    split_by: Callable[[str], str],
    near: Mapping[str, str],
) -> list[str]:
    """The split of every row: the publisher's, or that of its group or image; "" where its image is not there."""
    clusters = [None if digest is None else near.get(digest, digest) for digest in digests]
    keys = split_keys([row.question.group for row in rows], clusters)
    return [
        row.split or (split_by(key) if key and digest is not None else "")
        for row, key, digest in zip(rows, keys, digests, strict=True)
    ]


def _inspected(
    rows: Sequence[PublishedQuestion],
    *,
    split: str,
    split_by: Callable[[str], str],
    near: Mapping[str, str],
    cache: ImageCache | None,
) -> dict[ImageSource, ImageState]:
    """The state of every image: hashed, and decoded where a row of the wanted split is about it."""
    images = [row.question.image for row in rows]
    if split == "all":
        return inspect(images, decode=lambda image, digest: True, cache=cache)
    if not any(row.split or row.question.group for row in rows):
        return inspect(
            images, decode=lambda image, digest: split_by(near.get(digest, digest)) == split, cache=cache
        )
    if not any(row.question.group for row in rows if row.split is None):
        published = {row.question.image for row in rows if row.split == split}
        by_content = {row.question.image for row in rows if row.split is None}
        return inspect(
            images,
            decode=lambda image, digest: (
                image in published or (image in by_content and split_by(near.get(digest, digest)) == split)
            ),
            cache=cache,
        )
    # The split of a group is known only when all of its images have been looked at.
    states = inspect(images, decode=lambda image, digest: False, cache=cache)
    places = _places(rows, [states[image].digest for image in images], split_by=split_by, near=near)
    wanted = [image for image, place in zip(images, places, strict=True) if place == split]
    return states | inspect(wanted, decode=lambda image, digest: True, cache=cache)


def _images_elsewhere(
    rows: Sequence[PublishedQuestion], states: Mapping[ImageSource, ImageState]
) -> Problem | None:
    """One problem instead of one a row, where no image is found at all, and names are not merely misspelt."""
    if len(states) < 2 or any(state.fault != MISSING for state in states.values()):
        return None
    image = rows[0].question.image
    if not isinstance(image, ImageFile) or near_miss(image.path) is not None:
        return None
    what = f"none of its {len(states)} images is found; the first would be {image.path}"
    return Problem(rows[0].file, what, "name the folder of the images (--images), or the one that holds it")


def _image_problem(row: PublishedQuestion, state: ImageState) -> Problem:
    what, remedy = f"image {state.fault}: {row.image_path}", state.remedy
    if state.fault == MISSING and isinstance(row.question.image, ImageFile):
        there = near_miss(row.question.image.path)
        if there is not None:
            what, remedy = f"{what}, but {there!r} is there", "write the name as the file has it"
    return row.problem(what, remedy)


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


def set_aside(
    dataset: Dataset, share: float = 1 / 8, *, near: Mapping[str, str] = MappingProxyType({})
) -> tuple[Dataset, Dataset]:
    """A part of a training split to validate on, where the publisher made none; always the same part.

    A patient or study, or else an image, goes to one side as a whole; those with the least hash of name or content are
    set aside.

    Args:
        dataset: a training split.
        share: of the groups and images, at least one; the default part is to the rest as in splits by content.
        near: see `Reading`; near-duplicates go to one side.

    Returns:
        The rest, and the part.

    Raises:
        InvalidInputError: there are fewer than two groups or images.
    """
    questions = dataset.questions
    digests = [one.image.digest() for one in questions]
    keys = split_keys([one.group for one in questions], [near.get(digest, digest) for digest in digests])
    distinct = sorted(set(keys), key=lambda key: unit_hash("validation", key))
    if len(distinct) < 2:
        what = "has no validation split, and a single training image or group, from which none can be made"
        remedy = "give a data set with more images, or with a split called validation"
        raise InvalidInputError([Problem(dataset.name, what, remedy)])
    apart = frozenset(distinct[: max(1, round(share * len(distinct)))])
    sides = [
        tuple(one for one, key in zip(questions, keys, strict=True) if (key in apart) is side)
        for side in (False, True)
    ]
    rest, part = (dataclasses.replace(dataset, questions=side) for side in sides)
    return rest, dataclasses.replace(part, split="validation")


def _take_turns(queues: Sequence[Sequence[Question]]) -> list[Question]:
    """One question from each queue in turn until all are empty."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
