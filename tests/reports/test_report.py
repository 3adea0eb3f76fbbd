"""The report: what stands in it, that it needs nothing else, and that hostile names stay text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure as Canvas

from medrobust_bench.cli import main
from medrobust_bench.data.clinical import Direction
from medrobust_bench.data.reopen import reopen
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.run_page.figures import LIGHT, certified_curve
from medrobust_bench.reports.run_page.flips import flips
from medrobust_bench.reports.run_page.gallery import examples
from medrobust_bench.reports.run_page.page import _figures, write_report
from medrobust_bench.runs.run import load_run
from medrobust_bench.specs.settings import RunSettings, command_line
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from pathlib import Path


def test_flips_add_up_to_the_attacked_questions(weakened_run: Path) -> None:
    run = load_run(weakened_run)
    outcomes = run.outcomes["weakened", "pgd-linf:steps=3"]
    questions = {question.id: question for question in reopen(run.record.plan).questions}
    found = flips("weakened", "pgd-linf:steps=3", outcomes, questions)
    assert found is not None
    attacked = [outcome for outcome in outcomes if outcome.attacked]
    assert sum(map(sum, (counts for _letter, counts in found.rows))) == len(attacked)
    kept = sum(counts[found.columns.index(letter)] for letter, counts in found.rows)
    assert kept == sum(outcome.correct for outcome in outcomes)
    happened, possible = found.directed[Direction.MISSED]
    assert 0 < happened <= possible
    assert flips("weakened", "clean", run.outcomes["weakened", "clean"], questions) is None


def test_examples_differ_by_no_more_than_the_budget(weakened_run: Path) -> None:
    run = load_run(weakened_run)
    questions = {question.id: question for question in reopen(run.record.plan).questions}
    found = examples(run.outcomes, run.witnesses, questions, limit=10)
    assert len(found) == 10
    assert found[0].direction, "clinically directed errors come first"
    assert len({one.modality for one in found}) > 4
    for one in found:
        assert one.levels <= 8
        assert one.amplification * one.levels <= 127
        assert one.right != one.given


def test_the_certified_curve_is_a_falling_staircase(schooled_run: Path) -> None:
    run = load_run(schooled_run)
    (key,) = [key for key in run.outcomes if key[1].startswith("certified")]
    corners = certified_curve(run.outcomes[key])
    assert [radius for radius, _share in corners] == sorted(radius for radius, _share in corners)
    assert [share for _radius, share in corners] == sorted((s for _r, s in corners), reverse=True)
    assert corners[-1][1] == 0
    for estimate in run.results[-1].metrics.certified_accuracy:
        reached = next(share for radius, share in corners if radius >= estimate.radius)
        assert reached == pytest.approx(100 * estimate.value)
    assert certified_curve(run.outcomes[key[0], "clean"]) == [(0.0, 0.0)]


def test_figures_are_the_same_bytes_each_time(schooled_run: Path) -> None:
    run = load_run(schooled_run)
    for first, second in zip(_figures(run), _figures(run), strict=True):
        assert first.render(LIGHT, "svg") == second.render(LIGHT, "svg")


def test_a_legend_covers_nothing(schooled_run: Path) -> None:
    seen = 0
    for figure in _figures(load_run(schooled_run)):
        canvas = Canvas(figsize=figure.size, layout="constrained")
        axes = canvas.add_subplot()
        figure.draw(axes, LIGHT)
        canvas.draw_without_rendering()
        for legend in canvas.legends:
            seen += 1
            around = legend.get_window_extent()
            assert not around.overlaps(axes.get_tightbbox()), figure.name
            assert canvas.bbox.contains(around.x0, around.y0), figure.name
    assert seen > 1


def test_the_page_needs_nothing_else_and_figures_stand_beside(schooled_run: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main, ["report", str(schooled_run), "--out", str(tmp_path / "r" / "index.html")]
    )
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r" / "index.html").read_text()
    loaded = re.findall(r'(?:src|srcset|href)="([^"]*)"', page)
    assert loaded
    assert all(link.startswith(("data:", "#")) for link in loaded)
    assert "<script" not in page
    for name in ("accuracy", "eps-linf", "certified", "modalities-1"):
        ElementTree.fromstring((tmp_path / "r" / "figures" / f"{name}.svg").read_text())
        assert (tmp_path / "r" / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>$x_{"
    run = load_run(
        make_run(tmp_path / "run", SchooledAdapter(name, lean=0.2), threats=("noise:draws=2",), limit=16)
    )
    page = write_report(run, tmp_path / "index.html", dataset=reopen(run.record.plan))[0].read_text()
    assert "&lt;img src=x" in page
    assert "<img src=x" not in page


def test_without_the_data_there_is_a_report_without_a_gallery(schooled_run: Path, tmp_path: Path) -> None:
    run = load_run(schooled_run)
    page = write_report(run, tmp_path / "index.html", dataset=None, reason="Not here.")[0].read_text()
    assert "Not here." in page
    assert 'class="card"' not in page


def test_other_data_is_not_shown_as_the_runs_own(schooled_run: Path) -> None:
    plan = load_run(schooled_run).record.plan
    changed = plan.model_copy(update={"data": plan.data.model_copy(update={"digest": "0" * 64})})
    with pytest.raises(InvalidInputError, match="does not hold the questions of the run"):
        reopen(changed)


def test_the_command_leaves_out_defaults_and_quotes() -> None:
    settings = RunSettings(models=("my model",), threats=("noise",), limit=8, skip_invalid=True, seed=3)
    assert command_line(settings) == (
        "medrobust run --model 'my model' --threat noise --limit 8 --skip-invalid --seed 3"
    )


def test_show_prints_the_tables_and_the_command(schooled_run: Path) -> None:
    done = CliRunner().invoke(main, ["show", str(schooled_run)])
    assert done.exit_code == 0, done.output
    assert "Backward passes" in " ".join(done.stdout.split()) or "Backward" in done.stdout
    assert "medrobust run --model schooled --threat pgd-linf:steps=3" in done.stdout
    assert (
        CliRunner().invoke(main, ["show", str(schooled_run), "--markdown"]).stdout.startswith("## phantoms")
    )
