"""Rows of a table become questions as a data card says."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from medrobust_bench.data.column_tables import ArrowImage
from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.question import MAX_OPTIONS, Question
from medrobust_bench.data.rows import (
    LONGEST_NAME,
    PublishedQuestion,
    RowError,
    check_options,
    find_answer,
    same_option,
    text_of,
)
from medrobust_bench.data.split_files import parse_problem
from medrobust_bench.data.splits import SPLIT_NAMES
from medrobust_bench.data.tables import CsvImage
from medrobust_bench.problems import Problem
from medrobust_bench.specs.vocabulary import modality_name, question_type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from medrobust_bench.data.cards import Cell, DataCard, Filter, Options
    from medrobust_bench.data.image import ImageSource
    from medrobust_bench.data.places import Images
    from medrobust_bench.data.table import Row

NOT_STATED = "not stated"
"""What a modality or question type is called that a row leaves open."""

_STORED = (ImageBytes, CsvImage, ArrowImage)
"""What a table makes of an image that stands in one of its cells."""

_LETTERED = re.compile(r"\s*\(?([A-Ja-j])\s*[).:]\s*")
_LETTER = re.compile(r"(?:(?:option|choice|answer)\s*:?\s*)?\(?([a-z])\)?[.:]?", re.IGNORECASE)
_LONGEST_LITERAL = 20_000


class LeftOut(Exception):  # noqa: N818 (not an error: the card asks for it)
    """A row that is no question of the card; the text says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Converted:
    """What a table's rows came to.

    Attributes:
        questions: the questions.
        problems: rows that cannot be used.
        skipped: rows that the card leaves out, one entry for each reason.
        rows: number of rows in the file.
    """

    questions: tuple[PublishedQuestion, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[Problem, ...]
    rows: int


def convert(
    rows: Iterable[Row | Problem],
    card: DataCard,
    images: Images,
    *,
    where: str,
    place: str,
    split: str | None,
    wanted: str,
) -> Converted:
    """Make questions of a file's rows.

    Args:
        rows: of a `Table`.
        card: says what the columns mean.
        images: where image paths lead.
        where: what to call the file.
        place: where it is in the data set; ids are made of it where neither a column nor an image's name tells one.
        split: the split that the file belongs to; None where the card's column tells it, or nothing does.
        wanted: the split that is asked for, or "all"; rows of others are passed over.
    """
    questions: list[PublishedQuestion] = []
    problems: list[Problem] = []
    left_out: Counter[str] = Counter()
    total = 0
    for item in rows:
        total += 1
        if isinstance(item, Problem):
            problems.append(item)
            continue
        number, row = item
        try:
            of_split = split or _split_of(row, card)
            if wanted not in ("all", of_split) and of_split is not None:
                continue
            for rule in card.filters:
                _keep(row, rule)
            question, image_path = _question(row, number, card, images, place=place, split=of_split)
            questions.append(PublishedQuestion(question, where, number, image_path, split=of_split))
        except LeftOut as reason:
            left_out[str(reason)] += 1
        except RowError as error:
            problems.append(Problem(where, error.what, error.remedy, number))
    skipped = tuple(
        Problem(where, f"{count} of {total} rows left out: {reason}", "nothing to do; the card says so")
        for reason, count in left_out.items()
    )
    return Converted(tuple(questions), tuple(problems), skipped, total)


def _question(
    row: dict[str, object], number: int, card: DataCard, images: Images, *, place: str, split: str | None
) -> tuple[Question, str]:
    """A row's question, and the path or name of its image."""
    image, image_name = _image(row, card, images)
    text, options, labels = _asked(row, card)
    answer = _answer(row, card, options, labels)
    find_answer(options[answer], options)  # a right option that stands there twice makes two letters right
    dataset = card.id if card.dataset is None else _name(row, card.dataset, str)
    if card.key is not None:
        identity = _text(row, card.key)
    elif image_name is None:
        identity = f"{card.id}-{split or 'all'}-{hashlib.sha256(place.encode()).hexdigest()[:4]}-{number:06d}"
    else:
        content = "\n".join((image_name, text, *options))
        identity = f"{dataset}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    question = Question(
        id=identity,
        image=image,
        text=text,
        options=options,
        answer=answer,
        modality=_name(row, card.modality, modality_name),
        question_type=_name(row, card.question_type, question_type_name),
        dataset=dataset,
        group=None if card.group is None or row.get(card.group) in (None, "") else _text(row, card.group),
    )
    return question, image_name or image.name


