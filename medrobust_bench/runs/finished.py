"""A finished run, read back from its folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Result
from medrobust_bench.records.folder import RunFolder
from medrobust_bench.records.run import file_stem
from medrobust_bench.records.witness import read_witnesses
from medrobust_bench.reports.worst_case import worst_case

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.records import Outcome
    from medrobust_bench.records.run import RunRecord
    from medrobust_bench.records.witness import Witness
    from medrobust_bench.specs.threat import ThreatSpec


@dataclass(frozen=True)
class FinishedRun:
    """What a run's folder holds once nothing is left to do.

    Attributes:
        folder: as given.
        record: `run.json`.
        threats: those of the plan, and the worst case over its attacks where there are several.
        outcomes: by model and threat name, one outcome per question, in the plan's order of chunks.
    """

    folder: Path
    record: RunRecord
    threats: tuple[ThreatSpec, ...]
    outcomes: Mapping[tuple[str, str], tuple[Outcome, ...]]

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """The result files, one per model and threat in the plan's order.

        Raises:
            InvalidInputError: one is missing or invalid.
        """
        results, problems = [], []
        for model, threat in self.outcomes:
            path = self.folder / "results" / f"{file_stem(model, threat)}.json"
            try:
                results.append(Result.model_validate_json(path.read_bytes()))
            except (OSError, ValidationError) as error:
                remedy = f"write it anew with `medrobust run --resume --out {self.folder}`"
                problems.append(Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", remedy))
        if problems:
            raise InvalidInputError(problems)
        return tuple(results)

    def witnesses(self, model: str, threat: str) -> list[Witness]:
        """The images that broke an answer, in the order in which they were found."""
        stem = file_stem(model, threat)
        found = [
            witness
            for path in sorted((self.folder / "witnesses").glob(f"{stem}--*.parquet"))
            for witness in read_witnesses(path)
        ]
        return [witness for witness in found if (witness.model, witness.threat) == (model, threat)]


def read_finished(folder: Path) -> FinishedRun:
    """Read a run's record and journal; changes nothing in the folder.

    Raises:
        InvalidInputError: it holds no run, or an unfinished one.
    """
    run = RunFolder(folder)
    record = run.read()
    planned = {question for chunk in record.plan.chunks for question in chunk}
    order = {
        question: place for place, question in enumerate(q for chunk in record.plan.chunks for q in chunk)
    }
    found: dict[tuple[str, str], dict[str, Outcome]] = {
        (model, threat.name): {} for model in record.plan.models for threat in record.plan.threats
    }
    for outcome in run.journal.read():
        of_threat = found.get((outcome.model, outcome.threat))
        if of_threat is not None and outcome.question in planned:
            of_threat[outcome.question] = outcome
    problems = [
        Problem(
            str(folder),
            f"{model} under {threat}: {len(answered)} of {len(planned)} questions are finished",
            f"finish it with `medrobust run --resume --out {folder}`",
        )
        for (model, threat), answered in found.items()
        if len(answered) < len(planned)
    ]
    if problems:
        raise InvalidInputError(problems)
    outcomes: dict[tuple[str, str], tuple[Outcome, ...]] = {}
    threats = record.plan.threats
    for model in record.plan.models:
        of_model = {
            threat.name: sorted(found[model, threat.name].values(), key=lambda o: order[o.question])
            for threat in record.plan.threats
        }
        if (worst := worst_case(record.plan.threats, of_model)) is not None:
            threats = (*record.plan.threats, worst[0])
            of_model[worst[0].name] = worst[1]
        outcomes |= {(model, name): tuple(answers) for name, answers in of_model.items()}
    return FinishedRun(folder, record, threats, outcomes)
