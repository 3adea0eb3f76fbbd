"""The lines of a journal: every question once, about the published image, and no line against another."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from medrobust_bench.certify.fault import Fault
from medrobust_bench.leaderboard.case import some
from medrobust_bench.models.answers.registry import strategy_of
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.read_answer import kind_of
from medrobust_bench.records import AnswerKind, Tier
from medrobust_bench.runs.audit.blindness import ANOTHER, REPLACEMENTS
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.leaderboard.case import Case
    from medrobust_bench.records import Outcome

MOST_SECONDS = 1e7
MOST_PASSES = 10**9
"""Of one question; more cannot be added up, and nobody waits so long."""

LONGEST_TEXT = 20_000
"""Characters of a completion."""


def coverage(case: Case) -> list[Fault]:
    """Every question of the data set stands in the journal once, clean and under the threat."""
    return [
        *_coverage("on the clean images", case.proof.clean, case.questions),
        *_coverage("under the threat", case.proof.threat, case.questions),
    ]


def possible_costs(case: Case) -> list[Fault]:
    """Costs are possible: passes take time, and neither is beyond anything that can be added up."""
    outcomes = (*case.proof.clean, *case.proof.threat)
    faults = []
    endless = [
        o.question
        for o in outcomes
        if o.seconds > MOST_SECONDS or max(o.forward_passes, o.backward_passes) > MOST_PASSES
    ]
    if endless:
        faults.append(Fault("cost", f"more than anybody waits for: {some(endless)}"))
    for name, lines in (("on the clean images", case.proof.clean), ("under the threat", case.proof.threat)):
        if any(o.forward_passes for o in lines) and not any(o.seconds for o in lines):
            faults.append(Fault("cost", f"passes that took no time at all, {name}"))
    return faults


def agreement(case: Case) -> list[Fault]:
    """Every line agrees with the published question, with itself and with the clean line."""
    due = _asked_without_image(case)
    checks: list[tuple[str, str, Callable[[Outcome, Question], bool]]] = [
        ("image", "is not the published one", lambda o, q: o.image_sha256 != case.digests[o.question]),
        ("answer", "is not the published one", lambda o, q: o.answer != q.answer),
        ("group", "is not the published one", lambda o, q: o.group != q.group),
        ("modality", "is not the published one", lambda o, q: o.modality != q.modality),
        ("question type", "is not the published one", lambda o, q: o.question_type != q.question_type),
        ("choice", "is none of the options", lambda o, q: not _possible(o, q)),
        (
            "clean choice",
            "differs from the clean line",
            lambda o, q: o.clean_choice != case.clean[o.question].choice,
        ),
        ("steadiness", "differs from the clean line", lambda o, q: o.steady != case.clean[o.question].steady),
        (
            "clean line",
            "tells of an attack or a certificate",
            lambda o, q: o.threat == CLEAN.name and _more_than_clean(o),
        ),
        (
            "cost",
            "is less than the images that it tells of",
            lambda o, q: o.forward_passes < _fewest_passes(o),
        ),
        ("verdict", "contradicts the choice", lambda o, q: o.correct != (o.choice == o.answer)),
        (
            "blindness control",
            "is not what the plan asks without the image",
            lambda o, q: o.threat == CLEAN.name and not _controlled(o, q, due.get(o.question, frozenset())),
        ),
    ]
    return _found(case, checks)


def unused_fields(case: Case) -> list[Fault]:
    """What a line has no use for is empty: nothing stands there that nobody looks at."""
    certified = case.specification.yields == "certified"
    checks: list[tuple[str, str, Callable[[Outcome, Question], bool]]] = [
        (
            "line under the threat",
            "tells of images replaced",
            lambda o, q: o.threat != CLEAN.name and o.blind_choices is not None,
        ),
        (
            "line of a certification",
            "tells of an attack",
            lambda o, q: certified and o.threat != CLEAN.name and _of_an_attack(o),
        ),
        ("line", "keeps tokens, which are of use to a run alone", lambda o, q: o.tokens is not None),
        (
            "line of images that are made again",
            "tells of gradients, or of rounding",
            lambda o, q: case.specification.remade and (o.rounded_away or bool(o.backward_passes)),
        ),
        (
            "line that was not attacked",
            "tells of an attack",
            lambda o, q: not certified and o.threat != CLEAN.name and not o.attacked and _of_an_attack(o),
        ),
        (
            "standing line",
            "names an image that broke it",
            lambda o, q: o.correct and o.witness_sha256 is not None,
        ),
        (
            "broken line",
            "was rounded away",
            lambda o, q: o.rounded_away and not (o.attacked and o.correct),
        ),
    ]
    return _found(case, checks)


def texts(case: Case) -> list[Fault]:
    """What a model wrote is what was read from it; a model that scores options wrote nothing."""
    model = case.entry.result.model
    writes = case.generates and model.smoothing is None
    card = case.cards.get(model.id)
    if card is None:  # said by `identity.card`; how its texts are to be read, nobody says
        return []
    strategy = strategy_of(card.model_copy(update={"answer_mode": AnswerMode(model.answer_mode)}))

    def wrong(o: Outcome, q: Question) -> bool:
        judged = o.threat == CLEAN.name or o.attacked
        if not (writes and judged):
            return bool(o.text or o.kind or o.tier) and not (case.generates and judged)
        if o.kind is AnswerKind.TRUNCATED:
            return o.choice is not None or o.tier is not Tier.UNPARSED
        read = strategy.read(o.text, q.options)
        told = (o.tier, o.kind) in ((None, None), (read.tier, kind_of(read, o.text)))
        return read.choice != o.choice or not told

    checks: list[tuple[str, str, Callable[[Outcome, Question], bool]]] = [
        ("text", "does not say what its choice says", wrong),
        ("text", f"is longer than {LONGEST_TEXT} characters", lambda o, q: len(o.text) > LONGEST_TEXT),
    ]
    return _found(case, checks)


def _found(case: Case, checks: Sequence[tuple[str, str, Callable[[Outcome, Question], bool]]]) -> list[Fault]:
    lines = (*case.proof.clean, *case.proof.threat)
    return [
        Fault("journal", f"{name} {what}: {some(found)}")
        for name, what, wrong in checks
        if (found := [o.question for o in lines if wrong(o, case.questions[o.question])])
    ]


def _coverage(where: str, outcomes: Sequence[Outcome], questions: Mapping[str, Question]) -> list[Fault]:
    counts = Counter(outcome.question for outcome in outcomes)
    faults = []
    if missing := [name for name in questions if name not in counts]:
        faults.append(Fault("questions", f"dropped {where}: {some(missing)}"))
    if repeated := [name for name, count in counts.items() if count > 1]:
        faults.append(Fault("questions", f"repeated {where}: {some(repeated)}"))
    if added := [name for name in counts if name not in questions]:
        faults.append(Fault("questions", f"not in the data set, {where}: {some(added)}"))
    return faults


def _more_than_clean(outcome: Outcome) -> bool:
    return _of_an_attack(outcome) or outcome.attacked or outcome.certificate is not None


def _of_an_attack(outcome: Outcome) -> bool:
    told = bool(outcome.attempts), outcome.witness_sha256 is not None, outcome.rounded_away, outcome.attacked
    return any(told) or bool(outcome.backward_passes)


def _fewest_passes(outcome: Outcome) -> int:
    """Images that a line tells of; a clean one is judged twice."""
    if outcome.threat == CLEAN.name:
        return 2
    searched = sum(len(attempt.losses) for attempt in outcome.attempts)
    return searched + sum(alteration.tried or 1 for alteration in outcome.alterations)


def _possible(outcome: Outcome, question: Question) -> bool:
    return outcome.choice is None or 0 <= outcome.choice < len(question.options)


def _asked_without_image(case: Case) -> dict[str, frozenset[str]]:
    """By question the replacements of its image that it must have been asked about where it was answered right."""
    every = frozenset(REPLACEMENTS)
    return {name: every if name in case.strangers else every - {ANOTHER} for name in case.sampled}


def _controlled(outcome: Outcome, question: Question, due: frozenset[str]) -> bool:
    """Whether a clean outcome holds an answer to every replacement of its image, or none where none was due."""
    if not (due and outcome.correct):
        return outcome.blind_choices is None
    given = outcome.blind_choices or {}
    options = (None, *range(len(question.options)))
    return given.keys() == due and all(choice in options for choice in given.values())
