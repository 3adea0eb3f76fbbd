"""Data cards: one Markdown file per data set, whose front matter says where its rows are and what its columns mean.

The card *is* the registry entry: `--data ID` needs no code.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

from medrobust_bench.front_matter import read_document
from medrobust_bench.problems import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

Text = Annotated[str, Field(min_length=1)]
Split = Literal["train", "validation", "test"]
Patterns = Annotated[tuple[Text, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Section):
    """Where the rows and the images are."""

    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None = Field(
        default=None, description="Data set on the Hugging Face hub, owner/name"
    )
    revision: Text = Field(default="main", description="Branch, tag or commit on the hub")
    folder: Text | None = Field(default=None, description="Folder of the files, relative to the card")
    config: Text | None = Field(
        default=None,
        description="Configuration of the hub data set, as in `datasets.load_dataset(name=…)`, instead of `files`",
    )
    splits: dict[Split | Literal["all"], Patterns] = Field(
        default_factory=dict,
        description="The configuration's splits by the split that they are here; by default by their names",
    )
    archive: Text | None = Field(default=None, description="Zip file in it that holds rows and images")
    files: dict[Split | Literal["all"], Patterns] = Field(
        default_factory=dict,
        description="Files with rows (.parquet, .csv, .tsv, .json, .jsonl) by split, as patterns; "
        "`all` where no split is published or a column tells it",
    )
    near: Text | None = Field(
        default=None,
        description="CSV file beside the card with near-duplicates, kept on one side of every split",
    )
    images: Text | None = Field(
        default=None,
        description="Folder or zip file in it that image paths are relative to; by default itself",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.hub is None) == (self.folder is None):
            raise ValueError("give either hub or folder")
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Source:
        if (self.config is None) == (not self.files):
            raise ValueError("give either files or config")
        if self.config is None and self.splits:
            raise ValueError("splits are those of a configuration: give config, or name the split in files")
        if self.config is not None and self.archive is not None:
            raise ValueError("a configuration is in no archive: give files, or leave archive out")
        return self


class Cell(_Section):
    """A short text of a row: a modality, a question type, the name of a collection."""

    column: Text | None = None
    constant: Text | None = None
    names: dict[str, Text] = Field(
        default_factory=dict, description="Other names for what stands in the column"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> Cell:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give either column or constant")
        return self


class ImageColumns(_Section):
    """Where a row's image is."""

    columns: Patterns = Field(
        description="Columns of which one holds the image: a path, bytes, or a hub image"
    )
    encoding: Literal["file", "base64"] = Field(
        default="file", description="file: paths, bytes and hub images; base64: encoded bytes as text"
    )
    prefix: str = Field(default="", description="Put before a path")
    suffix: str = Field(default="", description="Put after a path")
    frame: NonNegativeInt | None = Field(
        default=None, description="Which frame of files with several, from 0"
    )
    several: Literal["refuse", "leave-out"] = Field(
        default="refuse",
        description="What happens to rows with several images: a problem, or counted and left out",
    )


class QuestionText(_Section):
    """Where a row's question is."""

    column: Text
    cut: Text | None = Field(default=None, description="The question ends where this stands")
    remove: tuple[Text, ...] = Field(default=(), description="Pieces to take out, such as <image 1>")


class Options(_Section):
    """Where a row's options are: in columns of their own, in one column, the same everywhere, or in the question."""

    columns: Patterns | None = None
    sparse: bool = Field(default=False, description="Whether a file may lack some of the columns")
    column: Text | None = Field(
        default=None, description="A list, an object by letter, or either of them as text"
    )
    constant: tuple[Text, ...] | None = Field(
        default=None, description="The options of every row, such as Yes, No"
    )
    inside: Literal["question"] | None = Field(default=None, description="`Question? A)one, B)two`")
    lettered: bool = Field(default=False, description="Whether each begins with its letter: `A: one`")

    @model_validator(mode="after")
    def _one_origin(self) -> Options:
        if sum(origin is not None for origin in (self.columns, self.column, self.constant, self.inside)) != 1:
            raise ValueError("give one of columns, column, constant, inside")
        return self


class Answer(_Section):
    """Where a row's right option is, and how it is written."""

    column: Text
    written: Literal["letter", "index", "position", "text"] = Field(
        description="letter: B; index: 1 for B; position: 2 for B; text: the option itself"
    )


class Filter(_Section):
    """Which rows are questions of this card; the others are counted and left out."""

    column: Text
    one_of: tuple[Text, ...] | None = None
    none_of: tuple[Text, ...] | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Filter:
        if (self.one_of is None) == (self.none_of is None):
            raise ValueError("give either one_of or none_of")
        return self


class Expected(_Section):
    """What a split should hold, against silent changes of the source."""

    rows: PositiveInt | None = Field(default=None, description="Rows in the files, before any are left out")
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="Digest of the opened split, as `medrobust data check` shows it"
    )


class DataCard(_Section):
    """A registry entry."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    title: Text
    source: Source
    image: ImageColumns
    question: QuestionText
    options: Options
    answer: Answer
    modality: Cell
    question_type: Cell
    key: Text | None = Field(
        default=None, description="Column of the question's id; null: made from the content"
    )
    dataset: Cell | None = Field(
        default=None, description="Name of the source collection; null: the card's id"
    )
    group: Text | None = Field(default=None, description="Column of the patient or study; null: the image")
    split: Cell | None = Field(default=None, description="Column that tells the split")
    filters: tuple[Filter, ...] = ()
    expect: dict[Split | Literal["all"], Expected] = Field(default_factory=dict)
    licence: Text
    citation: Text
    downloaded: bool = Field(description="Whether this project has opened the data set itself with this card")

    @model_validator(mode="after")
    def _one_split(self) -> DataCard:
        told = "files" if self.source.config is None else "splits"
        if self.split is not None and set(getattr(self.source, told)) != {"all"}:
            raise ValueError(
                f"source.{told} tells the split already: list all of it under `all`, or drop `split`"
            )
        return self


def columns_of(card: DataCard) -> tuple[str, ...]:
    """Every column that a card names and a file must have."""
    cells = (card.modality, card.question_type, card.dataset, card.split)
    named = [
        *card.image.columns,
        card.question.column,
        *(() if card.options.sparse else card.options.columns or ()),
        card.options.column,
        card.answer.column,
        *(cell.column for cell in cells if cell is not None),
        card.key,
        card.group,
        *(rule.column for rule in card.filters),
    ]
    return tuple(dict.fromkeys(column for column in named if column is not None))


def card_folder() -> Path:
    """Folder of the cards that come with the package: inside it when installed, beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "data_cards"
    return installed if installed.is_dir() else package.parent / "data_cards"


def read_card(path: Path) -> DataCard:
    """Read one card.

    Raises:
        InvalidInputError: everything that is wrong with the file.
    """
    document, problems = read_document(path, DataCard, example="data_cards/")
    if document is None:
        raise InvalidInputError(problems)
    return document.front


def shipped_cards() -> Mapping[str, Path]:
    """The cards that come with the package: file by id. A card's file is called after its id."""
    return {path.stem: path for path in sorted(card_folder().glob("*.md"))}
