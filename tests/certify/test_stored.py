"""Certificates of runs: honest ones pass, and whatever is tampered with is found without the model."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from medrobust_bench.certify.certificate import Certificate, certified_radius
from medrobust_bench.certify.check import check_path
from medrobust_bench.certify.contradiction import contradictions, l2_distance
from medrobust_bench.certify.fault import Declared
from medrobust_bench.certify.sequential import plan_looks
from medrobust_bench.certify.stored import StoredRow, stored_rows
from medrobust_bench.data.image import canonical, to_png
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.journal import Journal
from medrobust_bench.records.witness import Witness, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset

    Line = dict[str, Any]

NOTHING = Declared()


def rewrite(run: Path, change: Callable[[list[Line]], list[Line] | None]) -> Path:
    """Tamper with the journal of a run."""
    path = run / "journal.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    changed = change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in (lines if changed is None else changed)))
    return path


def certified(lines: list[Line]) -> Line:
    """A line of the sequential certification with a right, certified answer that took several looks."""
    return next(
        line
        for line in lines
        if line["certificate"] and line["correct"] and len(line["certificate"]["looks"]) > 3
    )


def checks(path: Path, declared: Declared = NOTHING) -> set[str]:
    return {fault.check for fault in check_path(path, declared)}


def test_an_honest_run_passes_as_folder_journal_and_result(certified_run: Path) -> None:
    assert check_path(certified_run, Declared(expect=12, alpha=0.001, sigma=0.25)) == []
    assert check_path(certified_run / "journal.jsonl", Declared(expect=12)) == []
    results = [path for path in (certified_run / "results").glob("*.json") if "certified" in path.name]
    assert len(results) == 2
    for path in results:
        assert check_path(path, Declared(expect=12)) == []


def larger_radius(lines: list[Line]) -> None:
    certified(lines)["certificate"]["radius"] *= 1.01


def larger_count(lines: list[Line]) -> None:
    look = certified(lines)["certificate"]["looks"][-1]
    look["counts"] = [look["n"], 0, 0, 0, 0]


def moved_counts_with_their_radius(lines: list[Line]) -> None:
    """A forger who knows the formula, but forgets that counts only grow."""
    certificate = certified(lines)["certificate"]
    earlier, look = certificate["looks"][-2:]
    counts = [0] * len(look["counts"])
    counts[certificate["candidate"]] = look["n"]
    earlier["counts"] = [count + 1 for count in earlier["counts"]]
    certificate["radius"] = certified_radius(look["n"], look["n"], alpha=look["alpha"], sigma=0.25)


def all_alpha_at_the_look_that_suits(lines: list[Line]) -> None:
    certificate = certified(lines)["certificate"]
    look = certificate["looks"][-1]
    look["alpha"] = certificate["alpha"]
    certificate["radius"] = certified_radius(
        look["counts"][certificate["candidate"]], look["n"], alpha=look["alpha"], sigma=certificate["sigma"]
    )


def an_unplanned_look(lines: list[Line]) -> None:
    """Peeking where the counts look good, with the level of the look that was planned."""
    looks = certified(lines)["certificate"]["looks"]
    del looks[2]


def another_alpha(lines: list[Line]) -> None:
    certified(lines)["certificate"]["alpha"] = 0.01


def another_candidate(lines: list[Line]) -> None:
    certificate = certified(lines)["certificate"]
    certificate["candidate"] = (certificate["candidate"] + 1) % 4


def later_draws_of_a_better_model(lines: list[Line]) -> None:
    """Not one early answer is the candidate's, nearly all later ones are: never fewer than before, and it adds up."""
    certificate = certified(lines)["certificate"]
    candidate, looks = certificate["candidate"], certificate["looks"]
    missed = looks[-2]["n"]
    for look in looks:
        look["counts"] = [0] * len(look["counts"])
        look["counts"][candidate - 1] = min(look["n"], missed)
        look["counts"][candidate] = look["n"] - min(look["n"], missed)


def a_look_without_counts(lines: list[Line]) -> None:
    certified(lines)["certificate"]["looks"][1]["counts"] = []


