"""Leaderboard tables from result files: `<out>/<data>/<threat>.md` per data set and threat, and an index.

The same result files give the same bytes, whatever their names and the order in which they were written.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust_bench.leaderboard.names import slug
from medrobust_bench.leaderboard.ranking import certified, headline, order, ranks, read_answers
from medrobust_bench.leaderboard.submissions import measurement, read_results
from medrobust_bench.leaderboard.verification import unranked
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.results.grid import MISSING, Grid, escape_markdown, percent, with_interval
from medrobust_bench.results.tables import NOTE, describe_data, describe_threat

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.leaderboard.ranking import Answers
    from medrobust_bench.models.cards import Card
    from medrobust_bench.results.schema import Estimate, Result, Scores

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
    submissions = read_results(results, cards=cards)
    links = _card_links(out, cards)
    apart = {measurement(one.result) for one in submissions if one.entry is not None and unranked(one.entry)}
    answers = read_answers(submissions)
    pages = render([one.result for one in submissions], links=links, answers=answers, apart=apart)
    for stale in sorted(path for path in out.glob("*/*.md") if path.relative_to(out).as_posix() not in pages):
        if stale.read_text(encoding="utf-8").startswith(MARK):
            stale.unlink()
    for name, text in pages.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return [out / name for name in pages]


def render(
    results: Sequence[Result],
    *,
    links: Mapping[str, str],
    answers: Mapping[Hashable, Answers] | None = None,
    apart: Collection[Hashable] = (),
) -> dict[str, str]:
    """The pages by their names relative to the leaderboard's folder, index first.

    Args:
        results: what to show.
        links: by model id, the card as seen from a table.
        answers: by measurement, the answers to each question, where they are at hand: models that a paired test
            does not tell apart share a rank.
        apart: measurements that are shown without a rank.

    Raises:
        InvalidInputError: two data sets or threats whose names give the same file name.
    """
    pages: dict[str, str] = {}
    taken: dict[str, str] = {}
    rows: list[tuple[str, ...]] = []
    problems: list[Problem] = []
    for page in _grouped(results, lambda result: (result.data.name, result.threat.name)):
        data, threat = page[0].data.name, page[0].threat.name
        name, title = f"{slug(data)}/{slug(threat)}.md", f"{data}, {threat}"
        # A file system that ignores case would overwrite one with the other.
        other = taken.setdefault(name.lower(), title)
        if other != title:
            what = f"{title!r} and {other!r} would both be written to {name}"
            problems.append(Problem("result files", what, "rename the data set or threat of one"))
        # Only results on the same questions under exactly the same specification can be compared.
        boards = _grouped(page, lambda result: (result.data.split, result.data.digest, _spec(result)))
        pages[name] = _page(title, boards, links, _Ranking(answers or {}, apart))
        rows += [_index_row(f"[{escape_markdown(title)}]({name})", board) for board in boards]
    if problems:
        raise InvalidInputError(problems)
    header = ("Table", "Images", "First", "Accuracy", "Models", "Questions")
    index = Grid("", header, tuple(rows), names=3, raw=frozenset({0})).markdown()
    synthetic = [SYNTHETIC] if any(result.data.synthetic for result in results) else []
    return {INDEX: _text([MARK, "# Leaderboards", *synthetic, NOTE, index]), **pages}


def _page(
    title: str,
    boards: Iterable[Sequence[Result]],
    links: Mapping[str, str],
    ranking: _Ranking,
) -> str:
    blocks = [MARK, f"# {escape_markdown(title)}"]
    for board in boards:
        data = board[0].data
        if data.synthetic and SYNTHETIC not in blocks:
            blocks.append(SYNTHETIC)
        lines = (f"Threat: {_spec(board[0])}", f"Data: {describe_data(data)}")
        blocks.append("\n".join(f"- {escape_markdown(line)}" for line in lines))
        blocks.append(_table(board, links, ranking).markdown())
    blocks.append(
        NOTE + " Ranked by the accuracy named first. A rank is one more than the number of models that are "
        "better by a paired test (exact McNemar, 5 %): models that it does not tell apart share it. –: accepted, "
        "but not on official questions under an official threat with an audit that leaves no doubt."
    )
    return _text(blocks)


@dataclass(frozen=True, slots=True)
class _Ranking:
    """What ranks rest on; see `render`."""

    answers: Mapping[Hashable, Answers]
    apart: Collection[Hashable]

    def labels(self, ordered: Sequence[Result]) -> list[str]:
        """The rank of each result of a board, a dash for those that are shown apart."""
        taking_part = [result for result in ordered if measurement(result) not in self.apart]
        places = iter(ranks(taking_part, self.answers))
        return [MISSING if measurement(result) in self.apart else str(next(places)) for result in ordered]


def _table(board: Sequence[Result], links: Mapping[str, str], ranking: _Ranking) -> Grid:
    """One row per result, best first; results that are level share a rank."""
    ordered = sorted(board, key=order)
    columns: list[tuple[str, list[str]]] = [
        ("Rank", ranking.labels(ordered)),
        ("Model", [_model(result, links) for result in ordered]),
        *(
            (name, [with_interval(accuracies(result.metrics)[name]) for result in ordered])
            for name in accuracies(ordered[0].metrics)
        ),
        ("Worst modality", [_worst(result) for result in ordered]),
        ("Unparsed", [_unparsed(result) for result in ordered]),
        ("Audit", [_audit(result) for result in ordered]),
        ("n", [str(result.data.n) for result in ordered]),
    ]
    if len({result.seed for result in ordered}) > 1:
        columns.append(("Seed", [str(result.seed) for result in ordered]))
    header = tuple(name for name, _cells in columns)
    rows = tuple(zip(*(cells for _name, cells in columns), strict=True))
    return Grid("", header, rows, names=2, raw=frozenset({1}))


def accuracies(scores: Scores) -> dict[str, Estimate]:
    """The accuracy columns by name, the one that ranks first."""
    robust = {} if scores.robust_accuracy is None else {"Robust": scores.robust_accuracy}
    at_radii = {f"Certified, r ≥ {estimate.radius:g}": estimate for estimate in certified(scores)}
    return {**robust, **at_radii, "Clean": scores.clean_accuracy}


def _model(result: Result, links: Mapping[str, str]) -> str:
    """The model's id as Markdown, linked to its card; answer mode and dtype beside it."""
    model = result.model
    label = escape_markdown(model.id)
    linked = f"[{label}]({links[model.id]})" if model.id in links else label
    return f"{linked} ({escape_markdown(model.answer_mode)}, {escape_markdown(model.dtype)})"


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


def _audit(result: Result) -> str:
    """How many audit checks failed, warned and passed."""
    counts = Counter(finding.verdict for finding in result.audit)
    told = [f"{counts[verdict]} {verdict}" for verdict in ("fail", "warn", "pass") if counts[verdict]]
    return ", ".join(told) or MISSING


def _index_row(link: str, board: Sequence[Result]) -> tuple[str, ...]:
    data, best = board[0].data, min(board, key=order)
    images = "synthetic" if data.synthetic else "of patients"
    models = str(len({result.model.id for result in board}))
    return (link, images, best.model.id, with_interval(headline(best.metrics)), models, str(data.n))


def _card_links(out: Path, cards: Mapping[str, Card]) -> dict[str, str]:
    folder = out.resolve().parent / "model_cards"
    names = {card.id: card.path.name for card in cards.values() if card.path is not None}
    return {model: f"../../model_cards/{name}" for model, name in names.items() if (folder / name).is_file()}


def _spec(result: Result) -> str:
    return describe_threat(result.threat)


def _grouped(results: Iterable[Result], key: Callable[[Result], tuple[str, ...]]) -> list[list[Result]]:
    """Groups in the order of their keys."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return [groups[name] for name in sorted(groups)]


def _text(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"
