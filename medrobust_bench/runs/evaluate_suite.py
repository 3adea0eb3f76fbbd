"""Several data sets at once: a run for each, prepared together before any work, and their average."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.records.folder import RunFolder, folder_name
from medrobust_bench.records.suite import FILE, SuiteRecord, is_suite, read_suite, write_suite
from medrobust_bench.runs.engine.local import LocalEngine
from medrobust_bench.runs.evaluate import perform, prepare
from medrobust_bench.runs.inputs import Reading
from medrobust_bench.runs.request import Options, Request, request
from medrobust_bench.runs.suite import Suite
from medrobust_bench.specs.settings import settings_from

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.runs.engine.engine import Engine
    from medrobust_bench.runs.observer import Observer
    from medrobust_bench.specs.settings import RunSettings


def evaluate_suite(
    *,
    data: Sequence[str | Dataset | Reader],
    out: str | Path,
    resume: bool = False,
    folders: Mapping[str, str | Path] | None = None,
    observe: Callable[[], AbstractContextManager[Observer | None]] = nullcontext,
    engine: Engine | None = None,
    **options: Unpack[Options],
) -> Suite:
    """Measure robust accuracy on several data sets; `medrobust run --data A --data B` as a function.

    Args:
        data: at least two, as in `evaluate`.
        out: folder for everything that is written; each run gets a folder inside.
        resume: continue what `out` holds.
        folders: by data set as named in `data`, the folder of its images, where it is not found.
        observe: opens an observer for each run.
        engine: who does the work; by default this process.
        **options: as in `evaluate`, the same for all.

    Raises:
        InvalidInputError: with everything that is wrong with the input, before any model is loaded.
    """
    found = Reading([])
    asked: list[Request] = []
    for one in data:
        name = one if isinstance(one, str) else one.name
        given = options.copy()
        if folders is not None and name in folders:
            given["images"] = folders[name]
        of_one = found.attempt(partial(request, one, **given))
        asked += [] if of_one is None else [of_one]
    if found.problems:
        raise InvalidInputError(list(dict.fromkeys(found.problems)))
    return carry_out_suite(by_folder(asked), Path(out), resume=resume, observe=observe, engine=engine)


def one_for_each(
    values: Mapping[str, Any], *, images: Sequence[str] = (), where: str
) -> dict[str, RunSettings]:
    """Settings of several runs, by folder, out of settings whose `data` is a list.

    Args:
        values: settings, not yet validated.
        images: what `--images` gave, SOURCE=DIR each.
        where: what messages call them.

    Raises:
        InvalidInputError: with everything that is wrong with them.
    """
    sources = [str(source) for source in values["data"]]
    folders: dict[str, str] = {}
    problems = []
    for text in images:
        source = next((source for source in sources if text.startswith(f"{source}=")), None)
        if source is None:
            what = f"{text!r} does not say for which data set"
            problems.append(Problem("--images", what, "write SOURCE=DIR, SOURCE as after --data"))
        else:
            folders[source] = text[len(source) + 1 :]
    if values.get("images") is not None:
        what = "`images` names one folder for several data sets"
        problems.append(Problem(where, what, "name it for the one it belongs to: --images SOURCE=DIR"))
    if problems:
        raise InvalidInputError(problems)
    asked = [
        Request(settings_from({**values, "data": source, "images": folders.get(source)}, where=where))
        for source in sources
    ]
    return {name: one.settings for name, one in by_folder(asked).items()}


def by_folder(asked: Sequence[Request]) -> dict[str, Request]:
    """What is asked for, by the name of the folder that each data set gets.

    Raises:
        InvalidInputError: fewer than two, or two of one name.
    """
    names = [folder_name(one.settings.data) for one in asked]
    counts = Counter(name.casefold() for name in names)
    problems = [
        Problem(one.settings.data, f"would be called {name}, as another data set is", _RENAME)
        for name, one in zip(names, asked, strict=True)
        if counts[name.casefold()] > 1
    ]
    if len(asked) < 2:
        problems.append(Problem("data", "names fewer than two data sets", "name two, or run one by itself"))
    if problems:
        raise InvalidInputError(problems)
    return dict(zip(names, asked, strict=True))


_RENAME = "rename its folder or file, or describe it in a data card with an id of its own"


def carry_out_suite(
    asked: Mapping[str, Request],
    out: Path,
    *,
    resume: bool = False,
    observe: Callable[[], AbstractContextManager[Observer | None]] = nullcontext,
    engine: Engine | None = None,
) -> Suite:
    """Check everything, then make one run after the other, and average.

    Args:
        asked: by folder, each with a data set of its own.
        out: the suite's folder.
        resume: continue what `out` holds; runs that are finished are only summarised again, and further data sets get
            runs beside them.
        observe: opens an observer for each run.
        engine: who does the work; by default this process.

    Raises:
        InvalidInputError: everything that is wrong with the input, before any model is loaded.
    """
    found = Reading(_unfit(out, asked, resume=resume))
    with observe() as observer:
        made = [
            found.attempt(
                partial(
                    prepare,
                    one,
                    out / name,
                    resume=resume and not RunFolder(out / name).is_empty(),
                    observer=observer,
                )
            )
            for name, one in asked.items()
        ]
    prepared = [one for one in made if one is not None]
    for what in ("name", "digest"):
        counts = Counter(getattr(one.plan.data, what) for one in prepared)
        found.problems.extend(
            Problem(one.plan.settings.data, f"has the {what} of another data set", _RENAME)
            for one in prepared
            if counts[getattr(one.plan.data, what)] > 1
        )
    if found.problems:
        raise InvalidInputError(list(dict.fromkeys(found.problems)))
    write_suite(out, SuiteRecord(runs={name: one.settings for name, one in asked.items()}))
    runs = {}
    engine = engine or LocalEngine(keep=True)
    for name, one in zip(asked, prepared, strict=True):
        with observe() as observer:
            runs[name] = perform(one, observer=observer, engine=engine)
    suite = Suite(out, runs)
    averages = ",\n".join(one.model_dump_json(indent=2) for one in suite.macro_averages())
    replace_file(out / "macro_average.json", f"[\n{averages}\n]\n".encode())
    replace_file(out / "leaderboard.md", suite.table().encode())
    return suite


def _unfit(out: Path, asked: Mapping[str, Request], *, resume: bool) -> list[Problem]:
    """What keeps a suite from being written to a folder."""
    there = read_suite(out) if is_suite(out) else None
    if RunFolder(out).check(resume=True) == []:
        return [Problem(str(out), "holds a run on one data set", "give another --out")]
    if resume and there is None:
        return [Problem(str(out), "holds no runs to resume", "give the --out of the interrupted runs")]
    begun = there is not None and any(not RunFolder(out / name).is_empty() for name in there.runs)
    if begun and not resume:
        return [Problem(str(out), "already holds runs", "add --resume to continue, or give another --out")]
    left_out = [name for name in there.runs if name not in asked] if there is not None and resume else []
    if left_out:
        what = f"began with {', '.join(left_out)} as well"
        return [
            Problem(str(out / FILE), what, "resume with all of them, and more if you like, or start anew")
        ]
    return []
