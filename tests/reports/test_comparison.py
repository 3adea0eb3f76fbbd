"""Two runs held against each other: the numbers, the gate, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Smoothing
from medrobust_bench.reports.comparison import compare
from medrobust_bench.reports.comparison_tables import github_annotations, junit, markdown
from medrobust_bench.reports.gate import judge
from medrobust_bench.runs.run import Run, load_run
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from pathlib import Path


def test_every_accuracy_is_compared_question_by_question(schooled_run: Path, weakened_run: Path) -> None:
    (comparison,) = compare(load_run(schooled_run), load_run(weakened_run))
    measures = {(measure.threat, measure.name): measure for measure in comparison.measures}
    before, after = load_run(schooled_run), load_run(weakened_run)
    for result_before, result_after in zip(before.results, after.results, strict=True):
        robust = result_before.metrics.robust_accuracy, result_after.metrics.robust_accuracy
        if robust[0] is None or robust[1] is None:
            continue
        whole = measures[result_before.threat.name, "robust"].whole
        assert (whole.baseline, whole.current) == pytest.approx((robust[0].value, robust[1].value))
        assert whole.difference == pytest.approx((whole.gained - whole.lost) / whole.n)
        assert whole.low <= whole.difference <= whole.high
    attacked = measures["pgd-linf:steps=3", "robust"]
    assert attacked.whole.lost > 20 > attacked.whole.gained
    assert sum(group.lost for group in attacked.by_modality.values()) == attacked.whole.lost
    for group in attacked.by_modality.values():
        assert group.p_holm is not None
        assert group.p_value <= group.p_holm <= 1
    assert {name for threat, name in measures if threat.startswith("certified")} == {
        f"certified ≥ {radius}" for radius in before.record.plan.threats[-1].model_dump(mode="json")["radii"]
    }


def test_a_weakened_model_fails_the_gate_and_the_same_one_passes(
    schooled_run: Path, weakened_run: Path
) -> None:
    baseline = load_run(schooled_run)
    weakened = judge(compare(baseline, load_run(weakened_run)), margin=0.02)
    assert not weakened.passed
    regressed = {one.threat for one in weakened.judgements if one.verdict == "regressed"}
    assert regressed == {"pgd-linf:steps=3", "worst-case"}
    same = compare(baseline, baseline)
    assert judge(same, margin=0.02).passed
    assert judge(same, margin=0.0).passed
    assert not judge(same, margin=0.02, strict=True).passed, (
        "48 questions cannot exclude a fall by two points"
    )
    assert judge(same, margin=0.2, strict=True).passed
    assert same[0].notes == ("both have the same weights",)


def test_better_is_not_worse(schooled_run: Path, weakened_run: Path) -> None:
    gate = judge(compare(load_run(weakened_run), load_run(schooled_run)), margin=0.0)
    assert gate.passed
    assert "holds" in {judgement.verdict for judgement in gate.judgements}


def test_other_questions_or_seed_are_refused_by_name(schooled_run: Path, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", threats=("noise:draws=2",), limit=8, seed=1)
    with pytest.raises(InvalidInputError) as raised:
        compare(load_run(schooled_run), load_run(other))
    text = str(raised.value)
    assert "number of questions differs: 48 and 8" in text
    assert "digest of the questions differs" in text
    assert "seed differs: 0 and 1" in text
    assert "was not run under threat 'pgd-linf:steps=3'" in text


def test_a_sample_of_the_baselines_questions_is_compared_on_that_sample(
    schooled_run: Path, tmp_path: Path
) -> None:
    whole = load_run(schooled_run)
    part = load_run(make_run(tmp_path / "part", SchooledAdapter("weak", lean=0.5), limit=16))
    (comparison,) = compare(whole, part)
    asked = {outcome.question for outcome in part.outcomes["weak", "clean"]}
    assert comparison.data == part.record.plan.data
    assert comparison.notes[0] == "on 16 of the baseline's 48 questions"
    for measure in comparison.measures:
        assert measure.whole.n == 16
        if measure.name == "robust":
            before = [o for o in whole.outcomes["schooled", measure.threat] if o.question in asked]
            assert measure.whole.baseline == sum(outcome.correct for outcome in before) / 16
    with pytest.raises(InvalidInputError, match="number of questions differs: 16 and 48"):
        compare(part, whole)


def test_a_sample_of_questions_that_have_changed_is_refused(schooled_run: Path, tmp_path: Path) -> None:
    part = load_run(make_run(tmp_path / "part", threats=("noise:draws=2",), limit=8))
    shutil.copytree(schooled_run, tmp_path / "run")
    digest = load_run(schooled_run).record.plan.data.digest
    record = tmp_path / "run" / "run.json"
    record.write_text(record.read_text().replace(digest, "0" * 64))
    with pytest.raises(InvalidInputError, match="does not hold the questions of the run"):
        compare(load_run(tmp_path / "run"), part, threats=["noise:draws=2"])


def test_another_threat_under_the_same_name_is_refused(schooled_run: Path, tmp_path: Path) -> None:
    shutil.copytree(schooled_run, tmp_path / "run")
    record = tmp_path / "run" / "run.json"
    text = record.read_text()
    assert '"eps": "8/255"' in text
    record.write_text(text.replace('"eps": "8/255"', '"eps": "7/255"', 1))
    with pytest.raises(InvalidInputError, match="eps differs: 8/255 and 7/255"):
        compare(load_run(schooled_run), load_run(tmp_path / "run"))


def test_journals_that_contradict_each_other_are_refused(schooled_run: Path, tmp_path: Path) -> None:
    shutil.copytree(schooled_run, tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    first, *others = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([first.replace('"image_sha256":"', '"image_sha256":"0'), *others]))
    with pytest.raises(InvalidInputError, match="image_sha256 differs between the journals"):
        compare(load_run(schooled_run), load_run(tmp_path / "run"))


def test_an_unfinished_run_is_refused(schooled_run: Path, tmp_path: Path) -> None:
    shutil.copytree(schooled_run, tmp_path / "run")
    journal = tmp_path / "run" / "journal.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:-5]))
    with pytest.raises(InvalidInputError, match="43 of 48 questions are finished"):
        load_run(tmp_path / "run")


def test_models_are_paired_by_name_or_as_told(schooled_run: Path, weakened_run: Path) -> None:
    runs = load_run(schooled_run), load_run(weakened_run)
    (told,) = compare(*runs, pairs=[("schooled", "weakened")], threats=["clean"])
    assert (told.baseline.id, told.current.id) == ("schooled", "weakened")
    assert [measure.name for measure in told.measures] == ["clean"]
    with pytest.raises(InvalidInputError, match="has no model 'nobody' → use one of weakened"):
        compare(*runs, pairs=[("schooled", "nobody")])


def test_two_pairs_with_one_current_model_are_told_apart(schooled_run: Path, weakened_run: Path) -> None:
    before, after = load_run(schooled_run), load_run(weakened_run)
    comparisons = [*compare(before, after), *compare(after, after)]
    gate = judge(comparisons, margin=0.02)
    suites = list(ElementTree.fromstring(junit(comparisons, gate)))
    assert [int(suite.attrib["failures"]) > 0 for suite in suites] == [True, False]
    assert {one.baseline for one in gate.judgements} == {"schooled", "weakened"}
    assert "FAIL" not in markdown(comparisons, gate).partition("weakened → weakened")[2]


def test_a_model_without_a_partner_is_not_passed_over(
    schooled_run: Path, weakened_run: Path, tmp_path: Path
) -> None:
    both = of_several(tmp_path / "both", schooled_run, weakened_run)
    with pytest.raises(InvalidInputError, match="has no weakened, as the baseline has; it has schooled"):
        compare(both, load_run(schooled_run))
    (told,) = compare(both, load_run(schooled_run), pairs=[("weakened", "schooled")] * 2)
    assert told.baseline.id == "weakened"


def of_several(out: Path, *runs: Path) -> Run:
    """The runs of single models as one run of several."""
    parts = [load_run(run) for run in runs]
    plan = parts[0].record.plan.model_copy(
        update={"models": tuple(model for part in parts for model in part.record.plan.models)}
    )
    models = {name: model for part in parts for name, model in part.record.models.items()}
    record = parts[0].record.model_copy(update={"plan": plan, "models": models})
    outcomes = {key: found for part in parts for key, found in part.outcomes.items()}
    return Run(out, record, parts[0].threats, outcomes)


def test_smoothing_is_told(schooled_run: Path) -> None:
    plain = load_run(schooled_run)
    model = plain.record.models["schooled"].model_copy(
        update={"smoothing": Smoothing(sigma=0.25, n=100, alpha=0.001)}
    )
    smoothed = replace(plain, record=plain.record.model_copy(update={"models": {"schooled": model}}))
    (comparison,) = compare(plain, smoothed)
    assert "smoothing: none and sigma 0.25, n 100, alpha 0.001, base likelihood" in comparison.notes


def test_junit_counts_what_it_lists(schooled_run: Path, weakened_run: Path) -> None:
    comparisons = compare(load_run(schooled_run), load_run(weakened_run))
    gate = judge(comparisons, margin=0.02)
    (suite,) = ElementTree.fromstring(junit(comparisons, gate))
    assert len(suite) == int(suite.attrib["tests"]) == len(gate.judgements)
    assert len(suite.findall("testcase/failure")) == int(suite.attrib["failures"]) == 2
    assert len(suite.findall("testcase/skipped")) == int(suite.attrib["skipped"])


def test_hostile_model_names_stay_text(tmp_path: Path) -> None:
    name = 'a|b<script>\x01,c:d%"&'
    run = load_run(make_run(tmp_path / "run", SchooledAdapter(name), threats=("noise:draws=2",), limit=8))
    comparisons = compare(run, run)
    gate = judge(comparisons, margin=0.01, strict=True)
    (suite,) = ElementTree.fromstring(junit(comparisons, gate))
    assert suite[0].attrib["classname"] == name.replace("\x01", "\ufffd")
    assert "<script>" not in markdown(comparisons, gate)
    for line in github_annotations(comparisons, gate):
        assert line.startswith("::error title=a|b<script>\x01%2Cc%3Ad%25")
