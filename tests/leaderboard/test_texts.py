"""What a model wrote is what was read from it, by its card's own format."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from medrobust_bench.leaderboard.checks.journal import texts
from medrobust_bench.models.cards import read_cards
from medrobust_bench.records import Outcome

CARDS = read_cards()
LOOSE = "Not A.\n</think>\n\n\\boxed{B}"


def faults(name: str, *, known: bool = True, **line: Any) -> list[str]:
    """Of a journal with one clean line about four options."""
    model = SimpleNamespace(id=name, answer_mode="reasoning", smoothing=None)
    outcome = Outcome(
        model=name,
        threat="clean",
        question="q",
        modality="CT",
        question_type="t",
        answer=1,
        clean_choice=line["choice"],
        correct=line["choice"] == 1,
        **line,
    )
    case: Any = SimpleNamespace(
        entry=SimpleNamespace(result=SimpleNamespace(model=model)),
        generates=True,
        cards=CARDS if known else {},
        proof=SimpleNamespace(clean=(outcome,), threat=()),
        questions={"q": SimpleNamespace(options=("cyst", "nevus", "mole", "scar"))},
    )
    return [fault.what for fault in texts(case)]


@pytest.mark.parametrize(
    ("name", "line", "honest"),
    [
        ("qwen3-vl-8b-thinking", {"text": LOOSE, "choice": 1}, True),  # a journal from before kinds were told
        ("qwen3-vl-8b-thinking", {"text": LOOSE, "choice": 1, "tier": "boxed", "kind": "read"}, True),
        ("qwen3-vl-8b-thinking", {"text": LOOSE, "choice": 1, "tier": "tags", "kind": "read"}, False),
        ("qwen3-vl-8b-thinking", {"text": LOOSE, "choice": 0, "tier": "boxed", "kind": "read"}, False),
        (
            "qwen3-vl-8b-thinking",
            {"text": "It", "choice": None, "tier": "unparsed", "kind": "truncated"},
            True,
        ),
        ("qwen3-vl-8b-thinking", {"text": LOOSE, "choice": 1, "tier": "boxed", "kind": "truncated"}, False),
        (
            "qwen3-vl-8b-thinking",
            {"text": "It", "choice": None, "tier": "unparsed", "kind": "refused"},
            False,
        ),
        ("safemed-r1-tiny", {"text": LOOSE, "choice": 1}, False),  # read strictly
        ("safemed-r1-tiny", {"text": "<think>x</think><answer>B</answer>", "choice": 1}, True),
    ],
)
def test_a_text_is_read_as_the_card_says(name: str, line: dict[str, Any], honest: bool) -> None:
    assert (faults(name, **line) == []) == honest


def test_a_model_without_a_card_is_somebody_elses_fault() -> None:
    assert faults("nobody", known=False, text="x", choice=1) == []
