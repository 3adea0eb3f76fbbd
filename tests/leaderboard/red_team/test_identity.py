"""Whose model it is: cards that pretend, names that look alike, copies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.leaderboard.build import _model as board_name
from medrobust_bench.leaderboard.checks.identity import family
from medrobust_bench.leaderboard.names import boasts
from medrobust_bench.leaderboard.neighbour import same_model
from medrobust_bench.leaderboard.registry import read_registry
from medrobust_bench.leaderboard.standing import unranked
from medrobust_bench.leaderboard.submissions import measurement, read_results
from medrobust_bench.leaderboard.verification import verify
from medrobust_bench.models.cards import read_card
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Identity, Smoothing
from tests.leaderboard.forgery import (
    Make,
    reasons,
)

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.models.cards import Card


def test_a_cards_source_is_no_name(forgery: Make, cards: dict[str, Card]) -> None:
    thief = cards["schooled"].model_copy(update={"id": "aaa", "source": "schooled"})
    others = {name: card for name, card in cards.items() if name != "schooled"}
    assert "schooled has no card" in reasons(forgery("pgd-linf").save(), {"aaa": thief, **others})


CARDS: dict[str, tuple[dict[str, object], str]] = {
    "a source that is another's name": ({"source": "other"}, "is neither owner/name"),
    "a source that climbs": ({"source": "./a/../../b"}, "is neither owner/name"),
    "a source that is a link": ({"source": "https://example.org/model"}, "is neither owner/name"),
    "a boast": ({"title": "Rank 1 - official reference of the maintainers"}, "is not for a card to say"),
    "a boast, nearly": ({"title": "The 0fficial veriﬁed model"}, "is not for a card to say"),
    "a source that needs no pins": ({"source": "checkpoints/schooled"}, "is for what comes with the program"),
    "a title that turns round": ({"title": "model\u202eevil"}, "control characters"),
    "a title without end": ({"title": "x" * 500}, "longer than 80 characters"),
    "another's title": ({"title": "The toy other"}, "would be taken for other"),
    "another's title, nearly": (
        {"title": "The t\N{CYRILLIC SMALL LETTER O}y  0THER"},
        "would be taken for other",
    ),
    "a word of two scripts": ({"title": "Med\u043dic"}, "mixes scripts in a word"),
    "another's name as title": ({"title": "Other"}, "would be taken for other"),
    "noise without effect": (
        {"smoothing": Smoothing(sigma=1e-9, n=11, alpha=0.05)},
        "less than a grey level: the plain model",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), CARDS.values(), ids=CARDS.keys())
def test_a_card_that_pretends(
    changes: dict[str, object], reason: str, forgery: Make, cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    card = cards["schooled"].model_copy(update=changes)
    if card.smoothing is not None:
        made.result["model"]["smoothing"] = card.smoothing.model_dump()
    assert reason in reasons(made.save(), {**cards, "schooled": card})


@pytest.mark.parametrize("name", ["schoo1ed", "SchooIed", "s-c-h-o-o-l-e-d", "sch00led"])
def test_a_name_that_looks_like_anothers(name: str, forgery: Make, cards: dict[str, Card]) -> None:
    alike = cards["other"].model_copy(update={"id": name, "weights_sha256": "1" * 64})
    said = reasons(forgery("pgd-linf").save(), {**cards, name: alike})
    assert f"'schooled' would be taken for {name}" in said


@pytest.mark.parametrize(
    "changes",
    [
        {"weights_sha256": None, "dtype": "bfloat16", "source": "./schooled"},
        {"answer_mode": AnswerMode.OPTION_TEXT},
    ],
    ids=["in another dtype", "answering otherwise"],
)
def test_a_copy_of_the_same_weights(
    changes: dict[str, object], forgery: Make, cards: dict[str, Card]
) -> None:
    twin = cards["schooled"].model_copy(update={"id": "twin", "title": "Quite another", **changes})
    assert "has the weights of twin" in reasons(forgery("pgd-linf").save(), {**cards, "twin": twin})


def test_nobody_draws_a_rival_into_his_own_family(cards: dict[str, Card]) -> None:
    """Whoever smooths the weights of two rivals does not make one family of them, nor names it."""
    rivals = {
        name: card.model_copy(update={"submitter": name, "weights_sha256": digit * 64})
        for (name, card), digit in zip(cards.items(), "12", strict=True)
    }
    noise = Smoothing(sigma=0.25, n=100, alpha=0.05)
    mine = {
        f"a-{name}": card.model_copy(update={"id": f"a-{name}", "submitter": "me", "smoothing": noise})
        for name, card in rivals.items()
    }
    everybody = {**mine, **rivals}
    for name, card in rivals.items():
        assert family(name, card.weights_sha256, everybody) == f"submitter {name}"
        assert family(f"a-{name}", card.weights_sha256, everybody) == f"submitter {name}"


@pytest.mark.parametrize("name", ["official-linf", "the-verified-model", "rank-1", "state-of-the-art-vlm"])
def test_a_name_that_is_a_verdict(name: str, forgery: Make, cards: dict[str, Card]) -> None:
    """Said by the id of a card, and by a threat of one's own, whose table it would head."""
    made = forgery("pgd-linf")
    card = cards["schooled"].model_copy(update={"title": name})
    assert "card's title says" in reasons(made.save(), {**cards, "schooled": card})
    made.result["threat"]["name"] = name
    assert "which is not for a name to say" in reasons(made.save(), cards)
    made.result["model"]["id"] = name
    assert "card's id says" in reasons(made.save(), {name: cards["schooled"].model_copy(update={"id": name})})


