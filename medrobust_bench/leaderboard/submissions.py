"""Result files that want to stand in a leaderboard: read, and checked against each other and the cards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from medrobust_bench.leaderboard.checks.threat import normal_text
from medrobust_bench.leaderboard.entry import Entry
from medrobust_bench.leaderboard.names import MODEL, THREAT, harmless
from medrobust_bench.leaderboard.replay.record import ReplayRecord, kept
from medrobust_bench.leaderboard.strict_json import read_strictly
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import READABLE, Result

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Finding


@dataclass(frozen=True, slots=True)
class Submission:
    """A result and the file that it came from.

    Attributes:
        path: of the file.
        result: what it reports.
        entry: the whole submission; None where the file is a bare result.
        replayed: who has done it again, where somebody has.
    """

    path: Path
    result: Result
    entry: Entry | None = None
    replayed: ReplayRecord | None = None

    @property
    def audit(self) -> tuple[Finding, ...]:
        """What was found about the model's clean answers and about the attack."""
        return (*(() if self.entry is None else self.entry.clean_audit), *self.result.audit)


def measurement(result: Result) -> Hashable:
    """Equal for results that measure the same thing: weights and how they answer, threat, questions and seed.

    Models whose weights are unknown are told apart by their ids.
    """
    model = result.model
    same_model = model.weights, model.answer_mode, model.dtype, model.smoothing
    return (*same_model, *_asked(result))


def _asked(result: Result) -> tuple[str, str, int]:
    return normal_text(result.threat), result.data.digest, result.seed


def read_results(folder: Path, *, cards: Mapping[str, Card]) -> list[Submission]:
    """Read and check every result file below a folder.

    Raises:
        InvalidInputError: unreadable or invalid files, results reported twice, weights other than the card's,
            or no result at all.
    """
    paths = sorted(path for path in folder.rglob("*.json") if path.is_file())
    if not paths:
        what = "holds no result file (*.json)" if folder.is_dir() else "is no folder"
        remedy = "give the results/ folder of a run with --results"
        raise InvalidInputError([Problem(str(folder), what, remedy)])
    submissions: list[Submission] = []
    problems: list[Problem] = []
    for path in paths:
        submission, found = _read(path)
        problems += found
        if submission is not None:
            submissions.append(submission)
    problems += _bare(submissions)
    problems += _repeated(submissions, cards)
    problems += [problem for entry in submissions for problem in _other_weights(entry, cards)]
    if problems:
        raise InvalidInputError(problems)
    return submissions


def _read(path: Path) -> tuple[Submission | None, list[Problem]]:
    where = str(path)
    try:
        content = path.read_bytes()
        document = read_strictly(content)
    except OSError as error:
        return None, [Problem(where, f"cannot be read: {error}", "correct its permissions")]
    except UnicodeDecodeError:
        return None, [Problem(where, "is not UTF-8", "copy it from the run again")]
    except json.JSONDecodeError as error:
        return None, [
            Problem(where, f"is not JSON: {error.msg}", "copy it from the run again", row=error.lineno)
        ]
    except ValueError as error:
        return None, [Problem(where, f"is not JSON: {error}", "copy it from the run again")]
    submitted = isinstance(document, dict) and "entry_version" in document
    given = document["result"] if isinstance(document, dict) and submitted else document
    reported = given if isinstance(given, dict) else document
    version = reported.get("schema_version") if isinstance(reported, dict) else None
    if version not in READABLE:
        what = "is no result file" if version is None else f"has schema version {version!r}"
        remedy = f"keep only result files of schema version {' or '.join(READABLE)} in this folder"
        return None, [Problem(where, what, remedy)]
    try:
        if submitted:
            entry = Entry.model_validate_json(content)
            return Submission(path, entry.result, entry, kept(path)), []
        return Submission(path, Result.model_validate_json(content)), []
    except ValidationError as error:
        return None, [
            Problem(
                where, f"{'.'.join(map(str, details['loc']))}: {details['msg']}", "copy it from the run again"
            )
            for details in error.errors()
        ]


def _bare(submissions: Sequence[Submission]) -> list[Problem]:
    """Results without evidence have no place among submissions, and names that are shown must be harmless."""
    problems = []
    submitted = any(one.entry is not None for one in submissions)
    for one in submissions:
        names = (one.result.model.id, MODEL), (one.result.data.name, MODEL), (one.result.threat.name, THREAT)
        if one.entry is None and submitted:
            what = "is a bare result in a folder of submissions: nothing shows how it came about"
            problems.append(Problem(str(one.path), what, "submit its run, or remove it"))
        problems += [
            Problem(
                str(one.path), f"the name {name[:60]!r} holds characters that names may not hold", "rename"
            )
            for name, form in names
            if not harmless(name, form)
        ]
    return problems


def _repeated(submissions: Sequence[Submission], cards: Mapping[str, Card]) -> list[Problem]:
    """The same model, threat, questions and seed in two files, under whatever names: which of them counts?"""
    seen: dict[Hashable, Path] = {}
    problems = []
    for path, result in ((entry.path, entry.result) for entry in submissions):
        card = cards.get(result.model.id)
        keys = [measurement(result)]
        if card is not None:
            keys.append((card.id, result.model.dtype, result.model.answer_mode, _asked(result)))
        others = [other for key in keys if (other := seen.setdefault(key, path)) != path]
        if others:
            what = f"reports the same measurement as {others[0]}"
            problems.append(Problem(str(path), what, "keep one of the two"))
    return problems


def _other_weights(submission: Submission, cards: Mapping[str, Card]) -> list[Problem]:
    model = submission.result.model
    card = cards.get(model.id)
    if card is None or card.weights_sha256 in (None, model.weights_sha256) or card.dtype != model.dtype:
        return []
    measured = "unknown" if model.weights_sha256 is None else f"{model.weights_sha256[:12]}…"
    what = f"was measured on weights {measured}, the card {card.id} says {card.weights_sha256}"
    return [Problem(str(submission.path), what, "measure the card's weights, or give this model its own id")]
