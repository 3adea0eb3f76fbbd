"""`medrobust compare`."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.reports.comparison import Comparison
    from medrobust_bench.reports.gate import Gate


@click.command("compare")
@click.argument("baseline", type=click.Path(path_type=Path, file_okay=False))
@click.argument("current", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--pair",
    "pairs",
    multiple=True,
    metavar="OLD=NEW",
    help="Model of BASELINE and model of CURRENT; repeatable.  [default: equal names, or the only ones]",
)
@click.option("--threat", "threats", multiple=True, metavar="NAME", help="Only this threat; repeatable.")
@click.option(
    "--fail-if-drop",
    "margin",
    type=click.FloatRange(0, 1, max_open=True),
    metavar="SHARE",
    help="Exit with 1 if an accuracy fell by more than this share; 0.02 tolerates two points.",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    metavar="P",
    help="Probability of a false alarm in the whole gate.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with 1 also if the sample is too small to exclude such a fall."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), help="Write every number."
)
@click.option(
    "--junit", "junit_file", type=click.Path(path_type=Path, dir_okay=False), help="Write JUnit XML."
)
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path, dir_okay=False), help="Write the tables."
)
@click.option(
    "--annotations/--no-annotations",
    default=None,
    help="Print GitHub annotations.  [default: on in a GitHub workflow]",
)
def command(
    baseline: Path,
    current: Path,
    pairs: tuple[str, ...],
    threats: tuple[str, ...],
    margin: float | None,
    alpha: float,
    strict: bool,
    json_file: Path | None,
    junit_file: Path | None,
    markdown_file: Path | None,
    annotations: bool | None,
) -> None:
    """Compare two finished runs on the same questions under the same threats.

    BASELINE and CURRENT are run folders, or one folder twice with --pair; those of several data sets are compared on
    each, and gated together. CURRENT may ask a sample of BASELINE's
    questions, such as the first 100 of 1000. Exit code 0: nothing regressed; 1: an accuracy fell by more than
    --fail-if-drop; 2: the runs cannot be compared.
    """
    if margin is None and (strict or junit_file):
        option = "--strict" if strict else "--junit"
        raise InvalidInputError([Problem(option, "needs a margin to judge by", "add --fail-if-drop 0.02")])
    for option, share in (("--fail-if-drop", margin), ("--alpha", alpha)):
        if share is not None and math.isnan(share):
            raise InvalidInputError([Problem(option, "is not a number", "give a share such as 0.02")])

    from medrobust_bench.reports import comparison_tables
    from medrobust_bench.reports.gate import judge
    from medrobust_bench.runs.suite import compare_runs, load_runs

    before, after = load_runs(baseline), load_runs(current)
    chosen = [_pair(text, before[0].models, after[0].models) for text in pairs]
    comparisons = compare_runs(before, after, pairs=chosen, threats=threats)
    gate = None if margin is None else judge(comparisons, margin=margin, alpha=alpha, strict=strict)
    comparison_tables.print_comparisons(comparisons, gate)
    if json_file is not None:
        _write(json_file, _json(comparisons, gate))
    if markdown_file is not None:
        _write(markdown_file, comparison_tables.markdown(comparisons, gate).encode())
    if gate is None:
        return
    if junit_file is not None:
        _write(junit_file, comparison_tables.junit(comparisons, gate))
    if os.environ.get("GITHUB_ACTIONS") == "true" if annotations is None else annotations:
        for line in comparison_tables.github_annotations(comparisons, gate):
            click.echo(line)
    if not gate.passed:
        raise click.exceptions.Exit(1)


def _pair(text: str, before: Sequence[str], after: Sequence[str]) -> tuple[str, str]:
    """BASELINE=CURRENT; a name may hold "=" itself, so that the models decide where to cut."""
    cuts = [(text[:place], text[place + 1 :]) for place, letter in enumerate(text) if letter == "="]
    known = [(old, new) for old, new in cuts if old in before and new in after]
    found = known or [(old, new) for old, new in cuts if old and new]
    if not found:
        raise InvalidInputError(
            [Problem("--pair", f"{text!r} is no pair of models", "write BASELINE=CURRENT")]
        )
    return found[0]


def _json(comparisons: list[Comparison], gate: Gate | None) -> bytes:
    import json

    document = {
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons],
        "gate": None if gate is None else {**gate.model_dump(mode="json"), "passed": gate.passed},
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        problem = Problem(str(path), f"cannot be written: {error.strerror}", "give another file")
        raise InvalidInputError([problem]) from error
