"""A run is one thing, however it came about, and goes by what it froze."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

import medrobust_bench
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.reports.metrics.registry import _metrics
from medrobust_bench.specs.registry import load_specification
from tests.linear import LinearAdapter, LinearQuestions, make_questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Estimate, ModelRecord, Outcome
    from medrobust_bench.specs.threat import ThreatSpec

ADAPTER = LinearAdapter(seed=1, shape=(6, 6), scale=0.3)
OWN = "name: own\nkind: pgd\nnorm: linf\neps: {eps}\nsteps: 3\n"


def questions(adapter: LinearAdapter = ADAPTER, n: int = 12) -> Dataset:
    return Dataset(name="linear", split="test", questions=tuple(make_questions(adapter, n)), synthetic=True)


@pytest.fixture
def own_threat(tmp_path: Path) -> Path:
    """A specification of the user's, which the tests edit after the run."""
    path = tmp_path / "own.yaml"
    path.write_text(OWN.format(eps="2/255"))
    return path


def test_what_evaluate_returns_is_what_load_run_reads(tmp_path: Path) -> None:
    made = medrobust_bench.evaluate(
        model=ADAPTER, threats=["noise:draws=2", "pgd-linf:steps=2"], data=questions(), out=tmp_path / "run"
    )
    read = medrobust_bench.load_run(tmp_path / "run")
    assert type(read) is type(made)
    assert (read.record, read.threats, read.outcomes) == (made.record, made.threats, made.outcomes)
    assert read.results == made.results
    assert [result.threat.name for result in read.results] == [
        "clean",
        "noise:draws=2",
        "pgd-linf:steps=2",
        "worst-case",
    ]


def test_results_are_found_by_name(tmp_path: Path) -> None:
    run = medrobust_bench.evaluate(
        model=ADAPTER, threats="noise:draws=2", data=questions(), out=tmp_path / "run"
    )
    result = run["noise:draws=2"]
    assert result is run["linear-toy", "noise:draws=2"]
    right = sum(outcome.correct for outcome in run.outcomes["linear-toy", "noise:draws=2"])
    assert result.robust_accuracy.value == right / 12
    assert run["clean"].certified_accuracy == {}
    with pytest.raises(KeyError, match="this run holds 'linear-toy', 'clean'"):
        run["pgd-linf"]
    with pytest.raises(AttributeError, match="clean is no attack"):
        _ = run["clean"].robust_accuracy


@pytest.mark.parametrize("afterwards", ["edited", "gone"])
def test_a_run_is_judged_by_the_specification_that_it_froze(
    own_threat: Path, tmp_path: Path, afterwards: str
) -> None:
    run = medrobust_bench.evaluate(
        model=ADAPTER, threats=["clean", str(own_threat)], data=questions(), out=tmp_path / "run"
    )
    assert 0 < run["own"].robust_accuracy.value < 1
    if afterwards == "edited":
        own_threat.write_text(OWN.format(eps="16/255"))
    else:
        own_threat.unlink()
    again = medrobust_bench.load_run(tmp_path / "run", models=[ADAPTER], data=questions())
    (recounts,) = again.replay().values()
    assert [recount.threat for recount in recounts] == ["clean", "own"]
    assert all(not recount.disagreements for recount in recounts)
    (audited,) = again.audit(questions=3)
    assert audited.threat == "own"
    resumed = medrobust_bench.evaluate(
        model=ADAPTER, threats=["clean", str(own_threat)], data=questions(), out=tmp_path / "run", resume=True
    )
    assert resumed.results == run.results


