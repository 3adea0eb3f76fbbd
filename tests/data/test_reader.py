"""A kind of data set is one object: built in, an entry point of another package, or handed over."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING

import pytest

from medrobust_bench import extensions
from medrobust_bench.data.reader import Reader, reader_of, readers
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError

from .conftest import write_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGE = '''
"""Reads `.quiz` files: one question a line, image | question | right answer | wrong answer."""

from pathlib import Path

from medrobust_bench.data.image import ImageFile
from medrobust_bench.data.image_files import ImageFolder
from medrobust_bench.data.question import Question
from medrobust_bench.data.rows import PublishedQuestion, Reading


class Quiz:
    name = "quiz"
    reads = "a `.quiz` file"

    def recognises(self, source):
        return source.endswith(".quiz")

    def read(self, source, request):
        path = Path(source)
        images = ImageFolder(request.images or path.parent)
        rows = []
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            image, text, right, wrong = (part.strip() for part in line.split("|"))
            question = Question(
                id=f"quiz-{number}",
                image=ImageFile(images.locate(image)),
                text=text,
                options=(wrong, right),
                answer=1,
                modality="Thermography",
                question_type="Riddle",
                dataset="quiz",
            )
            rows.append(PublishedQuestion(question, source, number, image))
        return Reading("quiz", tuple(rows))


QUIZ = Quiz()
NOTHING = object()
'''


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that installs the package above with the given entry points."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/quiz_reader.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "quiz_reader", raising=False)

    def install(*values: str) -> None:
        points = EntryPoints(
            EntryPoint(f"p{n}", value, "medrobust_bench.data") for n, value in enumerate(values)
        )
        monkeypatch.setattr(extensions, "entry_points", points.select)

    return install


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_image(tmp_path / f"data/{number}.png", number)
    path = tmp_path / "data/pub.quiz"
    path.write_text("1.png | Hot? | Yes | No\n2.png | Cold? | No | Yes\n")
    return path


def test_a_reader_of_another_package(other_package: Callable[..., None], quiz: Path) -> None:
    other_package("quiz_reader:QUIZ")
    dataset = open_data(quiz, split="all")
    assert [(question.id, question.letter, question.modality) for question in dataset.questions] == [
        ("quiz-1", "B", "Thermography"),
        ("quiz-2", "B", "Thermography"),
    ]
    (quiz.parent / "2.png").unlink()
    with pytest.raises(InvalidInputError, match="row 2: image is missing"):
        open_data(quiz, split="all")


def test_a_reader_handed_over(other_package: Callable[..., None], quiz: Path) -> None:
    other_package()
    made = importlib.import_module("quiz_reader").Quiz()
    made.name = str(quiz)
    assert isinstance(made, Reader)
    assert len(open_data(made, split="all").questions) == 2
    with pytest.raises(InvalidInputError, match=r"is no data set → name .*QA_information"):
        open_data(quiz, split="all")


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("nowhere_to_be_found:QUIZ", "does not load"),
        ("quiz_reader:MISSING", "does not load"),
        ("quiz_reader:NOTHING", "is no reader"),
        ("quiz_reader:Quiz", "is no reader"),
    ],
)
def test_a_broken_entry_point_is_named(other_package: Callable[..., None], value: str, what: str) -> None:
    other_package(value)
    with pytest.raises(InvalidInputError, match=what):
        readers()


def test_two_readers_that_recognise_one_source_are_named(
    other_package: Callable[..., None], quiz: Path
) -> None:
    other_package("quiz_reader:QUIZ", "quiz_reader:QUIZ")
    with pytest.raises(InvalidInputError, match="recognised by 2 readers: quiz, quiz"):
        reader_of(str(quiz))


def test_built_in_readers_are_of_one_kind_each(make_tree: Callable[..., Path]) -> None:
    names = [made.name for made in readers()]
    assert len(set(names)) == len(names)
    assert {reader_of("phantoms").name, reader_of(str(make_tree())).name} == {"phantoms", "omnimedvqa"}
