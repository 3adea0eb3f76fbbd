"""Several data sets in one run: a run for each, and an average in which each counts the same."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import medrobust_bench
from medrobust_bench import Problem
from medrobust_bench.cli import main
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.models.registry import resolve
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.intervals import wilson
from medrobust_bench.reports.macro import macro_average
from medrobust_bench.runs import models
from medrobust_bench.runs.engine import local
from medrobust_bench.runs.engine.task import ModelTask
from medrobust_bench.runs.evaluate_suite import evaluate_suite, one_for_each
from medrobust_bench.runs.observer import Observer
from medrobust_bench.runs.suite import load_suite
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Outcome
    from medrobust_bench.runs.evaluate import Options
    from medrobust_bench.runs.run import Run

ADAPTER = LinearAdapter(seed=1, shape=(6, 6), scale=0.3)
OTHER = LinearAdapter(seed=5, shape=(6, 6), scale=0.3)


def dataset(name: str, n: int) -> Dataset:
    made = make_questions(ADAPTER, n)
    questions = tuple(
        replace(one, id=f"{name}-{one.id}", answer=(one.answer + (row % 3 == 0)) % len(one.options))
        for row, one in enumerate(made)
    )
    return Dataset(name=name, split="test", questions=questions, synthetic=True)


SETS = (dataset("first", 6), dataset("second", 12))
THIRD = dataset("third", 4)
ASKED = {"model": ADAPTER, "threats": ["noise:draws=2", "pgd-linf:steps=2"]}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished suite on two data sets. Read only."""
    out = tmp_path_factory.mktemp("suite") / "suite"
    evaluate_suite(data=SETS, out=out, **ASKED)  # type: ignore[arg-type]
    return out


# The average.


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=5))
def test_the_average_lies_within_its_interval_and_that_between_those_of_the_data_sets(
    counts: list[tuple[int, int]],
) -> None:
    estimates = [wilson(min(right, n), n) for right, n in counts]
    average = macro_average(estimates)
    assert math.isclose(average.value, sum(one.value for one in estimates) / len(estimates), abs_tol=1e-12)
    assert 0 <= average.low <= average.value <= average.high <= 1
    assert average.low >= sum(one.low for one in estimates) / len(estimates) - 1e-12
    assert average.high <= sum(one.high for one in estimates) / len(estimates) + 1e-12
    assert average.n == sum(one.n for one in estimates)


def test_the_average_of_one_data_set_is_its_own_estimate() -> None:
    assert dict(macro_average([wilson(7, 9)])) == pytest.approx(dict(wilson(7, 9)))


def test_four_data_sets_alike_halve_the_interval() -> None:
    one = wilson(30, 40)
    average = macro_average([one] * 4)
    assert average.value - average.low == pytest.approx((one.value - one.low) / 2)
    assert average.high - average.value == pytest.approx((one.high - one.value) / 2)


def test_no_data_sets_have_no_average() -> None:
    with pytest.raises(ValueError, match="over no data sets"):
        macro_average([])


