"""The corpus of completions and the table of `docs/models.md` that is made from it.

`python -m tests.models.answers.corpus` writes the table.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from medrobust_bench.models.option_names import LETTERS
from medrobust_bench.models.read_answer import Tier, read_answer

DOCUMENT = Path(__file__).parents[3] / "docs" / "models.md"
BEGIN, END = "<!-- answers table: begin -->", "<!-- answers table: end -->"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote, and its right reading."""

    family: str
    options: tuple[str, ...]
    text: str
    choice: int | None
    tier: Tier


@cache
def completions() -> list[Completion]:
    content = yaml.safe_load(Path(__file__).with_name("completions.yaml").read_text(encoding="utf-8"))
    return [
        Completion(
            family=family["family"],
            options=tuple(content["option_sets"][options]),
            text=text,
            choice=None if letter is None else LETTERS.index(letter),
            tier=Tier(tier),
        )
        for family in content["completions"]
        for options, text, letter, tier in family["cases"]
    ]


def table() -> str:
    """What is read in the corpus, by family: how many completions, by which tiers, and an example of each."""
    rows = ["| Format | Completions | Read by | Unparsed | For example |", "|-|-|-|-|-|"]
    by_family: dict[str, list[Completion]] = {}
    for completion in completions():
        by_family.setdefault(completion.family, []).append(completion)
    for family, members in by_family.items():
        read = [read_answer(member.text, member.options) for member in members]
        tiers = Counter(answer.tier for answer in read)
        unparsed = tiers.pop(Tier.UNPARSED, 0)
        named = ", ".join(f"{tier.value} {count}" for tier, count in sorted(tiers.items(), key=_order))
        examples = {
            answer.tier: f"{_code(member.text)} → {'–' if answer.choice is None else LETTERS[answer.choice]}"
            for member, answer in sorted(
                zip(members, read, strict=True), key=lambda pair: len(pair[0].text), reverse=True
            )
            if 6 < len(member.text) < 90 and "`" not in member.text
        }
        shown = "; ".join(examples[tier] for tier in sorted(examples, key=list(Tier).index)[:3])
        rows.append(f"| {family} | {len(members)} | {named or '–'} | {unparsed} | {shown} |")
    return "\n".join(rows)


def _order(item: tuple[Tier, Any]) -> int:
    return list(Tier).index(item[0])


def _code(text: str) -> str:
    escaped = text.replace("|", "\\|").replace("\n", "\\n")
    return f"`{escaped}`"


def written() -> str:
    """The table as it stands in the document."""
    return DOCUMENT.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].strip()


def main() -> None:
    before, rest = DOCUMENT.read_text(encoding="utf-8").split(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
