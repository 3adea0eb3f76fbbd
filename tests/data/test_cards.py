"""Every shipped card reads a tiny data set of ours in the published layout; what is wrong with a card is told."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from PIL import Image

import medrobust_bench
from medrobust_bench.data.cards import DataCard, read_card, shipped_cards
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError

from .conftest import omni_row, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), (shade, 255 - shade, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], images: Sequence[str]) -> None:
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    data = datasets.Dataset.from_dict(columns)
    for name in images:
        data = data.cast_column(name, datasets.Image())
    data.to_parquet(path, batch_size=100)


def encoded(shade: int) -> dict[str, Any]:
    return {"bytes": png(shade), "path": None}


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def vqa_rad(folder: Path) -> None:
    for split in ("train", "test"):
        rows = [
            {"image": encoded(10), "question": f"is this {split}?", "answer": "Yes"},
            {"image": encoded(20), "question": "where is the lesion?", "answer": "left lung"},
            {"image": encoded(30), "question": "is it normal?", "answer": "no"},
        ]
        write_parquet(folder / f"data/{split}-00000-of-00001-0a1b.parquet", rows, ["image"])


def path_vqa(folder: Path) -> None:
    vqa_rad(folder)
    write_parquet(
        folder / "data/validation-00000-of-00001.parquet",
        [{"image": encoded(1), "question": "is it?", "answer": "no"}],
        ["image"],
    )


def slake(folder: Path) -> None:
    row = {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is this a CT?", "answer": "Yes", "q_lang": "en",
           "location": "Abdomen", "modality": "CT", "answer_type": "CLOSED", "base_type": "vqa",
           "content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": 11}  # fmt: skip
    others = [{"q_lang": "zh", "question": "是吗", "qid": 12}, {"answer": "Liver", "answer_type": "OPEN", "qid": 13},
              {"answer": "No", "modality": "X-Ray", "content_type": "Abnormality", "qid": 14}]  # fmt: skip
    for split in ("train", "validation", "test"):
        write_json(folder / f"{split}.json", [row, *({**row, **other} for other in others)])
    write_zip(folder / "imgs.zip", {"imgs/xmlab1/source.jpg": png(3), "imgs/xmlab2/source.jpg": png(4)})


def pmc_vqa(folder: Path) -> None:
    header = ["index", "Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer",
              "split", "Answer_label"]  # fmt: skip
    rows = [
        ["0", "PMC1_F1.jpg", "A, b", "Which uptake?", " A:Diffuse, mild ", " B:Focal", " C:None", " D:Unclear", "Focal",
         "test", "B"],
        ["1", "PMC2_F1.jpg", "c", "How many?", "A: One", "B: Two", "C: Three", "D: Four", "Four", "test", "D"],
    ]  # fmt: skip
    for split in ("train", "test"):
        with (folder / f"{split}_2.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    write_zip(folder / "images_2.zip", {"figures/PMC1_F1.jpg": png(1), "figures/PMC2_F1.jpg": png(2)})


def medxpertqa_mm(folder: Path) -> None:
    row = {
        "id": "MM-1",
        "question": "A man coughs. What is it?\nAnswer Choices: (A) Flu (B) Cold (C) Cancer (D) Asthma (E) Croup",
        "options": {"A": "Flu", "B": "Cold", "C": "Cancer", "D": "Asthma", "E": "Croup"},
        "label": "C",
        "images": ["MM-1-a.jpeg"],
        "medical_task": "Diagnosis",
        "body_system": "Respiratory",
        "question_type": "Reasoning",
    }
    several = {**row, "id": "MM-2", "images": ["MM-1-a.jpeg", "MM-2-b.jpeg"]}
    (folder / "MM").mkdir()
    for split in ("dev", "test"):
        (folder / f"MM/{split}.jsonl").write_text("\n".join(map(json.dumps, (row, several))) + "\n")
    write_zip(folder / "images.zip", {"images/MM-1-a.jpeg": png(5), "images/MM-2-b.jpeg": png(6)})


def gmai_mmbench(folder: Path) -> None:
    header = ["index", "question", "A", "B", "C", "D", "E", "answer", "image", "department", "clinical vqa task",
              "perceptual granularity", "split"]  # fmt: skip
    picture = [base64.b64encode(png(shade)).decode() for shade in (1, 2)]
    rows = [
        ["0", "Which, then?", "None", "NA", "Polyp", "", "", "B", picture[0], "Surgery", "Diagnosis", "image", "val"],
        ["1", 'What "is"\nit?', "1", "2", "3", "4", "5", "E", picture[1], "Surgery", "Counting", "image", "val"],
    ]  # fmt: skip
    with (folder / "GMAI-MMBench_VAL.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([header, *rows])


def mmmu_medical(folder: Path) -> None:
    subjects = (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    )
    for number, subject in enumerate(subjects):
        row = {"id": f"validation_{subject}_1", "question": "<image 1> What is shown?",
               "options": "['A', 'one, two', \"it's\"]",
               "explanation": "", **{f"image_{place}": None for place in range(2, 8)}, "image_1": encoded(number),
               "img_type": "['Body Scans: MRI, CT.']", "answer": "C", "topic_difficulty": "Easy",
               "question_type": "multiple-choice", "subfield": "Anatomy"}  # fmt: skip
        several = {**row, "id": f"validation_{subject}_2", "image_2": encoded(99)}
        open_question = {
            **row,
            "id": f"validation_{subject}_3",
            "question_type": "open",
            "options": "[]",
            "answer": "5",
        }
        for split in ("dev", "validation"):
            rows = [{**item, "id": f"{split}_{item['id']}"} for item in (row, several, open_question)]
            write_parquet(
                folder / subject / f"{split}-00000-of-00001.parquet",
                rows,
                [f"image_{n}" for n in range(1, 8)],
            )


def omnimedvqa(folder: Path) -> None:
    rows = [omni_row(1, option_C="PET"), omni_row(2, modality_type="X-Ray")]
    write_zip(
        folder / "OmniMedVQA.zip",
        {
            "OmniMedVQA/QA_information/Open-access/Set.json": json.dumps(rows).encode(),
            "OmniMedVQA/QA_information/Restricted-access/Set.json": json.dumps([omni_row(3)]).encode(),
            "__MACOSX/OmniMedVQA/QA_information/Open-access/._Set.json": b"\0",
            "OmniMedVQA/Images/Set/1.png": png(1),
            "OmniMedVQA/Images/Set/2.png": png(2),
        },
    )


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "gmai-mmbench": gmai_mmbench,
    "medxpertqa-mm": medxpertqa_mm,
    "mmmu-medical": mmmu_medical,
    "omnimedvqa": omnimedvqa,
    "path-vqa": path_vqa,
    "pmc-vqa": pmc_vqa,
    "slake": slake,
    "vqa-rad": vqa_rad,
}
YES_NO = ("Yes", "No")
EXPECTED: dict[str, list[tuple[str, tuple[str, ...], str, str]]] = {
    "gmai-mmbench": [
        ("Which, then?", ("None", "NA", "Polyp"), "B", "not stated"),
        ('What "is"\nit?', ("1", "2", "3", "4", "5"), "E", "not stated"),
    ],
    "medxpertqa-mm": [
        ("A man coughs. What is it?", ("Flu", "Cold", "Cancer", "Asthma", "Croup"), "C", "not stated")
    ],
    "mmmu-medical": [("What is shown?", ("A", "one, two", "it's"), "C", "Body Scans: MRI, CT.")] * 5,
    "omnimedvqa": [
        ("How was this image taken?", ("MRI", "CT", "PET"), "B", "CT"),
        ("How was this image taken?", ("MRI", "CT"), "B", "X-ray"),
    ],
    "path-vqa": [("is this test?", YES_NO, "A", "Pathology"), ("is it normal?", YES_NO, "B", "Pathology")],
    "pmc-vqa": [
        ("Which uptake?", ("Diffuse, mild", "Focal", "None", "Unclear"), "B", "not stated"),
        ("How many?", ("One", "Two", "Three", "Four"), "D", "not stated"),
    ],
    "slake": [("Is this a CT?", YES_NO, "A", "CT"), ("Is this a CT?", YES_NO, "B", "X-ray")],
    "vqa-rad": [("is this test?", YES_NO, "A", "Radiology"), ("is it normal?", YES_NO, "B", "Radiology")],
}


def own_copy(name: str, folder: Path) -> Path:
    """The shipped card for the files in a folder, without the number of rows that the whole data set has."""
    _, front, body = shipped_cards()[name].read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    fields.pop("expect", None)
    fields["source"] = {
        "folder": ".",
        **{k: v for k, v in fields["source"].items() if k not in ("hub", "revision")},
    }
    card = folder / f"{name}.md"
    card.write_text(f"---\n{yaml.safe_dump(fields)}---\n{body}")
    return card


def asked(dataset: Dataset) -> list[tuple[str, tuple[str, ...], str, str]]:
    return [(q.text, q.options, q.letter, q.modality) for q in dataset.questions]


def test_every_card_has_a_layout_and_says_that_it_was_not_opened() -> None:
    assert set(shipped_cards()) == set(LAYOUTS)
    for name, path in shipped_cards().items():
        card = read_card(path)
        assert card.id == name
        assert not card.downloaded
        assert "Not downloaded here" in path.read_text()


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_card_reads_the_published_layout(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    split = "all" if name == "omnimedvqa" else "test"
    dataset = open_data(own_copy(name, tmp_path), split=split)
    assert asked(dataset) == EXPECTED[name]
    assert dataset.name == name
    assert len({question.image.digest() for question in dataset.questions}) == len(dataset.questions) - (
        name == "slake"
    )
    assert all(question.image.open().size == (40, 32) for question in dataset.questions)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_card_is_evaluated_from_end_to_end(name: str, tmp_path: Path) -> None:
    LAYOUTS[name](tmp_path)
    run = medrobust_bench.evaluate(
        model="tiny-sft-letter",
        threats="noise:draws=1",
        data=str(own_copy(name, tmp_path)),
        split="all" if name == "omnimedvqa" else "test",
        out=tmp_path / "run",
    )
    assert {result.data.n for result in run.results} == {len(EXPECTED[name])}
    assert {result.data.name for result in run.results} == {name}


def test_the_archive_gives_what_the_tree_gives(tmp_path: Path) -> None:
    omnimedvqa(tmp_path)
    by_card = open_data(own_copy("omnimedvqa", tmp_path), split="all")
    with zipfile.ZipFile(tmp_path / "OmniMedVQA.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    (tmp_path / "unpacked/OmniMedVQA/QA_information/Restricted-access/Set.json").unlink()
    by_tree = open_data(tmp_path / "unpacked", split="all")
    assert by_card.digest() == by_tree.digest()
    assert by_card.name == by_tree.name == "omnimedvqa"
    assert [q.id for q in by_card.questions] == [q.id for q in by_tree.questions]


def test_a_local_copy_is_named_beside_the_id(tmp_path: Path) -> None:
    gmai_mmbench(tmp_path)
    assert asked(open_data(f"gmai-mmbench={tmp_path}")) == EXPECTED["gmai-mmbench"]
    with pytest.raises(InvalidInputError, match="is no folder"):
        open_data(f"gmai-mmbench={tmp_path}/none")


def test_another_number_of_rows_than_the_card_expects_is_told(tmp_path: Path) -> None:
    vqa_rad(tmp_path)
    with pytest.raises(InvalidInputError, match="test holds 3 rows, and its card expects 451"):
        open_data(f"vqa-rad={tmp_path}")


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    mmmu_medical(tmp_path)
    dataset = open_data(own_copy("mmmu-medical", tmp_path))
    reasons = {problem.what for problem in dataset.skipped}
    assert reasons == {
        "1 of 3 rows left out: they show several images, and a question here is about one",
        "1 of 3 rows left out: `question_type` is not multiple-choice",
    }
    assert len(dataset.skipped) == 10


def test_images_in_a_folder_instead_of_the_archive(tmp_path: Path) -> None:
    slake(tmp_path)
    with zipfile.ZipFile(tmp_path / "imgs.zip") as archive:
        archive.extractall(tmp_path / "elsewhere")
    (tmp_path / "imgs.zip").unlink()
    card = own_copy("slake", tmp_path)
    with pytest.raises(InvalidInputError, match=r"imgs\.zip: is not there"):
        open_data(card)
    assert asked(open_data(card, images=tmp_path / "elsewhere/imgs")) == EXPECTED["slake"]
    (tmp_path / "elsewhere/imgs").rename(tmp_path / "imgs")
    assert asked(open_data(card)) == EXPECTED["slake"]


def test_an_ambiguous_member_of_an_archive_is_told(tmp_path: Path) -> None:
    slake(tmp_path)
    write_zip(tmp_path / "imgs.zip", {"a/xmlab1/source.jpg": png(3), "b/xmlab1/source.jpg": png(4)})
    with pytest.raises(InvalidInputError, match=r"may be 'a/xmlab1/source\.jpg' or 'b/"):
        open_data(own_copy("slake", tmp_path))


def changed(tmp_path: Path, **changes: Any) -> Path:
    """The card of GMAI-MMBench with some keys changed (a dot goes into a section, None removes)."""
    gmai_mmbench(tmp_path)
    path = own_copy("gmai-mmbench", tmp_path)
    _, front, body = path.read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    for key, value in changes.items():
        section = fields
        *outer, last = key.split("__")
        for name in outer:
            section = section[name]
        section.pop(last, None)
        if value is not None:
            section[last] = value
    path.write_text(f"---\n{yaml.safe_dump(fields)}---\n{body}")
    return path


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"licence": None}, "key licence is missing"),
        ({"licens": "x"}, "key licens is unknown → did you mean licence"),
        ({"image__colums": ["x"]}, "key image.colums is unknown → did you mean columns"),
        ({"answer__written": "word"}, "answer.written is 'word'"),
        ({"source__hub": "a/b"}, "give either hub or folder"),
        ({"options__constant": ["a", "b"]}, "give one of columns, column, constant, inside"),
        ({"modality": {"constant": "CT", "column": "m"}}, "give either column or constant"),
        ({"split": {"column": "split"}}, "tells the split already"),
        ({"filters": [{"column": "x"}]}, "give either one_of or none_of"),
        ({"source__files": {"test": ["../*.tsv"]}}, "leaves the data set's folder"),
        ({"source__files": {"test": ["*.xlsx"]}}, "holds no *.xlsx"),
        ({"question__column": "frage"}, "has no column `frage`"),
        ({"answer__written": "index"}, "row 1: answer 'B' is no index"),
        ({"options__columns": ["C", "D"]}, "row 1: has 1 option"),
        ({"options__lettered": True}, "option 'None' does not begin with A"),
    ],
)
def test_everything_wrong_with_a_card_is_told(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_data(changed(tmp_path, **changes))
    assert what in str(caught.value)


def test_the_digest_that_a_card_expects(tmp_path: Path) -> None:
    dataset = open_data(changed(tmp_path))
    good = changed(tmp_path, expect={"test": {"digest": dataset.digest()}})
    assert open_data(good).digest() == dataset.digest()
    with pytest.raises(InvalidInputError, match="its card expects 000000000000"):
        open_data(changed(tmp_path, expect={"test": {"digest": 64 * "0"}}))


def test_a_card_for_frames_groups_names_and_a_column_of_splits(tmp_path: Path) -> None:
    pictures = [Image.new("L", (16, 12), 40 * number) for number in range(3)]
    pictures[0].save(tmp_path / "stack.tif", save_all=True, append_images=pictures[1:])
    rows = [
        {"file": "stack", "q": "Where?", "o": ["a", "b"], "a": 2, "m": "mr", "p": "P1", "s": "dev"},
        {"file": "stack", "q": "What?", "o": ["a", "b"], "a": 1, "m": "kernspin", "p": None, "s": "TEST"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    card = DataCard.model_validate(
        {
            "id": "stack",
            "title": "Stack",
            "source": {"folder": ".", "files": {"all": ["rows.jsonl"]}},
            "image": {"columns": ["file"], "suffix": ".tif", "frame": 2},
            "question": {"column": "q"},
            "options": {"column": "o"},
            "answer": {"column": "a", "written": "position"},
            "modality": {"column": "m", "names": {"Kernspin": "MRI"}},
            "question_type": {"constant": "anatomy"},
            "group": "p",
            "split": {"column": "s"},
            "licence": "none",
            "citation": "none",
            "downloaded": True,
        }
    )
    path = tmp_path / "stack.md"
    path.write_text(f"---\n{yaml.safe_dump(card.model_dump(mode='json'))}---\n# Stack\n")
    (first,) = open_data(path, split="validation").questions
    (second,) = open_data(path, split="test").questions
    assert (first.letter, first.modality, first.group, first.question_type) == (
        "B",
        "MRI",
        "P1",
        "Anatomy identification",
    )
    assert (second.letter, second.modality, second.group) == ("A", "MRI", None)
    assert first.image.open().getpixel((0, 0)) == 80


def test_a_hub_data_set_is_read_from_its_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache as the hub's client lays it out: content under its hash, and links to it by name."""
    from huggingface_hub import constants

    commit, repository = 40 * "a", tmp_path / "hub/datasets--RadGenome--PMC-VQA"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    (tmp_path / "files").mkdir()
    pmc_vqa(tmp_path / "files")
    for number, file in enumerate(sorted((tmp_path / "files").iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        file.rename(blob)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    dataset = medrobust_bench.load_data("pmc-vqa")
    assert asked(dataset) == EXPECTED["pmc-vqa"]
    assert f"PMC-VQA, version 2: RadGenome/PMC-VQA at {commit}" in dataset.notes
    with pytest.raises(InvalidInputError, match="not in the cache, and the hub cannot be reached"):
        medrobust_bench.load_data("vqa-rad")


README = """---
configs:
- config_name: easy
  data_files:
  - {split: train, path: easy/train-*.parquet}
  - {split: test, path: easy/test-*.parquet}
- config_name: hard
  data_files: [{split: held_out, path: hard/*.parquet}]
---
# Two configurations
"""


def two_configurations(folder: Path, /, **source: Any) -> Path:
    """A data set in the hub's layout, and a card for it."""
    for split in ("train", "test"):
        rows = [{"image": encoded(10), "question": f"is this {split}?", "answer": "Yes"}]
        write_parquet(folder / f"easy/{split}-00000-of-00001.parquet", rows, ["image"])
    rows = [{"image": encoded(shade), "question": f"is it {shade}?", "answer": "no"} for shade in (7, 8)]
    write_parquet(folder / "hard/part.parquet", rows, ["image"])
    (folder / "README.md").write_text(README)
    fields = {
        "id": "levels",
        "title": "Levels",
        "source": {"folder": ".", "config": "easy"} | source,
        "image": {"columns": ["image"]},
        "question": {"column": "question"},
        "options": {"constant": ["Yes", "No"]},
        "answer": {"column": "answer", "written": "text"},
        "modality": {"constant": "CT"},
        "question_type": {"constant": "anatomy"},
        "licence": "none",
        "citation": "none",
        "downloaded": True,
    }
    path = folder / "levels.md"
    path.write_text(f"---\n{yaml.safe_dump(fields)}---\n# Levels\n")
    return path


def test_a_configuration_is_read_as_its_publisher_lists_it(tmp_path: Path) -> None:
    dataset = open_data(two_configurations(tmp_path))
    assert [question.text for question in dataset.questions] == ["is this test?"]
    assert dataset.questions[0].image.open().size == (40, 32)
    hard = open_data(two_configurations(tmp_path, config="hard", splits={"test": ["held_out"]}))
    assert [question.text for question in hard.questions] == ["is it 7?", "is it 8?"]
    whole = open_data(two_configurations(tmp_path, config="hard", splits={"all": ["held_out"]}), split="all")
    assert whole.digest() != hard.digest()


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ({"config": "middling"}, "has no configuration 'middling' → choose one of: 'easy', 'hard'"),
        (
            {"config": "hard"},
            "configuration hard has no split of a usual name → say in `source.splits` which of",
        ),
        ({"splits": {"test": ["last"]}}, "configuration easy has no split last"),
        ({"files": {"test": ["*.csv"]}}, "give either files or config"),
        (
            {"config": None, "files": {"test": ["*"]}, "splits": {"test": ["a"]}},
            "splits are those of a config",
        ),
        ({"archive": "a.zip"}, "a configuration is in no archive"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_told(
    source: dict[str, Any], what: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        open_data(two_configurations(tmp_path, **source))
    assert what in str(caught.value)
    assert len(caught.value.problems) == 1


def test_a_configuration_of_image_files_is_read_and_leads_nowhere_else(tmp_path: Path) -> None:
    """`datasets` calls a folder of pictures with `metadata.csv` a data set, and gives the pictures' paths."""
    (tmp_path / "pictures/test").mkdir(parents=True)
    (tmp_path / "pictures/test/1.png").write_bytes(png(3))
    (tmp_path / "pictures/test/metadata.csv").write_text("file_name,question,answer\n1.png,Is it?,yes\n")
    (tmp_path / "card").mkdir()
    (question,) = open_data(
        two_configurations(tmp_path / "card", folder="../pictures", config="default")
    ).questions
    assert question.image.digest() == hashlib.sha256(png(3)).hexdigest()
    (tmp_path / "secret.png").write_bytes(png(4))
    rows = [{"image": {"bytes": None, "path": str(tmp_path / "secret.png")}, "question": "?", "answer": "no"}]
    write_parquet(tmp_path / "hostile/test.parquet", rows, [])
    with pytest.raises(InvalidInputError, match="a path that leads out of the data set"):
        open_data(two_configurations(tmp_path / "card", folder="../hostile", config="default"))


def test_without_a_list_there_is_one_configuration(tmp_path: Path) -> None:
    vqa_rad(tmp_path)
    card = two_configurations(tmp_path / "card", folder="..")
    with pytest.raises(InvalidInputError, match="has no configuration 'easy' → choose one of: 'default'"):
        open_data(card)


def test_a_configuration_is_read_from_the_cache_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache as `datasets` lays it out for the hub: what a local copy gives, under the owner's name."""
    import datasets
    from huggingface_hub import constants

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "levels").mkdir()
    local = open_data(two_configurations(tmp_path / "levels"))
    (tmp_path / "cache/levels").rename(tmp_path / "cache/owner___levels")
    (tmp_path / "card").mkdir()
    card = two_configurations(tmp_path / "card", folder=None, hub="owner/levels")
    dataset = open_data(card)
    assert dataset.digest() == local.digest()
    assert any("owner/levels, configuration easy" in note for note in dataset.notes)
    with pytest.raises(
        InvalidInputError, match="owner/levels@main: has no configuration 'hard' in the cache"
    ):
        open_data(two_configurations(tmp_path / "card", folder=None, hub="owner/levels", config="hard"))


def test_questions_have_the_same_ids_wherever_the_files_lie(tmp_path: Path) -> None:
    """A submission on a public data set verifies on another machine, also where rows have no id and images no name."""
    opened = []
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
        vqa_rad(tmp_path / name)
        opened.append(open_data(own_copy("vqa-rad", tmp_path / name)))
    assert opened[0].digest() == opened[1].digest()
    assert [q.id for q in opened[0].questions] == [q.id for q in opened[1].questions]