def a_lucky_seed(lines: list[Line]) -> None:
    certified(lines)["certificate"]["seed"] += 1


def wrong_counts_as_right(lines: list[Line]) -> None:
    next(line for line in lines if line["certificate"] and not line["correct"])["correct"] = True


def a_selection_that_did_not_choose(lines: list[Line]) -> None:
    line = next(
        line for line in lines if line["certificate"] and line["certificate"]["n0"] and line["correct"]
    )
    line["certificate"]["selection_counts"].sort(key=lambda count: count > 0)
    counts = line["certificate"]["selection_counts"]
    line["certificate"]["selection_counts"] = [*counts[-1:], *counts[:-1]]
    line["certificate"]["candidate"] = 3


def a_selection_with_negative_counts(lines: list[Line]) -> None:
    line = next(line for line in lines if line["certificate"] and line["certificate"]["n0"] == 20)
    line["certificate"]["selection_counts"] = [30, -10, 0, 0, 0]
    line["certificate"]["candidate"] = 0


FORGED = {
    a_selection_with_negative_counts: "counts",
    later_draws_of_a_better_model: "draws",
    a_look_without_counts: "counts",
    larger_radius: "radius",
    larger_count: "radius",
    moved_counts_with_their_radius: "counts",
    all_alpha_at_the_look_that_suits: "looks",
    an_unplanned_look: "looks",
    another_alpha: "setting",
    another_candidate: "candidate",
    wrong_counts_as_right: "answers",
    a_selection_that_did_not_choose: "candidate",
}


@pytest.mark.parametrize(("forge", "check"), FORGED.items(), ids=[forge.__name__ for forge in FORGED])
def test_a_forged_certificate_is_found_in_folder_and_journal(
    certified_run: Path, forge: Callable[[list[Line]], None], check: str
) -> None:
    journal = rewrite(certified_run, forge)
    assert check in checks(certified_run)
    assert check in checks(journal)


@pytest.mark.parametrize("radius", ["Infinity", "NaN", "1e999"])
def test_a_radius_that_is_no_number_is_refused(certified_run: Path, radius: str) -> None:
    """Infinity less anything is infinite, and so is every tolerance that grows with it."""
    path = certified_run / "journal.jsonl"
    path.write_text(re.sub(r'"radius":0\.\d+', f'"radius":{radius}', path.read_text(), count=1))
    with pytest.raises(InvalidInputError, match="is not a certificate: radius"):
        check_path(path, NOTHING)


def went_on_although_decided(lines: list[Line]) -> None:
    """A lost question gets one more look: sound, but not the procedure that was published."""
    line = next(
        line
        for line in lines
        if line["certificate"] and not line["correct"] and len(line["certificate"]["looks"]) == 1
    )
    (look,) = line["certificate"]["looks"]
    plan = plan_looks(n=400, looks=16, alpha=0.001, radii=(0.25, 0.5, 0.75), sigma=0.25)
    grown = [look["counts"][0] + plan[1].n - look["n"], *look["counts"][1:]]
    line["certificate"]["looks"].append({"n": plan[1].n, "alpha": plan[1].alpha, "counts": grown})


def gave_up_although_undecided(lines: list[Line]) -> None:
    certificate = certified(lines)["certificate"]
    certificate["looks"].pop()
    certificate["radius"] = Certificate.model_validate(certificate).recomputed_radius()


@pytest.mark.parametrize("forge", [went_on_although_decided, gave_up_although_undecided])
def test_draws_that_end_elsewhere_than_published_are_found(
    certified_run: Path, forge: Callable[[list[Line]], None]
) -> None:
    rewrite(certified_run, forge)
    faults = check_path(certified_run, NOTHING)
    assert any("do not end where the plan ends them" in fault.what for fault in faults)


def test_a_right_answer_moved_to_the_certified_one_is_found(certified_run: Path) -> None:
    """All of a certificate may be consistent while the clean line remembers the right answer."""

    def move(lines: list[Line]) -> None:
        line = next(
            line for line in lines if line["certificate"] and line["choice"] not in (None, line["answer"])
        )
        line.update(answer=line["choice"], correct=True)

    rewrite(certified_run, move)
    assert "answers" in checks(certified_run)


