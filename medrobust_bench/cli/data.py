"""`medrobust data`: list, check and describe data sets, or fetch the published one."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.cli.options import images_option
from medrobust_bench.problems import printable
from medrobust_bench.specs.vocabulary import QuestionType, in_usual_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from medrobust_bench.data.audit import Audit
    from medrobust_bench.data.leakage import Leak
    from medrobust_bench.models.cards import Card
    from medrobust_bench.problems import Problem

_SHOWN_PER_KIND = 3
_SHORT_TYPES: dict[str, str] = {
    QuestionType.MODALITY: "modality",
    QuestionType.ANATOMY: "anatomy",
    QuestionType.DIAGNOSIS: "diagnosis",
    QuestionType.GRADING: "grading",
    QuestionType.ATTRIBUTES: "attributes",
}


@click.group()
def command() -> None:
    """List, check, describe or fetch a data set."""


@command.command()
@click.argument("source")
@click.option(
    "--against",
    multiple=True,
    metavar="SOURCE",
    help="Another data set, such as training data: report images of SOURCE that stand in it. May be repeated.",
)
@images_option
@click.option("--text-only", is_flag=True, help="Check the text alone; compare images by their paths.")
@click.option(
    "--near",
    is_flag=True,
    help="Look for near-duplicates as well: resized, compressed again, cropped a little.",
)
@click.option(
    "--near-out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --near: write what was found as CSV, for `source.near` of a data card.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="Load this model as well, and ask whether it takes every question of the test split; nothing is answered.",
)
@click.option(
    "--answer-mode",
    type=click.Choice(["letter", "option-text", "reasoning", "generate"]),
    help="With --model: instead of the card's.",
)
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="With --model.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split by image content.")
@click.option("--all", "show_all", is_flag=True, help="Show every problem instead of the first of each kind.")
@click.pass_context
def check(
    ctx: click.Context,
    *,
    source: str,
    against: tuple[str, ...],
    images: Path | None,
    text_only: bool,
    near: bool,
    near_out: Path | None,
    model: str | None,
    answer_mode: str | None,
    device: str,
    seed: int,
    show_all: bool,
) -> None:
    """Count the questions of SOURCE, and report everything wrong with them and every image shared between splits.

    SOURCE is whatever `medrobust run --data` takes; `medrobust data list` names it. A data set whose images are not
    there is checked by its text alone.

    Exits with 0 when all is well, 1 when splits share images, 2 when there are problems.
    """
    from rich.console import Console

    from medrobust_bench.data.audit import audit

    console = Console(highlight=False)
    asked = None if model is None else _resolved(model, answer_mode)
    checked = audit(source, images=images, text_only=text_only, seed=seed)
    _print_counts(console, checked)
    leaks = list(checked.leaks())
    problems = list(checked.problems)
    others = [audit(other, text_only=text_only, seed=seed) for other in against]
    for other in others:
        leaks += checked.leaks_into(other)
        problems += other.problems
    if near or near_out is not None:
        leaks += _near(console, checked, others, near_out)
    if asked is not None:
        problems += _refused(asked, checked, device)
    _print_baselines(checked)
    _print_leaks(
        console, leaks, compared=len(checked.splits()) > 1 or bool(against), by_content=checked.has_images
    )
    for note in checked.notes:
        click.echo(f"note: {printable(note)}")
    _print_skipped(checked.skipped, limit=None if show_all else _SHOWN_PER_KIND)
    _print_problems(problems, limit=None if show_all else _SHOWN_PER_KIND)
    if problems:
        ctx.exit(2)
    if leaks:
        ctx.exit(1)


def _print_counts(console: Console, checked: Audit) -> None:
    counts = checked.counts()
    images = checked.images(by_content=checked.has_images)
    modalities = in_usual_order(images)
    types = in_usual_order(question_type for _modality, question_type in counts)
    if modalities:
        rows = []
        for modality in modalities:
            per_type = [counts[modality, question_type] for question_type in types]
            rows.append([modality, *per_type, sum(per_type), len(images[modality])])
        per_type = [
            sum(counts[modality, question_type] for modality in modalities) for question_type in types
        ]
        rows.append(["all", *per_type, sum(per_type), len(frozenset[str]().union(*images.values()))])
        names = [_SHORT_TYPES.get(question_type, question_type) for question_type in types]
        _print_table(console, f"{checked.name}: questions", ["modality", *names, "all", "images"], rows)
    if checked.types_inferred:
        click.echo(
            f"The types of {checked.types_inferred} questions are not published and were guessed from the wording."
        )
    if repeated := checked.repeated_files():
        click.echo(f"{repeated} image file{'s' * (repeated != 1)} with the same content as another.")
    splits = checked.splits()
    if len(splits) > 1:
        questions = Counter((entry.modality, entry.split) for entry in checked.entries)
        found = {split: checked.images(by_content=checked.has_images, split=split) for split in splits}
        rows = [[modality] for modality in modalities]
        for row, modality in zip(rows, modalities, strict=True):
            for split in splits:
                count = questions[modality, split]
                row.append(f"{count} ({len(found[split][modality])})" if count else "-")
        whole = Counter(entry.split for entry in checked.entries)
        distinct = {split: len(frozenset[str]().union(*found[split].values())) for split in splits}
        rows.append(["all", *(f"{whole[split]} ({distinct[split]})" for split in splits)])
        grouped = any(entry.question.group for entry in checked.entries)
        content = "by patient or study, else by image content" if grouped else "by image content"
        origin = content if checked.split_by_content else "as published"
        _print_table(console, f"Splits {origin}: questions (images)", ["modality", *splits], rows)
    if not checked.has_images:
        click.echo("No images opened: only the text was checked, and images are compared by path.")


def _near(console: Console, checked: Audit, others: Sequence[Audit], out: Path | None) -> list[Leak]:
    """Near-duplicates: shown, written, and those on two sides returned."""
    from rich.console import Console as Terminal
    from rich.progress import Progress

    from medrobust_bench.data.near import near_clusters, near_pairs, write_clusters
    from medrobust_bench.problems import InvalidInputError, Problem

    if not all(audit.has_images for audit in (checked, *others)):
        raise InvalidInputError([Problem("--near", "needs the images", "say where they are (--images)")])
    entries = {entry.digest: entry for audit in (checked, *others) for entry in audit.entries if entry.digest}
    digests = list(entries)
    with Progress(console=Terminal(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("comparing", total=None)
        pairs = near_pairs(
            [entry.question.image for entry in entries.values()],
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    named = [[entries[digests[place]].image_path for place in (pair.first, pair.second)] for pair in pairs]
    click.echo(
        f"{len(pairs)} pair{'s' * (len(pairs) != 1)} of near-duplicates among {len(digests)} distinct images."
    )
    for pair, names in list(zip(pairs, named, strict=True))[:_SHOWN_PER_KIND]:
        click.echo(f"  {printable(names[0])} and {printable(names[1])} (likeness {pair.likeness:.2f})")
    if len(pairs) > _SHOWN_PER_KIND:
        click.echo(f"  … and {len(pairs) - _SHOWN_PER_KIND} more (--near-out FILE writes them)")
    clusters = near_clusters(digests, pairs)
    if out is not None:
        try:
            write_clusters(out, clusters)
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise InvalidInputError(
                [Problem(str(out), what, "name a file in a folder that can be written")]
            ) from error
        click.echo(f"{out} written; name it as `source.near` in a data card to keep them on one side.")
    return list(checked.near_leaks(clusters, others))


def _resolved(model: str, answer_mode: str | None) -> Card:
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.models.registry import resolve

    return resolve(model, answer_mode=None if answer_mode is None else AnswerMode(answer_mode))


def _refused(card: Card, checked: Audit, device: str) -> list[Problem]:
    """Questions that a run would ask and the model does not take."""
    from rich.console import Console as Terminal
    from rich.progress import Progress

    from medrobust_bench.models.refusal import refused
    from medrobust_bench.models.registry import load_model
    from medrobust_bench.problems import InvalidInputError, Problem

    if not checked.has_images:
        raise InvalidInputError([Problem("--model", "needs the images", "say where they are (--images)")])
    test = [entry.question for entry in checked.entries if entry.split == "test"]
    questions = test or [entry.question for entry in checked.entries]
    adapter = load_model(card, device=device)
    with Progress(console=Terminal(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task("binding", total=len(questions))
        found = refused(
            adapter, questions, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    name = "test questions" if test else "questions"
    click.echo(f"{printable(card.id)} takes {len(questions) - len(found)} of {len(questions)} {name}.")
    remedy = f"leave them out, or see whether the model is sound: `medrobust models check {card.id}`"
    return [Problem(id, f"{card.id} does not take it: {why}", remedy) for id, why in found.items()]


def _print_baselines(checked: Audit) -> None:
    found = checked.baselines()
    if found is None:
        return
    parts = [f"chance {found.chance:.1%}", f"commonest letter {found.majority_letter:.1%}"]
    if found.option_texts is not None and found.with_question is not None:
        parts.append(f"texts of the options as they were right in training {found.option_texts:.1%}")
        parts.append(f"the same for each question text {found.with_question:.1%}")
    click.echo(f"Without images, {found.n} test questions: {', '.join(parts)}.")


def _print_leaks(console: Console, leaks: Sequence[Leak], *, compared: bool, by_content: bool) -> None:
    if not compared:
        return
    if not leaks:
        click.echo(
            "No leakage: no image (and no patient or study that is named) stands on both sides, "
            f"compared by {'content' if by_content else 'path'}."
        )
        return
    rows = [
        [
            leak.modality,
            leak.kind,
            leak.held_out,
            leak.seen,
            f"{len(leak.images)} of {leak.total}",
            f"{len(leak.images) / leak.total:.1%}",
        ]
        for leak in leaks
    ]
    header = ["modality", "what", "of", "seen in", "how many", "share"]
    _print_table(console, "Leakage: on both sides", header, rows)


def _print_skipped(skipped: Sequence[Problem], *, limit: int | None) -> None:
    by_reason: dict[str, list[Problem]] = {}
    for problem in skipped:
        by_reason.setdefault(problem.what.partition(": ")[2], []).append(problem)
    for alike in by_reason.values():
        for problem in alike[:limit]:
            click.echo(f"left out: {problem}")
        if hidden := len(alike) - len(alike[:limit]):
            click.echo(f"left out: … and in {hidden} more files for the same reason (--all shows them)")


def _print_problems(problems: Sequence[Problem], *, limit: int | None) -> None:
    """Problems by kind; those of one kind have the same remedy."""
    if not problems:
        click.echo("No problems.")
        return
    kinds: dict[str, list[Problem]] = {}
    for problem in problems:
        kinds.setdefault(problem.remedy, []).append(problem)
    click.secho(f"{len(problems)} problem{'s' * (len(problems) != 1)}", fg="red")
    for of_kind in kinds.values():
        for problem in of_kind[:limit]:
            click.echo(f"  {problem}")
        hidden = len(of_kind) - len(of_kind[:limit])
        if hidden:
            click.echo(f"  … and {hidden} more of this kind (--all shows them)")


def _print_table(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """A rich table on a terminal, plain text elsewhere."""
    if console.is_terminal:
        from rich import box
        from rich.table import Table

        table = Table(
            title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False
        )
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right", no_wrap=index > 0)
        for row in rows:
            table.add_row(*map(str, row))
        console.print(table)
        return
    from tabulate import tabulate

    align = ["left", *["right"] * (len(header) - 1)]
    click.echo(f"{title}\n{tabulate(rows, headers=header, colalign=align, disable_numparse=True)}\n")


@command.command("list")
def list_data() -> None:
    """List the data sets that have a card, and what else can be read."""
    from tabulate import tabulate

    from medrobust_bench.data.cards import read_card, shipped_cards
    from medrobust_bench.data.reader import readers

    rows = []
    for name, path in shipped_cards().items():
        card = read_card(path)
        counts = ", ".join(
            f"{split} {part.rows}" for split, part in card.expect.items() if part.rows is not None
        )
        config = "" if card.source.config is None else f", {card.source.config}"
        origin = f"{card.source.hub or card.source.folder}{config}"
        rows.append((name, card.title, origin, counts or "-", "yes" if card.downloaded else "no"))
    header = ("Card", "Data set", "From", "Published rows", "Opened here")
    click.echo(tabulate(rows, headers=header, disable_numparse=True))
    click.echo("\n`--data` also takes:")
    for reader in readers():
        click.echo(f"  {reader.reads}")


@command.command()
@click.argument("table", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; must not exist.")
def card(*, table: Path, out: Path | None) -> None:
    """Draft a data card for TABLE, a table of your own (or a folder of Parquet files), from its columns.

    Columns with the usual names are filled in, what is unclear stands in comments. Put the card beside the table, and
    pass it: --data card.md.
    """
    from medrobust_bench.data.own_tables import skeleton
    from medrobust_bench.problems import InvalidInputError, Problem

    text = skeleton(table)
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        what = f"cannot be written: {error.strerror}"
        raise InvalidInputError(
            [Problem(str(out), what, "name a new file in a folder that can be written")]
        ) from error
    click.echo(f"{out} written; next: fill in what is unclear, then `medrobust data check {out}`")


@command.group()
def fetch() -> None:
    """Fetch a published data set."""


@fetch.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--archive", type=click.Path(path_type=Path), help="Unpack this archive instead of downloading one."
)
@click.option(
    "--endpoint", help="Address of the Hugging Face hub or a mirror.  [default: $HF_ENDPOINT or the hub]"
)
@click.option(
    "--revision", default="main", show_default=True, help="Branch, tag or commit of the repository."
)
def omnimedvqa(*, out: Path, archive: Path | None, endpoint: str | None, revision: str) -> None:
    """Download OmniMedVQA (about 11 GB) and unpack it safely.

    The archive stays in the Hugging Face cache, and an interrupted download goes on where it stopped. OUT appears only
    when it is complete.
    """
    from rich.console import Console
    from rich.progress import Progress

    from medrobust_bench.data.archive import download, leftovers, unpack
    from medrobust_bench.data.omnimedvqa import tree_root

    if tree_root(out) is not None:
        click.echo(f"{out} already holds OmniMedVQA; remove it to fetch it again.")
        return
    for folder in leftovers(out):
        click.echo(
            f"{folder} is left from an unpacking that was broken off (or still runs); it can be removed."
        )
    if archive is None:
        archive = download(revision=revision, endpoint=endpoint)
        click.echo(f"archive: {archive} (revision {archive.parent.name})")
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("unpacking", total=None)
        unpack(archive, out, progress=lambda done, total: bar.update(task, completed=done, total=total))
    click.echo(f"unpacked into {out}; next: medrobust data check {out}")
