from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.leaderboard.build import MARK, build
from medrobust_bench.leaderboard.build import render as render_submissions
from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.ranking import headline
from medrobust_bench.leaderboard.site.pages import write_site
from medrobust_bench.leaderboard.submissions import Submission, read_results
from medrobust_bench.models.cards import read_cards
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Result


def save(folder: Path, results: Iterable[Result]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, result in enumerate(results):
        (folder / f"{number}.json").write_text(result.model_dump_json())
    return folder


def render(results: Iterable[Result], *, links: Mapping[str, str]) -> dict[str, str]:
    """The pages of bare results."""
    submissions = [Submission(Path("result.json"), result) for result in results]
    return render_submissions(submissions, links=links, cards={})


def rows_of(page: str) -> list[list[str]]:
    """Cells of the table rows below the header."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_one_page_per_data_set_and_threat_and_an_index(make_result: Callable[..., Result]) -> None:
    results = [
        make_result(data="phantoms"),
        make_result(data="phantoms", threat="patch", kind="patch"),
        make_result(data="omnimedvqa", digest="e" * 64, synthetic=False),
    ]
    pages = render(results, links={})
    assert list(pages) == [
        "README.md",
        "omnimedvqa/pgd-linf.md",
        "phantoms/patch.md",
        "phantoms/pgd-linf.md",
    ]
    index = rows_of(pages["README.md"])
    assert [row[0] for row in index] == [
        "[omnimedvqa, pgd-linf](omnimedvqa/pgd-linf.md)",
        "[phantoms, patch](phantoms/patch.md)",
        "[phantoms, pgd-linf](phantoms/pgd-linf.md)",
    ]
    assert [row[1] for row in index] == ["of patients", "synthetic", "synthetic"]


def test_bare_results_stand_in_order_without_ranks(make_result: Callable[..., Result]) -> None:
    results = [
        make_result(model="level-low-clean", robust=9, clean=12),
        make_result(model="last", robust=2, clean=20),
        make_result(model="first", robust=18),
        make_result(model="level-high-clean", robust=9, clean=19),
    ]
    pages = render(results, links={})
    assert [(row[0], row[1].split()[0]) for row in rows_of(pages["phantoms/pgd-linf.md"])] == [
        ("–", "first"),
        ("–", "level-high-clean"),
        ("–", "level-low-clean"),
        ("–", "last"),
    ]
    (index,) = rows_of(pages["README.md"])
    assert index[2:4] == ["–", "–"], "nobody without a rank is first"


def test_models_that_would_share_a_page_are_refused(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    results = [make_result(model="a/b"), make_result(model="A-b", weights="b" * 64)]
    submissions = [Submission(Path(f"{number}.json"), result) for number, result in enumerate(results)]
    with pytest.raises(InvalidInputError, match="would share the page"):
        write_site(submissions, tmp_path, cards={})


def test_the_tables_of_the_site_hold_everything(honest: Path, cards: dict[str, Card], tmp_path: Path) -> None:
    write_site(read_results(honest, cards=cards), tmp_path, cards=cards)
    table = pd.read_parquet(tmp_path / "results.parquet")
    assert {"rank", "submitted", "unparsed_clean", "audit_failed", "specification"} <= set(table.columns)
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(table)
    whole = table[(table.group_kind == "all") & (table.measure == "robust")]
    assert sorted(whole.model) == ["other", "other", "schooled", "schooled"]
    assert whole["rank"].isna().all(), "toys that do not look at the image have no rank"
    assert not whole.submitted.isna().any()


def test_a_models_page_tells_the_audit_of_its_clean_answers_once(
    honest: Path, cards: dict[str, Card], tmp_path: Path
) -> None:
    write_site(read_results(honest, cards=cards), tmp_path, cards=cards)
    page = (tmp_path / "models/schooled.html").read_text()
    assert page.count("<h3>phantoms, clean</h3>") == 1
    assert page.count(">image dependence</td>") == 1
    assert "phantoms, pgd-linf" in page


def test_what_a_submitter_writes_stays_text(honest: Path, cards: dict[str, Card], tmp_path: Path) -> None:
    hostile = "<img src=x> [x](javascript:alert(1)) ![x](https://example.org/x.png) **bold**"
    changed = {
        name: card.model_copy(update={"title": hostile, "text": f"# T\n{hostile}"})
        for name, card in cards.items()
    }
    write_site(read_results(honest, cards=changed), tmp_path, cards=changed)
    page = (tmp_path / "models/schooled.html").read_text()
    assert "<strong>bold</strong>" in page
    for harm in ("<img src=x", 'href="javascript', 'src="https:'):
        assert harm not in page


def test_a_row_tells_all_that_the_issue_of_a_number_needs(make_result: Callable[..., Result]) -> None:
    result = make_result(
        by_modality={"CT": (9, 4, 10), "OCT": (9, 1, 10)},
        unparsed=0.05,
        audit=[
            Finding(check="a", value=1.0, verdict="pass", meaning="fine"),
            Finding(check="b", value=1.0, verdict="fail", meaning="masked gradient"),
        ],
    )
    page = render([result], links={"model": "../../model_cards/model.md"})["phantoms/pgd-linf.md"]
    (row,) = rows_of(page)
    assert row == [
        "–",
        "[model](../../model_cards/model.md) (letter, float32)",
        "25.0 (11.2–46.9)",
        "90.0 (69.9–97.2)",
        "–",
        "OCT 10.0 (n 10)",
        "5.0",
        "1 fail, 1 pass",
        "–",
        "20",
        "–",
    ]
    assert "eps 8/255" in page
    assert "dddddddddddd" in page


def test_synthetic_data_is_said_plainly_and_only_where_true(make_result: Callable[..., Result]) -> None:
    pages = render(
        [make_result(), make_result(data="omnimedvqa", digest="e" * 64, synthetic=False)], links={}
    )
    assert "Synthetic images." in pages["phantoms/pgd-linf.md"]
    assert "Synthetic images." in pages["README.md"]
    assert "ynthetic" not in pages["omnimedvqa/pgd-linf.md"]


def test_only_equal_questions_and_equal_budgets_share_a_table(make_result: Callable[..., Result]) -> None:
    results = [
        make_result(model="a"),
        make_result(model="b", digest="e" * 64),
        make_result(model="c", spec={"norm": "linf", "eps": "4/255"}),
        make_result(model="d"),
    ]
    page = render(results, links={})["phantoms/pgd-linf.md"]
    tables = [block for block in page.split("\n\n") if block.startswith("|")]
    assert sorted(len(rows_of(table)) for table in tables) == [1, 1, 2]
    (together,) = [rows_of(table) for table in tables if len(rows_of(table)) == 2]
    assert {row[1].split()[0] for row in together} == {"a", "d"}


def test_seeds_are_shown_where_they_differ(make_result: Callable[..., Result]) -> None:
    results = [make_result(seed=0), make_result(seed=7, robust=4)]
    page = render(results, links={})["phantoms/pgd-linf.md"]
    assert [row[-1] for row in rows_of(page)] == ["0", "7"]
    assert "Seed" not in render(results[:1], links={})["phantoms/pgd-linf.md"]


def test_certificates_rank_by_the_smallest_radius(make_result: Callable[..., Result]) -> None:
    def certified(model: str, near: int, far: int) -> Result:
        settings = {
            "threat": "certified-l2",
            "kind": "certification",
            "robust": None,
            "spec": {"sigma": "0.25"},
        }
        return make_result(model=model, certified={0.5: far, 0.25: near}, **settings)

    page = render([certified("far", 9, 8), certified("near", 12, 1)], links={})["phantoms/certified-l2.md"]
    assert [row[1].split()[0] for row in rows_of(page)] == ["near", "far"]
    assert [row[2].split()[0] for row in rows_of(page)] == ["60.0", "45.0"]


def test_the_headline_of_clean_results_is_clean_accuracy(make_result: Callable[..., Result]) -> None:
    result = make_result(threat="clean", kind="clean", spec={}, robust=None, clean=18)
    assert headline(result.metrics).value == 0.9


def test_names_are_escaped(make_result: Callable[..., Result]) -> None:
    page = render([make_result(model="a|b](x)<i>", data="a|b")], links={})["a-b/pgd-linf.md"]
    assert r"a\|b\](x)&lt;i&gt; (letter, float32)" in page
    assert r"# a\|b, pgd-linf" in page


@given(st.text())
def test_slugs_stay_in_their_folder(name: str) -> None:
    made = slug(name)
    assert made
    assert not set(made) & set("/\\: \n\0")
    assert not made.startswith(".")
    assert slug(made) == made


def test_names_that_would_share_a_file_are_refused(make_result: Callable[..., Result]) -> None:
    results = [make_result(data="a/b"), make_result(data="A b", digest="e" * 64)]
    with pytest.raises(InvalidInputError, match="would both be written to"):
        render(results, links={})


def test_the_order_and_names_of_the_files_do_not_matter(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    results = [
        make_result(model=model, threat=threat, robust=robust)
        for threat in ("pgd-linf", "pgd-l2")
        for model, robust in (("a", 5), ("b", 5), ("c", 9))
    ]
    made = []
    for name in ("one", "two"):
        random.Random(name).shuffle(results)
        paths = build(save(tmp_path / name / "results", results), tmp_path / name, cards={})
        made.append({path.relative_to(tmp_path / name): path.read_bytes() for path in paths})
    assert made[0] == made[1]
    again = build(tmp_path / "one/results", tmp_path / "one", cards={})
    assert {path.relative_to(tmp_path / "one"): path.read_bytes() for path in again} == made[0]


def test_tables_without_results_go_and_other_files_stay(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    results = save(tmp_path / "results", [make_result(), make_result(threat="patch", kind="patch")])
    build(results, tmp_path, cards={})
    (tmp_path / "phantoms/notes.md").write_text("# By hand\n")
    (results / "1.json").unlink()
    build(results, tmp_path, cards={})
    names = {path.name for path in (tmp_path / "phantoms").iterdir()}
    assert names == {"pgd-linf.md", "notes.md"}


def test_a_model_links_to_its_card_where_the_card_stands_beside(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    cards = read_cards()
    out = tmp_path / "leaderboards"
    results = save(out / "results", [make_result(model="med-r1"), make_result(model="no-card")])
    build(results, out, cards=cards)
    assert "model_cards" not in (out / "phantoms/pgd-linf.md").read_text()
    (tmp_path / "model_cards").mkdir()
    (tmp_path / "model_cards/med-r1.md").touch()
    build(results, out, cards=cards)
    page = (out / "phantoms/pgd-linf.md").read_text()
    assert "[med-r1](../../model_cards/med-r1.md)" in page
    assert page.count("model_cards") == 1
    assert page.startswith(MARK)


def test_one_model_under_two_names_is_refused(make_result: Callable[..., Result], tmp_path: Path) -> None:
    same = save(
        tmp_path / "weights", [make_result(weights="c" * 64), make_result(model="b", weights="c" * 64)]
    )
    with pytest.raises(InvalidInputError, match="reports the same measurement"):
        build(same, tmp_path / "out", cards={})


def test_nothing_is_written_behind_a_link(make_result: Callable[..., Result], tmp_path: Path) -> None:
    results = save(tmp_path / "results", [make_result()])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/phantoms").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="phantoms: is a link"):
        build(results, tmp_path / "out", cards={})
    assert not list((tmp_path / "elsewhere").iterdir())


def with_digest(card: Card) -> Card:
    return card.model_copy(update={"weights_sha256": "c" * 64, "dtype": "float32"})


def test_everything_wrong_is_reported_together_and_nothing_written(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    measured = [make_result(), make_result(), make_result(model="med-r1", weights="a" * 64)]
    results = save(tmp_path / "results", measured)
    (results / "broken.json").write_text('{"schema_version":\n ?}')
    (results / "other.json").write_text('{"plan": 1}')
    (results / "newer.json").write_text('{"schema_version": "2.0"}')
    wrong = make_result(model="wrong").model_dump(mode="json")
    wrong["metrics"]["clean_accuracy"]["value"] = 1.5
    wrong["extra"] = 1
    (results / "wrong.json").write_text(json.dumps(wrong))
    cards = {"med-r1": with_digest(read_cards()["med-r1"])}
    with pytest.raises(InvalidInputError) as caught:
        build(results, tmp_path / "out", cards=cards)
    found = [
        (problem.where.rpartition("/")[2], problem.what, problem.row) for problem in caught.value.problems
    ]
    said = {(name, what.split(":")[0]) for name, what, _row in found}
    assert ("wrong.json", "metrics.clean_accuracy.value") in said
    assert ("wrong.json", "extra") in said
    assert ("other.json", "is no result file") in said
    assert ("newer.json", "has schema version '2.0'") in said
    assert ("broken.json", "is not JSON", 2) in [(n, w.split(":")[0], r) for n, w, r in found]
    assert ("1.json", f"reports the same measurement as {results / '0.json'}") in said
    assert any(
        name == "2.json" and what.startswith("was measured on weights aaaa") for name, what, _ in found
    )
    assert len(found) == 7
    assert not (tmp_path / "out").exists()


def test_a_digest_for_another_dtype_says_nothing(make_result: Callable[..., Result], tmp_path: Path) -> None:
    results = save(tmp_path / "results", [make_result(model="med-r1", dtype="bfloat16")])
    build(results, tmp_path, cards={"med-r1": with_digest(read_cards()["med-r1"])})
    assert (tmp_path / "phantoms/pgd-linf.md").exists()


@pytest.mark.parametrize(("exists", "said"), [(True, "holds no result file"), (False, "is no folder")])
def test_no_results(tmp_path: Path, exists: bool, said: str) -> None:
    folder = tmp_path / "results"
    if exists:
        folder.mkdir()
    with pytest.raises(InvalidInputError, match=said):
        build(folder, tmp_path, cards={})
