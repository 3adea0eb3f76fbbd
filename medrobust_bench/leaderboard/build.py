"""Leaderboard tables from result files: `<out>/<data>/<threat>.md` per data set and threat, and an index.

The same result files give the same bytes, whatever their names and the order in which they were written.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.ranking import RANKS, boards, certified, headline
from medrobust_bench.leaderboard.submissions import read_results
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records.files import replace_file
from medrobust_bench.reports.grid import MISSING, Grid, escape_markdown, percent, with_interval
from medrobust_bench.reports.tables import (
    NOTE,
    describe_data,
    describe_threat,
    describe_without_images,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.leaderboard.ranking import Board
    from medrobust_bench.leaderboard.submissions import Submission
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Estimate, Result, Scores

MARK = "<!-- Written by `medrobust leaderboard build`; edits are lost. -->"
INDEX = "README.md"

SYNTHETIC = (
    "**Synthetic images.** This project renders the images of its phantoms, they are not taken from patients. "
    "Such a table shows that the benchmark works; it says nothing about robustness on medical images."
)


def build(results: Path, out: Path, *, cards: Mapping[str, Card]) -> list[Path]:
    """Write the tables of every result file below a folder, and remove tables that have no results any more.

    Args:
        results: folder that is searched for `*.json`, at any depth.
        out: folder for the tables.
        cards: the model registry; a model links to its card where `model_cards/` stands beside `out`.

    Returns:
        The files written, index first.

    Raises:
        InvalidInputError: everything that is wrong with any result file; nothing is written then.
    """
    pages = render(read_results(results, cards=cards), links=_card_links(out, cards), cards=cards)
    if behind := sorted(
        {folder for folder in {(out / name).parent for name in pages} if folder.is_symlink()}
    ):
        raise InvalidInputError([Problem(str(folder), "is a link", "remove it") for folder in behind])
    for stale in sorted(path for path in out.glob("*/*.md") if path.relative_to(out).as_posix() not in pages):
        if stale.read_text(encoding="utf-8").startswith(MARK):
            stale.unlink()
    for name, text in pages.items():
        replace_file(out / name, text.encode())
    return [out / name for name in pages]


def render(
    submissions: Sequence[Submission], *, links: Mapping[str, str], cards: Mapping[str, Card]
) -> dict[str, str]:
    """The pages by their names relative to the leaderboard's folder, index first.

    Args:
        submissions: what to show.
        links: by model id, the card as seen from a table.
        cards: the model registry.

    Raises:
        InvalidInputError: two data sets or threats whose names give the same file name.
    """
    pages: dict[str, str] = {}
    taken: dict[str, str] = {}
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for (data, threat), group in groupby(boards(submissions, cards=cards), key=_names):
        page = list(group)
        name, title = f"{slug(data)}/{slug(threat)}.md", f"{data}, {threat}"
        # A file system that ignores case would overwrite one with the other.
        other = taken.setdefault(name.lower(), title)
        if other != title:
            what = f"{title!r} and {other!r} would both be written to {name}"
            problems.append(Problem("result files", what, "rename the data set or threat of one"))
        pages[name] = _page(title, page, links)
        rows += [_index_row(f"[{escape_markdown(title)}]({name})", board) for board in page]
    if problems:
        raise InvalidInputError(problems)
    header = ("Table", "Images", "First", "Accuracy", "Texts alone", "Models", "Questions")
    index = Grid("", header, tuple(rows), names=3, raw=frozenset({0})).markdown()
    synthetic = [SYNTHETIC] if any(one.result.data.synthetic for one in submissions) else []
    return {INDEX: _text([MARK, "# Leaderboards", *synthetic, NOTE, index]), **pages}


def _page(title: str, page: Sequence[Board], links: Mapping[str, str]) -> str:
    blocks = [MARK, f"# {escape_markdown(title)}"]
    for board in page:
        first = board[0].submission.result
        if first.data.synthetic and SYNTHETIC not in blocks:
            blocks.append(SYNTHETIC)
        given_away = describe_without_images([standing.submission.result for standing in board])
        lines = (f"Threat: {describe_threat(first.threat)}", f"Data: {describe_data(first.data)}", given_away)
        blocks.append("\n".join(f"- {escape_markdown(line)}" for line in lines if line))
        blocks.append(_table(board, links).markdown())
    return _text([*blocks, f"{NOTE} Ordered by the accuracy named first. {RANKS}"])


def _table(board: Board, links: Mapping[str, str]) -> Grid:
    """One row per result, the ranked first, best first; results that are level share a rank."""
    results = [standing.submission.result for standing in board]
    columns: list[tuple[str, list[str]]] = [
        ("Rank", [MISSING if standing.rank is None else str(standing.rank) for standing in board]),
        ("Model", [_model(result, links) for result in results]),
        *(
            (name, [with_interval(accuracies(result.metrics)[name]) for result in results])
            for name in accuracies(results[0].metrics)
        ),
        ("Credited", [told_credit(result.metrics) for result in results]),
        ("Worst modality", [_worst(result) for result in results]),
        ("Unparsed", [_unparsed(result) for result in results]),
        ("Audit", [told_audit(standing.submission) for standing in board]),
        ("Done again", [told_replay(standing.submission) for standing in board]),
        ("n", [str(result.data.n) for result in results]),
        ("Date", [told_date(standing.submission) for standing in board]),
    ]
    if len({result.seed for result in results}) > 1:
        columns.append(("Seed", [str(result.seed) for result in results]))
    header = tuple(name for name, _cells in columns)
    rows = tuple(zip(*(cells for _name, cells in columns), strict=True))
    return Grid("", header, rows, names=2, raw=frozenset({1}))


def accuracies(scores: Scores) -> dict[str, Estimate]:
    """The accuracy columns by name, the one that ranks first."""
    robust = {"Robust": scores.robust_accuracy, "Corrupted, mean": scores.corrupted_accuracy}
    at_radii = {f"Certified, r ≥ {estimate.radius:g}": estimate for estimate in certified(scores)}
    measured = {name: estimate for name, estimate in robust.items() if estimate is not None}
    return {**measured, **at_radii, "Clean": scores.clean_accuracy}


def _model(result: Result, links: Mapping[str, str]) -> str:
    """The model's id as Markdown, linked to its card; answer mode and dtype beside it."""
    model = result.model
    label = escape_markdown(model.id)
    linked = f"[{label}]({links[model.id]})" if model.id in links else label
    weights = "weights unknown" if model.weights_sha256 is None else escape_markdown(model.dtype)
    return f"{linked} ({escape_markdown(model.answer_mode)}, {weights})"


