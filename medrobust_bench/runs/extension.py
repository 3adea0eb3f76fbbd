"""A run that grows: more models, threats or questions, while what is there is kept and not done again.

Every outcome under a threat stays as it is. What says whether answers depend on the image is drawn anew from all of the
questions, as in a run that began with them, so that a stranger can check it; it is asked again where the draw changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from medrobust_bench.data.source import sample
from medrobust_bench.problems import Problem
from medrobust_bench.runs.audit.blindness import sampled_questions, strangers
from medrobust_bench.specs.settings import GROWING
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.run import Plan
    from medrobust_bench.specs.settings import RunSettings


def extended_settings(begun: RunSettings, asked: RunSettings) -> RunSettings:
    """What a run was asked to do and what it is asked now, together; without a new limit the old one stays."""
    both = {
        name: tuple(dict.fromkeys((*getattr(begun, name), *getattr(asked, name))))
        for name in GROWING
        if name != "limit"
    }
    return asked.model_copy(update={**both, "limit": begun.limit if asked.limit is None else asked.limit})


def misfits(begun: Plan, now: Plan, dataset: Dataset) -> list[Problem]:
    """Why a plan does not hold all of the one that it extends.

    Args:
        begun: of the run that is there.
        now: with more models, threats or questions.
        dataset: the questions of the second.
    """
    where, problems = f"--limit {now.settings.limit}", []
    size, larger = begun.settings.sample_size, now.settings.sample_size
    if larger is not None and (size is None or larger < size):
        what = f"asks fewer questions than the {begun.data.n} of the run that is there"
        return [Problem(where, what, "give a larger limit, or start another run")]
    earlier = dataset
    if size is not None and larger is not None:
        earlier = replace(dataset, questions=dataset.questions[:size])
    elif size is not None:
        earlier = sample(dataset, size, seed=now.settings.seed)
    if earlier.digest() != begun.data.digest:
        what = "does not hold the questions of the run that is there, as they were"
        problems.append(Problem(now.data.name, what, "give the same data set, or start another run"))
    for name in ("models", "threats"):
        old, new = getattr(begun, name), getattr(now, name)
        if new[: len(old)] != old:
            what = f"{name} of the run that is there are not what they were"
            problems.append(Problem("--extend", what, "restore them, or start another run"))
    return problems


def with_stale_controls_dropped(
    clean: Sequence[Outcome], before: Dataset, after: Dataset, *, seed: int
) -> list[Outcome]:
    """Outcomes whose answers without the image are taken out where more questions change what is asked there.

    Args:
        clean: outcomes of the questions before, under any threat.
        before: the questions that the run had.
        after: those that it has now.
        seed: of the run.
    """
    ids = [{question.id: question for question in dataset.questions} for dataset in (before, after)]
    asked = [sampled_questions(known, seed=seed) for known in ids]
    shown = [strangers(dataset.questions, seed=seed) for dataset in (before, after)]
    names = [{name: other.id for name, other in found.items()} for found in shown]
    return [
        one.model_copy(
            update={"blind_choices": None, "forward_passes": one.forward_passes - len(one.blind_choices)}
        )
        if one.threat == CLEAN.name
        and one.blind_choices is not None
        and (one.question not in asked[1] or names[0].get(one.question) != names[1].get(one.question))
        else one
        for one in clean
    ]
