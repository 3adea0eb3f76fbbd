"""Baselines and the positive control: what guessing achieves, and whether an attack stops there."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from scipy.stats import binomtest

from medrobust_bench.records import AnswerKind
from medrobust_bench.runs.audit.check import CARLINI, HERE, IMAGE_MATTERS, Check, above

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medrobust_bench.records import Finding, Outcome

SIGNIFICANCE = 0.05

MOST_CUT_SHORT = 0.05
"""Share of answers cut short beyond which a run warns."""

FEWEST = 10
"""Questions of a modality below which its own baseline is not looked at."""

CHANCE = Check("chance baseline", "baseline", "Is clean accuracy above chance, in every modality?", HERE)
MAJORITY = Check(
    "majority baseline",
    "baseline",
    "Is clean accuracy above always giving the modality's most frequent option, in every modality?",
    IMAGE_MATTERS,
)
OPTION_TEXTS = Check(
    "text-only baseline",
    "baseline",
    "Is clean accuracy above what the options' texts give away, by how often each was right in the training split?",
    IMAGE_MATTERS,
)
POSITIVE_CONTROL = Check(
    "stopped at chance",
    "baseline",
    "Does the attack fall below chance, as it must on an undefended model, rather than stop there?",
    CARLINI,
)
UNPARSED = Check("unparsed, clean", "baseline", "How many clean answers cannot be parsed?", HERE)
TRUNCATED = Check(
    "answers cut short", "baseline", "How many generated answers does the length limit cut short?", HERE
)
UNPARSED_BREAKS = Check(
    "unparsed, attacked",
    "baseline",
    "How many of the attack's successes only break the format of the answer?",
    HERE,
)


def chance(questions: Sequence[Outcome], options: Mapping[str, int]) -> float:
    """Expected accuracy of a guess among each question's options."""
    return sum(1 / options[outcome.question] for outcome in questions) / len(questions)


def baselines(clean: Sequence[Outcome], options: Mapping[str, int]) -> list[Finding]:
    """Clean accuracy against chance and against the most frequent option, whole and per modality.

    Args:
        clean: outcomes of the clean images.
        options: number of options by question.
    """
    groups: dict[str, list[Outcome]] = {}
    for outcome in clean:
        groups.setdefault(outcome.modality, []).append(outcome)
    guessed = {name: chance(group, options) for name, group in groups.items()}
    frequent = {
        name: max(Counter(outcome.answer for outcome in group).values()) / len(group)
        for name, group in groups.items()
    }
    most = max(Counter(outcome.answer for outcome in clean).values()) / len(clean)
    return [
        _above(CHANCE, "chance", clean, groups, chance(clean, options), guessed),
        _above(MAJORITY, "always the most frequent option", clean, groups, most, frequent),
    ]


def option_texts(clean: Sequence[Outcome], texts: Mapping[str, int]) -> Finding:
    """Clean answers against those of a reader who sees the options' texts and nothing else, question by question.

    A model that is no better has not been shown to see; one that never met the training split may see and still lack
    what its texts tell, so that this never fails a model.

    Args:
        clean: outcomes of the clean images.
        texts: the option that the texts recommend, by question; see `data.baselines.option_text_choices`.
    """
    only_model = sum(o.correct and texts[o.question] != o.answer for o in clean)
    only_texts = sum(not o.correct and texts[o.question] == o.answer for o in clean)
    right = sum(outcome.correct for outcome in clean) / len(clean)
    level = right - (only_model - only_texts) / len(clean)
    lead = f"clean accuracy {right:.1%}, the options' texts alone {level:.1%}"
    difference = (only_model - only_texts) / len(clean)
    discordant = only_model + only_texts
    if only_model <= only_texts:
        meaning = f"{lead}: not above it, so that accuracy does not show that the images were looked at"
        return OPTION_TEXTS.find(difference, "warn", meaning)
    if not _significantly(only_model, discordant, 0.5, "greater"):
        return OPTION_TEXTS.find(difference, "warn", f"{lead}: too few questions to tell them apart")
    groups: dict[str, list[Outcome]] = {}
    for outcome in clean:
        groups.setdefault(outcome.modality, []).append(outcome)
    weak = [
        name
        for name, group in groups.items()
        if len(group) >= FEWEST
        and sum(o.correct for o in group) <= sum(texts[o.question] == o.answer for o in group)
    ]
    if weak:
        return OPTION_TEXTS.find(difference, "warn", f"{lead}; not above it in {', '.join(weak)}")
    return OPTION_TEXTS.find(difference, "pass", f"{lead}; above it in every modality")


