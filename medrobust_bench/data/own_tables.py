"""A user's own table without a card: the usual names of columns are understood, and what is ambiguous is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from medrobust_bench.data.card_reader import escaped, read_by_card
from medrobust_bench.data.card_rows import NOT_STATED, letter_place, published_options
from medrobust_bench.data.cards import DataCard, Options
from medrobust_bench.data.column_tables import column_files
from medrobust_bench.data.omnimedvqa import tree_root
from medrobust_bench.data.question import LETTERS, MAX_OPTIONS
from medrobust_bench.data.rows import RowError, same_option
from medrobust_bench.data.split_files import holds_published_rows, holds_split_files, split_file
from medrobust_bench.data.table import TableFile
from medrobust_bench.data.tables import OPENERS, open_table
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.reader import Request
    from medrobust_bench.data.rows import Reading

_USUAL = {
    "image": ("image", "images", "image_path", "img", "img_path", "img_name", "image_name", "image_file", "filename",
              "file_name", "figure_path", "path", "file"),
    "question": ("question", "problem", "question_text", "prompt"),
    "answer": ("answer", "gt_answer", "correct_answer", "answer_label", "answer_letter", "label", "correct",
               "correct_option", "answer_idx", "answer_index", "target", "solution"),
    "options": ("options", "choices"),
    "modality": ("modality", "modality_type"),
    "question_type": ("question_type", "type", "category"),
    "key": ("question_id", "id", "qid", "index"),
    "dataset": ("dataset",),
    "group": ("patient", "patient_id", "study", "study_id", "subject", "subject_id", "case_id", "group"),
    "split": ("split",),
}  # fmt: skip
"""What each part of a question is usually called; capitals, spaces and underscores do not matter."""

_NEEDED = ("image", "question", "answer")
_OPTION = re.compile(r"(?:option|choice|opt|answer)?([a-z]|[1-9]\d?)")
_IN_A_CARD = "say it in a data card"
_LOOKED_AT = 200
_SHOWN = 1000  # characters of the first question
_YES_NO = ("yes", "no")


@dataclass(frozen=True, slots=True)
class Understood:
    """What a table's columns were taken for.

    Attributes:
        fields: fields of a data card.
        unclear: what could not be told, one sentence each; empty where the card is complete.
    """

    fields: dict[str, Any]
    unclear: tuple[str, ...]


class OwnTables:
    """Tables with the usual names of columns, and folders of Parquet files as the hub has them."""

    name = "table"
    reads = (
        f"a table of your own ({', '.join(OPENERS)}; a spreadsheet saved as CSV UTF-8), with a question on each row, "
        "or a folder of Parquet or Arrow files"
    )

    def recognises(self, source: str) -> bool:
        """Whether it is a table, or a folder with Parquet or Arrow files and no published layout."""
        path = Path(source)
        if path.is_file():
            return _file(path).suffix in OPENERS and not (
                path.suffix == ".json" and holds_published_rows(path)
            )
        if not path.is_dir() or tree_root(path) is not None or holds_split_files(path):
            return False
        return bool(column_files(path))

    def read(self, source: str, request: Request) -> Reading:
        """The questions of the table, with what was understood in the notes."""
        path = Path(source)
        understood = understand(path)
        if understood.unclear:
            remedy = (
                f"say it in a data card: `medrobust data card {source} --out card.md`, then `--data card.md`"
            )
            raise InvalidInputError([Problem(source, what, remedy) for what in understood.unclear])
        card = DataCard.model_validate(understood.fields)
        reading = read_by_card(card, path.parent if path.is_file() else path, request)
        first = next(iter(reading.questions), None)
        notes = [*reading.notes, *_told(card)]
        if first is not None:
            lettered = "  ".join(
                f"{letter}) {option}" for letter, option in zip(LETTERS, first.question.options, strict=False)
            )
            text = first.question.text
            text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} … ({len(text)} characters)"
            notes.append(f"first question: {text}  {lettered}  (right: {first.question.letter}; image: "
                         f"{first.image_path}; {first.question.modality}; {first.question.question_type})")  # fmt: skip
        return replace(reading, notes=tuple(notes))


def understand(path: Path) -> Understood:
    """What the columns of a table seem to mean, from their names and from the first rows.

    Args:
        path: a table, or a folder of Parquet or Arrow files.

    Raises:
        InvalidInputError: none of the first rows can be read.
    """
    files = [path] if path.is_file() else column_files(path)
    table = open_table(_file(files[0]))
    columns = table.columns()
    looked_at = list(islice(table.rows(frozenset()), _LOOKED_AT))
    rows = [item[1] for item in looked_at if not isinstance(item, Problem)]
    if not rows:
        problems = [item for item in looked_at if isinstance(item, Problem)]
        raise InvalidInputError(
            problems or [Problem(str(path), "holds no rows", "write a question on each row")]
        )
    by_form = {_form(column): column for column in columns}
    unclear: list[str] = []
    roles: dict[str, str] = {}
    for role, usual in _USUAL.items():
        there = [by_form[_form(name)] for name in usual if _form(name) in by_form]
        exact = [column for column in there if _form(column) == _form(usual[0])]
        if len(there) > 1 and not exact and role in _NEEDED:
            unclear.append(f"the {role} may be in {' or in '.join(f'`{column}`' for column in there)}")
        elif there:
            roles[role] = (exact or there)[0]
        elif role in _NEEDED:
            unclear.append(
                f"no column is called like the {role} ({', '.join(usual[:4])}, …); it has {', '.join(columns)}"
            )
    options: dict[str, Any] | None = None
    written = "letter"
    try:
        options = _options(columns, roles, rows)
        if "answer" in roles:
            offered, options = _offered(rows, options)
            written = _written(rows, roles["answer"], offered, options)
    except RowError as error:
        unclear.append(error.what)
    fields: dict[str, Any] = {
        "id": _identifier(path),
        "title": path.name,
        "source": {"folder": ".", "files": _files(path, files)},
        "image": {"columns": [roles.get("image", "?")], "encoding": _encoding(rows, roles)},
        "question": {"column": roles.get("question", "?")},
        "options": options or {"columns": ["?", "?"]},
        "answer": {"column": roles.get("answer", "?"), "written": written},
        **{role: _cell(roles, role) for role in ("modality", "question_type")},
        **{role: roles[role] for role in ("key", "group") if role in roles},
        **{role: {"column": roles[role]} for role in ("dataset", "split") if role in roles},
        "licence": NOT_STATED,
        "citation": NOT_STATED,
        "downloaded": True,
    }  # fmt: skip
    if set(fields["source"]["files"]) != {"all"}:
        fields.pop("split", None)
    return Understood(fields, tuple(unclear))


def skeleton(path: Path) -> str:
    """A data card for a table, as far as its columns tell; what is unclear stands in comments."""
    understood = understand(path)
    comments = "".join(f"# unclear: {what}\n" for what in understood.unclear)
    body = yaml.safe_dump(understood.fields, sort_keys=False, allow_unicode=True, width=110)
    return f"---\n{comments}{body}---\n# {path.name}\n\nWhat the data set is, and where it comes from.\n"


def _told(card: DataCard) -> list[str]:
    """What was understood, in sentences."""
    parts = {
        "image": ", ".join(card.image.columns),
        "question": card.question.column,
        "options": ", ".join(
            card.options.columns or card.options.constant or (card.options.column or "the question",)
        ),
        "answer": f"{card.answer.column} ({card.answer.written})",
        "modality": card.modality.column or card.modality.constant,
        "type": card.question_type.column or card.question_type.constant,
        "id": card.key or "made from the content",
        "group": card.group or "the image",
        "split": (card.split.column if card.split else None)
        or ("by file" if set(card.source.files) != {"all"} else "by group or image content"),
    }
    return [f"{card.id} understood: " + "; ".join(f"{part} = {column}" for part, column in parts.items())]


def _options(
    columns: Sequence[str], roles: dict[str, str], rows: Sequence[dict[str, object]]
) -> dict[str, Any]:
    """Where a row's options are, as a card says it.

    Raises:
        RowError: nothing looks like options, or a letter between others is missing.
    """
    if "options" in roles:
        return {"column": roles["options"]}
    found: dict[int, str] = {}
    for column in columns:
        match = _OPTION.fullmatch(_form(column))
        if match is not None and column not in roles.values():
            mark = match[1]
            place = int(mark) - 1 if mark.isdigit() else ord(mark) - ord("a")
            if place in found and place < MAX_OPTIONS:
                raise RowError(f"the same option may be in `{found[place]}` or in `{column}`", _IN_A_CARD)
            found[place] = column
    unbroken = next(place for place in range(len(found) + 1) if place not in found)
    if unbroken >= 2 and all(place < unbroken or place >= MAX_OPTIONS for place in found):
        return {"columns": [found[place] for place in range(unbroken)]}
    there = [f"`{found[place]}`" for place in sorted(found) if place < MAX_OPTIONS]
    if unbroken >= 1 and len(there) >= 2:
        what = f"the options may be in {', '.join(there)}, between which one is missing"
        raise RowError(what, _IN_A_CARD)
    answers = {same_option(str(row.get(roles.get("answer", ""), ""))) for row in rows}
    if answers and answers <= set(_YES_NO):
        return {"constant": ["Yes", "No"]}
    question = roles.get("question", "")
    if rows and all(re.search(r"\sA\).*\sB\)", str(row.get(question, "")), re.DOTALL) for row in rows):
        return {"inside": "question"}
    what = "no columns are called like options (A, B, …; option_A, …; options), and answers are not yes or no"
    raise RowError(what, _IN_A_CARD)


def _offered(
    rows: Sequence[dict[str, object]], options: dict[str, Any]
) -> tuple[list[list[str]], dict[str, Any]]:
    """The options of every row by place (none where they cannot be told), and what the card says of them.

    Raises:
        RowError: no row's options can be told.
    """
    if "inside" in options:
        return [], options
    offered: list[list[str]] = []
    problem: RowError | None = None
    for row in rows:
        try:
            offered.append(published_options(row, Options(**options)))
        except RowError as error:
            offered.append([])
            problem = error
    if problem is not None and not any(offered):
        raise problem
    lettered = {**options, "lettered": True}
    try:
        without = [
            published_options(row, Options(**lettered)) if texts else []
            for row, texts in zip(rows, offered, strict=True)
        ]
    except RowError:
        return offered, options
    return without, lettered


def _written(
    rows: Sequence[dict[str, object]], column: str, offered: Sequence[Sequence[str]], options: dict[str, Any]
) -> str:
    """How answers are written.

    Raises:
        RowError: their first values fit several ways, or none.
    """
    if "inside" in options:
        return "letter"
    answers = ["" if (value := row.get(column)) is None else str(value).strip() for row in rows]
    pairs = [(answer, texts) for answer, texts in zip(answers, offered, strict=True) if answer and texts]
    numbers = [answer for answer, _texts in pairs if answer.isdigit() and len(answer) < 3]
    by_text = [answer for answer, texts in pairs if same_option(answer) in map(same_option, texts)]
    by_letter = [
        answer
        for answer, texts in pairs
        if (place := letter_place(answer, dict(enumerate(texts)))) is not None and place < len(texts)
    ]
    only_numbers = bool(pairs) and len(numbers) == len(pairs)
    fits = {
        "text": bool(pairs) and len(by_text) == len(pairs),
        "letter": bool(pairs) and len(by_letter) == len(pairs),
        # A number alone does not tell where counting begins: 0, or the number of options, must be among them.
        "index": only_numbers and "0" in numbers and all(int(answer) < len(texts) for answer, texts in pairs),
        "position": only_numbers
        and any(int(answer) == len(texts) for answer, texts in pairs)
        and all(0 < int(answer) <= len(texts) for answer, texts in pairs),
    }
    fitting = [way for way, fit in fits.items() if fit]
    if len(fitting) == 1:
        return fitting[0]
    known = {*numbers, *by_text, *by_letter}
    odd = next((answer for answer, _texts in pairs if answer not in known), None)
    if odd is not None:
        what = f"`{column}` holds {odd[:40]!r}, which is no letter, number or text of an option in its row"
    else:
        what = f"`{column}` may hold letters, numbers or the option's text: its first values do not tell"
    raise RowError(what, _IN_A_CARD)


def _encoding(rows: Sequence[dict[str, object]], roles: dict[str, str]) -> str:
    values = [row.get(roles.get("image", "")) for row in rows[:20]]
    long = [
        value for value in values if isinstance(value, str) and len(value) > 400 and "." not in value[-6:]
    ]
    return "base64" if long and len(long) == len([value for value in values if value]) else "file"


def _files(path: Path, files: Sequence[Path]) -> dict[str, list[str]]:
    """Patterns by split: one table is one file; files in a folder tell their split by their names or their folder's."""
    if path.is_file():
        return {"all": [escaped(path.name)]}
    found: dict[str, list[str]] = {}
    for file in files:
        name = re.sub(r"-\d+(-of-\d+)?(-[0-9a-f]+)?$", "", file.stem)
        split = split_file(file.with_name(f"x_{name}")).split
        found.setdefault(split or "all", []).append(escaped(file.relative_to(path).as_posix()))
    return found


def _cell(roles: dict[str, str], role: str) -> dict[str, str]:
    return {"column": roles[role]} if role in roles else {"constant": NOT_STATED}


def _identifier(path: Path) -> str:
    plain = re.sub(r"[^a-z0-9._-]+", "-", (path.stem if path.is_file() else path.resolve().name).lower())
    return plain.strip("-._") or "table"


def _file(path: Path) -> TableFile:
    return TableFile(str(path), path.name, path)


def _form(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", column.casefold())


OWN_TABLES = OwnTables()
