"""Whose model it is: card, weights, names that look alike, copies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.draft import unfilled
from medrobust_bench.leaderboard.names import boasts, mixes_scripts, skeleton
from medrobust_bench.leaderboard.registry import shipped_with_the_program
from medrobust_bench.models.cards import ENDPOINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from medrobust_bench.leaderboard.case import Claim
    from medrobust_bench.models.cards import Card

GREY_LEVEL = 1 / 255
"""Noise below it is lost in the rounding of the image: a model smoothed with less is the plain model."""

_SOURCE = re.compile(r"checkpoints/[\w.-]+|\./[\w./-]+|[\w.-]+/[\w.-]+(/[\w.-]+)*", re.ASCII)
_SERVED = re.compile(r"[\w.:-]+(/[\w.:-]+)*", re.ASCII)
"""What a server may call a model."""
COMMIT = re.compile(r"[0-9a-f]{40}")


def card(claim: Claim) -> list[Fault]:
    """The model has a complete card under its id, and is what the card says."""
    model = claim.entry.result.model
    found = claim.cards.get(model.id)
    if found is None:
        return [Fault("model", f"{model.id} has no card in model_cards/: `medrobust submit` drafts one")]
    faults = []
    if missing := unfilled(found):
        faults.append(Fault("model", f"its card is a draft, to be completed: {', '.join(missing)}"))
    expected: list[tuple[str, str | None, str | None]] = [
        ("answer mode", found.answer_mode.value, model.answer_mode),
        ("revision", found.revision, model.revision),
    ]
    if found.weights_sha256 is not None:
        expected.append(("dtype", found.dtype, model.dtype))
    faults += [
        Fault("model", f"{what} is {given}, its card says {meant}")
        for what, meant, given in expected
        if meant != given
    ]
    if found.weights_sha256 not in (None, model.weights_sha256):
        weights = "unknown" if model.weights_sha256 is None else f"{model.weights_sha256[:12]}…"
        faults.append(Fault("model", f"weights {weights} are not those of its card"))
    if (found.adapter == ENDPOINT) != (model.weights_sha256 is None):
        faults.append(Fault("model", "its card and its result do not agree on whether its weights are known"))
    if found.identity is not None and model.identity is not None:
        faults += [
            Fault("model", f"its {part} is not the one that its card pins")
            for part in found.identity.differences(model.identity)
        ]
    if found.smoothing != model.smoothing:
        faults.append(Fault("model", "is not smoothed as its card says"))
    if found.smoothing is not None and found.smoothing.sigma < GREY_LEVEL:
        what = f"is smoothed with σ = {found.smoothing.sigma:g}, less than a grey level: the plain model"
        faults.append(Fault("model", what))
    return faults


def likeness(claim: Claim) -> list[Fault]:
    """Nothing on the card would be taken for another model, or for a verdict of the maintainers."""
    own = claim.cards.get(claim.entry.result.model.id)
    if own is None:
        return []
    faults = []
    form = _SERVED if own.adapter == ENDPOINT else _SOURCE
    if not form.fullmatch(own.source) or ".." in own.source.split("/"):
        what = f"source {own.source[:60]!r} is neither owner/name[/folder], checkpoints/… nor ./…"
        faults.append(Fault("model", what))
    if own.shipped and own.submitter is not None:
        faults.append(Fault("model", f"source {own.source[:60]!r} is for what comes with the program"))
    if own.title != "".join(letter for letter in own.title if letter.isprintable()) or len(own.title) > 80:
        faults.append(
            Fault("model", "its card's title is longer than 80 characters, or holds control characters")
        )
    if mixes_scripts(own.title):
        faults.append(Fault("model", "its card's title mixes scripts in a word, whose letters look alike"))
    for what, said in (("title", own.title), ("id", own.id)):
        if boast := boasts(said):
            faults.append(Fault("model", f"its card's {what} says {boast!r}, which is not for a card to say"))
    for name in (own.id, own.title):
        for other in _earlier(own, claim.cards):
            if skeleton(name) in {skeleton(text) for text in _called(other)} and not _same_source(own, other):
                faults.append(Fault("model", f"{name!r} would be taken for {other.id}"))
    return list(dict.fromkeys(faults))


def copies(claim: Claim) -> list[Fault]:
    """Weights have one row: another dtype, answer mode or noise without effect makes no other model of them."""
    model = claim.entry.result.model
    own = claim.cards.get(model.id)
    if own is None:
        return []
    twins = [
        other.id
        for other in _earlier(own, claim.cards)
        if (other.weights_sha256 == model.weights_sha256 is not None or _same_source(own, other))
        and other.smoothing == own.smoothing
    ]
    return [Fault("model", f"has the weights of {', '.join(twins)}")] if twins else []


def family(model: str, weights: str | None, cards: Mapping[str, Card]) -> str:
    """Equal for models that count once when ranks are computed: of one submitter, or with the same weights.

    Args:
        model: the id in a result.
        weights: the digest in it; None: unknown.
        cards: the model registry.
    """
    own = cards.get(model)
    if own is None:
        return f"weights {weights}"
    same = [card for card in cards.values() if card.weights_sha256 == weights is not None]
    # Whoever smooths another's weights joins that family, and does not draw it into his own.
    first = min(same, key=lambda card: (not card.shipped, card.smoothing is not None, card.id), default=own)
    submitter = first.submitter if first.submitter is not None or first.shipped else own.submitter
    return f"model {first.id}" if submitter is None else f"submitter {submitter.lower()}"


def _earlier(own: Card, cards: Mapping[str, Card]) -> Iterator[Card]:
    """The cards that a card must not resemble: the program's own do not give way to what is submitted."""
    for other in cards.values():
        if other.id != own.id and (shipped_with_the_program(other) or not shipped_with_the_program(own)):
            yield other


def _called(card: Card) -> tuple[str, ...]:
    return card.id, card.title, card.source, card.source.rpartition("/")[2]


def _same_source(own: Card, other: Card) -> bool:
    servers = [None if card.endpoint is None else card.endpoint.base_url for card in (own, other)]
    return (own.source, own.revision, servers[0]) == (other.source, other.revision, servers[1])
