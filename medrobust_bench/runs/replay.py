"""A finished run counted again from its witnesses: what `medrobust replay` calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medrobust_bench.certify.cohen import Certification
from medrobust_bench.models.averaged import wrap_if_stochastic
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.finished import read_finished
from medrobust_bench.runs.plan import CLEAN
from medrobust_bench.runs.recount import Replay
from medrobust_bench.runs.reopen import reopen
from medrobust_bench.specs.registry import load_specification, load_threat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import ModelRecord
    from medrobust_bench.runs.recount import Recount
    from medrobust_bench.specs.settings import RunSettings


def replay_run(
    folder: Path,
    *,
    data: str | None = None,
    device: str | None = None,
    adapters: Mapping[str, Adapter] | None = None,
    dataset: Dataset | None = None,
) -> dict[str, list[Recount]]:
    """Answer every clean image and every witness of a run again, and count.

    Args:
        folder: of the run.
        data: where the data set is now; by default where it was.
        device: instead of the run's.
        adapters: models already in memory, under the names that the run's settings give them.
        dataset: questions already in memory.

    Returns:
        Per model one recount for the clean images and for each attack, in the plan's order.

    Raises:
        InvalidInputError: the run is unfinished, or its data or weights are not to be had any more.
    """
    finished = read_finished(folder)
    plan = finished.record.plan
    dataset = dataset or reopen(plan, data=data)
    questions = {question.id: question for question in dataset.questions}
    chunks = [[questions[name] for name in chunk] for chunk in plan.chunks]
    recounts: dict[str, list[Recount]] = {}
    for name in plan.settings.models:
        if adapters and name in adapters:
            model, adapter = name, adapters[name]
        else:
            model, adapter = _load(name, plan.settings, device)
        adapter = wrap_if_stochastic(adapter, chunks[0])
        _check_weights(folder, finished.record.models[model], adapter.record)
        replay = Replay(adapter, chunks, seed=plan.settings.seed)
        recounts[model] = []
        for record in plan.threats:
            outcomes = {outcome.question: outcome for outcome in finished.outcomes[model, record.name]}
            if record.name == CLEAN.name:
                recounts[model].append(replay.clean(outcomes))
                continue
            threat = load_threat(_as_asked_for(record.name, plan.settings.threats))
            if not isinstance(threat, Certification):
                witnesses = {witness.question: witness for witness in finished.witnesses(model, record.name)}
                recounts[model].append(replay.threat(threat, outcomes, witnesses))
    return recounts


def _load(name: str, settings: RunSettings, device: str | None) -> tuple[str, Adapter]:
    mode = None if settings.answer_mode is None else AnswerMode(settings.answer_mode)
    card = resolve(name, answer_mode=mode)
    return card.id, load_model(
        card,
        device=device or settings.device,
        dtype=settings.dtype,
        trust_remote_code=settings.trust_remote_code,
    )


def _check_weights(folder: Path, then: ModelRecord, now: ModelRecord) -> None:
    if then.weights_sha256 != now.weights_sha256:
        what = f"{then.id} had the weights {then.weights_sha256[:12]} and has {now.weights_sha256[:12]} now"
        raise InvalidInputError([Problem(str(folder), what, "replay with the checkpoint of the run")])


def _as_asked_for(name: str, texts: tuple[str, ...]) -> str:
    """What the run was told for the threat of this name: a file's threat cannot be found by its name."""
    return next((text for text in texts if load_specification(text).name == name), name)
