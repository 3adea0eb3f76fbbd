"""Writes the site: an index with one sortable table, and a page per model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from medrobust_bench.leaderboard.build import told_audit, told_date, told_replay
from medrobust_bench.leaderboard.evidence import read_beside
from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.neutral import cell, html
from medrobust_bench.leaderboard.ranking import RANKS, boards, certified, headline
from medrobust_bench.leaderboard.verification import open_selection
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.reports.grid import MISSING, percent
from medrobust_bench.reports.pages import environment
from medrobust_bench.reports.run_page.figures import (
    DARK,
    LIGHT,
    accuracy_figure,
    certified_figure,
    eps_figures,
)
from medrobust_bench.reports.run_page.gallery import examples
from medrobust_bench.reports.run_page.page import by_severity, corruption_heat, heat_cell, heat_tables
from medrobust_bench.reports.tables import (
    NOTE,
    accuracy_grid,
    control_grids,
    describe_data,
    describe_without_images,
    measured,
    modality_counts,
    short_modality,
)
from medrobust_bench.runs.altered import remade_witnesses, strips

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from jinja2 import Environment

    from medrobust_bench.data.reopen import Place
    from medrobust_bench.leaderboard.entry import Entry
    from medrobust_bench.leaderboard.ranking import Board, Standing
    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Estimate, Finding, Outcome, Result, Scores
    from medrobust_bench.reports.run_page.gallery import Example
    from medrobust_bench.reports.run_page.strip import Strip

COLUMNS = (
    ("Rank", "rank"),
    ("Model", "text"),
    ("Threat, data", "text"),
    ("Accuracy (%)", "number"),
    ("Credited (%)", "number"),
    ("Clean (%)", "number"),
    ("Texts alone (%)", "number"),
    ("Worst modality (%)", "number"),
    ("Unparsed (%)", "number"),
    ("Audit", "text"),
    ("Done again", "text"),
)
GALLERY = 6
STRIPS = 8

Cell = tuple[float | str, str, Sequence[str]]
"""What a cell is sorted by, what it shows, and the small lines below."""


def write_site(
    submissions: Sequence[Submission],
    out: Path,
    *,
    cards: Mapping[str, Card],
    data: Mapping[str, Place] | None = None,
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
    standings = boards(submissions, cards=cards)
    by_model: dict[str, list[Submission]] = {}
    for submission in submissions:
        by_model.setdefault(submission.result.model.id, []).append(submission)
    _different_pages(by_model)
    contents = {"index.html": _index(pages, standings).encode()}
    for name, mine in sorted(by_model.items()):
        contents[_page_of(name)] = _model(pages, mine, cards.get(name), data or {}).encode()
    contents |= _tables(standings)
    for file, content in contents.items():
        replace_file(out / file, content)
    return [out / file for file in contents]


def _different_pages(names: Iterable[str]) -> None:
    """A file system that ignores case would overwrite one page with another."""
    taken: dict[str, str] = {}
    problems = [
        Problem("models", f"{name!r} and {taken[page]!r} would share the page {_page_of(name)}", "rename one")
        for name in sorted(names)
        if taken.setdefault(page := _page_of(name).lower(), name) != name
    ]
    if problems:
        raise InvalidInputError(problems)


def _index(pages: Environment, standings: Sequence[Board]) -> str:
    results = [standing.submission.result for board in standings for standing in board]
    script = pages.get_template("table.js.jinja").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    context = {
        "script": Markup(script),  # a file of this package
        "script_hash": f"sha256-{digest}",
        "synthetic": any(result.data.synthetic for result in results),
        "datasets": sorted({result.data.name for result in results}),
        "threats": sorted({result.threat.name for result in results}),
        "columns": COLUMNS,
        "rows": [_row(standing) for board in standings for standing in board],
        "note": f"{NOTE} {RANKS}",
        "heat": [_heat([standing.submission.result for standing in board]) for board in standings],
    }
    return pages.get_template("index.html.jinja").render(context)


def _row(standing: Standing) -> dict[str, Any]:
    result, rank = standing.submission.result, standing.rank
    first, clean, rate = headline(result.metrics), result.metrics.clean_accuracy, result.metrics.unparsed_rate
    worst = result.metrics.worst_modality
    at_worst = None if worst is None else headline(result.metrics.by_modality[worst])
    cells: list[Cell] = [
        (first.value, percent(first.value), (_interval(first), *_radii(result))),
        _estimate_cell(result.metrics.credited_accuracy),
        _estimate_cell(clean),
        _texts_cell(result),
        ("", MISSING, ())
        if worst is None or at_worst is None
        else (at_worst.value, percent(at_worst.value), (short_modality(worst),)),
        (
            rate.clean,
            percent(rate.clean),
            () if rate.adversarial is None else (f"attacked {percent(rate.adversarial)}",),
        ),
    ]
    return {
        "model": result.model.id,
        "page": _page_of(result.model.id),
        "data": result.data.name,
        "threat": result.threat.name,
        "rank": MISSING if rank is None else str(rank),
        "rank_key": 1_000_000 if rank is None else rank.first,
        "cells": [{"value": value, "text": text, "small": small} for value, text, small in cells],
        "questions": result.data.n,
        "date": told_date(standing.submission),
        "audit": told_audit(standing.submission).split(", "),
        "replayed": told_replay(standing.submission).split(": ", 1),
    }


def _estimate_cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return "", MISSING, ()
    return estimate.value, percent(estimate.value), (_interval(estimate),)


def _radii(result: Result) -> list[str]:
    """The radius that ranks, and what is certified at the others."""
    grid = certified(result.metrics)
    if not grid:
        return []
    first, *others = grid
    return [f"r ≥ {first.radius:g}", *(f"{percent(one.value)} at {one.radius:g}" for one in others)]


def _texts_cell(result: Result) -> Cell:
    found = result.without_images
    if found is None or found.option_texts is None:
        return "", MISSING, ()
    return found.option_texts, percent(found.option_texts), (f"chance {percent(found.chance)}",)


def _interval(estimate: Estimate) -> str:
    return f"{percent(estimate.low)}–{percent(estimate.high)}"


def _heat(board: Sequence[Result]) -> dict[str, Any]:
    """One row per model, one column per modality: the accuracy that ranks."""
    columns = list(modality_counts(board))
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
    pages: Environment, submissions: Sequence[Submission], card: Card | None, data: Mapping[str, Place]
) -> str:
    model = submissions[0].result.model
    groups: dict[str, list[Submission]] = {}
    for submission in submissions:
        groups.setdefault(submission.result.data.digest, []).append(submission)
    results = [submission.result for submission in submissions]
    context = {
        "model": model.id,
        "title": model.id if card is None else card.title,
        "facts": [
            f"answers by {model.answer_mode}",
            *(
                ["weights unknown"]
                if model.weights_sha256 is None
                else [model.dtype, f"{model.parameters:,} parameters"]
            ),
            *(["runs code of its own"] if model.trust_remote_code else []),
            *([] if card is None else [f"licence {card.licence}"]),
        ],
        "about": "" if card is None else _about(card),
        "synthetic": all(result.data.synthetic for result in results),
        "boards": [_board(group, data) for group in groups.values()],
        "audit": _audits(submissions),
        "weights": model.weights_sha256,
    }
    return pages.get_template("model.html.jinja").render(context)


def _audits(submissions: Sequence[Submission]) -> list[tuple[str, list[Finding]]]:
    """Findings under a name, worst first; those on clean answers once, whichever submissions share them."""
    clean = [
        (f"{one.result.data.name}, clean", one.entry.clean_audit)
        for one in submissions
        if one.entry is not None
    ]
    attacked = [
        (f"{one.result.data.name}, {one.result.threat.name}", one.result.audit) for one in submissions
    ]
    return [(name, by_severity(found)) for name, found in dict.fromkeys([*clean, *attacked]) if found]


def _board(submissions: Sequence[Submission], data: Mapping[str, Place]) -> dict[str, Any]:
    """What a model's page shows of one set of questions."""
    results = [submission.result for submission in submissions]
    accuracies = measured(results)
    outcomes, gallery, found_strips = _evidence(submissions, data)
    figures = [accuracy_figure(accuracies), *eps_figures(accuracies), certified_figure(outcomes, accuracies)]
    return {
        "data": results[0].data.name,
        "described": describe_data(results[0].data),
        "given_away": describe_without_images(results),
        "accuracy": accuracy_grid(results).transposed(),
        "figures": [
            {
                "name": f"{slug(results[0].data.name)}-{results[0].data.digest[:8]}-{figure.name}",
                "title": figure.title,
                "caption": figure.caption,
                "light": figure.data_uri(LIGHT),
                "dark": figure.data_uri(DARK),
            }
            for figure in figures
            if figure is not None
        ],
        "heat": heat_tables(accuracies),
        "corruptions": corruption_heat(results),
        "strips": found_strips,
        "controls": control_grids(results),
        "gallery": gallery,
    }


