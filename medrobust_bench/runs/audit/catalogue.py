"""All checks of the audit, in the order in which they are reported."""

from __future__ import annotations

from medrobust_bench.runs.audit import (
    artefact,
    baseline,
    blindness,
    carried,
    gradient,
    losses,
    masking,
    optimisation,
    options,
    precision,
    rivalry,
)

IN_EVERY_RUN = (
    carried.STEADY,
    baseline.UNPARSED,
    baseline.TRUNCATED,
    baseline.CHANCE,
    baseline.MAJORITY,
    baseline.OPTION_TEXTS,
    blindness.BLANK,
    blindness.NOISE,
    blindness.SHUFFLED,
    blindness.ANOTHER_IMAGE,
    blindness.DEPENDENCE,
    carried.WITNESSED,
    carried.ROUNDED,
    baseline.UNPARSED_BREAKS,
    carried.FOUND,
    losses.FLAT,
    losses.RISING,
    losses.RESTARTS_USED,
    losses.GRADIENTS,
    precision.IN_FLOAT32,
    rivalry.NOT_BEATEN,
    rivalry.MONOTONE,
    rivalry.ENSEMBLE,
    baseline.POSITIVE_CONTROL,
    blindness.CREDIT,
)
"""Made of plan and journal alone."""

WITH_THE_MODEL = (
    artefact.BUDGET,
    artefact.UNCHANGED,
    artefact.STILL_BROKEN,
    gradient.PRESENT,
    gradient.NONZERO,
    gradient.SLOPE,
    gradient.STABLE,
    gradient.UNSATURATED,
    gradient.PRECISE,
    gradient.COMPANY,
    masking.FIXED,
    options.ORDER,
    options.SAME_VERDICT,
    optimisation.SILENT,
    optimisation.MORE_STEPS,
    optimisation.MORE_RESTARTS,
    optimisation.OTHER_LOSS,
    optimisation.SINGLE_STEP,
    optimisation.LARGER,
    optimisation.UNBOUNDED,
    masking.SAME_PATH,
    masking.NOISE,
    masking.SQUARE,
    masking.TRANSFER,
)
"""Made by `medrobust audit` on a sample of questions; it makes `losses.FLAT` and `losses.RISING` again."""

CHECKS = tuple((check, True) for check in IN_EVERY_RUN) + tuple((check, False) for check in WITH_THE_MODEL)
"""Every check, and whether every run makes it."""