def test_an_official_name_on_another_certification_is_found(certified_run: Path) -> None:
    for path in (certified_run / "run.json", *(certified_run / "results").glob("*certified*.json")):
        path.write_text(path.read_text().replace("certified-l2:n=400", "certified-l2:n=500"))
    journal = certified_run / "journal.jsonl"
    journal.write_text(journal.read_text().replace("certified-l2:n=400", "certified-l2:n=500"))
    assert "setting" in checks(certified_run)
    (path,) = (p for p in (certified_run / "results").glob("*.json") if "500" in p.read_text())
    assert checks(path) == {"setting"}


def test_a_seed_chosen_for_luck_is_found(certified_run: Path) -> None:
    rewrite(certified_run, a_lucky_seed)
    assert checks(certified_run) == {"seed"}


def test_overspending_is_found_even_in_all_rows_alike(certified_run: Path) -> None:
    def spend(lines: list[Line]) -> None:
        for line in lines:
            for look in (line["certificate"] or {"looks": []})["looks"]:
                look["alpha"] = min(0.9, look["alpha"] * 30)

    assert "spending" in checks(rewrite(certified_run, spend))


def test_missing_and_repeated_questions_are_found(certified_run: Path) -> None:
    original = (certified_run / "journal.jsonl").read_text()
    rewrite(certified_run, lambda lines: lines[:-1])
    assert "rows" in checks(certified_run)
    (certified_run / "journal.jsonl").write_text(original)
    journal = rewrite(certified_run, lambda lines: [*lines, lines[-1]])
    assert "rows" in checks(journal)
    assert "rows" in checks(journal, Declared(expect=13))


def test_declared_settings_are_held_against_the_certificates(certified_run: Path) -> None:
    for declared in (Declared(sigma=0.5), Declared(alpha=0.01), Declared(n=500), Declared(n0=7)):
        assert checks(certified_run, declared) == {"setting"}


def test_a_result_that_says_more_than_its_certificates_is_found(certified_run: Path) -> None:
    (path,) = (path for path in (certified_run / "results").glob("*exact*.json"))
    document = json.loads(path.read_text())
    points = document["metrics"]["certified_accuracy"]
    points[-1].update(points[0], radius=points[-1]["radius"])
    if points[0]["value"] == points[-1]["value"] == 0:
        pytest.fail("the toy certifies nothing")
    path.write_text(json.dumps(document))
    assert "summary" in checks(certified_run)


def test_modalities_that_exchange_their_numbers_are_found(certified_run: Path) -> None:
    (path,) = (path for path in (certified_run / "results").glob("*exact*.json"))
    document = json.loads(path.read_text())
    groups = document["metrics"]["by_modality"]
    pairs = [(a, b) for a in groups for b in groups if groups[a] != groups[b]]
    if not pairs:
        pytest.fail("all modalities are alike")
    first, second = pairs[0]
    groups[first], groups[second] = groups[second], groups[first]
    path.write_text(json.dumps(document))
    assert "summary" in checks(certified_run)


def test_a_narrower_interval_is_found_in_a_result_file_alone(certified_run: Path) -> None:
    (path,) = (path for path in (certified_run / "results").glob("*exact*.json"))
    document = json.loads(path.read_text())
    document["metrics"]["certified_accuracy"][0]["low"] += 0.01
    path.write_text(json.dumps(document))
    assert "counts" in checks(path)


def test_a_rising_curve_is_found_in_a_result_file_alone(certified_run: Path) -> None:
    (path,) = (path for path in (certified_run / "results").glob("*exact*.json"))
    document = json.loads(path.read_text())
    points = document["metrics"]["certified_accuracy"]
    points[0]["value"], points[-1]["value"] = 0.0, 0.25
    path.write_text(json.dumps(document))
    assert {"monotone", "counts"} <= checks(path)