def test_a_finished_run_is_summarised_again_by_reading_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither threats nor torch are opened for it, and the journal stays the file that it is."""
    asked = {"model": ADAPTER, "threats": ["noise:draws=2", "pgd-linf:steps=2"], "data": questions()}
    run = medrobust_bench.evaluate(**asked, out=tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    before, files = journal.stat(), sorted((tmp_path / "run" / "results").iterdir())
    contents = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()

    def refused(*_args: object) -> None:
        raise AssertionError("nothing is left to do")

    for place in ("inputs.open_threat", "evaluate._this_process", "plan.usual_device"):
        monkeypatch.setattr(f"medrobust_bench.runs.{place}", refused)
    again = medrobust_bench.evaluate(**asked, out=tmp_path / "run", resume=True)
    assert again.results == run.results
    assert [path.read_bytes() for path in files] == contents
    after = journal.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


class _Noisy(LinearQuestions):
    """Every pass adds other noise to the scores."""

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().logits(pixels) + 0.3 * torch.randn(len(pixels), self.weights.shape[1])


class _NoisyAdapter(LinearAdapter):
    def bind(self, questions: Sequence[Question]) -> _Noisy:
        return _Noisy.of(super().bind(questions))


def test_a_random_model_is_audited_as_it_was_evaluated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    adapter = _NoisyAdapter(0, 4, (10, 10), scale=0.05)
    run = medrobust_bench.evaluate(
        model=adapter, threats="pgd-linf:steps=2", data=questions(adapter), out=tmp_path / "run"
    )
    assert run.record.models["linear-toy"].draws > 1
    (audited,) = run.audit(questions=4)
    (fixed,) = (finding for finding in audited.findings if finding.check == "output is fixed")
    assert fixed.verdict != "fail"
    assert "attacked as the mean of 20 draws" in fixed.meaning


def test_a_threat_of_the_callers_stays_typed(tmp_path: Path) -> None:
    spec = load_specification("noise:draws=3")
    run = medrobust_bench.evaluate(model=ADAPTER, threats=[spec], data=questions(), out=tmp_path / "run")
    assert medrobust_bench.load_run(tmp_path / "run")[spec.name].threat == spec
    assert run.record.plan.settings.threats == (spec.name,)


@pytest.fixture
def register() -> Callable[..., None]:
    """Registers a metric for the length of a test."""
    before = dict(_metrics)
    yield lambda name, metric: medrobust_bench.register_metric(name)(metric)
    _metrics.clear()
    _metrics.update(before)


def test_a_metric_appears_in_result_table_report_and_by_modality(
    register: Callable[..., None], tmp_path: Path
) -> None:
    from medrobust_bench.records.intervals import wilson

    def given_up(outcomes: Sequence[Outcome], threat: ThreatSpec) -> Estimate | None:
        if threat.yields == "clean":
            return None
        return wilson(sum(outcome.choice != outcome.clean_choice for outcome in outcomes), len(outcomes))

    register("given-up", given_up)
    run = medrobust_bench.evaluate(
        model=ADAPTER,
        threats="pgd-linf:steps=2",
        data=questions(),
        out=tmp_path / "run",
        metrics=["given-up", "attack-success"],
    )
    result = run["pgd-linf:steps=2"]
    changed = sum(o.choice != o.clean_choice for o in run.outcomes["linear-toy", "pgd-linf:steps=2"])
    assert result.metrics.further["given-up"].value == changed / 12
    assert run["clean"].metrics.further == {}
    assert all("given-up" in scores.further for scores in result.metrics.by_modality.values())
    assert "given-up, pgd-linf:steps=2" in run.table()
    assert "given-up, pgd-linf:steps=2" in run.report(examples=0)[0].read_text()
    with pytest.raises(medrobust_bench.InvalidInputError, match="there is no metric 'nope'"):
        medrobust_bench.evaluate(model=ADAPTER, data=questions(), out=tmp_path / "other", metrics=["nope"])


def test_everything_public_can_be_imported_and_is_documented() -> None:
    assert set(medrobust_bench.__all__) <= set(dir(medrobust_bench))
    for name in medrobust_bench.__all__:
        part = getattr(medrobust_bench, name)
        assert isinstance(part, str) or part.__doc__, name


def test_results_of_an_earlier_version_are_still_found(tmp_path: Path) -> None:
    from medrobust_bench.records.run import file_stem, former_file_stem

    run = medrobust_bench.evaluate(
        model=ADAPTER, threats="pgd-linf:steps=2", data=questions(), out=tmp_path / "run"
    )
    now, before = (stem("linear-toy", "pgd-linf:steps=2") for stem in (file_stem, former_file_stem))
    assert now != before
    for path in [*(tmp_path / "run/results").iterdir(), *(tmp_path / "run/witnesses").iterdir()]:
        path.rename(path.with_name(path.name.replace(now, before)))
    again = medrobust_bench.load_run(tmp_path / "run")
    assert again["pgd-linf:steps=2"] == run["pgd-linf:steps=2"]
    found = again.witnesses("linear-toy", "pgd-linf:steps=2")
    assert len(found) == sum(
        o.attacked and not o.correct for o in run.outcomes["linear-toy", "pgd-linf:steps=2"]
    )


def test_a_run_that_computed_nothing_does_not_block_its_folder(tmp_path: Path) -> None:
    class Broken(LinearAdapter):
        def bind(self, questions: Sequence[Question]) -> LinearQuestions:
            raise medrobust_bench.InvalidInputError([medrobust_bench.Problem("it", "breaks", "mend it")])

    with pytest.raises(medrobust_bench.InvalidInputError, match="breaks"):
        medrobust_bench.evaluate(
            model=Broken(seed=1, shape=(6, 6)),
            threats="noise:draws=2",
            data=questions(),
            out=tmp_path / "run",
        )
    run = medrobust_bench.evaluate(
        model=ADAPTER, threats="noise:draws=2", data=questions(), out=tmp_path / "run"
    )
    assert run["clean"].data.n == 12
    with pytest.raises(medrobust_bench.InvalidInputError, match="already holds a run"):
        medrobust_bench.evaluate(
            model=ADAPTER, threats="noise:draws=2", data=questions(), out=tmp_path / "run"
        )


def test_one_writer_per_folder(tmp_path: Path) -> None:
    from medrobust_bench.records.folder import RunFolder

    with (
        RunFolder(tmp_path / "run").writing(),
        pytest.raises(medrobust_bench.InvalidInputError, match="is being written by another process"),
    ):
        medrobust_bench.evaluate(
            model=ADAPTER, threats="noise:draws=2", data=questions(), out=tmp_path / "run"
        )
    run = medrobust_bench.evaluate(
        model=ADAPTER, threats="noise:draws=2", data=questions(), out=tmp_path / "run"
    )
    assert len(run.results) == 2


def test_names_that_differ_in_case_only_are_refused_before_any_work(tmp_path: Path) -> None:
    class Named(LinearAdapter):
        def __init__(self, name: str) -> None:
            super().__init__(seed=1, shape=(6, 6), scale=0.3)
            self._name = name

        @property
        def record(self) -> ModelRecord:
            return super().record.model_copy(update={"id": self._name})

    with pytest.raises(medrobust_bench.InvalidInputError, match="differ in letter case only"):
        medrobust_bench.evaluate(
            model=[Named("Model"), Named("model")],
            threats="noise:draws=2",
            data=questions(),
            out=tmp_path / "run",
        )
    assert not (tmp_path / "run" / "run.json").exists()