def _above(
    check: Check,
    name: str,
    clean: Sequence[Outcome],
    groups: Mapping[str, list[Outcome]],
    whole: float,
    by_modality: Mapping[str, float],
) -> Finding:
    right = sum(outcome.correct for outcome in clean)
    accuracy = right / len(clean)
    weak = [
        modality
        for modality, group in groups.items()
        if len(group) >= FEWEST
        and sum(outcome.correct for outcome in group) / len(group) <= by_modality[modality]
    ]
    lead = f"clean accuracy {accuracy:.1%}, {name} {whole:.1%}"
    if accuracy <= whole and len(clean) >= FEWEST:
        return check.find(
            accuracy - whole, "fail", f"{lead}: not above it, so that no answer shows that the model knows"
        )
    if not _significantly(right, len(clean), whole, "greater"):
        return check.find(accuracy - whole, "warn", f"{lead}: too few questions to tell them apart")
    if weak:
        return check.find(accuracy - whole, "warn", f"{lead}; not above it in {', '.join(weak)}")
    return check.find(accuracy - whole, "pass", f"{lead}; above it in every modality")


def positive_control(outcomes: Sequence[Outcome], options: Mapping[str, int]) -> Finding:
    """Whether a white-box attack falls below chance; one that stops at chance has turned answers into guesses.

    Args:
        outcomes: of one model under one attack that uses gradients.
        options: number of options by question.
    """
    robust, level = sum(outcome.correct for outcome in outcomes), chance(outcomes, options)
    share = robust / len(outcomes)
    lead = f"robust accuracy {share:.1%}, chance {level:.1%}"
    if _significantly(robust, len(outcomes), level, "less"):
        return POSITIVE_CONTROL.find(share - level, "pass", f"{lead}: clearly below chance")
    if _significantly(robust, len(outcomes), level, "greater"):
        meaning = f"{lead}: above it, by a defence or by a weak attack, which the other checks tell apart"
        return POSITIVE_CONTROL.find(share - level, "pass", meaning)
    if not robust:
        return POSITIVE_CONTROL.find(share - level, "pass", f"{lead}: no right answer is left standing")
    meaning = f"{lead}: the attack stops at chance; on an undefended model that is a finding about the attack"
    return POSITIVE_CONTROL.find(share - level, "warn", meaning)


def unparsed(clean: Sequence[Outcome]) -> Finding:
    """Clean answers that cannot be parsed, which count as wrong."""
    share = sum(outcome.clean_choice is None for outcome in clean) / len(clean)
    meaning = f"{share:.1%} of the clean answers cannot be parsed and count as wrong"
    return UNPARSED.find(share, above(share, warn=0.05, fail=0.5), meaning)


def cut_short(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Generated answers that their length limit cut short: they count as wrong, and say nothing about the model."""
    told = [outcome for outcome in outcomes if outcome.kind is not None]
    if not told:
        return []
    share = sum(outcome.kind is AnswerKind.TRUNCATED for outcome in told) / len(told)
    verdict = above(share, warn=MOST_CUT_SHORT, fail=1.0)
    remedy = "" if verdict == "pass" else ": raise --max-new-tokens"
    meaning = (
        f"{share:.1%} of {len(told)} answers were cut short by the length limit and count as wrong{remedy}"
    )
    return [TRUNCATED.find(share, verdict, meaning)]


def format_breaks(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Successes of an attack whose answer cannot be parsed, apart from wrong answers."""
    broken = [outcome for outcome in outcomes if outcome.attacked and not outcome.correct]
    if not broken:
        return []
    share = sum(outcome.choice is None for outcome in broken) / len(broken)
    meaning = f"{share:.1%} of {len(broken)} broken answers are unparsable rather than wrong"
    return [UNPARSED_BREAKS.find(share, above(share, warn=0.5, fail=1.0), meaning)]


def _significantly(right: int, n: int, level: float, alternative: str) -> bool:
    return bool(binomtest(right, n, level, alternative=alternative).pvalue < SIGNIFICANCE)