def _evidence(
    submissions: Sequence[Submission], data: Mapping[str, Place]
) -> tuple[dict[tuple[str, str], Any], list[Example], list[Strip]]:
    """Outcomes by model and threat, and examples and strips where evidence and data set are at hand."""
    outcomes: dict[tuple[str, str], Any] = {}
    witnesses: dict[tuple[str, str], Any] = {}
    questions: dict[str, Any] = {}
    altered: list[tuple[Entry, Sequence[Outcome]]] = []
    for submission in submissions:
        entry = submission.entry
        proof = None if entry is None else read_beside(submission.path, entry)
        if entry is None or proof is None:
            continue
        model = entry.result.model.id
        outcomes[model, "clean"] = proof.clean
        outcomes[model, entry.result.threat.name] = proof.threat
        witnesses[model, entry.result.threat.name] = proof.witnesses
        if entry.result.threat.remade:
            altered.append((entry, outcomes[model, entry.result.threat.name]))
        if not questions:
            try:
                dataset = open_selection(entry, data)
            except InvalidInputError:  # shown without a gallery
                continue
            questions = {question.id: question for question in dataset.questions}
    if not questions:
        return outcomes, [], []
    found_strips: list[Strip] = []
    for entry, lines in altered:
        known = [outcome for outcome in lines if outcome.question in questions]
        result, seed = entry.result, entry.selection.seed
        witnesses[result.model.id, result.threat.name] = remade_witnesses(
            result.threat, known, questions, seed=seed
        )
        if result.threat.yields == "corrupted":
            found_strips += strips(known, questions, seed=seed, limit=STRIPS - len(found_strips))
    found = examples(outcomes, lambda *key: witnesses.get(key, ()), questions, limit=GALLERY)
    return outcomes, found, found_strips