def _image(row: dict[str, object], card: DataCard, images: Images) -> tuple[ImageSource, str | None]:
    """A row's one image, and its path where it has one."""
    found: list[object] = []
    for column in card.image.columns:
        value = _literal(row.get(column))
        found += [item for item in (value if isinstance(value, list) else [value]) if item not in (None, "")]
    if not found:
        raise RowError("has no image", f"fill in `{card.image.columns[0]}`")
    if len(found) > 1:
        if card.image.several == "leave-out":
            raise LeftOut("they show several images, and a question here is about one")
        raise RowError(
            f"shows {len(found)} images, and a question here is about one", "keep the one that is meant"
        )
    (value,) = found
    if not isinstance(value, str):
        if not isinstance(value, _STORED):
            what = f"`{card.image.columns[0]}` is neither a path nor an image"
            raise RowError(what, "write the path of the image")
        frame = card.image.frame
        return (value if frame is None else dataclasses.replace(value, frame=frame)), None
    path = text_of({"image": value}, "image").replace("\\", "/")  # as Windows writes it
    name = f"{card.image.prefix}{path}{card.image.suffix}"
    return images.image(name, card.image.frame), name


def _asked(row: dict[str, object], card: DataCard) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
    """The question, its options, and the place in the published list at which each of them stands."""
    text = _text(row, card.question.column)
    if card.options.inside is not None:
        text, options = parse_problem(text)
        return text, options, tuple(range(len(options)))
    if card.question.cut is not None:
        text = text.partition(card.question.cut)[0]
    for piece in card.question.remove:
        text = text.replace(piece, " ")
    text = " ".join(text.split()) if card.question.remove else text.strip()
    if not text:
        raise RowError(f"`{card.question.column}` holds no question", f"fill in `{card.question.column}`")
    published = published_options(row, card.options)
    places = tuple(place for place, option in enumerate(published) if option)
    options = tuple(published[place] for place in places)
    check_options(options)
    for option in options:
        text_of({"option": option}, "option")
        if option.casefold() == "nan":
            raise RowError(
                "has an option 'nan', which is how an empty cell was written", "leave the cell empty"
            )
    return text, options, places


def published_options(row: dict[str, object], options: Options) -> list[str]:
    """A row's options in the order of their letters, without these, and "" where a letter has none.

    Raises:
        RowError: the column holds no list, or an option lacks its letter.
    """
    values = (
        "" if value is None or value != value else " ".join(str(value).split())
        for value in _option_values(row, options)
    )
    return [
        _without_letter(value, place) if options.lettered else value for place, value in enumerate(values)
    ]


def _option_values(row: dict[str, object], options: Options) -> Sequence[object]:
    if options.constant is not None:
        return options.constant
    if options.columns is not None:
        return [row.get(column) for column in options.columns]
    column = options.column or ""
    value = _literal(row.get(column))
    if isinstance(value, dict) and all(
        isinstance(key, str) and re.fullmatch("[A-Za-z]", key) for key in value
    ):
        letters = {key.upper(): option for key, option in value.items()}
        last = max((letter for letter, option in letters.items() if option is not None), default="A")
        return [letters.get(chr(code)) for code in range(ord("A"), ord(last) + 1)][: MAX_OPTIONS + 1]
    if isinstance(value, list):
        return [_content(item) for item in value]
    raise RowError(
        f"`{column}` holds no list of options, but {str(value)[:40]!r}",
        'write it as a list, ["one", "two"], or as an object by letter',
    )


def _content(item: object) -> object:
    """An option that is written as an object: {"letter": "A", "content": "…"}."""
    if isinstance(item, dict):
        return next((item[key] for key in ("content", "text", "value", "option") if key in item), None)
    return item


