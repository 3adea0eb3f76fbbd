"""The fixture that gates in pytest: what it lets through, what it fails, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.problems import InvalidInputError
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from medrobust_bench.pytest_plugin import MedrobustGate

pytest_plugins = ["pytester"]


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What somebody commits of a run: its record and journal."""
    run = make_run(tmp_path_factory.mktemp("gate") / "run", threats=("noise:draws=2",))
    kept = tmp_path_factory.mktemp("committed")
    for name in ("run.json", "journal.jsonl"):
        (kept / name).write_bytes((run / name).read_bytes())
    return kept


def test_in_a_project_of_somebody_else(pytester: pytest.Pytester, baseline: Path) -> None:
    pytester.syspathinsert(Path(__file__).parents[1])
    pytester.makepyfile(
        f"""
        import pytest
        from tests.toy_runs import SchooledAdapter

        @pytest.mark.parametrize("lean", [1.0, 0.1])
        def test_robustness(medrobust_gate, lean):
            model = SchooledAdapter("candidate", lean=lean)
            medrobust_gate(model=model, baseline={str(baseline)!r}, fail_if_drop=0.02)
        """
    )
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        [
            "*schooled → candidate*",
            "*noise:draws=2 *FAIL*",
            "*Regressed: 2 of 2 accuracies fell by more than 2 points.",
        ]
    )
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_the_baselines_settings_hold(medrobust_gate: MedrobustGate, baseline: Path) -> None:
    comparison = medrobust_gate(model=SchooledAdapter(), baseline=baseline, fail_if_drop=0.02)
    assert [measure.threat for measure in comparison.measures] == ["clean", "noise:draws=2"]
    assert all((one.whole.lost, one.whole.gained, one.whole.n) == (0, 0, 48) for one in comparison.measures)
    assert comparison.notes == ("both have the same weights",)


def test_a_cheap_gate_asks_a_part_of_the_baselines_questions(
    medrobust_gate: MedrobustGate, baseline: Path
) -> None:
    comparison = medrobust_gate(model=SchooledAdapter(), baseline=baseline, fail_if_drop=0.02, limit=16)
    assert {measure.whole.n for measure in comparison.measures} == {16}


def test_strict_fails_where_the_sample_is_too_small(medrobust_gate: MedrobustGate, baseline: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="Failed: no fall by more than"):
        medrobust_gate(model=SchooledAdapter(), baseline=baseline, fail_if_drop=0.001, strict=True)


def test_what_cannot_be_compared_is_refused_before_any_work(
    medrobust_gate: MedrobustGate, baseline: Path, tmp_path: Path
) -> None:
    def refused(folder: Path, said: str) -> None:
        with pytest.raises(InvalidInputError, match=said):
            medrobust_gate(model="no-such-model", baseline=folder, fail_if_drop=0.02)

    refused(tmp_path, "holds no run")
    (tmp_path / "journal.jsonl").write_bytes((baseline / "journal.jsonl").read_bytes())
    record = (baseline / "run.json").read_text()
    (tmp_path / "run.json").write_text(record.replace('"digest": "', '"digest": "0'))
    refused(tmp_path, "does not hold the questions of the run")
    pair = '"models": [\n      "schooled",\n      "other"\n    ],'
    (tmp_path / "run.json").write_text(record.replace('"models": [\n      "schooled"\n    ],', pair))
    refused(tmp_path, "0 of 48 questions are finished")


def test_sessions_that_do_not_use_it_do_not_wait_for_it() -> None:
    heavy = "{'torch', 'transformers', 'numpy', 'pandas', 'pydantic', 'rich'}"
    program = f"import sys, medrobust_bench.pytest_plugin; sys.exit(str(sorted({heavy} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"
