"""`medrobust models`: which models there are, and whether one can be attacked honestly."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from medrobust_bench.problems import InvalidInputError, Problem, printable

if TYPE_CHECKING:
    from medrobust_bench.models.selftest import SelfTest


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print the cards' front matter as JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the model registry, or check one model.

    Beside the ids listed, `--model` takes a card file, a local checkpoint folder and any hub id.
    """
    if context.invoked_subcommand is not None:
        if as_json:
            raise click.UsageError("--json goes with the list; see also `medrobust models check ID --json`")
        return
    from medrobust_bench.models.cards import read_cards

    # The shipped models first: they are the ones that run without a download.
    cards = sorted(read_cards().values(), key=lambda card: (not card.shipped, card.id))
    if as_json:
        entries = [card.model_dump(mode="json", exclude={"path", "text"}) for card in cards]
        click.echo(json.dumps(entries, indent=2, ensure_ascii=False))
        return
    from tabulate import tabulate

    rows = [
        (
            card.id,
            card.title,
            card.answer_mode.value,
            card.size or "",
            card.licence,
            "yes" if card.evaluated else "no",
        )
        for card in cards
    ]
    headers = ("Id", "Model", "Answers by", "Size", "Licence", "Evaluated here")
    click.echo(tabulate(rows, headers=headers, disable_numparse=True))


@command.command()
@click.argument("model", metavar="ID")
@click.option(
    "--answer-mode",
    type=click.Choice(["letter", "option-text", "reasoning", "generate"]),
    help="Instead of the card's.",
)
@click.option("--revision", metavar="NAME", help="Hub commit, branch or tag, instead of the card's.")
@click.option(
    "--device", default="auto", show_default=True, metavar="NAME", help="auto, cpu, cuda, cuda:1, …"
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Type of the weights.",
)
@click.option("--trust-remote-code", is_flag=True, help="Run code from the checkpoint's repository.")
@click.option("--base-url", metavar="URL", help="Address of the server of openai:NAME, up to and with /v1.")
@click.option("--key-variable", metavar="NAME", help="Environment variable with the server's key.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def check(
    model: str,
    answer_mode: str | None,
    revision: str | None,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    base_url: str | None,
    key_variable: str | None,
    as_json: bool,
) -> None:
    """Load a model and check that attacks on it measure the deployed model.

    ID is a card's id, a card file, a checkpoint folder, a hub id, or openai:NAME of a server. Exit code 1 if a check
    fails.
    """
    from medrobust_bench.models.prompt import AnswerMode
    from medrobust_bench.models.registry import resolve

    mode = None if answer_mode is None else AnswerMode(answer_mode)
    server = {"base_url": base_url, "key_variable": key_variable}
    endpoint = {name: value for name, value in server.items() if value is not None}
    card = resolve(model, answer_mode=mode, revision=revision, endpoint=endpoint)

    from medrobust_bench.models.probes import synthetic_questions
    from medrobust_bench.runs.models import how_asked, open_model, server_faults
    from medrobust_bench.testing import check_adapter

    questions = synthetic_questions()
    adapter = open_model(
        card, questions=questions, device=device, dtype=dtype, trust_remote_code=trust_remote_code
    )
    asked = how_asked(adapter, questions[0])
    with server_faults(card.id, remedy="see to the server and give the same command again"):
        report = check_adapter(adapter).model_copy(update={"prompt": asked.prompt, "notes": asked.notes})
    click.echo(report.model_dump_json(indent=2) if as_json else _report(report))
    if not report.passed:
        raise click.exceptions.Exit(1)


@command.command()
@click.argument("models", metavar="ID…", nargs=-1, required=True)
@click.option("--write", is_flag=True, help="Write them into the card instead of printing them.")
def pin(models: tuple[str, ...], write: bool) -> None:
    """Print the digests of what decides a model's answers beside its weights, as a card pins them.

    With the card's pins, a changed tokenizer, chat template, image processor, … is refused when the model is loaded,
    and told by `medrobust verify`.
    """
    from medrobust_bench.models.pins import pin_lines, write_pins
    from medrobust_bench.models.registry import load_model, resolve, unpinned

    cards = [resolve(model) for model in models]
    if write and (without := [card.id for card in cards if card.path is None]):
        what, remedy = "has no card to write into", "give a card's id or file"
        raise InvalidInputError([Problem(name, what, remedy) for name in without])
    for card in cards:
        identity = load_model(unpinned(card)).record.identity
        if identity is None:
            what = f"adapter {card.adapter} tells no digests"
            raise InvalidInputError([Problem(card.id, what, "pin weights_sha256 and revision")])
        if write and card.path is not None:
            write_pins(card.path, identity)
            click.echo(f"{card.path}: pinned")
        else:
            click.echo("\n".join([f"# {card.id}", *pin_lines(identity)]))


def _report(report: SelfTest) -> str:
    from tabulate import tabulate

    rows = [
        (
            check.name,
            "" if check.value is None else f"{check.value:.3g} {check.unit}",
            check.verdict.value,
            check.meaning,
        )
        for check in report.checks
    ]
    table = tabulate(rows, headers=("Check", "Value", "Verdict", "Meaning"), disable_numparse=True)
    notes = "".join(f"\n{printable(note)}" for note in report.notes)
    if report.prompt is None:
        return f"{report.model}{notes}\n\n{table}"
    prompt = "\n".join(f"  {printable(line)}" for line in report.prompt.split("\n"))
    return f"{report.model}{notes}\n\n{table}\n\nWhat the model is given for one question:\n{prompt}"