def test_a_lora_of_rank_16_boasts_of_nothing() -> None:
    assert boasts("Toy, LoRA of rank 16") is None
    assert boasts("Toy, rank 1") == "rank 1"


def test_two_models_of_unknown_weights_are_two(honest: Path, cards: dict[str, Card]) -> None:
    """Else one of them would be called the other's measurement, and no table could be made."""
    found = read_results(honest, cards=cards)
    results = [one.result for one in found if one.result.threat.name == "patch"]
    served = [
        one.model_copy(update={"model": one.model.model_copy(update={"weights_sha256": None})})
        for one in results
    ]
    assert len({measurement(one) for one in served}) == len(results) == 2
    assert not same_model(served[0].model, served[1].model)
    renamed = [
        one.model_copy(update={"model": one.model.model_copy(update={"id": "alias"})}) for one in results[:1]
    ]
    assert measurement(renamed[0]) == measurement(results[0])


def test_what_is_not_pinned_is_not_ranked(honest: Path, cards: dict[str, Card]) -> None:
    entry = verify(honest / "phantoms/pgd-linf/schooled.json", cards=cards).case
    assert entry is not None
    card = cards["schooled"]
    hub = card.model_copy(update={"source": "owner/name", "revision": "main", "submitter": None})
    told = "\n".join(unranked(entry.entry, hub.model_copy(update={"weights_sha256": None})))
    assert "no weights_sha256" in told
    assert "pins no revision" in told
    assert "names no submitter" in told
    assert "pins no revision" not in "\n".join(
        unranked(entry.entry, hub.model_copy(update={"revision": "0" * 40}))
    )
    prompted = card.model_copy(update={"identity": Identity(prompt="0" * 64)})
    assert "does not say what its card pins" in "\n".join(unranked(entry.entry, prompted))


def test_a_model_of_unknown_weights_is_marked_and_ranked_where_no_attack_needs_them(
    honest: Path, cards: dict[str, Card], forgery: Make
) -> None:
    open_card = {"adapter": "endpoint", "source": "my-model:latest", "weights_sha256": None, "dtype": "auto"}
    served = cards["schooled"].model_copy(update=open_card)
    told = {}
    for threat in ("pgd-linf", "certified-l2-quick"):
        case = verify(honest / f"phantoms/{threat}/schooled.json", cards=cards).case
        assert case is not None
        model = case.entry.result.model.model_copy(update={"weights_sha256": None})
        entry = case.entry.model_copy(
            update={"result": case.entry.result.model_copy(update={"model": model})}
        )
        told[threat] = "\n".join(unranked(entry, served))
        assert "weights_sha256" not in told[threat]
        assert "(letter, weights unknown)" in board_name(entry.result, {})
    assert "its weights are unknown, and this board is for attacks that need them" in told["pgd-linf"]
    assert "weights are unknown" not in told["certified-l2-quick"]

    hidden = forgery("pgd-linf")
    hidden.result["model"]["weights_sha256"] = None
    path = hidden.save()
    assert "do not agree on whether its weights are known" in reasons(path, cards)
    assert "source" not in reasons(path, {**cards, "schooled": served})


def test_nobodys_card_is_changed_by_another(tmp_path: Path) -> None:
    shipped = read_registry(None)[0]["safemed-r1-tiny"]
    assert shipped.path is not None
    weaker = shipped.path.read_text().replace("title: SafeMed-R1, tiny", "title: Weak model")
    (tmp_path / "safemed-r1-tiny.md").write_text(weaker)
    cards, problems = read_registry(tmp_path)
    assert cards["safemed-r1-tiny"] == shipped
    assert "is the one that counts" in str(problems[0])


HOSTILE_YAML = {
    "aliases": "title: &a [x, x]\nsize: [*a, *a]",
    "a billion laughs": "\n".join(
        ["a0: &a0 x"] + [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 10)]
    ),
    "itself": "r: &r {x: *r}",
    "depth": f"a: {'[' * 5000}",
    "a number without end": f"a: {'9' * 5000}",
    "a pattern beyond counting": "answer: 'a{99999999999}'",
    "a pattern of brackets": f"answer: '{'(' * 5000}a{')' * 5000}'",
    "a pattern that tries without end": f"answer: '{'(?:a?|b?)' * 60}(?=c)'",
    "length": f"a: {'x' * 100_000}",
}


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML.keys())
def test_a_card_that_would_never_end_concerns_nobody_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "evil.md").write_text(f"---\nid: evil\n{text}\n---\nText.\n")
    with pytest.raises(InvalidInputError):
        read_card(tmp_path / "evil.md")
    cards, problems = read_registry(tmp_path)
    assert "evil" not in cards
    assert len(cards) > 20
    assert all(len(str(problem)) < 2000 for problem in problems)
