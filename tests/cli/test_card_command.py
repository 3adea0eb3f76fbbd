from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner
from huggingface_hub import ModelCard

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.records import Result


def test_the_hub_reads_the_results_that_were_measured(
    make_result: Callable[..., Result], tmp_path: Path
) -> None:
    certified = {"threat": "certified-l2", "kind": "certification", "robust": None, "spec": {"sigma": "0.25"}}
    for number, result in enumerate((make_result(), make_result(certified={0.25: 9, 0.5: 4}, **certified))):
        (tmp_path / f"{number}.json").write_text(result.model_dump_json())
    done = CliRunner().invoke(main, ["card", "model", "--results", str(tmp_path)])
    assert done.exit_code == 0, done.output
    card = ModelCard(done.stdout)
    assert card.data.model_name == "model"
    values = {one.metric_type: one.metric_value for one in card.data.eval_results}
    assert values == {
        "robust_accuracy": 0.25,
        "certified_accuracy_0.25": 0.45,
        "certified_accuracy_0.5": 0.2,
    }
    assert "## Robustness" in card.text
    assert "25.0 (11.2–46.9)" in card.text


def test_an_unknown_model(make_result: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(make_result().model_dump_json())
    done = CliRunner().invoke(main, ["card", "nobody", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "has no results of 'nobody' → there are model" in done.stderr
