"""A user's own table: the usual columns are understood and told, what is ambiguous is an error with a way out."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.data.own_tables import skeleton, understand
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError

from .conftest import write_image

if TYPE_CHECKING:
    from collections.abc import Sequence


def write_csv(path: Path, header: Sequence[str], *rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",").writerows([header, *rows])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        write_image(tmp_path / f"pictures/{number}.png", number)
    return tmp_path


HEADER = ["Image Path", "Question", "A", "B", "C", "Answer", "Modality", "Patient ID"]
ROWS = [
    ["pictures/1.png", "Which?", "NA", "None", "null", "b", "mr", "P1"],
    ["pictures/2.png", 'What "is", say,\nit?', "1", "2", "", "A", "PET", "P1"],
    ["pictures/3.png", "Who?", "x", "y", "z", "C", "", ""],
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_the_usual_columns_are_understood(folder: Path, suffix: str) -> None:
    dataset = open_data(write_csv(folder / f"Own Table{suffix}", HEADER, *ROWS), split="all")
    found = [(q.options, q.letter, q.modality, q.question_type, q.group) for q in dataset.questions]
    assert found == [
        (("NA", "None", "null"), "B", "MRI", "not stated", "P1"),
        (("1", "2"), "A", "PET", "not stated", "P1"),
        (("x", "y", "z"), "C", "not stated", "not stated", None),
    ]
    assert dataset.questions[1].text == 'What "is", say,\nit?'
    assert dataset.name == "own-table"
    assert any("answer = Answer (letter)" in note and "group = Patient ID" in note for note in dataset.notes)
    assert any(
        note.startswith("first question: Which?  A) NA  B) None  C) null  (right: B")
        for note in dataset.notes
    )


@pytest.mark.parametrize("make", [lambda rows: "\n".join(map(json.dumps, rows)), json.dumps])
def test_json_tables(folder: Path, make: Any) -> None:
    rows = [
        {
            "id": n,
            "image": f"pictures/{n}.png",
            "question": "Is it?",
            "options": ["no", "yes"],
            "answer": answer,
        }
        for n, answer in ((1, "yes"), (2, "No."))
    ]
    path = folder / ("own.json" if make is json.dumps else "own.jsonl")
    path.write_text(make(rows))
    assert [(q.id, q.letter) for q in open_data(path, split="all").questions] == [("1", "B"), ("2", "A")]


@pytest.mark.parametrize(
    ("answers", "written"),
    [(["A", "B"], "letter"), (["0", "1"], "index"), (["1", "3"], "position"), (["one", "three"], "text")],
)
def test_how_answers_are_written_is_told_by_their_values(
    folder: Path, answers: list[str], written: str
) -> None:
    rows = [
        [f"pictures/{n}.png", "?", "one", "two", "three", answer] for n, answer in enumerate(answers, start=1)
    ]
    table = write_csv(
        folder / "own.csv", ["image", "question", "option_1", "option_2", "option_3", "answer"], *rows
    )
    assert understand(table).unclear == ()
    assert understand(table).fields["answer"] == {"column": "answer", "written": written}
    right = {"letter": "AB", "index": "AB", "position": "AC", "text": "AC"}[written]
    assert "".join(q.letter for q in open_data(table, split="all").questions) == right


@pytest.mark.parametrize(
    ("header", "row", "what"),
    [
        (
            ["image", "question", "A", "B", "answer"],
            ["pictures/1.png", "?", "x", "y", "1"],
            "may hold letters, numbers",
        ),
        (
            ["image", "question", "A", "B", "answer"],
            ["pictures/1.png", "?", "A", "B", "A"],
            "may hold letters, numbers",
        ),
        (
            ["image", "question", "A", "answer"],
            ["pictures/1.png", "?", "x", "A"],
            "no columns are called like options",
        ),
        (
            ["img", "image_name", "question", "A", "B", "answer"],
            ["a", "b", "?", "x", "y", "A"],
            "the image may be in",
        ),
        (
            ["picture", "question", "A", "B", "answer"],
            ["a", "?", "x", "y", "A"],
            "no column is called like the image",
        ),
    ],
)
def test_what_is_ambiguous_is_an_error_with_the_way_out(
    folder: Path, header: list[str], row: list[str], what: str
) -> None:
    table = write_csv(folder / "own.csv", header, row)
    with pytest.raises(InvalidInputError) as caught:
        open_data(table, split="all")
    assert what in str(caught.value)
    assert "medrobust data card" in str(caught.value)
    assert f"# unclear: {caught.value.problems[0].what}" in skeleton(table)


def test_yes_and_no_need_no_options(folder: Path) -> None:
    rows = [["pictures/1.png", "Is it?", "yes"], ["pictures/2.png", "Is it not?", "No"]]
    dataset = open_data(write_csv(folder / "own.csv", ["image", "question", "answer"], *rows), split="all")
    assert [(q.options, q.letter) for q in dataset.questions] == [(("Yes", "No"), "A"), (("Yes", "No"), "B")]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"image,question,A,B,answer\npictures/1.png,?,x,y\n", "row 1: has 4 values for 5 columns"),
        (b"image,question,A,B,answer\npictures/1.png,?,\xff,y,A\n", "row 1: is not UTF-8"),
        (
            b'image,question,A,B,answer\npictures/1.png,?,x,y,A\npictures/1.png,"?"x,x,y,A\n',
            "row 2: is no table from",
        ),
        (b"image,image,question,A,B,answer\n", "two columns called 'image'"),
        (b"image,question,A,B,answer\n../secret.png,?,x,y,A\n", "leaves the data set's folder"),
        (b"image,question,A,B,answer\npictures/9.png,?,x,y,A\n", "row 1: image is missing: pictures/9.png"),
        (b"image,question,A,B,answer\n,?,x,y,A\n", "row 1: has no image"),
        (b"image,question,A,B,answer\npictures/1.png,,x,y,A\n", "row 1: `question` is empty"),
        (
            b"image,question,A,B,C,answer\npictures/1.png,?,x,y,,C\n",
            "row 1: answer 'C' is not among its 2 options",
        ),
    ],
)
def test_bad_rows_are_named(folder: Path, content: bytes, what: str) -> None:
    (folder / "own.csv").write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        open_data(folder / "own.csv", split="all")
    assert what in str(caught.value)


PLAIN = "image,question,A,B,C,answer\npictures/1.png,Which?,x,y,z,A\npictures/2.png,Who?,x,y,z,B\n"
OBJECTS = [
    {"images": [f"pictures/{n}.png"], "question": q, "options": ["x", "y", "z"], "answer": a}
    for n, q, a in ((1, "Which?", "x"), (2, "Who?", "y"))
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("own.csv", b"\xef\xbb\xbf" + PLAIN.encode()),
        ("own.csv", PLAIN.replace(",", ";").encode()),
        ("own.csv", PLAIN.replace(",", "\t").replace("\n", "\r\n").encode()),
        ("own.csv", b"\xef\xbb\xbfsep=;\r\n" + PLAIN.replace(",", ";").encode()),
        ("own.tsv", PLAIN.encode()),
        ("own.CSV", PLAIN.encode()),
        ("own.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)),
        ("own.csv", PLAIN.replace("pictures/", "pictures\\").encode()),
        ("own.csv", (PLAIN.replace("\n", "\n\n") + ",,,,,\n").encode()),
        ("own.csv", PLAIN.replace("\n", ",,\n").encode()),
        ("own.csv", PLAIN.replace("A\n", "A,,\n").replace("B\n", "B,\n").encode()),
        ("own.csv", PLAIN.replace("z,A", "z,a.").replace("z,B", "z,(B)").encode()),
        ("own.csv", PLAIN.replace("z,A", "z,Option A").replace("z,B", "z,B: y").encode()),
        ("own.json", json.dumps(OBJECTS).encode()),
        ("own.json", "\n".join(map(json.dumps, OBJECTS)).encode()),
        ("own.jsonl", json.dumps(OBJECTS, indent=1).encode()),
        ("own.ndjson", "\n".join(map(json.dumps, OBJECTS)).encode()),
        ("own.jsonl.gz", gzip.compress("\n".join(map(json.dumps, OBJECTS)).encode(), mtime=0)),
        (
            "own.jsonl",
            "\n".join(
                json.dumps({**row, "options": ["A. x", "B. y", "C. z"], "answer": f"{row['answer']}."})
                for row in OBJECTS
            ).encode(),
        ),
    ],
)
def test_tables_as_spreadsheets_and_others_write_them(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    questions = open_data(folder / name, split="all").questions
    assert [(q.text, q.options, q.letter) for q in questions] == [
        ("Which?", ("x", "y", "z"), "A"),
        ("Who?", ("x", "y", "z"), "B"),
    ]
    (folder / "plain.csv").write_text(PLAIN)
    plain = open_data(folder / "plain.csv", split="all").questions
    assert [q.id.split("_")[-1] for q in questions] == [q.id.split("_")[-1] for q in plain]


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("own.csv", PLAIN.encode("utf-16"), "is UTF-16 text → save it as UTF-8 (in Excel: CSV UTF-8)"),
        ("own.csv", b"PK\x03\x04\0\0\0", "is a zip archive or an Excel workbook"),
        ("own.json", gzip.compress(b"[]", mtime=0), "is compressed by gzip → call it .gz"),
        ("own.csv.gz", gzip.compress(PLAIN.encode(), mtime=0)[:-20], "cannot be read: Compressed file ended"),
        ("own.csv.gz", PLAIN.encode(), "cannot be read: Not a gzipped file"),
        ("own.csv", PLAIN.replace("x,y,z,B", "x,y,NaN,B").encode(), "row 2: has an option 'nan'"),
        (
            "own.csv",
            PLAIN.replace("z,B", "z,B. x").encode(),
            "holds 'B. x', which is no letter, number or text",
        ),
        ("own.csv", PLAIN.replace("z,B", "z,").encode(), "row 2: `answer` is empty"),
        ("own.csv", b"image,question,options,answer\np.png,?,x|y,x\n", "holds no list of options, but 'x|y'"),
        ("own.json", json.dumps({"data": OBJECTS}).encode(), "it has data"),
        ("own.csv", PLAIN.replace("1.png", "1").encode(), "but '1.png' is there"),
        ("own.csv", PLAIN.replace("pictures/", "C:\\p\\").encode(), "'C:/p/1.png' is absolute"),
        ("own.csv", PLAIN.replace("pictures/", "https://host/").encode(), "is a web address"),
        ("own.csv", PLAIN.replace("C,answer", "D,answer").encode(), "in `A`, `B`, `D`, between which one is"),
        (
            "own.csv",
            PLAIN.replace("C,answer", "a,answer").encode(),
            "the same option may be in `A` or in `a`",
        ),
        ("own.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs pull"),
    ],
)
def test_what_is_wrong_with_a_table_from_elsewhere_is_told(
    folder: Path, name: str, content: bytes, what: str
) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        open_data(folder / name, split="all")
    assert what in str(caught.value)


def test_images_that_are_all_elsewhere_are_one_problem(folder: Path, tmp_path: Path) -> None:
    rows = [[f"{number}.png", "Which?", "x", "y", "A"] for number in range(3)]
    table = write_csv(tmp_path / "elsewhere" / "own.csv", ["image", "question", "A", "B", "answer"], *rows)
    with pytest.raises(InvalidInputError) as error:
        open_data(table, split="all")
    (problem,) = error.value.problems
    assert problem.what.startswith("none of its 3 images is found; the first would be ")
    assert "--images" in problem.remedy


def test_a_card_is_drawn_and_then_read(folder: Path) -> None:
    table = write_csv(folder / "own.csv", HEADER, *ROWS)
    card = folder / "card.md"
    drawn = CliRunner().invoke(main, ["data", "card", str(table), "--out", str(card)])
    assert drawn.exit_code == 0, drawn.output
    assert open_data(card, split="all").digest() == open_data(table, split="all").digest()
    again = CliRunner().invoke(main, ["data", "card", str(table), "--out", str(card)])
    assert again.exit_code == 2
    assert "name a new file" in again.output
    checked = CliRunner().invoke(main, ["data", "check", str(table)])
    assert checked.exit_code == 0, checked.output
    assert "understood: image = Image Path" in checked.output
    assert "first question: Which?" in checked.output


def test_a_folder_of_parquet_files_is_split_by_their_names(tmp_path: Path) -> None:
    from .published import encoded, write_parquet

    for split in ("train", "test"):
        rows = [{"image": encoded(len(split)), "question": f"Is it {split}?", "answer": "yes"}]
        write_parquet(tmp_path / f"copy/data/{split}-00000-of-00001-ab12.parquet", rows, ["image"])
    (question,) = open_data(tmp_path / "copy").questions
    assert (question.text, question.options) == ("Is it test?", ("Yes", "No"))


def test_what_datasets_saved_to_disk_is_split_by_its_folders(tmp_path: Path) -> None:
    import datasets

    from .published import encoded

    splits = datasets.DatasetDict()
    for split in ("train", "test"):
        rows = [{"image": encoded(len(split)), "question": f"Is it {split}?", "answer": "yes"}]
        splits[split] = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    splits.save_to_disk(str(tmp_path / "saved"))
    (question,) = open_data(tmp_path / "saved").questions
    assert (question.text, question.options) == ("Is it test?", ("Yes", "No"))
    (arrow,) = (tmp_path / "saved/test").glob("*.arrow")
    assert [one.text for one in open_data(arrow, split="all").questions] == ["Is it test?"]
    damaged = tmp_path / "damaged.arrow"
    damaged.write_bytes(arrow.read_bytes()[:100])
    with pytest.raises(InvalidInputError, match="cannot be read as Arrow"):
        open_data(damaged)


def test_other_json_files_beside_parquet_files_are_no_split_files(tmp_path: Path) -> None:
    from .published import vqa_rad

    vqa_rad(tmp_path)
    (tmp_path / "dataset_infos.json").write_text('{"default": {"features": {}}}')
    with pytest.raises(InvalidInputError, match="answers are not yes or no"):  # one of them is "left lung"
        open_data(tmp_path)


def test_a_csv_of_a_real_tree_gives_its_results_question_by_question(
    omnimedvqa: Path, tmp_path: Path
) -> None:
    native = open_data(omnimedvqa, split="all")
    letters = "ABCDEFGHIJ"[: max(len(question.options) for question in native.questions)]
    header = ["question_id", "dataset", "image", "question", *letters, "answer", "modality", "question_type"]
    rows = [
        [q.id, q.dataset, str(q.image.path.relative_to(omnimedvqa.resolve())), q.text,
         *q.options, *[""] * (len(letters) - len(q.options)), q.letter, q.modality, q.question_type]
        for q in native.questions
    ]  # fmt: skip
    table = write_csv(tmp_path / "omni.csv", header, *rows)
    for split in ("test", "all"):
        by_table = open_data(table, split=split, images=omnimedvqa)
        assert by_table.digest() == open_data(omnimedvqa, split=split).digest()
    settings = {"model": "tiny-sft-letter", "threats": "pgd-linf:steps=2", "limit": 6}
    outcomes = [
        [
            (o.question, o.threat, o.answer, o.choice, o.image_sha256, o.modality)
            for of in run.outcomes.values()
            for o in of
        ]
        for run in (
            medrobust_bench.evaluate(data=str(omnimedvqa), out=tmp_path / "a", **settings),
            medrobust_bench.evaluate(data=str(table), images=str(omnimedvqa), out=tmp_path / "b", **settings),
        )
    ]
    assert outcomes[0] == outcomes[1]


def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow

    from .published import write_parquet

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    noise = np.random.default_rng(0)
    buffer, rows = io.BytesIO(), []
    for number in range(1000):
        buffer.seek(0)
        buffer.truncate()
        Image.fromarray(noise.integers(0, 256, (100, 100, 3), dtype=np.uint8)).save(buffer, "PNG")
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": None},
                "question": f"Is it {number}?",
                "answer": "yes",
            }
        )
    path = tmp_path / "hub/test-00000-of-00001.parquet"
    write_parquet(path, rows, ["image"])
    del rows
    size = path.stat().st_size
    assert size > 25_000_000
    open_data(tmp_path / "hub")  # `datasets` makes its own copy on disk once, in pieces of its own size
    tracemalloc.start()
    before = pyarrow.total_allocated_bytes()
    dataset = open_data(tmp_path / "hub")
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset.questions) == 1000
    assert kept < size / 5
    assert peak < size / 2
    assert pyarrow.total_allocated_bytes() - before < size / 5
    assert (
        pickle.loads(pickle.dumps(dataset.questions[7])).image.digest() == dataset.questions[7].image.digest()
    )


@pytest.mark.slow
def test_a_hundred_thousand_rows_open_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub-style Parquet file of 100,000 pictures: processor time and memory, the first time and the next."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("MEDROBUST_CACHE", str(tmp_path / "known"))
    monkeypatch.setattr("medrobust_bench.data.image_cache.SETTLED_NS", 0)
    noise = np.random.default_rng(0)
    types = {
        "image": {"_type": "Image"},
        **{n: {"dtype": "string", "_type": "Value"} for n in ("question", "answer")},
    }
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = [("image", picture), ("question", pa.string()), ("answer", pa.string())]
    schema = pa.schema(columns, metadata={"huggingface": json.dumps({"info": {"features": types}})})
    (tmp_path / "hub").mkdir()
    with pq.ParquetWriter(tmp_path / "hub/test-00000-of-00001.parquet", schema) as file:
        for start in range(0, 100_000, 100):
            pictures, numbers = [], range(start, start + 100)
            for _ in numbers:
                buffer = io.BytesIO()
                Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
                pictures.append({"bytes": buffer.getvalue(), "path": None})
            texts = [f"Is it number {number}, or is it another one altogether?" for number in numbers]
            answers = [("no", "yes")[number % 2] for number in numbers]
            file.write_table(
                pa.table({"image": pictures, "question": texts, "answer": answers}, schema=schema)
            )
    taken = []
    for _ in range(2):
        anonymous, start_time = _anonymous(), time.process_time()
        dataset = open_data(tmp_path / "hub")
        taken.append((time.process_time() - start_time, (_anonymous() - anonymous) / 2**20))
        assert len(dataset.questions) == 100_000
        del dataset
    for seconds, memory in taken:
        print(f"{seconds:.1f} s of processor time, {memory:.0f} MiB")
    assert taken[1][0] < taken[0][0] / 2
    assert taken[0][1] < 350, "more than the questions themselves"


def _anonymous() -> int:
    """Bytes of memory that are this process's own; pages of files, which the system takes back, do not count."""
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("needs Linux")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def test_a_run_says_first_what_was_understood(folder: Path) -> None:
    table = write_csv(folder / "own.csv", HEADER, *ROWS)
    words = [
        "run",
        "--model",
        "tiny-sft-letter",
        "--data",
        str(table),
        "--split",
        "all",
        "--threat",
        "noise:draws=1",
    ]
    done = CliRunner().invoke(main, [*words, "--out", str(folder / "run")])
    assert done.exit_code == 0, done.output
    assert "understood: image = Image Path" in done.output
    assert done.output.index("first question: Which?") < done.output.index("loading tiny-sft-letter")
