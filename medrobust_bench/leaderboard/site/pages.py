"""Writes the site: an index with one sortable table, and a page per model."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from medrobust_bench.evaluation.journal import replace_file
from medrobust_bench.leaderboard.evidence import read_proof
from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.ranking import certified, headline, order, ranks, read_answers
from medrobust_bench.leaderboard.verification import card_of, open_selection, unranked
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.results.grid import MISSING, percent, with_interval
from medrobust_bench.results.pages import environment
from medrobust_bench.results.report.figures import DARK, LIGHT, accuracy_figure, certified_figure, eps_figures
from medrobust_bench.results.report.gallery import examples
from medrobust_bench.results.report.page import heat_cell, heat_tables
from medrobust_bench.results.tables import NOTE, accuracy_grid, describe_data, measured, short_modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jinja2 import Environment

    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.models.cards import Card
    from medrobust_bench.results.report.gallery import Example
    from medrobust_bench.results.schema import Estimate, Result, Scores

COLUMNS = (
    ("Rank", "rank"),
    ("Model", "text"),
    ("Data", "text"),
    ("Threat", "text"),
    ("Accuracy (%)", "number"),
    ("Clean (%)", "number"),
    ("Worst modality", "number"),
    ("Certified (%)", "number"),
    ("Unparsed (%)", "number"),
    ("Questions", "number"),
    ("Audit", "text"),
)
GALLERY = 6


def write_site(
    submissions: Sequence[Submission],
    out: Path,
    *,
    cards: Mapping[str, Card],
    data: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write `index.html`, `models/<model>.html`, `results.csv` and `results.parquet`.

    Args:
        submissions: what to show; checked before.
        out: folder of the site.
        cards: the model registry.
        data: by data set name, where it is on this machine: galleries of others than phantoms need it, and then hold
            its images.

    Returns:
        The files written, the index first.
    """
    pages = environment("medrobust_bench.leaderboard.site")
    boards = _boards(submissions)
    names = sorted({submission.result.model.id for submission in submissions})
    contents = {"index.html": _index(pages, boards).encode()}
    for name in names:
        mine = [submission for submission in submissions if submission.result.model.id == name]
        contents[_page_of(name)] = _model(pages, mine, card_of(name, cards), data or {}).encode()
    contents |= _tables(submissions)
    for file, content in contents.items():
        replace_file(out / file, content)
    return [out / file for file in contents]


def _boards(submissions: Sequence[Submission]) -> list[list[tuple[Submission, int | None]]]:
    """Submissions that can be compared, best first, each with its rank; None where it takes no part."""
    groups: dict[tuple[str, ...], list[Submission]] = {}
    for submission in submissions:
        result = submission.result
        key = (result.data.name, result.threat.name, result.data.digest, result.threat.model_dump_json())
        groups.setdefault(key, []).append(submission)
    answers = read_answers(submissions)
    boards = []
    for _key, group in sorted(groups.items()):
        ordered = sorted(group, key=lambda submission: order(submission.result))
        taking_part = [one for one in ordered if one.entry is None or not unranked(one.entry)]
        places = ranks([one.result for one in taking_part], answers)
        by_path = {one.path: rank for one, rank in zip(taking_part, places, strict=True)}
        boards.append([(one, by_path.get(one.path)) for one in ordered])
    return boards


def _index(pages: Environment, boards: Sequence[Sequence[tuple[Submission, int | None]]]) -> str:
    results = [submission.result for board in boards for submission, _rank in board]
    script = pages.get_template("table.js.jinja").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    context = {
        "script": Markup(script),  # a file of this package
        "script_hash": f"sha256-{digest}",
        "synthetic": any(result.data.synthetic for result in results),
        "datasets": sorted({result.data.name for result in results}),
        "threats": sorted({result.threat.name for result in results}),
        "columns": COLUMNS,
        "rows": [_row(submission.result, rank) for board in boards for submission, rank in board],
        "note": NOTE,
        "heat": [_heat([submission.result for submission, _rank in board]) for board in boards],
    }
    return pages.get_template("index.html.jinja").render(context)


def _row(result: Result, rank: int | None) -> dict[str, Any]:
    first, clean, rate = headline(result.metrics), result.metrics.clean_accuracy, result.metrics.unparsed_rate
    worst = result.metrics.worst_modality
    at_worst = None if worst is None else headline(result.metrics.by_modality[worst])
    grid = certified(result.metrics)
    counts = Counter(finding.verdict for finding in result.audit)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "warn", "pass") if counts[verdict]]
    cells = [
        (first.value, with_interval(first)),
        (clean.value, with_interval(clean)),
        ("", MISSING) if at_worst is None else (at_worst.value, f"{worst} {percent(at_worst.value)}"),
        (grid[0].value, " / ".join(f"{percent(one.value)} at {one.radius:g}" for one in grid))
        if grid
        else ("", MISSING),
        (rate.clean, percent(rate.clean)),
        (result.data.n, str(result.data.n)),
    ]
    return {
        "model": result.model.id,
        "page": _page_of(result.model.id),
        "data": result.data.name,
        "threat": result.threat.name,
        "rank": MISSING if rank is None else str(rank),
        "rank_key": 1_000_000 if rank is None else rank,
        "cells": [{"value": value, "text": text} for value, text in cells],
        "audit": ", ".join(told) or MISSING,
    }


