"""The benchmarks run, on small numbers, and report what they say that they report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

import medrobust_bench
from benchmarks import (
    attack_speed,
    attack_strength,
    corruption_speed,
    defence,
    dependence,
    device,
    generation_cost,
    gpu,
    mixture,
    remedies,
    step_estimate,
)
from medrobust_bench.data.phantoms.questions import phantom_questions
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.runs.run import load_run
from medrobust_bench.train.recipe import read_rl_recipe
from medrobust_bench.train.settings import CURVE_FILE
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.cards import Card

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def card() -> Card:
    return resolve("tiny-sft-letter")


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return sample(open_data("phantoms"), 8, seed=0).questions


def test_peers_meet_the_model_as_it_is_loaded(card: Card, questions: tuple[Question, ...]) -> None:
    contest = attack_speed.contest_of(card, questions)
    assert not any(parameter.requires_grad for parameter in contest.model.parameters())
    assert all(parameter.requires_grad for parameter in contest.stock_model.parameters())
    pixels = contest.pixels
    with torch.no_grad():
        torch.testing.assert_close(
            contest.classifier()(pixels), contest.classifier(stock=False)(pixels), rtol=1e-4, atol=1e-4
        )
    attacks = {
        "ours": attack_speed.ours("pgd-linf:steps=3"),
        "stock ART": attack_speed.stock_art(8 / 255, 2 / 255, 3),
    }
    *_, mine, stock = attack_speed.compare(contest, attacks, rounds=1).splitlines()
    standing = [int(row.split("|")[4]) for row in (mine, stock)]
    assert 0 <= standing[0] <= standing[1] <= len(contest.answers)


def test_growth_is_measured_on_questions_that_all_stand(
    card: Card, questions: tuple[Question, ...], tmp_path: Path
) -> None:
    adapter = load_model(card, device="cpu", dtype="float32")
    assert isinstance(adapter, HuggingFaceVLM)
    curves = attack_speed.growth(adapter, questions, numbers=(1, 4), steps=(1, 3), sides=(64, 96))
    assert [point.questions for point in curves["questions"]] == [1, 4]
    assert [point.steps for point in curves["steps"]] == [1, 3]
    assert [point.side for point in curves["side"]] == [64, 96]
    for points in curves.values():
        assert all(point.seconds > 0 and 0 < point.outside < 1 for point in points)
    assert len(attack_speed.growth_table(curves).splitlines()) == 2 + 6
    attack_speed.draw(curves, tmp_path / "growth.svg")
    assert (tmp_path / "growth.svg").read_text("utf-8").lstrip().startswith("<?xml")


def test_the_gpu_benchmark_runs_on_a_tiny_shape() -> None:
    adapter = gpu.build(gpu.TINY, CPU)
    assert adapter.dtype is torch.bfloat16
    one, two = (gpu.measure(adapter, gpu.TINY.side, batch, 2) for batch in (3, 6))
    assert (one.batch, two.batch) == (3, 6)
    assert min(one.steps, two.steps) > 0
    assert one.memory is two.memory is None
    parameters = adapter.model.num_parameters()
    assert 0.5 * parameters < one.operations
    assert two.operations == pytest.approx(one.operations, rel=0.01)
    (written,) = gpu.rows(adapter, gpu.TINY.side, [2], steps=1, tokens=4, compiled=0)
    assert written.tokens is not None
    assert written.tokens > 0
    assert adapter.greedy.min_new_tokens is None
    assert gpu.matrix_throughput(gpu.TINY.product, CPU, repeats=2) > 1e6
    assert gpu.cells(one._replace(steps=2.0, operations=1e12), 8e12)[3] == "25.0"


def test_the_device_part_goes_on_after_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "EVERY", ("noise:draws=1", "pgd-linf:steps=0"))
    monkeypatch.setattr(device, "_replay", lambda _: None)
    monkeypatch.setattr(medrobust_bench.Run, "audit", lambda *_, **__: [])
    done = {trial.what: trial.fault for trial in device.trials("tiny-sft-letter", "float32", "cpu", tmp_path)}
    fault = done.pop("pgd-linf:steps=0")
    assert fault is not None
    assert "steps" in fault
    assert set(done.values()) == {None}
    assert "FAULT" in device.table([device.Trial("m", "float32", "pgd", 1.0, fault)])


def test_the_shape_is_that_of_qwen2_5_vl_3b() -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(gpu.configuration(gpu.QWEN_3B, {}))
    assert model.num_parameters() == 3_754_622_976


def test_the_tokens_of_a_step_are_those_of_its_parts() -> None:
    recipe = read_rl_recipe("tiny-rising-at-grpo")  # 16 prompts of 8, three in four attacked by 3 steps
    tokens = step_estimate.Tokens.of(recipe, prompt=90, completion=10)
    assert tokens.forward == 12 * 4 * 100 + 128 * 90 + 128 * 10 + 128 * 100
    assert tokens.backward == 12 * 3 * 100 + 128 * 100


def test_credit_in_the_table_of_dependence_is_that_of_the_results(tmp_path: Path) -> None:
    names = [f"omni-{arm}-{seed}" for arm in ("at-sft", "exchange-at-sft") for seed in (0, 1)]
    leans = (0.6, 0.8, 1.0, 1.2)
    for name, lean in zip(names, leans, strict=True):
        make_run(tmp_path / name, SchooledAdapter(lean=lean), threats=("pgd-linf",))
    runs = [load_run(tmp_path / name) for name in names]
    for run in runs:
        measured = dependence.measures(run)
        (result,) = [one for one in run.results if one.threat.name == "pgd-linf"]
        scores = result.metrics
        assert scores.credited_accuracy is not None
        assert scores.robust_accuracy is not None
        assert measured["pgd-linf, credited"].mean() == pytest.approx(scores.credited_accuracy.value)
        assert measured["pgd-linf"].mean() == pytest.approx(scores.robust_accuracy.value)
    rows = dependence.grid({"omni-at-sft": runs[:2], "omni-exchange-at-sft": runs[2:]}).rows
    assert [row[1] for row in rows] == ["2", "2", ""]
    gained = np.mean([defence.answers(run, "pgd-linf").mean() for run in runs[2:]]) - np.mean(
        [defence.answers(run, "pgd-linf").mean() for run in runs[:2]]
    )
    assert rows[-1][3].split()[0] == f"{100 * gained:+.1f}".replace("-", "−")


def test_the_figure_of_dependence_shows_accuracy_against_all_passes_so_far(tmp_path: Path) -> None:
    for name, cost in (("omni-sft-0", 2.0), ("omni-at-sft-0", 3.0)):
        make_run(tmp_path / "runs" / name, SchooledAdapter(), threats=("pgd-linf",))
        (tmp_path / "trained" / name).mkdir(parents=True)
        entry = {"step": 1, "loss": 0.5, "passes/forward": cost, "passes/backward": cost}
        (tmp_path / "trained" / name / CURVE_FILE).write_text(json.dumps(entry) + "\n")
    arms = [
        defence.read_arm(name, tmp_path / "trained", tmp_path / "runs")
        for name in ("omni-sft", "omni-at-sft")
    ]
    assert dependence.validation_grid(tmp_path / "trained").rows == ()  # neither has saved its weights
    (tmp_path / "trained" / "omni-at-sft-0" / "config.json").touch()
    assert dependence.validation_grid(tmp_path / "trained").rows[0][1:3] == ("1", "0.50")
    robust, dependent = dependence.draw(tmp_path / "trained", arms).axes
    assert [list(line.get_xdata()) for line in robust.lines] == [[4.0], [10.0]]  # 10 = 4 + 6
    for panel, name in ((robust, "pgd-linf"), (dependent, "pgd-linf, credited")):
        measured = dependence.measures(arms[1].evaluations[0])[name]
        assert list(panel.lines[1].get_ydata()) == [pytest.approx(100 * measured.mean())]


def test_credit_is_not_held_against_that_of_a_run_which_showed_other_images_instead(tmp_path: Path) -> None:
    threat = "pgd-linf"
    for name in "ab":
        make_run(tmp_path / name, SchooledAdapter(lean=0.6), threats=(threat,))
    journal = tmp_path / "b" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        if line["blind_choices"]:
            line["blind_choices"].pop("blank")
    first, second = load_run(tmp_path / "a"), load_run(tmp_path / "b")
    defence.check_comparable([first, second])
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit, match="different images instead: another, blank"):
        defence.check_comparable([first, load_run(tmp_path / "b")])


def test_a_remedy_is_told_by_what_it_adds_to_its_control(tmp_path: Path) -> None:
    threat = "pgd-linf:eps=2/255"
    leans = {"tiny-rising-at-grpo": 0.6, "tiny-rising-at-grpo-wide": 1.0}
    for arm, lean in leans.items():
        make_run(tmp_path / "runs" / f"{arm}-0", SchooledAdapter(lean=lean), threats=(threat,))
        (tmp_path / "trained" / f"{arm}-0").mkdir(parents=True)
        steps = [
            {"step": step, "groups_without_variance": 0.5 * step, "passes/forward": 1.0 * step}
            | {"passes/backward": 1.5, "passes/cpu_seconds": 7.0, "grad_norm": 0.1}
            for step in (1, 2)
        ]
        log = tmp_path / "trained" / f"{arm}-0" / CURVE_FILE
        log.write_text("".join(json.dumps(step) + "\n" for step in steps))
    control, wide = (defence.read_arm(arm, tmp_path / "trained", tmp_path / "runs") for arm in leans)
    start = defence.Arm("start", (), control.evaluations)
    none, first, second = remedies.difference_grid(start, control, [wide]).rows
    assert none[2:] == first[2:]
    accuracy = [np.mean([defence.answers(run, threat) for run in arm.evaluations]) for arm in (control, wide)]
    assert accuracy[0] != accuracy[1]
    assert first[3].startswith(f"{100 * accuracy[0]:.1f} (")
    assert second[3].startswith(f"{100 * (accuracy[1] - accuracy[0]):+.1f} (".replace("-", "−"))
    assert second[0] == "groups of 16, half the prompts, less the control"
    assert remedies.gain_grid(start, [wide]).rows[0][2:] == second[2:]
    assert remedies.signal_grid([wide]).rows[0][1:6] == ("2", "3.50", "7", "0.75", "–")


def test_a_peer_may_break_what_a_weak_attack_leaves_standing(card: Card, tmp_path: Path) -> None:
    weak = "pgd-linf:steps=1,step_size=1/25500,eps=1/25500"
    run = medrobust_bench.evaluate(model=card.id, threats=[weak], limit=8, out=tmp_path / "run")
    finished = load_run(run.folder)
    questions = attack_strength.standing(finished, card.id, finished.threats[1].name)
    robust = finished.results[1].metrics.robust_accuracy
    assert robust is not None
    assert len(questions) == round(8 * robust.value) > 0
    found = attack_strength.broken(
        card, questions, {"stock ART": attack_speed.stock_art(8 / 255, 2 / 255, 5)}
    )
    assert 0 < found["stock ART"] <= len(questions)


def test_time_outside_the_model_is_told_from_time_in_it() -> None:
    chosen = [question for question in phantom_questions(per_modality=2) if question.modality == "MRI"]
    (row,) = corruption_speed.grid(["injection"], chosen, 0.002, 64).rows
    name, modality, images, processor, one_by_one, outside = row
    # 24 wrong texts and as many of each control, and the decisive one of each
    assert (name, modality, images) == ("injection", "MRI", "75")
    assert float(processor) > 0
    assert 0 < float(one_by_one) < 100
    assert 0 < float(outside) < 100


def test_today_generates_less_alone_than_before_and_judges_alike() -> None:
    old, new = (
        generation_cost.measure(
            "tiny-sft-reasoning",
            dtype="bfloat16",
            threat="pgd-linf:steps=3",
            data="phantoms",
            limit=4,
            old=old,
            device="cpu",
        )
        for old in (True, False)
    )
    assert new.verdicts == old.verdicts
    assert new.tally.alone["clean"] == old.tally.alone["clean"] > 0
    assert new.tally.alone["without image"] == 0 < new.tally.together["without image"]
    assert new.tally.alone["attack"] <= old.tally.alone["attack"]


def test_under_every_threat_stands_what_stands_under_each(tmp_path: Path) -> None:
    threats = ("pgd-linf", "patch", "corruptions-quick", "corruptions-worst")
    start, other = (
        load_run(
            make_run(tmp_path / str(lean), SchooledAdapter(str(lean), lean=lean), threats=threats, limit=4)
        )
        for lean in (0.2, 20.0)
    )
    measured = mixture.measures(start)
    (faults,) = [
        run.metrics.corrupted_accuracy for run in start.results if run.threat.name == "corruptions-quick"
    ]
    assert faults is not None
    assert measured["corruptions-quick"].mean() == pytest.approx(faults.value)
    parts = np.stack([measured[name] for name in ("pgd-linf", "patch", "corruptions-worst")])
    assert list(measured["every threat"]) == list(parts.min(axis=0))
    arms = [defence.Arm(name, (), (run,)) for name, run in zip(mixture.ARMS, (start, other), strict=True)]
    rows = mixture.accuracy_grid(start, arms).rows
    assert [row[0] for row in rows[3:]] == [
        "the ball alone less the start, tiny-at-sft",
        "the mixture less the start, tiny-at-sft",
        "the mixture less the ball alone",
    ]
    assert all(cell == "+0.0 (+0.0 to +0.0)" for cell in rows[3][2:])  # the same run twice
    assert rows[4][1:] == rows[5][1:] != rows[3][1:]
    broken = [int(row[1]) for row in mixture.fault_grid(start, arms[1:]).rows]
    for number, run in zip(broken, (start, other), strict=True):
        found = mixture.measures(run)
        assert number == np.sum(found["clean"] > found["corruptions-worst"])
