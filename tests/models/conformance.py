"""The conformance table of `docs/models.md`, measured on tiny random-weight models of real architectures.

`python -m tests.models.conformance` writes it again.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MethodType

import transformers
from transformers.image_processing_backends import TorchvisionBackend

from medrobust_bench.models import selftest
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.selftest import SelfTest, Verdict
from tests.models.families import FAMILIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"
BEGIN, END = "<!-- conformance table: begin -->", "<!-- conformance table: end -->"


@dataclass(frozen=True)
class Row:
    """What was measured on one family.

    Attributes:
        family: its name.
        image_inputs: the model inputs that are exchanged for every new image.
        resized: the self-test on images that the image processor resizes.
        native_gap: gap of the replay in grey levels at the family's own image size; None where there is none.
        slope: error of the gradient against finite differences in float64; None without a gradient.
        coarse_images: the image processor computes in half precision and was set to float32 for `slope`.
    """

    family: str
    image_inputs: tuple[str, ...]
    resized: SelfTest
    native_gap: float | None
    slope: float | None
    coarse_images: bool


def measure(name: str, folder: Path) -> Row:
    """Build a family's tiny model in an empty folder and measure it."""
    family = FAMILIES[name]
    family.save(folder)
    adapter = HuggingFaceVLM.from_pretrained(
        folder, mode=AnswerMode.REASONING, device="cpu", id=name, max_new_tokens=8
    )
    resized = selftest.run(adapter)
    native_gap = None
    if family.native is not None:
        native_gap = selftest.replay_check(adapter, synthetic_questions(*family.native)[0]).value
    precise = HuggingFaceVLM.from_pretrained(folder, mode=AnswerMode.LETTER, device="cpu", dtype="float64")
    bound = precise.bind(synthetic_questions(selftest.HEIGHT, selftest.WIDTH)[:1])
    coarse_images = adapter.differentiable and resized.check("slope").verdict is Verdict.UNDECIDED
    if coarse_images:
        images = precise.processor.image_processor
        images.rescale_and_normalize = MethodType(TorchvisionBackend.rescale_and_normalize, images)
    return Row(
        family=name,
        image_inputs=tuple(sorted(bound.image_inputs)),
        resized=resized,
        native_gap=native_gap,
        slope=selftest.slope_error(selftest.smooth_logits(bound), bound.batch.pixels())
        if adapter.differentiable
        else None,
        coarse_images=coarse_images,
    )


def table(rows: list[Row]) -> str:
    """The table as Markdown."""
    lines = [
        "| Architecture | Image inputs | Replay gap, no resize | with resize | Gradient error | Batch gap | Notes |",
        "|-|-|-|-|-|-|-|",
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    notes = []
    if row.resized.check("gradient").verdict is Verdict.HANDLED:
        notes.append("discrete image tokens, no gradient: gradient-free threats only")
    if row.resized.check("batch").verdict is Verdict.HANDLED:
        notes.append("batches disturb questions: run one at a time")
    if row.coarse_images:
        notes.append("image processor in bfloat16, set to float32 for the gradient check")
    resized, batch = row.resized.check("replay").value, row.resized.check("batch").value
    return [
        row.family,
        ", ".join(f"`{name}`" for name in row.image_inputs),
        "always resizes" if row.native_gap is None else f"{row.native_gap:.0f}",
        f"{resized:.0f}",
        "–" if row.slope is None else f"{row.slope:.0e}",
        f"{batch:.0e}",
        "; ".join(notes),
    ]


def main() -> None:
    """Measure every family and put the table into the document."""
    transformers.logging.set_verbosity_error()
    rows = []
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(name, Path(folder)))
    before, rest = DOCUMENT.read_text().split(BEGIN)
    after = rest.split(END)[1]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}")


if __name__ == "__main__":
    main()
