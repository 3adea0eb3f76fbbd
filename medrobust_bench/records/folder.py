"""The folder of a run: where its record, journal, witnesses and results are."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from pydantic import ValidationError

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.failure import Failure
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.journal import Journal
from medrobust_bench.records.outcome import Outcome
from medrobust_bench.records.result import Result
from medrobust_bench.records.run import Plan, RunRecord, file_stem, former_file_stem
from medrobust_bench.records.suite import is_suite
from medrobust_bench.records.usage import UsageRecord
from medrobust_bench.records.witness import read_witnesses, stored_witnesses, write_witnesses
from medrobust_bench.specs.settings import DECIDES_NOTHING, GROWING, OF_THE_ENDING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from medrobust_bench.records.model import ModelRecord, ServerRecord
    from medrobust_bench.records.witness import StoredWitness, Witness


class RunFolder:
    """`run.json`, `journal.jsonl`, `witnesses/`, `results/` and `leaderboard.md` under one path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = Journal(path / "journal.jsonl")
        self._record = path / "run.json"

    def check(self, *, resume: bool) -> list[Problem]:
        """What would keep a run from being written here: nothing is lost to a full disk or a wrong path.

        It leaves nothing behind, so that a run refused for another reason leaves no empty folder.
        """
        where = str(self.path)
        if is_suite(self.path):
            remedy = "give another --out, or one of the folders in it"
            return [Problem(where=where, what="holds runs on several data sets", remedy=remedy)]
        if self._record.exists() and not resume and not self.is_empty():
            remedy = "add --resume to continue it, or give another --out"
            return [Problem(where=where, what="already holds a run", remedy=remedy)]
        if resume and not self._record.exists():
            return [
                Problem(
                    where=where, what="holds no run to resume", remedy="give the --out of the interrupted run"
                )
            ]
        existing = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        try:
            with TemporaryFile(dir=existing) as probe:
                probe.write(b"probe")
        except OSError as error:
            remedy = "give a folder that can be written to with --out"
            return [Problem(where=where, what=f"cannot be written to: {error.strerror}", remedy=remedy)]
        return []

    def is_empty(self) -> bool:
        """Whether nothing was computed here: a run that never came to its first answer blocks no other."""
        return not self.journal.path.exists() or self.journal.path.stat().st_size == 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Inside it this process is the only one that writes here; the lock goes with the process, however it ends.

        Raises:
            InvalidInputError: another process writes here.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            remedy = "wait for it, or give another --out"
            raise InvalidInputError(
                [Problem(str(self.path), "is being written by another process", remedy)]
            ) from error
        try:
            yield
        finally:
            lock.release()

    def read(self) -> RunRecord:
        """The record of the run that this folder holds.

        Raises:
            InvalidInputError: `run.json` is missing or not a run record of this version.
        """
        try:
            return RunRecord.model_validate_json(self._record.read_bytes())
        except FileNotFoundError as error:
            what = "holds no run" if self.path.is_dir() else "is no folder"
            remedy = "give the folder of a run"
            if is_suite(self.path):
                what, remedy = "holds runs on several data sets", "give the folder of one of them, inside"
            raise InvalidInputError([Problem(str(self.path), what, remedy)]) from error
        except (OSError, ValidationError) as error:
            what = f"is not a run record: {str(error).splitlines()[0]}"
            problem = Problem(
                where=str(self._record), what=what, remedy="give the folder of a run of this version"
            )
            raise InvalidInputError([problem]) from error

    def write(self, record: RunRecord) -> None:
        """Write `run.json`."""
        replace_file(self._record, record.model_dump_json(indent=2).encode() + b"\n")

    def begin(self, record: RunRecord, *, resume: bool, extend: bool = False) -> RunRecord:
        """Start a run, or hold the plan against the one that this folder began with.

        Args:
            record: with the plan.
            resume: go on with what is there.
            extend: the plan holds more than the one that is there, see `runs.extension`.

        Returns:
            the record to go on with (with the models seen so far).

        Raises:
            InvalidInputError: naming what differs from the interrupted run.
        """
        _check_names(record.plan)
        if not resume or self.is_empty():
            self.write(record)
            return record
        begun = self.compare(record, extend=extend)
        going_on = begun.model_copy(update={"plan": record.plan})
        if going_on != begun:
            self.write(going_on)
        return going_on

    def compare(self, record: RunRecord, *, extend: bool = False) -> RunRecord:
        """Hold a record against the one that is there, which is returned.

        Raises:
            InvalidInputError: naming what differs from the interrupted run.
        """
        begun = self.read()
        problems = [
            Problem(
                where=str(self._record),
                what=f"{name} differs from the interrupted run: {_short(old)} then, {_short(new)} now",
                remedy="resume with the settings, data and software that it began with, or start anew",
            )
            for name, old, new in _differences(begun, record, extend=extend)
        ]
        if problems:
            raise InvalidInputError(problems)
        return begun

    def enter_model(
        self, record: RunRecord, model: str, seen: ModelRecord, prompt: str | None = None
    ) -> RunRecord:
        """Write down which model runs under a registry id, and the whole input that it gets for one question.

        Raises:
            InvalidInputError: the interrupted run had another model, naming in what it differs.
        """
        seen = seen.model_copy(update={"id": model})
        known = record.models.get(model)
        if known is not None and (parts := known.differences(_at(known, seen))):
            what = f"{model} is not the model of the interrupted run: {', '.join(parts)} differ"
            if known.weights_sha256 != seen.weights_sha256 or known.server != _at(known, seen).server:
                what += f" ({_weights(known)} then, {_weights(seen)} now)"
            problem = Problem(
                where=str(self._record), what=what, remedy="resume with the same model, or start anew"
            )
            raise InvalidInputError([problem])
        prompts = {} if prompt is None else {model: prompt}
        entered = record.model_copy(
            update={
                "models": {**record.models, model: known or seen},
                "prompts": {**prompts, **record.prompts},
            }
        )
        self.write(entered)
        return entered

    def finished(self, plan: Plan) -> list[Outcome]:
        """The outcomes that are whole, in the journal's order; a part of a chunk is dropped from the file.

        What has failed stays in the file, for the chunk is whole without it, and is to be tried again.
        """
        lines = self.journal.lines()
        outcomes = [line for line in lines if isinstance(line, Outcome)]
        written = {(line.model, line.threat, line.question) for line in lines}
        whole = {
            (model, threat.name, question)
            for model in plan.models
            for threat in plan.threats
            for together in plan.recorded_together(threat)
            if all((model, threat.name, question) in written for question in together)
            for question in together
        }
        kept = [outcome for outcome in outcomes if (outcome.model, outcome.threat, outcome.question) in whole]
        failures = [line for line in lines if isinstance(line, Failure)]
        if not self.journal.holds_only(len(kept) + len(failures)):
            self.journal.replace([*kept, *failures])
        return kept

    def record_outcomes(
        self,
        outcomes: Sequence[Outcome],
        witnesses: Sequence[Witness],
        *,
        chunk: int,
        questions: Sequence[str] = (),
        failures: Sequence[Failure] = (),
    ) -> None:
        """Witnesses first, then the journal: a line in the journal means that its witness is there.

        Args:
            outcomes: of one model under one threat.
            witnesses: the images that broke an answer.
            chunk: index of the chunk that the questions are of.
            questions: ids of the whole chunk in order, of which this may be a part.
            failures: what could not be done.
        """
        if witnesses:
            name = f"{file_stem(witnesses[0].model, witnesses[0].threat)}--{chunk:05d}.parquet"
            path = self.path / "witnesses" / name
            again = {one.question for one in outcomes} | {one.question for one in failures}
            others = read_witnesses(path) if path.exists() and len(again) < len(questions) else []
            together = [*(one for one in others if one.question not in again), *witnesses]
            place = {question: place for place, question in enumerate(questions)}
            write_witnesses(path, sorted(together, key=lambda one: place.get(one.question, len(place))))
        self.journal.append((*outcomes, *failures))

    def read_result(self, model: str, threat: str) -> Result:
        """The result of a model under a threat.

        Raises:
            OSError: there is none.
            ValidationError: the file holds no result.
        """
        path = self.result_path(model, threat)
        former = self.path / "results" / f"{former_file_stem(model, threat)}.json"
        if not path.exists() and former.exists():
            result = Result.model_validate_json(former.read_bytes())
            if (result.model.id, result.threat.name) == (model, threat):
                return result
        return Result.model_validate_json(path.read_bytes())

    def result_path(self, model: str, threat: str) -> Path:
        """Where the result of a model under a threat is written."""
        return self.path / "results" / f"{file_stem(model, threat)}.json"

    def witnesses(self, model: str, threat: str) -> list[StoredWitness]:
        """The images that broke an answer, in the order in which they were found; each is read when it is asked for."""
        folder = self.path / "witnesses"
        stems = dict.fromkeys((file_stem(model, threat), former_file_stem(model, threat)))
        found = [
            witness
            for stem in stems
            for path in sorted(folder.glob(f"{stem}--*.parquet"))
            for witness in stored_witnesses(path)
        ]
        return [witness for witness in found if (witness.model, witness.threat) == (model, threat)]

    def write_result(self, result: Result) -> None:
        """Write `results/<model>--<threat>.json`."""
        path = self.result_path(result.model.id, result.threat.name)
        replace_file(path, result.model_dump_json(indent=2).encode() + b"\n")

    def replies_path(self, model: str) -> Path:
        """Where the replies of a server are kept, for one model."""
        return self.path / "replies" / f"{file_stem(model, 'replies')}.sqlite"

    def write_usage(self, model: str, usage: UsageRecord) -> None:
        """Write `replies/<model>--replies.json`: what a server was asked for a model, and what it cost."""
        path = self.replies_path(model).with_suffix(".json")
        replace_file(path, usage.model_dump_json(indent=2).encode() + b"\n")

    def read_usage(self, model: str) -> UsageRecord | None:
        """What a server was asked for a model; None where no server was."""
        path = self.replies_path(model).with_suffix(".json")
        return UsageRecord.model_validate_json(path.read_bytes()) if path.exists() else None

    def write_table(self, table: str) -> None:
        """Write `leaderboard.md`."""
        replace_file(self.path / "leaderboard.md", table.encode())