def test_what_holds_no_certificates_is_refused(certified_run: Path, tmp_path: Path) -> None:
    rewrite(certified_run, lambda lines: [line for line in lines if not line["certificate"]])
    with pytest.raises(InvalidInputError, match="holds no certificates"):
        check_path(certified_run / "journal.jsonl", NOTHING)
    with pytest.raises(InvalidInputError, match="holds no run"):
        check_path(tmp_path, NOTHING)
    (clean,) = (certified_run / "results").glob("*--clean.json")
    with pytest.raises(InvalidInputError, match="no certified accuracy"):
        check_path(clean, NOTHING)
    with pytest.raises(InvalidInputError, match="--against"):
        check_path(clean, NOTHING, against=certified_run)


def test_a_broken_certificate_is_refused_with_its_line(certified_run: Path) -> None:
    def break_one(lines: list[Line]) -> None:
        del certified(lines)["certificate"]["looks"]

    with pytest.raises(InvalidInputError, match=r"row \d+: is not a certificate: looks"):
        check_path(rewrite(certified_run, break_one), NOTHING)


def first_certified(run: Path) -> StoredRow:
    rows = stored_rows(Journal(run / "journal.jsonl").read(), where="journal")
    return next(row for row in rows if row.outcome.correct)


def a_witness(row: StoredRow, clean: np.ndarray, distance: float, *, choice: int | None) -> Witness:
    """An image that differs in one value by about this much."""
    image = clean.copy()
    level = int(image[0, 0, 0])
    image[0, 0, 0] = level + round(distance * 255) if level < 128 else level - round(distance * 255)
    png = to_png(image)
    return Witness(
        model="smoothed",
        threat="pgd-l2",
        question=row.outcome.question,
        image=png,
        sha256=sha256(png),
        clean_sha256=sha256(clean.tobytes()),
        answer=row.outcome.answer,
        choice=choice,
        text="",
    )


def test_only_another_answer_inside_the_radius_contradicts_a_certificate(
    certified_run: Path, certified_dataset: Dataset
) -> None:
    row = first_certified(certified_run)
    questions = {question.id: question for question in certified_dataset.questions}
    clean = canonical(questions[row.outcome.question].image)
    radius, other = row.certificate.radius, (row.outcome.answer + 1) % 4

    def contradicts(distance: float, choice: int | None) -> bool:
        return bool(contradictions([row], [a_witness(row, clean, distance, choice=choice)], questions))

    assert radius > 0.1
    assert contradicts(radius * 0.9, other)
    assert not contradicts(radius * 1.1, other) or radius * 1.1 > 0.5
    assert not contradicts(radius * 0.9, None), "an abstention contradicts nothing"
    assert not contradicts(radius * 0.9, row.outcome.answer)


def test_a_clean_image_answered_otherwise_contradicts_its_certificate(
    certified_run: Path, certified_dataset: Dataset
) -> None:
    row = first_certified(certified_run)
    questions = {question.id: question for question in certified_dataset.questions}

    def contradicts(choice: int | None) -> bool:
        return bool(
            contradictions([row], [], questions, clean=[row.outcome.model_copy(update={"choice": choice})])
        )

    assert contradicts((row.outcome.answer + 1) % 4)
    assert not contradicts(row.outcome.answer)
    assert not contradicts(None), "an abstention contradicts nothing"


def test_a_witness_must_be_the_image_that_its_digest_names(
    certified_run: Path, certified_dataset: Dataset
) -> None:
    row = first_certified(certified_run)
    questions = {question.id: question for question in certified_dataset.questions}
    clean = canonical(questions[row.outcome.question].image)
    witness = a_witness(row, clean, 0.1, choice=(row.outcome.answer + 1) % 4)
    (fault,) = contradictions([row], [witness.model_copy(update={"sha256": "0" * 64})], questions)
    assert "digest" in fault.what


def test_distance_is_over_all_values_in_units_of_the_pixel_range() -> None:
    black, grey = np.zeros((2, 3, 3), np.uint8), np.full((2, 3, 3), 51, np.uint8)
    assert l2_distance(black, grey) == pytest.approx(0.2 * np.sqrt(18))
    assert l2_distance(black, np.zeros((3, 2, 3), np.uint8)) == float("inf")
