"""Nothing is left behind on the CPU: all that a run does gives on a device of its own what it gives on the CPU.

On a machine without a GPU, see `tests.pretended`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

import medrobust_bench
from benchmarks.device import EVERY, meet
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.runs.chunk import Chunk
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.kinds import kinds
from medrobust_bench.specs.registry import load_specification
from tests.pretended import DEVICE, PretendedTensor, pretended_device

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Outcome

pytestmark = pytest.mark.skipif(
    not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch has no devices written in Python",
)

WEAK = "eps=1/25500,step_size=1/25500"
"""Less than half a grey level: no question breaks."""

BY_WRITERS = (
    "auto-l2:pgd_steps=2,steps=2",
    "patch-universal:epochs=1,training=2",
    "rays:queries=3",
    "injection:queries=2",
    "corruption:gaussian-noise,severity=3",
    "certified-l2-quick:n=8",
)
"""What goes through the scoring and the writing of completions in every way that there is."""


@dataclass(frozen=True)
class Place:
    """A chunk of questions, bound to a model that lies somewhere.

    Attributes:
        adapter: the model.
        chunk: the questions.
        clean: the outcomes of their clean images.
    """

    adapter: HuggingFaceVLM
    chunk: Chunk
    clean: list[Outcome]

    def meet(self, text: str) -> list[Outcome]:
        """The outcomes of the questions under a threat, but for their seconds."""
        return untimed(meet(self.adapter, self.chunk, self.clean, text))


def assert_alike(found: list[Outcome], expected: list[Outcome]) -> None:
    """The same happened; sums may have been added up in another order."""
    for one, other in zip(found, expected, strict=True):
        for attempt, same in zip(one.attempts, other.attempts, strict=True):
            assert attempt.losses == pytest.approx(same.losses, rel=1e-3, abs=1e-4)
            assert (attempt.objective, attempt.broken) == (same.objective, same.broken)
        rounded = {"witness_sha256": None, "attempts": ()}
        assert one.model_copy(update=rounded) == other.model_copy(update=rounded)


def untimed(outcomes: list[Outcome]) -> list[Outcome]:
    return [outcome.model_copy(update={"seconds": 0.0}) for outcome in outcomes]


def opened(card: str, dtype: str = "float32") -> HuggingFaceVLM:
    """A shipped model; attention is computed by the same operations on any device."""
    adapter = load_model(resolve(card), device="cpu", dtype=dtype)
    assert isinstance(adapter, HuggingFaceVLM)
    adapter.model.set_attn_implementation("eager")
    return adapter


def moved(adapter: HuggingFaceVLM) -> HuggingFaceVLM:
    """The same model on the pretended device, as it is after loading it there."""
    adapter.model.to(DEVICE)
    adapter.device = DEVICE
    return adapter


def placed(adapter: HuggingFaceVLM, questions: tuple[Question, ...]) -> Place:
    chunk = Chunk(adapter, "model", questions, seed=0)
    return Place(adapter, chunk, untimed(chunk.clean()))


@pytest.fixture(scope="module")
def questions() -> tuple[Question, ...]:
    return sample(open_data("phantoms"), 2, seed=0).questions


@pytest.fixture(scope="module")
def letters(questions: tuple[Question, ...]) -> tuple[Place, Place]:
    """A model that answers with a letter, on the CPU and on the device."""
    return both("tiny-sft-letter", questions)


@pytest.fixture(scope="module")
def reasoning(questions: tuple[Question, ...]) -> tuple[Place, Place]:
    """A model that writes."""
    return both("tiny-sft-reasoning", questions)


def both(card: str, questions: tuple[Question, ...]) -> tuple[Place, Place]:
    here = placed(opened(card), questions)
    with pretended_device():
        there = placed(moved(opened(card)), questions)
    assert all(outcome.correct for outcome in here.clean)
    assert there.clean == here.clean
    return here, there


def test_every_kind_is_tried() -> None:
    assert {load_specification(text).kind for text in EVERY} == set(kinds())


def test_what_a_gpu_refuses_is_refused() -> None:
    with pretended_device() as device:
        there, here = torch.ones(2, device=DEVICE), torch.ones(2)
        assert isinstance(there, PretendedTensor)
        with pytest.raises(RuntimeError, match="with tensors on the CPU"):
            there + here
        with pytest.raises(TypeError, match="Copy it to the CPU first"):
            there.numpy()
        assert not device.waits
        assert ((there * 2).cpu() + here).tolist() == [3.0, 3.0]
        assert device.waits.total() == 1


@pytest.mark.parametrize("text", EVERY)
def test_a_letter_model_meets_a_threat(letters: tuple[Place, Place], text: str) -> None:
    here, there = letters
    expected = here.meet(text)
    with pretended_device():
        found = there.meet(text)
    assert_alike(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("text", BY_WRITERS)
def test_a_model_that_writes_meets_a_threat(reasoning: tuple[Place, Place], text: str) -> None:
    here, there = reasoning
    expected = here.meet(text)
    with pretended_device():
        found = there.meet(text)
    assert_alike(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("card", ["tiny-sft-letter", "tiny-sft-reasoning"])
def test_half_precision_and_its_float32_form(card: str, questions: tuple[Question, ...]) -> None:
    with pretended_device():
        place = placed(moved(opened(card, "bfloat16")), questions)
        outcomes = place.meet(f"pgd-linf:{WEAK},steps=2")
    assert all(outcome.correct and outcome.backward_passes == 2 * 2 for outcome in outcomes)


def test_the_cpu_waits_thrice_a_step(letters: tuple[Place, Place]) -> None:
    """For the losses, for whether the logits are numbers, and for whether the gradient is (ART asks)."""
    _, there = letters

    def asked(steps: int) -> tuple[int, int]:
        with pretended_device() as device:
            bound = there.adapter.bind(there.chunk.questions)
            before = ours(device.waits), ours(device.uploads)
            results = load_threat(f"pgd-linf:{WEAK},steps={steps}").search(bound, [0, 0])
        assert all(result.answer is None and result.backward_passes == steps for result in results)
        return ours(device.waits) - before[0], ours(device.uploads) - before[1]

    def ours(counts: Counter[str]) -> int:
        """Without those inside the model's own forward pass."""
        inside = ("huggingface.py", "packed_attention.py")
        return sum(count for place, count in counts.items() if not any(file in place for file in inside))

    asked(1)  # what is sent once and kept
    (waits, uploads), (fewer_waits, fewer_uploads) = asked(4), asked(2)
    assert waits - fewer_waits == 3 * (4 - 2)
    assert uploads == fewer_uploads


@pytest.mark.slow
def test_a_run_is_replayed_and_audited(tmp_path: Path) -> None:
    with pretended_device():
        adapter = moved(opened("tiny-sft-letter"))
        medrobust_bench.evaluate(model=adapter, threats="pgd-linf:steps=2", limit=3, out=tmp_path / "run")
        run = medrobust_bench.load_run(tmp_path / "run", models=[adapter])
        (recounts,) = run.replay().values()
        (record,) = run.audit(questions=2)
    assert [recount.disagreements for recount in recounts] == [(), ()]
    assert record.findings