def _check_names(plan: Plan) -> None:
    """Refuse names that a disk which ignores letter case would take for one another.

    Raises:
        InvalidInputError: naming them.
    """
    by_stem: dict[str, list[str]] = {}
    for model in plan.models:
        for threat in plan.threats:
            by_stem.setdefault(file_stem(model, threat.name).lower(), []).append(
                f"{model} under {threat.name}"
            )
    problems = [
        Problem(" and ".join(alike), "differ in letter case only, and would share a file", "rename one")
        for alike in by_stem.values()
        if len(alike) > 1
    ]
    if problems:
        raise InvalidInputError(problems)


def _differences(begun: RunRecord, now: RunRecord, *, extend: bool) -> list[tuple[str, object, object]]:
    """What differs, and not what only follows from it: settings decide data, data decide chunks.

    Of a run that is extended the data and the rest of the plan are another matter, see `runs.extension`.
    """
    free = (*OF_THE_ENDING, *DECIDES_NOTHING, *(GROWING if extend else ()))
    settings = begun.plan.settings.model_copy(
        update={name: getattr(now.plan.settings, name) for name in free}
    )
    of_plan = (
        (begun.plan.data, now.plan.data),
        (begun.plan.model_copy(update={"settings": settings}), now.plan),
    )
    parts = (
        (settings, now.plan.settings),
        *(() if extend else of_plan),
        (begun.environment, now.environment),
    )
    for old, new in parts:
        found = [
            (name, getattr(old, name), getattr(new, name))
            for name in type(old).model_fields
            if getattr(old, name) != getattr(new, name)
            and not (
                old is begun.environment and getattr(old, name) == "auto"
            )  # its device, as once recorded
        ]
        if found:
            return found
    return []


def _at(known: ModelRecord, seen: ModelRecord) -> ModelRecord:
    """A model as it would be at the address where it was known: a server may have moved."""
    if known.server is None or seen.server is None:
        return seen
    server = seen.server.model_copy(update={"base_url": known.server.base_url})
    return seen.model_copy(update={"server": server})


def _weights(model: ModelRecord) -> str:
    weights = "of unknown weights" if model.weights_sha256 is None else model.weights_sha256[:12]
    server = "" if model.server is None else f", answers of {_server(model.server)}"
    return f"{weights} ({model.dtype}, {model.answer_mode}{server})"


def _server(server: ServerRecord) -> str:
    return f"{server.answered_as or server.model} {server.fingerprint or ''} at {server.base_url}"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"


def folder_name(data: str) -> str:
    """What a folder for a data set is called: the end of its path, or its id, without unusual letters."""
    source = data if Path(data).exists() else data.partition("=")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(source).name).lstrip(".") or "data"


def new_folder(*data: str) -> Path:
    """`runs/<data>-<date>-<time>`: where a run goes when nobody says where."""
    return Path("runs") / f"{'-'.join(map(folder_name, data))[:80]}-{datetime.now():%Y%m%d-%H%M%S}"
