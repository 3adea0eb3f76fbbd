"""From outcomes to a result: a pure function of the plan and the journal."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING

from medrobust_bench.records import (
    AnswerCounts,
    AnswerKind,
    CertifiedEstimate,
    ControlEstimate,
    CorruptionEstimate,
    Cost,
    Metrics,
    PairedDifference,
    Result,
    Scores,
    Tier,
    UnparsedRate,
)
from medrobust_bench.records.intervals import clustered, proportion
from medrobust_bench.reports.paired import Paired, difference_interval, exact_p_value
from medrobust_bench.specs.certification import CertificationSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from medrobust_bench.records import (
        DataRecord,
        Environment,
        Estimate,
        Finding,
        ModelRecord,
        Outcome,
        WithoutImages,
    )
    from medrobust_bench.reports.metrics import Metric
    from medrobust_bench.specs.threat import ThreatSpec


def summarise(
    outcomes: Sequence[Outcome],
    *,
    model: ModelRecord,
    data: DataRecord,
    threat: ThreatSpec,
    seed: int,
    environment: Environment,
    audit: Sequence[Finding] = (),
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    without_images: WithoutImages | None = None,
    dependent: Mapping[str, bool] | None = None,
    failed: Mapping[str, int] = MappingProxyType({}),
) -> Result:
    """The result of one model under one threat.

    Args:
        outcomes: one per question of the data set that came to one, in the plan's order.
        failed: the questions that did not, counted by kind of fault.
        audit: what the checks of these outcomes found.
        metrics: further ones, by name.
        without_images: what the questions give away without any image.
        dependent: whether the answer depends on the image, by question that was also asked without it; see
            `blindness.dependent_answers`.

    Raises:
        ValueError: an outcome is missing or repeated.
    """
    n = data.n - sum(failed.values())
    if len({outcome.question for outcome in outcomes}) != len(outcomes) or len(outcomes) != n:
        raise ValueError(f"{model.id} under {threat.name}: {len(outcomes)} outcomes for {n} questions")
    dependent = dependent or {}
    by_modality = _grouped(outcomes, threat, metrics, dependent, lambda outcome: outcome.modality)
    attacked = [outcome for outcome in outcomes if outcome.attacked]
    whole = scores(outcomes, threat, metrics, dependent)
    summary = Metrics(
        **dict(whole),
        unparsed_rate=UnparsedRate(
            clean=_share(outcome.clean_choice is None for outcome in outcomes),
            adversarial=_share(outcome.choice is None for outcome in attacked) if attacked else None,
        ),
        answers=answer_counts(outcomes),
        nondeterminism=_share(not outcome.steady for outcome in outcomes),
        rounding_loss=_share(outcome.rounded_away for outcome in outcomes)
        if attacked and model.answer_mode not in ("reasoning", "generate")
        else None,
        by_corruption=by_corruption(outcomes) if threat.yields == "corrupted" else (),
        controls=controls(outcomes),
        on_text=_on_text(outcomes),
        by_modality=by_modality,
        by_question_type=_grouped(
            outcomes, threat, metrics, dependent, lambda outcome: outcome.question_type
        ),
        worst_modality=min(by_modality, key=lambda name: _headline(by_modality[name]))
        if len(by_modality) > 1
        else None,
    )
    return Result(
        model=model,
        data=data,
        threat=threat,
        seed=seed,
        metrics=summary,
        without_images=without_images,
        failed=dict(failed),
        audit=tuple(audit),
        cost=Cost(
            forward_passes=sum(outcome.forward_passes for outcome in outcomes),
            backward_passes=sum(outcome.backward_passes for outcome in outcomes),
            seconds=round(sum(outcome.seconds for outcome in outcomes), 3),
        ),
        environment=environment,
    )


def scores(
    outcomes: Sequence[Outcome],
    threat: ThreatSpec,
    metrics: Mapping[str, Metric] = MappingProxyType({}),
    dependent: Mapping[str, bool] = MappingProxyType({}),
) -> Scores:
    """Clean accuracy, by what the threat yields robust or certified accuracy, and further metrics of these outcomes.

    Args:
        outcomes: of a group of questions, at least one.
        threat: that they met.
        metrics: further ones, by name.
        dependent: see `summarise`.
    """
    credited = credited_accuracy(outcomes, threat, dependent)
    return _scores(outcomes, threat, metrics).model_copy(update={"credited_accuracy": credited})


def credited_accuracy(
    outcomes: Sequence[Outcome], threat: ThreatSpec, dependent: Mapping[str, bool]
) -> Estimate | None:
    """The accuracy that ranks, with only those answers counted that depend on the image.

    For one question, credit = c·d with c whether it counts as right under the threat (for corruptions the share of its
    images that are answered right, for a certification whether it is certified at the smallest radius) and d whether
    its clean answer depends on the image. The accuracy is the mean over the questions for which d is known; a clean
    answer that is wrong has no credit. None where d is known of none.
    """
    known = [outcome for outcome in outcomes if outcome.question in dependent]
    if threat.yields == "corrupted":
        known = [outcome for outcome in known if outcome.alterations]
    if not known:
        return None
    if threat.yields == "corrupted":
        shares = [dependent[o.question] * o.share_right for o in known]
        return clustered(shares, [outcome.cluster for outcome in known])
    radius = float(threat.radii[0]) if isinstance(threat, CertificationSpec) else None
    right = [o.correct if radius is None else is_certified(o, radius) for o in known]
    return proportion([c and dependent[o.question] for c, o in zip(right, known, strict=True)], known)


def _scores(outcomes: Sequence[Outcome], threat: ThreatSpec, metrics: Mapping[str, Metric]) -> Scores:
    measured = {name: metric(outcomes, threat) for name, metric in metrics.items()}
    further = {name: estimate for name, estimate in measured.items() if estimate is not None}
    clean = proportion([o.clean_choice == o.answer for o in outcomes], outcomes)
    if threat.yields == "clean":
        return Scores(clean_accuracy=clean, further=further)
    if isinstance(threat, CertificationSpec):
        certified = tuple(
            CertifiedEstimate(
                radius=radius, **dict(proportion([is_certified(o, radius) for o in outcomes], outcomes))
            )
            for radius in map(float, threat.radii)
        )
        return Scores(clean_accuracy=clean, certified_accuracy=certified, further=further)
    if threat.yields == "corrupted":
        return Scores(clean_accuracy=clean, corrupted_accuracy=corrupted_accuracy(outcomes), further=further)
    robust = proportion([o.correct for o in outcomes], outcomes)
    return Scores(clean_accuracy=clean, robust_accuracy=robust, further=further)


def corrupted_accuracy(outcomes: Sequence[Outcome]) -> Estimate | None:
    """Mean corruption accuracy: the share of right answers of each question's corrupted images, averaged.

    Questions that met no corruption are left out; None where none did.
    """
    met = [outcome for outcome in outcomes if outcome.alterations]
    if not met:
        return None
    return clustered([outcome.share_right for outcome in met], [outcome.cluster for outcome in met])


def by_corruption(outcomes: Sequence[Outcome]) -> tuple[CorruptionEstimate, ...]:
    """Accuracy by kind and severity, in the order in which they were met."""
    met: dict[tuple[str, int], list[tuple[Outcome, bool]]] = {}
    for outcome in outcomes:
        for one in outcome.alterations:
            if one.severity is not None:
                met.setdefault((one.what, one.severity), []).append((outcome, one.choice == outcome.answer))
    estimates = []
    for (kind, severity), answered in met.items():
        whole = clustered(
            [float(right) for _, right in answered], [outcome.cluster for outcome, _ in answered]
        )
        clean = _share(outcome.clean_choice == outcome.answer for outcome, _ in answered)
        estimates.append(CorruptionEstimate(kind=kind, severity=severity, clean=clean, **dict(whole)))
    return tuple(sorted(estimates, key=lambda estimate: estimate.kind))


def controls(outcomes: Sequence[Outcome]) -> tuple[ControlEstimate, ...]:
    """What the worst of as many harmless texts does; questions without one count as they were answered.

    Where a journal holds one text a control, in the place of the words that decided, the two are no fair pair:
    accuracies alone.
    """
    names = dict.fromkeys(one.control for o in outcomes for one in o.alterations if one.control is not None)
    clusters = [outcome.cluster for outcome in outcomes]
    paired = all(one.tried is not None for outcome in outcomes for one in outcome.alterations)
    found = []
    for name in names:
        right = [
            next((one.choice for one in o.alterations if one.control == name), o.choice) == o.answer
            for o in outcomes
        ]
        pairs = Paired.of([outcome.correct for outcome in outcomes], right, clusters)
        reach = difference_interval(pairs)
        found.append(
            ControlEstimate(
                control=name,
                only_words=pairs.gained,
                only_control=pairs.lost,
                words_cost=PairedDifference(value=pairs.difference, low=reach.low, high=reach.high)
                if paired
                else None,
                p_value=exact_p_value(pairs) if paired else None,
                **dict(proportion(right, outcomes)),
            )
        )
    return tuple(found)


def answer_counts(outcomes: Sequence[Outcome]) -> AnswerCounts | None:
    """The generated answers by kind and rule; None where there are none, or a journal does not tell."""
    told = [outcome for outcome in outcomes if outcome.kind is not None]
    if not told:
        return None
    kinds = Counter(outcome.kind for outcome in told if outcome.kind)
    tiers = Counter(outcome.tier for outcome in told if outcome.tier and outcome.kind is AnswerKind.READ)
    return AnswerCounts(
        kinds={kind: kinds[kind] for kind in AnswerKind if kinds[kind]},
        tiers={tier: tiers[tier] for tier in Tier if tiers[tier]},
    )


def _on_text(outcomes: Sequence[Outcome]) -> float | None:
    told = [o.alterations[0].on_text for o in outcomes if o.alterations]
    known = [bool(on_text) for on_text in told if on_text is not None]
    return _share(known) if known else None


def is_certified(outcome: Outcome, radius: float) -> bool:
    """Whether the smoothed answer is right and its certificate reaches the radius."""
    return outcome.correct and outcome.certificate is not None and outcome.certificate["radius"] >= radius


def _grouped(
    outcomes: Sequence[Outcome],
    threat: ThreatSpec,
    metrics: Mapping[str, Metric],
    dependent: Mapping[str, bool],
    name: Callable[[Outcome], str],
) -> dict[str, Scores]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(name(outcome), []).append(outcome)
    return {group: scores(groups[group], threat, metrics, dependent) for group in sorted(groups)}


def _headline(group: Scores) -> float:
    if group.robust_accuracy is not None:
        return group.robust_accuracy.value
    if group.corrupted_accuracy is not None:
        return group.corrupted_accuracy.value
    if group.certified_accuracy:
        return group.certified_accuracy[0].value
    return group.clean_accuracy.value


def _share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values)
