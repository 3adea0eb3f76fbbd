"""Who is ranked: what keeps an accepted submission out of the ranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.checks.identity import COMMIT
from medrobust_bench.leaderboard.checks.losses import falling
from medrobust_bench.leaderboard.checks.neighbours import rivalry
from medrobust_bench.models.cards import ENDPOINT
from medrobust_bench.runs.audit.blindness import DEPENDENCE
from medrobust_bench.runs.audit.precision import IN_FLOAT32
from medrobust_bench.specs.registry import is_official

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.evidence import Proof
    from medrobust_bench.models.cards import Card

OFFICIAL_SIZES = (100, 300, 1000)
"""Nested samples that are ranked, beside the whole split; see `medrobust leaderboard subset`."""

MOST_FALLING = 0.1
"""Share of the standing questions whose attack may never have come above where it began."""


def unranked(entry: Entry, card: Card | None) -> list[str]:
    """Why a submission takes no part in the ranking, even where nothing is wrong with it.

    Args:
        entry: the submission.
        card: of its model.
    """
    chosen, audit = entry.selection, (*entry.clean_audit, *entry.result.audit)
    reasons = []
    if entry.result.model.weights_sha256 is None and entry.result.threat.white_box:
        reasons.append("its weights are unknown, and this board is for attacks that need them")
    if not is_official(entry.result.threat):
        reasons.append("not an official threat")
    if chosen.split != "test" or chosen.modalities or chosen.seed != 0:
        reasons.append("not the official questions: whole test split, seed 0")
    if chosen.limit is not None and chosen.limit not in OFFICIAL_SIZES:
        reasons.append(f"not an official sample: {', '.join(map(str, OFFICIAL_SIZES))} questions or all")
    if chosen.skip_invalid and entry.result.data.skipped:
        reasons.append("rows of the data set were left out")
    if entry.result.schema_version == "1.0":
        reasons.append("written by an earlier version, which did not say what texts alone give away")
    if DEPENDENCE.name not in {finding.check for finding in audit}:
        reasons.append("no audit shows that answers depend on the image")
    if halves := [one.meaning for one in audit if one.check == IN_FLOAT32.name and one.verdict != "pass"]:
        reasons.append(f"a weaker attack than the others met: {halves[0]}")
    failed = [finding.check for finding in audit if finding.verdict == "fail"]
    if failed:
        reasons.append(f"its audit failed: {', '.join(failed)}")
    return [*reasons, *_unpinned(entry, card)]


def doubted(path: Path, entry: Entry, proof: Proof) -> list[str]:
    """What the evidence says against the attack: reasons as of `unranked`.

    Args:
        path: the submission file.
        entry: what it holds.
        proof: its evidence.
    """
    share = falling(proof.threat) if entry.result.threat.white_box else 0.0  # random draws need not rise
    fell = [f"the loss of {share:.0%} of the standing questions never rose"] if share > MOST_FALLING else []
    return fell + rivalry(path, entry, proof)


def why_unranked(path: Path, entry: Entry, proof: Proof | None, cards: Mapping[str, Card]) -> list[str]:
    """Everything that keeps a submission out of the ranking."""
    reasons = unranked(entry, cards.get(entry.result.model.id))
    return reasons + ([] if proof is None else doubted(path, entry, proof))


def _unpinned(entry: Entry, card: Card | None) -> list[str]:
    """What of a model's identity its card leaves open."""
    if card is None:
        return ["its model has no card"]
    if card.adapter == ENDPOINT:
        return [] if card.submitter is not None else ["its card names no submitter"]
    reasons = []
    if card.weights_sha256 is None:
        reasons.append("its card has no weights_sha256: whose weights were measured is open")
    if card.shipped:
        return reasons
    if card.identity is not None and entry.result.model.identity is None:
        reasons.append("its result does not say what its card pins besides the weights")
    if not card.source.startswith("./") and not COMMIT.fullmatch(card.revision or ""):
        reasons.append("its card pins no revision (a commit of 40 hexadecimal digits)")
    if card.submitter is None:
        reasons.append("its card names no submitter")
    return reasons
