"""Every shipped card reads a tiny data set of ours in the published layout; what is wrong with a card is told."""

from __future__ import annotations

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

from .published import (
    EXPECTED,
    LAYOUTS,
    asked,
    gmai_mmbench,
    mmmu_medical,
    omnimedvqa,
    own_copy,
    pmc_vqa,
    png,
    slake,
    vqa_rad,
    write_zip,
)

if TYPE_CHECKING:
    from pathlib import Path


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


def test_questions_have_the_same_ids_wherever_the_files_lie(tmp_path: Path) -> None:
    """A submission on a public data set verifies on another machine, also where rows have no id and images no name."""
    opened = []
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
        vqa_rad(tmp_path / name)
        opened.append(open_data(own_copy("vqa-rad", tmp_path / name)))
    assert opened[0].digest() == opened[1].digest()
    assert [q.id for q in opened[0].questions] == [q.id for q in opened[1].questions]
