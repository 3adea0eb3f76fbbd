"""Fresh phantoms that nobody can have learnt, and what is kept of a replay."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from medrobust_bench.attacks.universal_patch import UniversalPatch
from medrobust_bench.cli import main
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.leaderboard.build import render
from medrobust_bench.leaderboard.replay import Wish, replay_with
from medrobust_bench.leaderboard.replay.hidden import Hidden, read_seed
from medrobust_bench.leaderboard.replay.kinds import KINDS, Repeater
from medrobust_bench.leaderboard.replay.record import keep, kept
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.run import load_run
from tests.leaderboard.conftest import card
from tests.toy_runs import SchooledAdapter, make_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Forgery

SEED = 2**40 + 7


def test_a_model_that_looks_is_as_good_on_fresh_phantoms_and_one_that_remembers_is_not() -> None:
    assert Hidden(asked=100, right=93, submitted=95, of=100).agrees
    assert Hidden(asked=100, right=100, submitted=95, of=100).agrees, "better is no fault"
    remembers = Hidden(asked=100, right=30, submitted=100, of=100)
    assert not remembers.agrees
    assert "by heart" in remembers.line()
    assert Hidden(asked=20, right=16, submitted=95, of=100).agrees, "as few as these could be chance"


def test_fresh_phantoms_are_asked_and_their_seed_is_not_told(honest: Path, cards: dict[str, Card]) -> None:
    """The toys lean towards the right answer of any question, so that fresh ones are no harder."""
    case = verify(honest / "phantoms/pgd-linf/schooled.json", cards=cards).case
    assert case is not None
    found = replay_with(SchooledAdapter(lean=0.5), case, Wish(seed=1, count=5, hidden_seed=SEED, fresh=24))
    assert found.hidden is not None
    assert found.hidden.asked == 24
    assert found.agrees, found.lines()
    assert str(SEED) not in "\n".join(found.lines())


@pytest.mark.parametrize("text", ["7", "many", "", "1e20"])
def test_a_seed_that_could_be_guessed_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "seed").write_text(text)
    with pytest.raises(InvalidInputError):
        read_seed(tmp_path / "seed")
    (tmp_path / "seed").write_text(f"{SEED}\n")
    assert read_seed(tmp_path / "seed") == SEED


def test_who_did_a_submission_again_is_shown_until_it_changes(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    case = verify(made.path, cards=cards).case
    assert case is not None
    root = made.path.parents[2]
    found = replay_with(SchooledAdapter(lean=0.5), case, Wish(seed=1, count=40))
    keep(found, made.path, root.parent / "replays", by="a maintainer")
    record = kept(made.path)
    assert record is not None
    assert record.agrees
    page = render(read_results(root, cards=cards), links={}, cards=cards)["phantoms/pgd-linf.md"]
    assert page.count("(a maintainer)") == 1
    assert record.told() in page
    assert ": ≤ " in record.told()
    keep(
        replay_with(SchooledAdapter(lean=0.5), case, Wish(seed=1, count=9999)),
        made.path,
        root.parent / "replays",
        by="x",
    )
    whole = kept(made.path)
    assert whole is not None
    assert whole.told() == f"{whole.on}: in full (x)"
    assert "in full" not in whole.model_copy(update={"kinds": ()}).told(), "nothing is not all"
    made.path.write_text(made.path.read_text() + "\n")
    assert kept(made.path) is None, "what was done again was another file"


def test_a_disagreement_is_shown_as_one(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    case = verify(made.path, cards=cards).case
    assert case is not None
    found = replay_with(SchooledAdapter(lean=0.3), case, Wish(seed=1, count=40))
    keep(found, made.path, made.path.parents[3] / "replays", by="x")
    record = kept(made.path)
    assert record is not None
    assert "DISAGREES" in record.told()


@pytest.mark.parametrize(
    "words",
    [
        ["--replay", "3", "--replay-minutes", "1"],
        ["--hidden-seed-file", "seed"],
        ["--hidden-phantoms", "50", "--replay", "3"],
        ["--record", "replays", "--replay", "3"],
        ["--record", "replays", "--by", "x"],
    ],
)
def test_options_that_go_together_are_asked_for_together(words: list[str], honest: Path) -> None:
    done = CliRunner().invoke(main, ["verify", str(honest), *words])
    assert done.exit_code == 2
    assert "Usage" in done.stderr


def test_a_patch_for_all_images_is_trained_again_on_the_check_comparable(tmp_path: Path) -> None:
    toy = SchooledAdapter("weak", lean=0.04)
    run = make_run(tmp_path / "run", toy, threats=("patch-universal:training=3,epochs=1",), limit=12)
    (path,) = submit(load_run(run), tmp_path / "submissions")
    case = verify(path, cards={toy.name: card(toy)}).case
    assert case is not None
    found = replay_with(toy, case, Wish(seed=1, count=100))
    standing = next(one for one in found.agreements if one.kind == "standing answers")
    assert standing.asked == standing.of > 0
    assert not standing.disagreements
    questions = open_data("phantoms", split="train").questions
    assert Repeater(toy, case)._threat.content.tolist() == (  # type: ignore[attr-defined]
        UniversalPatch(case.specification)  # type: ignore[arg-type]
        .train(toy, sample(Dataset("phantoms", "train", questions), 3).questions, seed=0)
        .content.tolist()
    )


def test_a_text_that_the_model_did_not_write_is_seen(honest: Path, cards: dict[str, Card]) -> None:
    """The answer is the model's, and what is shown around it is not."""
    case = verify(honest / "phantoms/pgd-linf/schooled.json", cards=cards).case
    assert case is not None
    (kind,) = (one for one in KINDS if one.name == "texts")
    assert not kind.claims(case), "a model that scores options writes nothing"
    told = [replace(witness, text="Certified for clinical use. B") for witness in case.proof.witnesses]
    forged = replace(case, proof=replace(case.proof, witnesses=tuple(told)))
    repeater = Repeater(SchooledAdapter(lean=0.5), forged)
    (claim, *_others) = kind.claims(forged)
    assert "submitted was 'Certified for clinical use. B'" in (next(kind.repeat(repeater, [claim])) or "")
    blank = [replace(witness, text="") for witness in told]
    honest_again = replace(case, proof=replace(case.proof, witnesses=tuple(blank)))
    assert list(kind.repeat(Repeater(SchooledAdapter(lean=0.5), honest_again), [claim])) == [None]
