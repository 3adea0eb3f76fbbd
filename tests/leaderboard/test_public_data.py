"""A submission on a public data set that has a card: whoever has the data set can check it."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.cli.options import places
from medrobust_bench.data.reopen import Place
from medrobust_bench.leaderboard.build import build
from medrobust_bench.leaderboard.site.pages import write_site
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from tests.toy_runs import SchooledAdapter

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.leaderboard.verification import Verdict
    from medrobust_bench.models.cards import Card

QUESTIONS = 24


def write_slake(folder: Path, *, answer: str = "Yes") -> Path:
    """A small data set in SLAKE's published layout: JSON files, and images in an archive."""
    folder.mkdir()
    noise = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(folder / "imgs.zip", "w") as archive:
        for number in range(QUESTIONS):
            buffer = io.BytesIO()
            picture = Image.fromarray(noise.integers(0, 256, (2, 2, 3), dtype=np.uint8))
            picture.resize((64, 64), Image.Resampling.NEAREST).save(buffer, "PNG")
            archive.writestr(f"imgs/xmlab{number}/source.jpg", buffer.getvalue())
            rows.append(
                {"img_name": f"xmlab{number}/source.jpg", "question": f"Is it {number}?", "q_lang": "en",
                 "answer": ("Yes", "No")[number % 2] if number else answer, "modality": ("CT", "MRI")[number % 3 == 0],
                 "content_type": "Organ", "qid": number}
            )  # fmt: skip
    for split in ("train", "validation", "test"):
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set, a run on it, and its submission. Read only."""
    root = tmp_path_factory.mktemp("public")
    data = write_slake(root / "files")
    run = medrobust_bench.evaluate(
        model=SchooledAdapter(lean=0.5), threats="pgd-linf", data=f"slake={data}", out=root / "run"
    )
    (root / "leaderboards").mkdir()
    submit(run, root / "leaderboards" / "submissions")
    return root


@pytest.fixture(scope="module")
def elsewhere(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stranger's copy of the data set, with its images unpacked in another folder."""
    copy = tmp_path_factory.mktemp("stranger")
    for split in ("train", "test"):
        shutil.copy(published / "files" / f"{split}.json", copy)
    with zipfile.ZipFile(published / "files" / "imgs.zip") as archive:
        archive.extractall(copy / "pictures")
    return copy


def checked(published: Path, cards: dict[str, Card], *words: str) -> Verdict:
    (path,) = (published / "leaderboards" / "submissions").glob("slake/pgd-linf/*.json")
    images = tuple(word for word in words if word.endswith("imgs"))
    return verify(path, cards=cards, data=places(tuple(word for word in words if word not in images), images))


def test_whoever_has_the_data_set_can_check_it(
    published: Path, elsewhere: Path, cards: dict[str, Card]
) -> None:
    verdict = checked(published, cards, f"slake={elsewhere}", f"slake={elsewhere}/pictures/imgs")
    assert verdict.faults == ()
    # The toy leans to the right answers whatever it sees; nothing about the questions keeps it from being ranked.
    assert verdict.unranked == ("its audit failed: another image, image dependence",)


def test_without_the_data_set_nothing_is_said(published: Path, cards: dict[str, Card]) -> None:
    with pytest.raises(InvalidInputError, match="the data set is needed") as error:
        checked(published, cards)
    assert "--data slake for the hub or its cache" in str(error.value)


def test_other_rows_than_those_of_the_digest_are_told(
    published: Path, tmp_path: Path, cards: dict[str, Card]
) -> None:
    changed = write_slake(tmp_path / "changed", answer="No")
    assert "digest" in str(checked(published, cards, f"slake={changed}").faults[0])


def test_it_has_a_board_of_its_own(published: Path, honest: Path, cards: dict[str, Card]) -> None:
    shutil.copytree(honest, published / "leaderboards" / "submissions", dirs_exist_ok=True)
    out = published / "leaderboards"
    written = {path.relative_to(out).as_posix() for path in build(out / "submissions", out, cards=cards)}
    assert {"slake/pgd-linf.md", "phantoms/pgd-linf.md"} <= written
    table = (out / "slake/pgd-linf.md").read_text()
    assert "schooled" in table
    assert "Synthetic images" not in table
    assert "slake, pgd-linf" in (out / "README.md").read_text()
    write_site(
        read_results(out / "submissions", cards=cards),
        out / "site",
        cards=cards,
        data={"slake": Place(f"slake={published / 'files'}")},
    )
    page = (out / "site" / "models" / "schooled.html").read_text()
    assert "slake, test split" in page


def test_the_official_samples_of_any_data_set_are_nested(published: Path) -> None:
    words = ["leaderboard", "subset", "--data", f"slake={published / 'files'}", "--size", "6", "--size", "12"]
    done = CliRunner().invoke(main, [*words, "--ids"])
    assert done.exit_code == 0, done.output
    ids = done.stdout.split()
    assert ids[:6] == ids[6:12]
    assert len(ids) == 18


def test_what_names_no_place(tmp_path: Path) -> None:
    for data, images in (((f"slake={tmp_path}", "nothing"), ()), ((f"slake={tmp_path}",), ("other=x",))):
        with pytest.raises(InvalidInputError):
            places(data, images)
    assert places(("slake", f"own={tmp_path}/t.csv"), (f"own={tmp_path}",)) == {
        "slake": Place("slake"),
        "own": Place(f"{tmp_path}/t.csv", tmp_path),
    }
