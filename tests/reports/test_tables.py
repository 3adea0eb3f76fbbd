from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from medrobust_bench.data.phantoms.phantom import BANKS
from medrobust_bench.records import AnswerCounts, AnswerKind, Finding, Tier
from medrobust_bench.reports.grid import Grid, escape_markdown
from medrobust_bench.reports.tables import accuracy_grid, answer_grid, modality_grid, print_run, run_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.records import Result


@pytest.fixture
def run(make_result: Callable[..., Result]) -> list[Result]:
    """Two models, each clean, attacked and certified."""
    modalities = {"X-ray": (9, 3, 10), "CT": (9, 2, 10)}
    return [
        make_result(model=model, by_modality=modalities, **settings)
        for model in ("letter", "reasoning")
        for settings in (
            {"threat": "clean", "kind": "clean", "spec": {}, "robust": None},
            {"robust": 5},
            {
                "threat": "certified-l2",
                "kind": "certification",
                "spec": {"sigma": "0.25"},
                "robust": None,
                "certified": {0.25: 8, 0.5: 3},
            },
        )
    ]


def test_one_row_per_model_and_one_column_per_measure(run: list[Result]) -> None:
    grid = accuracy_grid(run)
    assert grid.header == (
        "Model",
        "clean",
        "pgd-linf",
        "certified-l2 ≥ 0.25",
        "certified-l2 ≥ 0.5",
        "Unparsed",
    )
    assert [row[0] for row in grid.rows] == ["letter", "reasoning"]
    # 18, 5, 8 and 3 right of 20; the intervals are Wilson's.
    assert grid.rows[0][1:] == (
        "90.0 (69.9–97.2)",
        "25.0 (11.2–46.9)",
        "40.0 (21.9–61.3)",
        "15.0 (5.2–36.0)",
        "0.0",
    )


def test_generated_answers_are_told_by_rule_and_kind(make_result: Callable[..., Result]) -> None:
    plain, told = make_result(model="letter"), make_result(model="writes")
    answers = AnswerCounts(
        kinds={AnswerKind.READ: 17, AnswerKind.TRUNCATED: 3}, tiers={Tier.TAGS: 16, Tier.TEXT: 1}
    )
    metrics = told.metrics.model_copy(update={"answers": answers})
    writes = told.model_copy(update={"metrics": metrics})
    assert answer_grid([plain]) is None
    grid = answer_grid([plain, writes])
    assert grid is not None
    assert grid.header[2:] == (
        "Answers",
        "read by tags",
        "read by text",
        "unparsed",
        "truncated",
        "refused",
    )
    assert grid.rows == (("writes", writes.threat.name, "20", "16", "1", "0", "3", "0"),)
    assert "How generated answers were read" in run_table([writes])
    console = Console(record=True, width=80)
    print_run([writes], console=console)
    assert "clean, truncated" in console.export_text()


def test_a_threat_that_one_model_lacks_leaves_a_gap(make_result: Callable[..., Result]) -> None:
    results = [make_result(model="a"), make_result(model="b", threat="patch", kind="patch")]
    rows = {row[0]: row for row in accuracy_grid(results).rows}
    assert (rows["a"][2] == "–", rows["a"][3] == "–") == (False, True)
    assert (rows["b"][2] == "–", rows["b"][3] == "–") == (True, False)


def test_equal_names_with_other_budgets_are_told_apart(make_result: Callable[..., Result]) -> None:
    results = [
        make_result(spec={"eps": "8/255"}, robust=5),
        make_result(spec={"eps": "4/255"}, robust=11),
    ]
    grid = accuracy_grid(results)
    by_name = dict(zip(grid.header, grid.rows[0], strict=True))
    (first,) = (value for name, value in by_name.items() if "eps 8/255" in name)
    (second,) = (value for name, value in by_name.items() if "eps 4/255" in name)
    assert first.startswith("25.0")
    assert second.startswith("55.0")


