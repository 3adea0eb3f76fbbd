"""`medrobust data` as a person types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from medrobust_bench.cli import main
from medrobust_bench.data.source import open_data

from .conftest import omni_row, write_json
from .published import mmmu_medical, own_copy
from .test_archive import make_archive
from .test_split_files import row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question

__all__ = ["make_archive"]


def medrobust(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_sound_data_set_exits_with_0(make_tree: Callable[..., Path]) -> None:
    result = medrobust("check", make_tree(*(omni_row(number) for number in range(20))))
    assert result.exit_code == 0
    assert "CT" in result.output
    assert "No problems." in result.output
    assert "No leakage" in result.output


def test_leakage_exits_with_1(tmp_path: Path) -> None:
    write_json(tmp_path / "CT_train.json", [row(1), row(2)])
    write_json(tmp_path / "CT_test.json", [row(1), row(3)])
    result = medrobust("check", tmp_path)
    assert result.exit_code == 1
    assert "1 of 2" in result.output
    assert "50.0%" in result.output
    against = medrobust("check", tmp_path / "CT_test.json", "--against", tmp_path / "CT_train.json")
    assert against.exit_code == 1
    assert "1 of 2" in against.output


def test_problems_exit_with_2_and_are_shortened_by_kind(make_tree: Callable[..., Path]) -> None:
    root = make_tree(omni_row(1), *(omni_row(number, gt_answer="PET") for number in range(2, 12)))
    result = medrobust("check", root)
    assert result.exit_code == 2
    assert "10 problems" in result.output
    assert result.output.count("not among its options") == 3
    assert "and 7 more of this kind" in result.output
    assert medrobust("check", root, "--all").output.count("not among its options") == 10


def test_rows_left_out_of_many_files_are_told_by_reason(tmp_path: Path) -> None:
    mmmu_medical(tmp_path)
    card = own_copy("mmmu-medical", tmp_path)
    short, whole = (
        [line for line in medrobust("check", card, *more).output.splitlines() if line.startswith("left out")]
        for more in ((), ("--all",))
    )
    assert len(short) == 2 * (3 + 1)
    assert sum("and in 7 more files for the same reason" in line for line in short) == 2
    assert len(whole) == 20


def test_problems_of_the_other_data_set_count(make_tree: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "X-Ray_train.json").write_text("[")
    result = medrobust("check", make_tree(omni_row(1)), "--against", tmp_path / "X-Ray_train.json")
    assert result.exit_code == 2
    assert "X-Ray_train.json: is not JSON" in result.output


def test_a_model_is_asked_whether_it_takes_every_question(
    make_tree: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tree(*(omni_row(number) for number in range(20)))
    sound = medrobust("check", root, "--model", "tiny-sft-letter", "--device", "cpu")
    assert sound.exit_code == 0, sound.output
    asked = [question.id for question in open_data(root).questions]
    assert f"tiny-sft-letter takes {len(asked)} of {len(asked)} test questions." in sound.output

    class Picky:
        """Refuses two questions in ways in which processors do."""

        def bind(self, questions: Sequence[Question]) -> None:
            (question,) = questions
            if question.id in asked[:2]:
                raise (ValueError, IndexError)[asked.index(question.id)]("too\nmany image tokens")

    monkeypatch.setattr("medrobust_bench.models.registry.load_model", lambda card, device: Picky())
    refused = medrobust("check", root, "--model", "tiny-sft-letter")
    assert refused.exit_code == 2
    assert f"takes {len(asked) - 2} of {len(asked)} test questions" in refused.output
    assert f"{asked[0]}: tiny-sft-letter does not take it: ValueError: too" in refused.output
    assert f"{asked[1]}: tiny-sft-letter does not take it: IndexError" in refused.output


def test_an_unknown_model_is_told_before_the_data_are_read(tmp_path: Path) -> None:
    result = medrobust("check", tmp_path / "nowhere", "--model", "no-such-model")
    assert result.exit_code == 2
    assert "no-such-model" in result.output


def test_no_data_set_exits_with_2(tmp_path: Path) -> None:
    result = medrobust("check", tmp_path / "none")
    assert result.exit_code == 2
    assert "does not exist" in result.output


def test_text_only_says_so(make_tree: Callable[..., Path]) -> None:
    result = medrobust("check", make_tree(omni_row(1), images=False), "--text-only")
    assert result.exit_code == 0
    assert "only the text was checked" in result.output


@pytest.mark.slow
def test_published_files(published_splits: Path) -> None:
    result = medrobust("check", published_splits)
    assert result.exit_code == 1
    assert "510 of 1535" in result.output
    assert "250 of 813" in result.output


def test_fetch_from_a_local_archive(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    result = medrobust("fetch", "omnimedvqa", "--out", tmp_path / "tree", "--archive", make_archive())
    assert result.exit_code == 0, result.output
    assert medrobust("check", tmp_path / "tree").exit_code == 0
    again = medrobust("fetch", "omnimedvqa", "--out", tmp_path / "tree", "--archive", tmp_path / "none.zip")
    assert again.exit_code == 0
    assert "already holds OmniMedVQA" in again.output


def test_fetch_refuses_a_hostile_archive(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    archive = make_archive(("../evil", "x"))
    result = medrobust("fetch", "omnimedvqa", "--out", tmp_path / "tree", "--archive", archive)
    assert result.exit_code == 2
    assert "'../evil'" in result.output
    assert not (tmp_path / "tree").exists()


def test_fetch_mentions_what_a_killed_unpacking_left(
    make_archive: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / ".tree.unpacking-abc").mkdir()
    result = medrobust("fetch", "omnimedvqa", "--out", tmp_path / "tree", "--archive", make_archive())
    assert "left from an unpacking" in result.output
    assert result.exit_code == 0


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["fetch", "omnimedvqa", "--help"]])
def test_help(arguments: list[str]) -> None:
    assert medrobust(*arguments).exit_code == 0
