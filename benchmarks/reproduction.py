"""The paper's table on the shipped models: writes the tables of docs/reproduction.md.

    medrobust run benchmarks/reproduction.yaml --out runs/reproduction
    python benchmarks/reproduction.py runs/reproduction

Several runs may be given, each with other models, on the same questions.
"""

from __future__ import annotations

import argparse
import re
from itertools import pairwise
from pathlib import Path

from medrobust_bench.problems import InvalidInputError
from medrobust_bench.results.comparison import compare
from medrobust_bench.results.comparison_tables import NOTE, whole_grid
from medrobust_bench.results.finished import FinishedRun, read_finished
from medrobust_bench.results.tables import accuracy_grid, modality_grid

PAGE = Path("docs/reproduction.md")

# (held against, looked at)
PAIRS = (
    ("tiny-sft-letter", "tiny-sft-reasoning"),
    ("tiny-sft-reasoning", "tiny-at-sft"),
    ("tiny-at-sft", "safemed-r1-tiny"),
)


def comparisons(runs: list[FinishedRun]) -> str:
    """The paired tests, over the threats that both runs have."""
    by_model = {model: run for run in runs for model in run.record.plan.models}
    parts = []
    for before, after in PAIRS:
        if before in by_model and after in by_model:
            old, new = by_model[before], by_model[after]
            shared = [t.name for t in old.threats if t.name in {other.name for other in new.threats}]
            (comparison,) = compare(old, new, pairs=[(before, after)], threats=shared)
            grid = whole_grid(comparison)
            parts += [f"**{grid.title}**", grid.markdown()]
    return "\n\n".join([*parts, NOTE])


def replaced(page: str, name: str, content: str) -> str:
    """The page with what stands between `<!-- name -->` and `<!-- /name -->` exchanged."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    new, count = re.subn(
        rf"{re.escape(start)}.*?{re.escape(end)}",
        lambda _: f"{start}\n\n{content}\n\n{end}",
        page,
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"{PAGE} needs one {start} … {end}")
    return new


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    try:
        runs = [read_finished(folder) for folder in parser.parse_args().runs]
    except InvalidInputError as error:
        raise SystemExit(str(error)) from error
    for one, other in pairwise(runs):
        if one.record.plan.data.digest != other.record.plan.data.digest:
            raise SystemExit(f"{one.folder} and {other.folder} asked different questions")
    results = [result for run in runs for result in run.results]
    page = PAGE.read_text(encoding="utf-8")
    page = replaced(page, "accuracy", accuracy_grid(results).markdown())
    page = replaced(page, "modality", modality_grid(results).markdown())
    page = replaced(page, "comparison", comparisons(runs))
    PAGE.write_text(page, encoding="utf-8")
    print(f"{PAGE} written")


if __name__ == "__main__":
    main()