def _literal(value: object) -> object:
    """A list or object that is written as text, as `datasets` and spreadsheets do; any other value as it is."""
    if isinstance(value, str) and value[:1] in ("[", "{") and len(value) <= _LONGEST_LITERAL:
        try:
            parsed: object = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
        return parsed
    return value


def _without_letter(option: str, place: int) -> str:
    match = _LETTERED.match(option)
    if not option:
        return option
    if match is None or ord(match[1].upper()) - ord("A") != place:
        raise RowError(
            f"option {option!r} does not begin with {chr(ord('A') + place)}", "letter the options in order"
        )
    return option[match.end() :].strip()


def _answer(row: dict[str, object], card: DataCard, options: Sequence[str], places: Sequence[int]) -> int:
    written = _text(row, card.answer.column)
    if card.answer.written == "text":
        return find_answer(written, options)
    place = _PLACES[card.answer.written](written, dict(zip(places, options, strict=True)))
    if place is None:
        what = f"answer {written!r} is no {card.answer.written}"
        raise RowError(what, "correct the row, or the card's `answer.written`")
    if place not in places:
        raise RowError(
            f"answer {written!r} is not among its {len(options)} options", "name one of the row's options"
        )
    return places.index(place)


def letter_place(written: str, offered: Mapping[int, str]) -> int | None:
    """Place of the option that an answer names by its letter: `B`, `(b)`, `Option B`, `B. text of the option`.

    Args:
        written: the answer.
        offered: the options by place.
    """
    match = _LETTER.fullmatch(written) or _LETTERED.match(written)
    if match is None:
        return None
    place, text = ord(match[1].upper()) - ord("A"), written[match.end() :]
    return None if text and same_option(text) != same_option(offered.get(place, "")) else place


def _number(written: str, _offered: Mapping[int, str]) -> int | None:
    return int(written) if re.fullmatch(r"\d{1,3}", written) else None


def _position_place(written: str, offered: Mapping[int, str]) -> int | None:
    number = _number(written, offered)
    return None if number is None else number - 1


_PLACES: dict[str, Callable[[str, Mapping[int, str]], int | None]] = {
    "letter": letter_place,
    "index": _number,
    "position": _position_place,
}


def _name(row: dict[str, object], cell: Cell, known: Callable[[str], str]) -> str:
    if cell.constant is not None:
        return known(cell.constant)
    column = cell.column or ""
    value = _literal(row.get(column))
    value = value[0] if isinstance(value, list) and value else value
    if value in (None, "", []):
        return NOT_STATED
    name = _text({column: value}, column)
    others = {same_option(written): other for written, other in cell.names.items()}
    name = known(others.get(same_option(name), name))
    if len(name) > LONGEST_NAME or not name.isprintable():
        what = f"`{column}` is no name: {name[:LONGEST_NAME]!r}"
        raise RowError(what, f"write it in one line of at most {LONGEST_NAME} characters")
    return name


def _split_of(row: dict[str, object], card: DataCard) -> str | None:
    if card.split is None:
        return None
    written = _name(row, card.split, str)
    split = SPLIT_NAMES.get(written.casefold())
    if split is None:
        raise RowError(
            f"split {written!r} is unknown", "write train, validation or test, or map it in `split.names`"
        )
    return split


def _keep(row: dict[str, object], rule: Filter) -> None:
    value = row.get(rule.column)
    written = same_option("" if value is None else str(value))
    listed = {same_option(text) for text in rule.one_of or rule.none_of or ()}
    if rule.one_of is not None and written not in listed:
        raise LeftOut(f"`{rule.column}` is not {' or '.join(rule.one_of)}")
    if rule.none_of is not None and written in listed:
        raise LeftOut(f"`{rule.column}` is {' or '.join(rule.none_of)}")


def _text(row: dict[str, object], column: str) -> str:
    """The text in a cell; numbers as they are written."""
    value = row.get(column)
    if isinstance(value, bool | int | float):
        return str(value)
    return text_of({column: value} if column in row and value is not None else {}, column)