def test_the_same_id_in_two_answer_modes_is_two_rows(make_result: Callable[..., Result]) -> None:
    results = [make_result(answer_mode="letter"), make_result(answer_mode="reasoning", robust=9)]
    assert [row[0] for row in accuracy_grid(results).rows] == [
        "model (letter, float32)",
        "model (reasoning, float32)",
    ]


def test_modalities_stand_in_their_usual_order_with_their_counts(run: list[Result]) -> None:
    grid = modality_grid(run)
    assert grid.header == ("Model", "Threat", "CT (n 10)", "X-ray (n 10)")
    assert ("letter", "pgd-linf", "20.0", "30.0") in grid.rows
    assert len(grid.rows) == 2 * 4


def test_markdown_says_first_whether_images_are_synthetic(make_result: Callable[..., Result]) -> None:
    assert "synthetic images, not patients'" in run_table([make_result(synthetic=True)])
    assert "synthetic" not in run_table([make_result(synthetic=False)])


def test_data_sets_are_not_mixed(make_result: Callable[..., Result]) -> None:
    text = run_table(
        [make_result(data="one", digest="1" * 64), make_result(data="two", digest="2" * 64, robust=9)]
    )
    one, two = text.index("## one"), text.index("## two")
    assert one < text.index("25.0 (11.2–46.9)") < two < text.index("45.0 (25.8–65.8)")


def test_what_the_audit_warns_of_stands_below_the_table(make_result: Callable[..., Result]) -> None:
    findings = [
        Finding(
            check="more steps",
            value=0.2,
            verdict="fail",
            meaning="more steps break more",
        ),
        Finding(check="rounding", value=0.0, verdict="pass", meaning="rounding changes nothing"),
    ]
    text = run_table([make_result(audit=findings)])
    assert "fail: model under pgd-linf: more steps break more (more steps)" in text
    assert "rounding" not in text


def test_names_cannot_break_the_table(make_result: Callable[..., Result]) -> None:
    text = run_table([make_result(model="a|b <script>*x*")])
    (row,) = [line for line in text.splitlines() if line.startswith("| a")]
    assert row.startswith(r"| a\|b &lt;script&gt;\*x\*")


@given(st.text(max_size=40))
def test_escaped_cells_keep_the_number_of_columns(name: str) -> None:
    lines = Grid("", ("Model", "n"), ((name, "1"),), names=1).markdown().splitlines()
    assert len(lines) == 3
    unescaped = [line.replace(r"\\", "").replace(r"\|", "").count("|") for line in lines]
    assert unescaped == [3, 3, 3]


@given(st.text(max_size=40))
def test_escaped_text_holds_no_markup(name: str) -> None:
    escaped = escape_markdown(name)
    assert "<" not in escaped
    assert ">" not in escaped
    assert "\n" not in escaped


def test_terminal_tables_fit_80_columns(make_result: Callable[..., Result]) -> None:
    modalities = dict.fromkeys([*BANKS, "PET"], (9, 2, 10))
    results = [
        make_result(model="tiny-sft-reasoning", by_modality=modalities, unparsed=0.1),
        make_result(
            model="tiny-sft-reasoning",
            threat="certified-l2-quick",
            kind="certification",
            robust=None,
            certified={0.125: 3},
            by_modality=modalities,
        ),
    ]
    console = Console(width=80)
    with console.capture() as capture:
        print_run(results, console=console)
    text = capture.get()
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("certified-l2-quick ≥ 0.125") == 2, "no name breaks over two lines"
    assert "11.2–46.9" in text
    assert "Derm." in text
    assert "clean, unparsed" in text


def test_terminal_shows_names_as_they_are(make_result: Callable[..., Result]) -> None:
    console = Console(width=80)
    with console.capture() as capture:
        print_run([make_result(model="[red]owner/name[/]")], console=console)
    assert "[red]owner/name[/]" in capture.get()