def _heat(board: Sequence[Result]) -> dict[str, Any]:
    """One row per model, one column per modality: the accuracy that ranks."""
    columns = list(board[0].metrics.by_modality)
    rows = [
        (
            result.model.id,
            [heat_cell(headline(result.metrics.by_modality[name])) for name in columns],
        )
        for result in board
    ]
    title = f"{board[0].data.name}, {board[0].threat.name}"
    return {"title": title, "columns": list(map(short_modality, columns)), "rows": rows}


def _model(
    pages: Environment, submissions: Sequence[Submission], card: Card | None, data: Mapping[str, str]
) -> str:
    model = submissions[0].result.model
    groups: dict[str, list[Submission]] = {}
    for submission in submissions:
        groups.setdefault(submission.result.data.digest, []).append(submission)
    results = [submission.result for submission in submissions]
    context = {
        "model": model.id,
        "title": model.id if card is None else card.title,
        "facts": [f"answers by {model.answer_mode}", model.dtype, f"{model.parameters:,} parameters"]
        + ([] if card is None else [f"licence {card.licence}"]),
        "card": [] if card is None else _paragraphs(card.text),
        "synthetic": all(result.data.synthetic for result in results),
        "boards": [_board(group, data) for group in groups.values()],
        "audit": [
            {"threat": result.threat.name, **dict(finding)} for result in results for finding in result.audit
        ],
        "weights": model.weights_sha256,
    }
    return pages.get_template("model.html.jinja").render(context)


def _board(submissions: Sequence[Submission], data: Mapping[str, str]) -> dict[str, Any]:
    """What a model's page shows of one set of questions."""
    results = [submission.result for submission in submissions]
    accuracies = measured(results)
    outcomes, gallery = _evidence(submissions, data)
    figures = [accuracy_figure(accuracies), *eps_figures(accuracies), certified_figure(outcomes, accuracies)]
    return {
        "data": results[0].data.name,
        "described": describe_data(results[0].data),
        "accuracy": accuracy_grid(results),
        "figures": [
            {
                "name": f"{slug(results[0].data.name)}-{figure.name}",
                "title": figure.title,
                "caption": figure.caption,
                "light": figure.data_uri(LIGHT),
                "dark": figure.data_uri(DARK),
            }
            for figure in figures
            if figure is not None
        ],
        "heat": heat_tables(accuracies),
        "gallery": gallery,
    }


def _evidence(
    submissions: Sequence[Submission], data: Mapping[str, str]
) -> tuple[dict[tuple[str, str], Any], list[Example]]:
    """Outcomes by model and threat, and examples where evidence and data set are at hand."""
    outcomes: dict[tuple[str, str], Any] = {}
    witnesses: dict[tuple[str, str], Any] = {}
    questions: dict[str, Any] = {}
    for submission in submissions:
        entry = submission.entry
        if entry is None or any(file.hub is not None for file in entry.evidence):
            continue
        proof, _faults = read_proof(submission.path, entry)
        if proof is None:
            continue
        model = entry.result.model.id
        outcomes[model, "clean"] = proof.clean
        outcomes[model, entry.result.threat.name] = proof.threat
        witnesses[model, entry.result.threat.name] = proof.witnesses
        if not questions:
            try:
                dataset = open_selection(entry, data)
            except InvalidInputError:  # shown without a gallery
                continue
            questions = {question.id: question for question in dataset.questions}
    if not questions:
        return outcomes, []
    found = examples(outcomes, lambda *key: witnesses.get(key, ()), questions, limit=GALLERY)
    return outcomes, found


def _tables(submissions: Sequence[Submission]) -> dict[str, bytes]:
    """Every accuracy of every submission, one a row."""
    import pandas as pd

    rows = []
    for submission in submissions:
        result = submission.result
        groups: dict[tuple[str, str], Scores] = {("all", "all"): result.metrics}
        groups |= {("modality", name): scores for name, scores in result.metrics.by_modality.items()}
        types = result.metrics.by_question_type
        groups |= {("question type", name): scores for name, scores in types.items()}
        for (kind, group), scores in groups.items():
            found: list[tuple[str, float | None, Estimate | None]] = [
                ("clean", None, scores.clean_accuracy),
                ("robust", None, scores.robust_accuracy),
            ]
            found += [("certified", one.radius, one) for one in certified(scores)]
            rows += [
                {
                    "model": result.model.id,
                    "weights_sha256": result.model.weights_sha256,
                    "data": result.data.name,
                    "data_digest": result.data.digest,
                    "synthetic": result.data.synthetic,
                    "threat": result.threat.name,
                    "group_kind": kind,
                    "group": group,
                    "measure": measure,
                    "radius": radius,
                    **estimate.model_dump(include={"value", "low", "high", "n"}),
                }
                for measure, radius, estimate in found
                if estimate is not None
            ]
    table = pd.DataFrame(rows).astype({"radius": "float64"})
    return {
        "results.csv": table.to_csv(index=False, lineterminator="\n").encode(),
        "results.parquet": table.to_parquet(index=False),
    }


def _page_of(model: str) -> str:
    return f"models/{slug(model)}.html"


def _paragraphs(text: str) -> list[str]:
    """A card's text without its Markdown headings; the rest is shown as it is."""
    blocks = (block.strip() for block in text.split("\n\n"))
    return [block for block in blocks if block and not block.startswith("#")]
