"""Corruptions as threats: named, run, replayed, verified."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from medrobust_bench.attacks.altering import image_sha256, remade_image
from medrobust_bench.attacks.corruption import CorruptionsByChance, WorstCorruption, at_severity
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.questions import phantom_questions
from medrobust_bench.leaderboard.answers import from_csv, to_csv
from medrobust_bench.leaderboard.build import render
from medrobust_bench.leaderboard.evidence import read_answers
from medrobust_bench.leaderboard.ranking import headline
from medrobust_bench.leaderboard.site.pages import write_site
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Alteration
from medrobust_bench.records.intervals import clustered, wilson
from medrobust_bench.reports.grid import with_interval
from medrobust_bench.reports.run_page.gallery import data_uri
from medrobust_bench.runs.altered import strips
from medrobust_bench.runs.run import load_run
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.registry import is_official, load_specification
from medrobust_bench.specs.seeds import question_seed
from medrobust_bench.specs.vocabulary import in_usual_order
from tests.leaderboard.conftest import card
from tests.leaderboard.forgery import Forgery, reasons
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.runs.run import Run

SUITE = "corruptions-quick"
ADVERSARIAL = "corruptions-adversarial:queries=12"


class FragileAdapter(SchooledAdapter):
    """A toy that faults break now and then."""

    def __init__(self) -> None:
        super().__init__(lean=0.6)
        self.scale = 0.05


class TestNames:
    def test_one_kind_at_one_severity(self) -> None:
        spec = load_specification("corruption:mri-ghosting,severity=3")
        assert spec.name == "corruption:mri-ghosting,severity=3"
        assert (spec.faults, spec.severities, spec.yields) == (("mri-ghosting",), (3,), "corrupted")
        assert load_specification("corruption:severity=3,fault=mri-ghosting") == spec
        assert not is_official(spec)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("corruption:jpeg", "'severity' is missing"),
            ("corruption:jpeg,severity=6", "less than or equal to 5"),
            ("corruption", "'fault' is missing"),
            ("corruption:severity=3,jpeg", "'jpeg' is no override"),
            ("pgd-linf:jpeg", "'jpeg' is no override"),
        ],
    )
    def test_what_is_wrong_with_a_name_is_said(self, text: str, said: str) -> None:
        with pytest.raises(InvalidInputError, match=said):
            load_specification(text)

    def test_an_unknown_kind_is_found_before_any_model_is_loaded(self) -> None:
        with pytest.raises(InvalidInputError, match=r"corruption:snow.*no corruption is called 'snow'"):
            load_threat("corruption:snow,severity=3")

    @pytest.mark.parametrize(
        "name", ["corruptions", "corruptions-quick", "corruptions-worst", "corruptions-adversarial"]
    )
    def test_the_suites_are_official_and_open(self, name: str) -> None:
        assert is_official(load_specification(name))
        assert load_specification(name).remade
        assert load_threat(name).spec.name == name


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return phantom_questions(per_modality=6)


def test_the_suite_plans_what_fits_and_nothing_else(questions: tuple[Question, ...]) -> None:
    threat = load_threat("corruptions")
    assert isinstance(threat, CorruptionsByChance)
    for question in questions:
        planned = threat.planned(question)
        assert {alteration.severity for alteration in planned} == {1, 3, 5}
        for alteration in planned:
            prefix = alteration.what.split("-")[0]
            assert (prefix == "mri") <= (question.modality == "MRI")
        if question.question_type == "Disease diagnosis":
            assert "shift" not in {alteration.what for alteration in planned}


def test_a_fault_that_occurs_in_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none of the 3 questions \(CT\)"):
        make_run(
            tmp_path / "run", threats=("corruption:mri-ghosting,severity=3",), limit=3, modalities=["CT"]
        )
    assert not (tmp_path / "run").exists()


def test_an_image_is_fixed_by_kind_severity_and_question(questions: tuple[Question, ...]) -> None:
    threat = load_threat("corruption:gaussian-noise,severity=3")
    made = []
    for question in (questions[0], questions[0], questions[1]):
        (alteration,) = threat.planned(question)
        made.append(
            threat.remake(question, canonical(questions[0].image), question_seed(0, question.id), alteration)
        )
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    toy = FragileAdapter()
    out = make_run(
        tmp_path_factory.mktemp("corrupted") / "run",
        toy,
        threats=(SUITE, "corruption:derm-hair,severity=3", "corruptions-worst", ADVERSARIAL),
        limit=24,
    )
    return load_run(out, models=[toy])


def test_every_question_is_asked_whatever_its_clean_answer(run: Run) -> None:
    outcomes = run.outcomes["schooled", SUITE]
    assert any(outcome.clean_choice != outcome.answer for outcome in outcomes)
    for outcome in outcomes:
        assert outcome.attacked
        assert len(outcome.alterations) >= 5
        assert outcome.correct == all(one.choice == outcome.answer for one in outcome.alterations)


def test_mean_corruption_accuracy_is_the_mean_of_shares(run: Run) -> None:
    outcomes = run.outcomes["schooled", SUITE]
    shares = [np.mean([one.choice == o.answer for one in o.alterations]) for o in outcomes]
    estimate = run["schooled", SUITE].metrics.corrupted_accuracy
    assert estimate is not None
    assert estimate.value == pytest.approx(np.mean(shares))
    assert estimate.low < estimate.value < estimate.high
    kinds = run["schooled", SUITE].metrics.by_corruption
    noise = next(one for one in kinds if one.kind == "gaussian-noise")
    assert noise.n == 24
    assert noise.clean == run["schooled", SUITE].clean_accuracy.value


def test_a_kind_counts_only_where_it_occurs(run: Run) -> None:
    result = run["schooled", "corruption:derm-hair,severity=3"]
    assert result.metrics.corrupted_accuracy is not None
    assert (
        result.metrics.corrupted_accuracy.n == result.metrics.by_modality["Dermoscopy"].clean_accuracy.n == 3
    )
    assert result.metrics.by_modality["CT"].corrupted_accuracy is None


def test_the_worst_kind_is_no_better_than_any_kind(run: Run) -> None:
    broken_by_chance = {
        outcome.question
        for outcome in run.outcomes["schooled", SUITE]
        if outcome.clean_choice == outcome.answer and not outcome.correct
    }
    worst = {o.question: o for o in run.outcomes["schooled", "corruptions-worst"]}
    assert broken_by_chance
    assert not any(worst[question].correct for question in broken_by_chance)


def test_a_search_finds_what_chance_did_not(run: Run) -> None:
    worst, searched = (
        {o.question for o in run.outcomes["schooled", name] if o.correct}
        for name in ("corruptions-worst", ADVERSARIAL)
    )
    assert searched <= worst
    assert run["schooled", ADVERSARIAL].metrics.robust_accuracy is not None


def test_no_image_is_stored(run: Run) -> None:
    assert not any(run.witnesses("schooled", name) for name in (SUITE, "corruptions-worst", ADVERSARIAL))


def test_everything_can_be_replayed(run: Run) -> None:
    recounts = {recount.threat: recount for recount in run.replay()["schooled"]}
    for name in (SUITE, "corruptions-worst", ADVERSARIAL):
        assert recounts[name].disagreements == ()
        assert recounts[name].reported == recounts[name].recounted
        assert recounts[name].witnesses > 0


def test_a_resumed_run_is_the_same(run: Run, tmp_path: Path) -> None:
    toy = FragileAdapter()
    again = load_run(
        make_run(tmp_path / "again", toy, threats=(SUITE,), limit=24, batch_size=5), models=[toy]
    )
    first, second = (
        [outcome.model_dump(exclude={"seconds", "threat"}) for outcome in of.outcomes["schooled", SUITE]]
        for of in (run, again)
    )
    assert first == second


def test_the_table_has_a_row_for_every_kind(run: Run) -> None:
    table = (run.folder / "leaderboard.md").read_text()
    assert "schooled under corruptions" in table
    assert "gaussian-noise" in table


def test_a_strip_shows_the_very_images_of_the_run(run: Run) -> None:
    outcomes = run.outcomes["schooled", SUITE]
    questions = {question.id: question for question in run.dataset().questions}
    made = strips(outcomes, questions, seed=0, limit=99)
    assert [one.modality for one in made] == list(in_usual_order({o.modality for o in outcomes}))
    by_question = {outcome.question: outcome for outcome in outcomes}
    for one in made:
        assert [cell.caption for cell in one.cells] == ["clean", *(f"severity {s}" for s in range(1, 6))]
        outcome, question = by_question[one.question], questions[one.question]
        (met,) = (altered for altered in outcome.alterations if altered.what == one.kind)
        image = at_severity(one.kind, question, canonical(question.image), 0, 3)
        assert image_sha256(image) == met.image_sha256
        assert one.cells[3].image == data_uri(image)
        assert one.cells[3].right == (met.choice == outcome.answer)
        assert one.cells[2].said == ""
    assert any(not one.cells[3].right for one in made)


def test_the_report_shows_strips_and_altered_images(run: Run, tmp_path: Path) -> None:
    page = run.report(tmp_path / "index.html")[0].read_text()
    assert page.count('class="strip"') == 8
    assert "at severity 3: at most" in page
    assert "faults ," not in page
    without = run.report(tmp_path / "plain.html", examples=0)[0].read_text()
    assert 'class="strip"' not in without


class TestVerification:
    @pytest.fixture(scope="class")
    def honest(self, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
        root = tmp_path_factory.mktemp("submitted") / "submissions"
        submit(run, root)
        return root

    @pytest.fixture(scope="class")
    def cards(self) -> dict[str, Any]:
        return {"schooled": card(FragileAdapter())}

    @pytest.mark.parametrize("threat", [SUITE, "corruptions-worst"])
    def test_honest_ones_are_accepted(self, honest: Path, cards: dict[str, Any], threat: str) -> None:
        verdict = verify(honest / "phantoms" / threat / "schooled.json", cards=cards)
        assert verdict.faults == ()

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"amount": 1.0}, "is nothing that corruptions-quick does"),
            ({"severity": 1}, "lacks gaussian-noise at severity 3"),
            ({"draw": 1}, "is nothing that corruptions-quick does"),
            ({"image_sha256": "0" * 64}, "made again, is another image"),
        ],
    )
    def test_softened_images_are_rejected(
        self, honest: Path, cards: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
    ) -> None:
        forged = Forgery(honest, tmp_path, SUITE)

        def soften(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            line = next(line for line in lines if line["threat"] == SUITE)
            line["alterations"][0] |= change
            return lines

        forged.journal(soften)
        assert said in reasons(forged.save(), cards)

    def test_a_left_out_image_is_missed(self, honest: Path, cards: dict[str, Any], tmp_path: Path) -> None:
        forged = Forgery(honest, tmp_path, SUITE)

        def omit(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            line = next(line for line in lines if line["threat"] == SUITE)
            line["alterations"].pop(1)
            return lines

        forged.journal(omit)
        assert "lacks" in reasons(forged.save(), cards)

    def test_a_softened_worst_case_is_rejected(
        self, honest: Path, cards: dict[str, Any], tmp_path: Path
    ) -> None:
        forged = Forgery(honest, tmp_path, "corruptions-worst")

        def soften(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
            line = next(line for line in lines if line.get("alterations"))
            line["alterations"][0]["amount"] *= 0.99
            return lines

        forged.journal(soften)
        assert "is not that of severity 3" in reasons(forged.save(), cards)


class TestBoards:
    @pytest.fixture(scope="class")
    def submissions(self, run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Submission]:
        root = tmp_path_factory.mktemp("boards") / "submissions"
        submit(run, root)
        return read_results(root, cards={})

    def test_a_suite_is_ordered_by_mean_corruption_accuracy(
        self, run: Run, submissions: list[Submission]
    ) -> None:
        mean = run["schooled", SUITE].metrics.corrupted_accuracy
        assert mean is not None
        assert headline(run["schooled", SUITE].metrics) == mean
        pages = render(submissions, links={}, cards={})
        assert "Corrupted, mean" in pages[f"phantoms/{SUITE}.md"]
        assert with_interval(mean) in pages[f"phantoms/{SUITE}.md"]
        assert "Robust" in pages["phantoms/corruptions-worst.md"].partition("Ordered by")[0]

    def test_ranks_compare_shares(self, run: Run, submissions: list[Submission]) -> None:
        (suite,) = (one for one in submissions if one.result.threat.name == SUITE)
        assert suite.entry is not None
        answers = read_answers(suite.path, suite.entry)
        assert answers is not None
        mean = run["schooled", SUITE].metrics.corrupted_accuracy
        assert mean is not None
        assert np.mean([answer.right for answer in answers.values()]) == pytest.approx(mean.value)
        assert from_csv(to_csv(answers)) == answers
        assert len({answer.right for answer in answers.values()}) > 2

    def test_questions_without_the_fault_do_not_count(self, submissions: list[Submission]) -> None:
        (hair,) = (one for one in submissions if "derm-hair" in one.result.threat.name)
        assert hair.entry is not None
        assert len(read_answers(hair.path, hair.entry) or {}) == 3

    def test_the_page_of_a_model_shows_every_kind(
        self, submissions: list[Submission], tmp_path: Path
    ) -> None:
        write_site(submissions, tmp_path, cards={})
        page = (tmp_path / "models" / "schooled.html").read_text()
        assert f"By acquisition fault: {SUITE}" in page
        assert page.count('class="strip"') == 8
        assert "gaussian-noise (n 24)" in page
        assert "corrupted" in (tmp_path / "results.csv").read_text()


@pytest.mark.parametrize("text", ["2", "-1", "1.5", "nan", "1/2", "0.", "", "1e0"])
def test_shares_of_strangers_are_read_strictly(text: str) -> None:
    with pytest.raises(ValueError, match="is no share"):
        from_csv(f"question,image,right\nq,i,{text}\n".encode())


class TestRemaking:
    def test_the_search_stays_in_its_severity(self, questions: tuple[Question, ...]) -> None:
        threat = load_threat(ADVERSARIAL)
        assert isinstance(threat, WorstCorruption)
        question = next(question for question in questions if question.modality == "MRI")
        clean = canonical(question.image)
        hunt = threat._hunt(question, 5)
        candidates = [next(hunt)]
        try:
            while True:
                candidates.append(hunt.send(float(len(candidates))))
        except StopIteration:
            pass
        assert len(candidates) == len(threat.kinds(question)) + 12
        for candidate in candidates[-12:]:
            image = threat.remake(question, clean, question_seed(0, question.id), candidate)
            named = candidate.model_copy(update={"image_sha256": image_sha256(image)})
            assert remade_image(threat, question, clean, 0, named)[0] is not None

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"what": "ct-metal"}, "is nothing that"),
            ({"severity": 2}, "is nothing that"),
            ({"amount": 1e9}, "is not that of severity"),
            ({"draw": 13}, "is beyond 12 queries"),
            ({"free": (0.5, 0.5)}, "2 free parameters"),
        ],
    )
    def test_what_the_search_does_not_make_is_refused(
        self, questions: tuple[Question, ...], change: dict[str, Any], said: str
    ) -> None:
        threat = load_threat(ADVERSARIAL)
        question = next(question for question in questions if question.modality == "MRI")
        amount = load_threat("corruption:jpeg,severity=3").planned(question)[0].amount
        honest = Alteration(
            what="jpeg", severity=3, amount=amount, draw=1, free=(), image_sha256="", choice=None
        )
        clean = canonical(question.image)
        threat.remake(question, clean, 1, honest)
        with pytest.raises(ValueError, match=said):
            threat.remake(question, clean, 1, honest.model_copy(update=change))


class TestClusteredInterval:
    def test_single_answers_give_wilsons_interval(self) -> None:
        shares = [1.0] * 30 + [0.0] * 10
        estimate = clustered(shares, [str(place) for place in range(40)])
        expected = proportion_confint(0.75 * 39, 39, method="wilson")  # the variance's n − 1 takes one answer
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.75, *expected))

    def test_repeated_questions_about_an_image_add_nothing(self) -> None:
        shares = [1.0] * 30 + [0.0] * 10
        once = clustered(shares, [str(place) for place in range(40)])
        thrice = clustered(shares * 3, [str(place) for place in range(40)] * 3)
        assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))

    def test_all_right(self) -> None:
        estimate = clustered([1.0] * 6, ["a", "a", "b", "b", "c", "c"])
        assert estimate.value == estimate.high == 1
        assert estimate.low == pytest.approx(wilson(3, 3).low)


def test_phantoms_and_clinical_images_have_their_own_table(questions: tuple[Question, ...]) -> None:
    threat = load_threat("corruption:gaussian-noise,severity=3")
    synthetic = questions[0]
    clinical = replace(synthetic, dataset="Covid CT")
    amounts = {threat.planned(question)[0].amount for question in (synthetic, clinical)}
    assert len(amounts) == 2
