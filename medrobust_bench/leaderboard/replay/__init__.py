"""A submission done again, in part, with the model itself: from every kind of claim that ranks rests on."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.replay.agreement import Agreement, Replay
from medrobust_bench.leaderboard.replay.hidden import FRESH, on_fresh_phantoms
from medrobust_bench.leaderboard.replay.kinds import KINDS, Repeater
from medrobust_bench.leaderboard.replay.share import by_count, by_minutes, pace
from medrobust_bench.runs.models import open_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import ModelRecord

__all__ = ["Agreement", "Replay", "Wish", "replay", "replay_with"]

USUAL = 300
"""Claims that are repeated unless told otherwise: enough, agreeing, to bound the share of others below 1 %."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done again.

    Attributes:
        seed: of the draw; the submitter must not know it.
        count: claims to repeat; all, where there are fewer.
        minutes: or how long it may take, about: claims are counted by what they cost the submitter, at the pace at
            which this machine answers.
        device: to run on.
        hidden_seed: of fresh phantoms, which nobody else may know; None: none are asked.
        fresh: how many phantoms.
    """

    seed: int
    count: int | None = None
    minutes: float | None = None
    device: str = "auto"
    hidden_seed: int | None = None
    fresh: int = FRESH


def replay(case: Case, card: Card, wish: Wish, *, tell: Callable[[str], None] = lambda _line: None) -> Replay:
    """Load a submission's model and do a random part of its claims again.

    Args:
        case: of an accepted submission.
        card: of its model.
        wish: what is to be done again.
        tell: is told beforehand what is going to be repeated, and what it will cost.
    """
    model = case.entry.result.model
    questions = case.dataset.questions[:1]
    adapter = open_model(card, questions=questions, device=wish.device, dtype=model.dtype)
    return replay_with(adapter, case, wish, tell=tell)


def replay_with(
    adapter: Adapter, case: Case, wish: Wish, *, tell: Callable[[str], None] = lambda _line: None
) -> Replay:
    """See `replay`; with a model that is opened already (`open_model`)."""
    repeater = Repeater(adapter, case)
    drawn = {}
    for kind in KINDS:
        claims = kind.claims(case)
        drawn[kind.name] = random.Random(f"{wish.seed} {kind.name}").sample(claims, len(claims))
    shares = _shares(repeater, case, {name: len(claims) for name, claims in drawn.items()}, wish)
    costs = {kind.name: kind.seconds(case) for kind in KINDS}
    chosen = ", ".join(f"{number} of {len(drawn[name])} {name}" for name, number in shares.items() if number)
    minutes = sum(costs[name] * number for name, number in shares.items()) / 60
    tell(f"{chosen}: {minutes:.1f} minutes of the submitter's machine")
    agreements = []
    for kind in (kind for kind in KINDS if drawn[kind.name]):
        again = kind.repeat(repeater, drawn[kind.name][: shares[kind.name]])
        agreements.append(
            Agreement(
                kind.name,
                asked=shares[kind.name],
                of=len(drawn[kind.name]),
                disagreements=tuple(what for what in again if what is not None),
                tolerance=kind.tolerance,
                means=kind.means,
                ranks=kind.ranks,
            )
        )
    hidden = None
    if wish.hidden_seed is not None:
        hidden = on_fresh_phantoms(repeater.adapter, case, count=wish.fresh, seed=wish.hidden_seed)
    return Replay(tuple(agreements), _another(case.entry.result.model, adapter.record), wish.seed, hidden)


def _another(submitted: ModelRecord, loaded: ModelRecord) -> str | None:
    """In what the loaded model is not the submitted one; None where it is."""
    if submitted.weights_sha256 != loaded.weights_sha256:
        return (
            f"weights are {_short(loaded.weights_sha256)}, submitted were {_short(submitted.weights_sha256)}"
        )
    # What a server says about itself changes with every restart.
    parts = submitted.model_copy(update={"server": loaded.server}).differences(loaded)
    return f"another {', another '.join(parts)} than was submitted" if parts else None


def _short(weights: str | None) -> str:
    return "unknown" if weights is None else f"{weights[:12]}…"


def _shares(repeater: Repeater, case: Case, claims: dict[str, int], wish: Wish) -> dict[str, int]:
    """How many claims of each kind are repeated."""
    ranking = [kind.name for kind in KINDS if kind.ranks]
    if wish.minutes is None:
        return by_count(claims, ranking, wish.count or USUAL)
    slower = pace(repeater, case)
    seconds = {kind.name: slower * kind.seconds(case) for kind in KINDS}
    return by_minutes(claims, ranking, seconds, 60 * wish.minutes)
