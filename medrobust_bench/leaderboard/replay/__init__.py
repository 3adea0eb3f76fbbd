"""A submission done again, in part, with the model itself: from every kind of claim that ranks rests on."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.replay.agreement import Agreement, Replay
from medrobust_bench.leaderboard.replay.kinds import KINDS, Repeater
from medrobust_bench.leaderboard.replay.share import by_count, by_minutes, pace
from medrobust_bench.runs.models import open_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.models.cards import Card

__all__ = ["Agreement", "Replay", "replay", "replay_with"]


def replay(
    case: Case,
    card: Card,
    *,
    count: int | None = None,
    minutes: float | None = None,
    seed: int,
    device: str = "auto",
    tell: Callable[[str], None] = lambda _line: None,
) -> Replay:
    """Load a submission's model and do a random part of its claims again.

    Args:
        case: of an accepted submission.
        card: of its model.
        count: claims to repeat; all, where there are fewer.
        minutes: or how long it may take, about: claims are counted by what they cost the submitter, at the pace at
            which this machine answers.
        seed: of the draw; the submitter must not know it.
        device: to run on.
        tell: is told beforehand what is going to be repeated, and what it will cost.
    """
    model = case.entry.result.model
    adapter = open_model(card, questions=case.dataset.questions[:1], device=device, dtype=model.dtype)
    return replay_with(adapter, case, count=count, minutes=minutes, seed=seed, tell=tell)


def replay_with(
    adapter: Adapter,
    case: Case,
    *,
    count: int | None = None,
    minutes: float | None = None,
    seed: int,
    tell: Callable[[str], None] = lambda _line: None,
) -> Replay:
    """See `replay`; with a model that is opened already (`open_model`)."""
    repeater = Repeater(adapter, case)
    claims = {kind.name: kind.claims(case) for kind in KINDS}
    drawn: Mapping[str, list[str]] = {
        name: random.Random(f"{seed}{name}").sample(found, len(found)) for name, found in claims.items()
    }
    ranking = [kind.name for kind in KINDS if kind.ranks]
    costs = {kind.name: kind.seconds(case) for kind in KINDS}
    if minutes is None:
        shares = by_count({name: len(found) for name, found in claims.items()}, ranking, count or 300)
    else:
        speed = pace(repeater, case)
        shares = by_minutes(
            {name: len(found) for name, found in claims.items()},
            ranking,
            {name: speed * cost for name, cost in costs.items()},
            60 * minutes,
        )
    tell(
        ", ".join(f"{number} of {len(claims[name])} {name}" for name, number in shares.items() if number)
        + f": about {sum(costs[name] * number for name, number in shares.items()) / 60:.1f} minutes of the submitter's"
    )
    weights = case.entry.result.model.weights_sha256
    strange = adapter.record.weights_sha256
    told = f"weights are {strange[:12]}…, submitted were {weights[:12]}…" if strange != weights else None
    return Replay(
        agreements=tuple(
            Agreement(
                kind.name,
                asked=shares[kind.name],
                of=len(claims[kind.name]),
                disagreements=tuple(
                    what
                    for question in drawn[kind.name][: shares[kind.name]]
                    if (what := kind.repeat(repeater, question)) is not None
                ),
                tolerance=kind.tolerance,
                means=kind.means,
            )
            for kind in KINDS
            if claims[kind.name]
        ),
        other_weights=told,
        seed=seed,
    )