@pytest.mark.parametrize("shares", [(0.9, 0.6, 0.3), (0.97, 0.95, 0.99), (0.05, 0.5)])
def test_the_interval_holds_the_true_average_in_95_of_100_cases(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(7)
    sizes = (40, 200, 80)[: len(shares)]
    truth, trials = float(np.mean(shares)), 800
    held = 0
    for _ in range(trials):
        drawn = [wilson(int(rng.binomial(n, share)), n) for n, share in zip(sizes, shares, strict=True)]
        average = macro_average(drawn)
        held += average.low <= truth <= average.high
    assert 0.93 <= held / trials <= 0.985


# The runs.


def test_each_run_is_what_it_would_be_alone(suite: Path, tmp_path: Path) -> None:
    alone = medrobust_bench.evaluate(data=SETS[1], out=tmp_path / "alone", **ASKED)  # type: ignore[call-overload]
    together = load_suite(suite)["second"]
    assert_alike(together, alone)


def assert_alike(one: Run, other: Run) -> None:
    """Two runs say the same, whatever time they took."""

    def without_time(outcomes: Sequence[Outcome]) -> list[Outcome]:
        return [outcome.model_copy(update={"seconds": 0.0}) for outcome in outcomes]

    assert one.record == other.record
    assert one.outcomes.keys() == other.outcomes.keys()
    for key, outcomes in other.outcomes.items():
        assert without_time(one.outcomes[key]) == without_time(outcomes)


def test_one_model_is_loaded_once_for_all_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is then what it is with a model of its own; of several models one at a time is in memory."""
    loaded: list[str] = []

    def load(card: Card, **options: object) -> LinearAdapter:
        loaded.append(card.id)
        return LinearAdapter(seed=1 if "sft" in card.id else 5, shape=(6, 6), scale=0.3)

    monkeypatch.setattr(local, "load_model", load)
    monkeypatch.setattr(models, "load_model", load)
    one: Options = {"model": "tiny-sft-letter", "threats": ["noise:draws=2"]}
    suite = evaluate_suite(data=SETS, out=tmp_path / "suite", **one)
    assert loaded == ["tiny-sft-letter"]
    alone = medrobust_bench.evaluate(data=SETS[1], out=tmp_path / "alone", **one)
    assert_alike(suite["second"], alone)
    loaded.clear()
    engine = local.LocalEngine(keep=True)
    settings = alone.record.plan.settings
    cards = [resolve("tiny-sft-letter"), resolve("tiny-noise-reasoning")]
    for card in (cards[0], cards[0], cards[1], cards[0]):
        task = ModelTask(
            card.id, card, settings, (), frozenset(), (), THIRD.questions[:1], tmp_path / "replies"
        )
        with engine.opened(task) as workers:
            assert workers.record == load(card).record
            loaded.pop()
    assert loaded == ["tiny-sft-letter", "tiny-noise-reasoning", "tiny-sft-letter"]


def test_the_average_counts_each_data_set_once(suite: Path) -> None:
    found = load_suite(suite)
    averages = {one.measure: one for one in found.macro_averages()}
    assert list(averages) == ["clean", "noise:draws=2", "pgd-linf:steps=2", "worst-case"]
    accuracies = [run["pgd-linf:steps=2"].robust_accuracy.value for run in found.runs.values()]
    assert averages["pgd-linf:steps=2"].average.value == pytest.approx(sum(accuracies) / 2)
    written = json.loads((suite / "macro_average.json").read_text())
    assert written == [one.model_dump(mode="json") for one in averages.values()]
    table = (suite / "leaderboard.md").read_text()
    assert table == found.table()
    assert table.count("| macro average |") == 1
    assert table.index("| first ") < table.index("| second ") < table.index("macro average |")


def test_an_interrupted_suite_resumes_to_the_same_numbers(suite: Path, tmp_path: Path) -> None:
    class Broken(Observer):
        """Pulls the plug in the second data set."""

        runs = 0

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *_: object) -> None:
            self.runs += 1

        def advanced(self, outcomes: Sequence[Outcome]) -> None:
            if self.runs == 2 and outcomes and outcomes[0].threat != "clean":
                raise KeyboardInterrupt

    plug = Broken()
    with pytest.raises(KeyboardInterrupt):
        evaluate_suite(data=SETS, out=tmp_path / "cut", observe=lambda: plug, **ASKED)  # type: ignore[arg-type]
    assert not (tmp_path / "cut" / "leaderboard.md").exists()
    with pytest.raises(InvalidInputError, match="already holds runs"):
        evaluate_suite(data=SETS, out=tmp_path / "cut", **ASKED)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="began with first as well"):
        evaluate_suite(data=[SETS[1], THIRD], out=tmp_path / "cut", resume=True, **ASKED)  # type: ignore[arg-type]
    evaluate_suite(data=SETS, out=tmp_path / "cut", resume=True, **ASKED)  # type: ignore[arg-type]
    assert (tmp_path / "cut" / "macro_average.json").read_bytes() == (
        suite / "macro_average.json"
    ).read_bytes()


def test_a_further_data_set_gets_a_run_beside_the_others(suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    shutil.copytree(suite, out)
    journals = [(out / name / "journal.jsonl").read_bytes() for name in ("first", "second")]
    larger = evaluate_suite(data=[*SETS, THIRD], out=out, resume=True, **ASKED)  # type: ignore[arg-type]
    assert list(larger.runs) == list(load_suite(out).runs) == ["first", "second", "third"]
    assert [(out / name / "journal.jsonl").read_bytes() for name in ("first", "second")] == journals
    assert set(larger.macro_averages()[0].by_data) == {"first", "second", "third"}


def test_everything_wrong_with_every_data_set_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as error:
        evaluate_suite(data=[SETS[0], "nowhere.csv", "phantom"], out=tmp_path / "out", **ASKED)  # type: ignore[arg-type]
    assert [problem.where for problem in error.value.problems] == ["nowhere.csv", "phantom"]
    assert not (tmp_path / "out").exists()


def test_one_data_set_is_not_counted_twice(tmp_path: Path) -> None:
    copy = replace(SETS[0], name="copy")
    with pytest.raises(InvalidInputError, match="has the digest of another data set"):
        evaluate_suite(data=[SETS[0], copy], out=tmp_path / "out", **ASKED)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="would be called First"):
        evaluate_suite(data=[SETS[1], replace(SETS[0], name="First"), SETS[0]], out=tmp_path / "out", **ASKED)  # type: ignore[arg-type]


def test_a_suite_and_a_run_do_not_share_a_folder(suite: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds runs on several data sets"):
        medrobust_bench.evaluate(data=SETS[0], out=suite, **ASKED)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="give the folder of one of them"):
        medrobust_bench.load_run(suite)
    with pytest.raises(InvalidInputError, match="holds a run on one data set"):
        evaluate_suite(data=SETS, out=suite / "first", **ASKED)  # type: ignore[arg-type]


# Settings.


def test_images_belong_to_the_data_set_that_they_are_named_for() -> None:
    asked = one_for_each(
        {"data": ["a/table.csv", "vqa-rad=copy"], "limit": 3}, images=["a/table.csv=films"], where="flags"
    )
    assert {name: (one.data, one.images, one.limit) for name, one in asked.items()} == {
        "table.csv": ("a/table.csv", "films", 3),
        "vqa-rad": ("vqa-rad=copy", None, 3),
    }


@pytest.mark.parametrize(
    ("values", "images", "wrong"),
    [
        ({"data": ["a", "b"]}, ["films"], "does not say for which data set"),
        ({"data": ["a", "b"], "images": "films"}, [], "one folder for several data sets"),
        ({"data": ["x/a", "y/a"]}, [], "would be called a"),
        ({"data": ["a", "b"], "limits": 3}, [], "known settings are"),
    ],
)
def test_settings_that_are_unclear_are_refused(
    values: dict[str, object], images: list[str], wrong: str
) -> None:
    with pytest.raises(InvalidInputError, match=wrong):
        one_for_each(values, images=images, where="flags")


# The commands.


def invoke(*words: str) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_commands_take_the_folder_of_several_runs(suite: Path, tmp_path: Path) -> None:
    assert invoke("show", str(suite), "--markdown") == (suite / "leaderboard.md").read_text()
    shown = invoke("show", str(suite))
    assert "linear-toy, all data sets" in shown
    assert max(map(len, shown.splitlines()[:10])) <= 80
    pages = invoke("report", str(suite), "--examples", "0")
    assert str(suite / "first" / "report" / "index.html") in pages
    assert str(suite / "second" / "report" / "index.html") in pages
    written = invoke("submit", str(suite), "--out", str(tmp_path / "s"), "--cards", str(tmp_path / "c"))
    assert {path.parent.parent.name for path in map(Path, written.split()) if path.suffix == ".json"} == {
        "first",
        "second",
    }


def test_suites_are_compared_data_set_by_data_set_and_gated_together(suite: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    evaluate_suite(data=SETS, out=later, **{**ASKED, "model": OTHER})  # type: ignore[arg-type]
    junit = tmp_path / "junit.xml"
    done = CliRunner().invoke(
        main,
        ["compare", str(suite), str(later), "--fail-if-drop", "0.9", "--json", str(tmp_path / "c.json"),
         "--junit", str(junit)],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    document = json.loads((tmp_path / "c.json").read_text())
    assert [one["data"]["name"] for one in document["comparisons"]] == ["first", "second"]
    assert {one["data"] for one in document["gate"]["judgements"]} == {"first", "second"}
    assert len(document["gate"]["judgements"]) == 2 * len(document["comparisons"][0]["measures"])
    assert 'classname="linear-toy on second"' in junit.read_text()


def test_a_data_set_without_counterpart_is_named(suite: Path) -> None:
    done = CliRunner().invoke(main, ["compare", str(suite), str(suite / "second")])
    assert done.exit_code == 2
    assert "has no counterpart on first" in done.output


def test_one_place_for_several_data_sets_is_refused(suite: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(suite), "--data", "phantoms"])
    assert done.exit_code == 2
    assert "holds runs on 2 data sets" in done.output


def test_a_forged_record_leads_nowhere_else(suite: Path, tmp_path: Path) -> None:
    record = json.loads((suite / "suite.json").read_text())
    (tmp_path / "suite.json").write_text(
        json.dumps({"runs": {**record["runs"], "../x": record["runs"]["first"]}})
    )
    with pytest.raises(InvalidInputError) as error:
        load_suite(tmp_path)
    assert error.value.problems == (
        Problem(str(tmp_path / "suite.json"), "names '../x', which is no folder inside", "restore the file"),
    )
