"""A finished run: its numbers, and what can be done with them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from pydantic import ValidationError

from medrobust_bench.data.reopen import reopen
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Failure, Outcome
from medrobust_bench.records.folder import RunFolder, new_folder
from medrobust_bench.records.run import file_stem
from medrobust_bench.reports.comparison import compare
from medrobust_bench.reports.tables import run_table
from medrobust_bench.reports.worst_case import worst_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import Result, UsageRecord
    from medrobust_bench.records.run import RunRecord
    from medrobust_bench.records.transfer import Transfer
    from medrobust_bench.records.witness import AnyWitness, Witness
    from medrobust_bench.reports.comparison import Comparison
    from medrobust_bench.reports.run_page.strip import Strip
    from medrobust_bench.runs.audit.thorough import AuditRecord
    from medrobust_bench.runs.forecast import Forecast
    from medrobust_bench.runs.recount import Recount
    from medrobust_bench.runs.request import Options
    from medrobust_bench.specs.threat import ThreatSpec


@dataclass(frozen=True)
class Run:
    """A finished run. `evaluate` makes one, `load_run` reads one; both are the same thing.

    `run["pgd-linf"]` is the result under a threat of a run of one model, `run["model", "pgd-linf"]` that of any run.
    What reopens the run (`replay`, `audit`) goes by what `run.json` froze, never by files or names as they are now.

    Attributes:
        folder: holds `run.json`, `journal.jsonl`, `witnesses/`, `results/` and `leaderboard.md`.
        record: `run.json`: plan, environment, models.
        threats: those of the plan, and the worst case over its attacks where there are several.
        outcomes: by model and threat name, one outcome per question that came to one, in the plan's order of chunks.
        failures: the questions that did not, and why; empty where the run leaves them out (`skip_failed`).
        adapters: models that were in memory, by their name in the run.
        questions: the data set that was in memory; None: it is opened again where it was.
    """

    folder: Path
    record: RunRecord
    threats: tuple[ThreatSpec, ...]
    outcomes: Mapping[tuple[str, str], tuple[Outcome, ...]]
    failures: tuple[Failure, ...] = ()
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    questions: Dataset | None = None

    @staticmethod
    def plan(data: str | Dataset | Reader | None = None, **options: Unpack[Options]) -> Forecast:
        """What a run would take, without running it: passes, tokens, hours, disk and memory at most.

        Models are loaded and timed on a few questions; nothing is written.

        Args:
            data: see `evaluate`, as all other arguments.
            options: the arguments of `evaluate` but those about the folder.

        Raises:
            InvalidInputError: everything that is wrong with the input.
        """
        from medrobust_bench.runs.evaluate import prepare
        from medrobust_bench.runs.forecast import forecast
        from medrobust_bench.runs.request import request

        asked = request(data, **options)
        return forecast(prepare(asked, new_folder(asked.settings.data)))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order in which they ran."""
        return self.record.plan.models

    @cached_property
    def results(self) -> tuple[Result, ...]:
        """The result files: per model one for each threat in the plan's order, then the worst case over attacks.

        Raises:
            InvalidInputError: one is missing or invalid.
        """
        files = RunFolder(self.folder)
        results, problems = [], []
        for model, threat in self.outcomes:
            try:
                results.append(files.read_result(model, threat))
            except (OSError, ValidationError) as error:
                path = files.result_path(model, threat)
                remedy = f"write it anew with `medrobust run --resume --out {self.folder}`"
                problems.append(Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", remedy))
        if problems:
            raise InvalidInputError(problems)
        return tuple(results)

    def __getitem__(self, name: str | tuple[str, str]) -> Result:
        """The result of a model under a threat.

        Args:
            name: of the threat, in a run of one model; or (model, threat).

        Raises:
            KeyError: the run holds no such result, or several; says which it holds.
        """
        matching = [
            result
            for result in self.results
            if name in (result.threat.name, (result.model.id, result.threat.name))
        ]
        if len(matching) != 1:
            held = ", ".join(f"{result.model.id!r}, {result.threat.name!r}" for result in self.results)
            raise KeyError(f"{len(matching)} results are called {name!r}; this run holds {held}")
        return matching[0]

    def witnesses(self, model: str, threat: str) -> Sequence[AnyWitness]:
        """The images that broke an answer, in the order in which they were found."""
        return RunFolder(self.folder).witnesses(model, threat)

    def usage(self, model: str) -> UsageRecord | None:
        """What a server was asked for a model, and what it cost; None where no server was."""
        return RunFolder(self.folder).read_usage(model)

    def dataset(self, data: str | None = None, images: str | Path | None = None) -> Dataset:
        """The questions, opened again and held against the digest in the plan.

        Args:
            data: where the data set is now; by default where it was.
            images: the folder of its images now, where it is not found.

        Raises:
            InvalidInputError: it is not there any more, or its questions have changed.
        """
        return self.questions or reopen(self.record.plan, data=data, images=images)

    def table(self) -> str:
        """The results as Markdown."""
        return run_table(self.results)

    def report(
        self,
        path: str | Path | None = None,
        *,
        data: str | None = None,
        images: str | Path | None = None,
        examples: int = 12,
        tell: Callable[[str], None] = lambda what: None,
    ) -> list[Path]:
        """Write the run as one HTML page that needs nothing else, and its figures beside it.

        Args:
            path: of the page; by default `report/index.html` in the run's folder.
            data: where the data set is now; by default where it was.
            images: the folder of its images now, where it is not found.
            examples: size of the gallery of attacked images; 0 leaves it out.
            tell: told why there is no gallery.

        Returns:
            The files written, the page first. Where the data set is not to be had, the page says why it shows no
            images.
        """
        # Here, since matplotlib takes a third of a second, which a run without a page need not pay.
        from medrobust_bench.reports.run_page.page import write_report

        dataset, reason = None, "The gallery was left out." if examples == 0 else ""
        try:
            dataset = self.dataset(data, images)
        except InvalidInputError as error:
            if (data, images) != (None, None):
                raise
            reason = f"The gallery needs the data set. {error.problems[0]}"
            tell(f"no gallery: {error.problems[0]}")
        page = self.folder / "report" / "index.html" if path is None else Path(path)
        remade, strips = ({}, []) if dataset is None or not examples else self._altered(dataset)
        return write_report(
            self, page, dataset=dataset, reason=reason, limit=examples, remade=remade, strips=strips
        )

    def _altered(self, dataset: Dataset) -> tuple[dict[tuple[str, str], list[Witness]], list[Strip]]:
        """Images that are not stored, made again to be looked at: those that broke an answer, and strips."""
        threats = {threat.name: threat for threat in self.threats if threat.remade}
        if not threats:
            return {}, []
        from medrobust_bench.runs.altered import remade_witnesses, strips  # imports what makes the images

        questions = {question.id: question for question in dataset.questions}
        seed = self.record.plan.settings.seed
        found = {key: outcomes for key, outcomes in self.outcomes.items() if key[1] in threats}
        remade = {
            key: remade_witnesses(threats[key[1]], outcomes, questions, seed=seed)
            for key, outcomes in found.items()
        }
        by_chance = [
            outcome
            for (_, threat), outcomes in found.items()
            if threats[threat].yields == "corrupted"
            for outcome in outcomes
        ]
        return remade, strips(by_chance, questions, seed=seed, limit=len(by_chance))

    def compare(
        self, other: Run, *, pairs: Sequence[tuple[str, str]] = (), threats: Sequence[str] = ()
    ) -> list[Comparison]:
        """Hold another run against this one, the baseline, question by question; see `reports.comparison.compare`."""
        return compare(self, other, pairs=pairs, threats=threats)

    def replay(
        self, *, data: str | None = None, images: str | Path | None = None, device: str | None = None
    ) -> dict[str, list[Recount]]:
        """Answer every clean image and every witness again, and count: forward passes only, no attack.

        Args:
            data: where the data set is now; by default where it was.
            images: the folder of its images now, where it is not found.
            device: instead of the run's.

        Returns:
            Per model one recount for the clean images and for each attack, in the plan's order.

        Raises:
            InvalidInputError: data or weights are not to be had any more.
        """
        from medrobust_bench.runs.again import replay

        return replay(self, data=data, images=images, device=device)

    def transfer(
        self,
        model: str | Adapter,
        *,
        threats: Sequence[str] = (),
        data: str | None = None,
        images: str | Path | None = None,
        answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None = None,
        device: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
        trust_remote_code: bool = False,
        base_url: str | None = None,
        key_variable: str | None = None,
        concurrency: int | None = None,
        tell: Callable[[str], None] = lambda what: None,
    ) -> list[Transfer]:
        """Put the images that broke an answer to another model: forward passes only, no attack.

        Args:
            model: the target, as in `evaluate`.
            threats: the attacks whose images are taken; by default all that keep images.
            data: where the data set is now; by default where it was.
            images: the folder of its images now, where it is not found.
            answer_mode: instead of the target's card's.
            device: instead of the run's.
            dtype: of the target's weights; "auto" takes the card's.
            trust_remote_code: run code from the target's repository.
            base_url: address of the server of `openai:NAME`.
            key_variable: environment variable that holds its key.
            concurrency: requests to it at the same time.
            tell: told what is about to be done.

        Returns:
            One per model of the run and attack; also written to `transfer_folder`, with a table.

        Raises:
            InvalidInputError: no attack keeps images, or data or target are not to be had.
        """
        from medrobust_bench.runs.again import transfer

        return transfer(
            self,
            model,
            threats=threats,
            data=data,
            images=images,
            answer_mode=answer_mode,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            base_url=base_url,
            key_variable=key_variable,
            concurrency=concurrency,
            tell=tell,
        )

    def transfer_folder(self, target: str) -> Path:
        """Where `transfer` to a model writes: `transfer/<target>` in the run's folder."""
        return self.folder / "transfer" / file_stem(target, "transfer")

    def audit(
        self,
        *,
        models: Sequence[str] = (),
        threats: Sequence[str] = (),
        questions: int = 16,
        data: str | None = None,
        images: str | Path | None = None,
        device: str | None = None,
        tell: Callable[[str], None] = lambda what: None,
    ) -> list[AuditRecord]:
        """Examine the run's attacks with the models at hand: is the robustness the model's, or the attack's failure?

        Args:
            models: only these; by default all.
            threats: the white-box attacks to examine; by default the first.
            questions: size of the seeded sample of questions that a model answers right.
            data: where the data set is now; by default where it was.
            images: the folder of its images now, where it is not found.
            device: instead of the run's.
            tell: told what is about to be done.

        Returns:
            One record per model and attack, with the findings that its result carries.

        Raises:
            InvalidInputError: nothing to examine, or data or weights are not to be had any more.
        """
        from medrobust_bench.runs.again import audit

        return audit(
            self,
            models=models,
            threats=threats,
            questions=questions,
            data=data,
            images=images,
            device=device,
            tell=tell,
        )


def load_run(folder: str | Path, *, models: Sequence[Adapter] = (), data: Dataset | None = None) -> Run:
    """Read a finished run from its folder; changes nothing there.

    Args:
        folder: of the run.
        models: those of the run that no registry knows, needed where it is to be replayed or audited.
        data: its questions, where no data set holds them.

    Raises:
        InvalidInputError: the folder holds no run, or an unfinished one.
    """
    folder = Path(folder)
    run = RunFolder(folder)
    record = run.read()
    order = {name: place for place, name in enumerate(name for chunk in record.plan.chunks for name in chunk)}
    found: dict[tuple[str, str], dict[str, Outcome]] = {
        (model, threat.name): {} for model in record.plan.models for threat in record.plan.threats
    }
    failures: list[Failure] = []
    for line in run.journal.lines():
        key = line.model, line.threat
        if key not in found or line.question not in order:
            continue
        if isinstance(line, Outcome):
            found[key][line.question] = line
        else:
            failures.append(line)
    failed = Counter((failure.model, failure.threat) for failure in failures)
    problems = [
        Problem(
            str(folder),
            f"{model} under {threat}: {len(answered)} of {len(order)} questions are finished",
            f"finish it with `medrobust run --resume --out {folder}`",
        )
        for (model, threat), answered in found.items()
        if len(answered) + failed[model, threat] < len(order)
    ]
    if problems:
        raise InvalidInputError(problems)
    if record.plan.settings.skip_failed:
        skipped = {failure.question for failure in failures}
        found = {
            key: {name: outcome for name, outcome in answered.items() if name not in skipped}
            for key, answered in found.items()
        }
        failures = []
    outcomes: dict[tuple[str, str], tuple[Outcome, ...]] = {}
    threats = record.plan.threats
    for model in record.plan.models:
        of_model = {
            threat.name: sorted(found[model, threat.name].values(), key=lambda o: order[o.question])
            for threat in record.plan.threats
        }
        worst = worst_cases(record.plan.threats, of_model)
        threats = (*record.plan.threats, *(spec for spec, _ in worst))
        of_model |= {spec.name: answers for spec, answers in worst}
        outcomes |= {(model, name): tuple(answers) for name, answers in of_model.items()}
    adapters = {adapter.record.id: adapter for adapter in models}
    return Run(folder, record, threats, outcomes, tuple(failures), adapters, data)