def _tables(standings: Sequence[Board]) -> dict[str, bytes]:
    """Every accuracy of every submission, one a row, with all that tables and pages say about it."""
    import pandas as pd

    rows = []
    for standing in (standing for board in standings for standing in board):
        submission = standing.submission
        result, entry = submission.result, submission.entry
        verdicts = [finding.verdict for finding in submission.audit]
        given_away = result.without_images
        groups: dict[tuple[str, str], Scores] = {("all", "all"): result.metrics}
        groups |= {("modality", name): scores for name, scores in result.metrics.by_modality.items()}
        types = result.metrics.by_question_type
        groups |= {("question type", name): scores for name, scores in types.items()}
        for (kind, group), scores in groups.items():
            found: list[tuple[str, float | None, Estimate | None]] = [
                ("clean", None, scores.clean_accuracy),
                ("robust", None, scores.robust_accuracy),
                ("corrupted", None, scores.corrupted_accuracy),
            ]
            found += [("certified", one.radius, one) for one in certified(scores)]
            found.append(("credited", None, scores.credited_accuracy))
            rows += [
                {
                    "data": result.data.name,
                    "split": result.data.split,
                    "data_digest": result.data.digest,
                    "synthetic": result.data.synthetic,
                    "threat": result.threat.name,
                    "specification": json.dumps(result.threat.model_dump(mode="json")),
                    "seed": result.seed,
                    "rank": None if standing.rank is None else standing.rank.first,
                    "rank_last": None if standing.rank is None else standing.rank.last,
                    "model": result.model.id,
                    "weights_sha256": result.model.weights_sha256,
                    "dtype": result.model.dtype,
                    "answer_mode": result.model.answer_mode,
                    "submitted": None if entry is None else entry.submitted.isoformat(),
                    "done_again": None if submission.replayed is None else submission.replayed.told(),
                    "audit_failed": verdicts.count("fail"),
                    "audit_warned": verdicts.count("warn"),
                    "unparsed_clean": result.metrics.unparsed_rate.clean,
                    "unparsed_attacked": result.metrics.unparsed_rate.adversarial,
                    "nondeterminism": result.metrics.nondeterminism,
                    "chance": None if given_away is None else given_away.chance,
                    "majority": None if given_away is None else given_away.majority,
                    "option_texts": None if given_away is None else given_away.option_texts,
                    "group_kind": kind,
                    "group": group,
                    "measure": measure,
                    "radius": radius,
                    **estimate.model_dump(include={"value", "low", "high", "n"}),
                }
                for measure, radius, estimate in found
                if estimate is not None
            ]
    table = pd.DataFrame(rows).astype(
        {
            "rank": "Int64",
            "rank_last": "Int64",
            "radius": "float64",
            "unparsed_attacked": "float64",
            "chance": "float64",
            "majority": "float64",
            "option_texts": "float64",
            "submitted": "string",
            "done_again": "string",
        }
    )
    texts = [name for name in table.columns if table[name].dtype in ("object", "string")]
    neutral = table.assign(**{name: table[name].map(cell, na_action="ignore") for name in texts})
    return {
        "results.csv": neutral.to_csv(index=False, lineterminator="\n").encode(),
        "results.parquet": table.to_parquet(index=False),
    }


def _page_of(model: str) -> str:
    return f"models/{slug(model)}.html"


def _about(card: Card) -> Markup:
    """A card's text as HTML, without the title that it begins with; what is HTML in it stays text."""
    text = card.text.partition("\n")[2] if card.text.startswith("# ") else card.text
    return html(text)