def _worst(result: Result) -> str:
    name = result.metrics.worst_modality
    scores = None if name is None else result.metrics.by_modality.get(name)
    if scores is None:
        return MISSING
    estimate = headline(scores)
    return f"{name} {percent(estimate.value)} (n {estimate.n})"


def _unparsed(result: Result) -> str:
    """Share of unparsable answers in per cent: on clean images, and under attack where there was one."""
    rate = result.metrics.unparsed_rate
    clean = percent(rate.clean)
    return clean if rate.adversarial is None else f"{clean}; attacked {percent(rate.adversarial)}"


def told_credit(scores: Scores) -> str:
    """The accuracy that ranks, of answers that depend on the image alone; a dash where that was not asked."""
    return MISSING if scores.credited_accuracy is None else with_interval(scores.credited_accuracy)


def texts_alone(board: Board) -> str:
    """What the options' texts alone give away of a board's questions, in per cent; a dash where nobody says."""
    told = (standing.submission.result.without_images for standing in board)
    found = next((one.option_texts for one in told if one is not None and one.option_texts is not None), None)
    return MISSING if found is None else percent(found)


def told_audit(submission: Submission) -> str:
    """How many audit checks failed, warned and passed."""
    counts = Counter(finding.verdict for finding in submission.audit)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "warn", "pass") if counts[verdict]]
    return ", ".join(told) or MISSING


def told_replay(submission: Submission) -> str:
    """Who has done a part of it again, when, and how much of what ranks may be otherwise."""
    return MISSING if submission.replayed is None else submission.replayed.told()


def told_date(submission: Submission) -> str:
    """The day of a submission; a dash for a bare result."""
    return MISSING if submission.entry is None else submission.entry.submitted.isoformat()


def _names(board: Board) -> tuple[str, str]:
    result = board[0].submission.result
    return result.data.name, result.threat.name


def _index_row(link: str, board: Board) -> tuple[str, ...]:
    data = board[0].submission.result.data
    images = "synthetic" if data.synthetic else "of patients"
    models = str(len({standing.submission.result.model.id for standing in board}))
    first = next((standing.submission.result for standing in board if standing.rank is not None), None)
    name, accuracy = (
        (MISSING, MISSING) if first is None else (first.model.id, with_interval(headline(first.metrics)))
    )
    return (link, images, name, accuracy, texts_alone(board), models, str(data.n))


def _card_links(out: Path, cards: Mapping[str, Card]) -> dict[str, str]:
    folder = out.resolve().parent / "model_cards"
    names = {card.id: card.path.name for card in cards.values() if card.path is not None}
    return {model: f"../../model_cards/{name}" for model, name in names.items() if (folder / name).is_file()}


def _text(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"
