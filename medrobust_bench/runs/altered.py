"""Altered images made again to be looked at: no run stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.attacks.altering import remade_image
from medrobust_bench.attacks.corruption import at_severity
from medrobust_bench.attacks.corruptions.registry import kinds_for
from medrobust_bench.attacks.corruptions.severity import SEVERITIES
from medrobust_bench.data.image import canonical, to_png
from medrobust_bench.records.witness import Witness, sha256
from medrobust_bench.reports.run_page.strip import Strip, strip
from medrobust_bench.runs.threats import open_altering
from medrobust_bench.specs.vocabulary import in_usual_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Alteration, Outcome
    from medrobust_bench.specs.threat import ThreatSpec

_EACH = 4
"""Broken answers of a modality that are made again for a gallery."""


def remade_witnesses(
    threat: ThreatSpec, outcomes: Sequence[Outcome], questions: Mapping[str, Question], *, seed: int
) -> list[Witness]:
    """Images that broke an answer, a few of every modality, made again; those that cannot be are left out.

    Args:
        threat: of the outcomes; its images can be made again.
        outcomes: under it.
        questions: by id.
        seed: of the run.
    """
    altering = open_altering(threat)
    taken: dict[str, int] = {}
    found = []
    for outcome in outcomes:
        decisive = outcome.decisive
        if outcome.correct or decisive is None or taken.get(outcome.modality, 0) == _EACH:
            continue
        clean = canonical(questions[outcome.question].image)
        image, _fault = remade_image(altering, questions[outcome.question], clean, seed, decisive)
        if image is None:
            continue
        taken[outcome.modality] = taken.get(outcome.modality, 0) + 1
        png = to_png(image)
        found.append(
            Witness(
                model=outcome.model,
                threat=outcome.threat,
                question=outcome.question,
                image=png,
                sha256=sha256(png),
                clean_sha256=sha256(clean.tobytes()),
                answer=outcome.answer,
                choice=decisive.choice,
                text=outcome.text,
            )
        )
    return found


def strips(
    outcomes: Sequence[Outcome], questions: Mapping[str, Question], *, seed: int, limit: int
) -> list[Strip]:
    """Of every modality the fault that broke most answers, on an image that it broke, clean and at severities 1 to 5.

    Args:
        outcomes: under corruptions by chance.
        questions: by id.
        seed: of the run.
        limit: at most so many strips.
    """
    met: dict[str, dict[str, list[tuple[Outcome, list[Alteration]]]]] = {}
    for outcome in outcomes:
        question = questions[outcome.question]
        met_here = {one.what for one in outcome.alterations}
        fitting = kinds_for(question.modality, question.question_type, among=met_here)
        by_kind: dict[str, list[Alteration]] = {kind.kind: [] for kind in fitting}
        for one in outcome.alterations:
            if one.what in by_kind:  # a stranger's journal may hold anything
                by_kind[one.what].append(one)
        for kind, of_kind in by_kind.items():
            if of_kind:
                met.setdefault(question.modality, {}).setdefault(kind, []).append((outcome, of_kind))
    made = []
    for modality in in_usual_order(met)[:limit]:
        kind, found = max(
            met[modality].items(),
            key=lambda item: sum(_wrong(*one) for one in item[1]) / sum(len(one[1]) for one in item[1]),
        )
        # Rather an answer that the fault broke than one that was wrong before.
        outcome, _ = max(found, key=lambda one: (one[0].clean_choice == one[0].answer, _wrong(*one)))
        question = questions[outcome.question]
        clean = canonical(question.image)
        images = {severity: at_severity(kind, question, clean, seed, severity) for severity in SEVERITIES}
        made.append(strip(outcome, question, kind, images))
    return made


def _wrong(outcome: Outcome, alterations: Sequence[Alteration]) -> int:
    return sum(one.choice != outcome.answer for one in alterations)
