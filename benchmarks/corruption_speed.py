"""How much time the threats of the clinic spend outside a model: the table of docs/corruptions.md.

    python -m benchmarks.corruption_speed --side 256

The model is one that waits 100 ms for each image, as a processor waits for an accelerator or a server, and answers
right. What a run takes beyond that is time outside the model. The processor time of making the images is what they
would cost without being made beside it, and does not depend on what else the machine is doing.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.data.image import ImageBytes, canonical
from medrobust_bench.data.phantoms.questions import phantom_questions
from medrobust_bench.models.adapter import Answer, Batch, NoScoresError
from medrobust_bench.reports.grid import Grid
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question


@dataclass(frozen=True)
class Waiting:
    """Bound questions of a model that waits and answers right."""

    batch: Batch
    seconds: float
    generation = None

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NoScoresError("only answers")

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        time.sleep(self.seconds * len(images))
        return [Answer(question.answer) for question in self.batch.questions]

    def select(self, rows: Sequence[int]) -> Waiting:
        return replace(self, batch=self.batch.rows(rows))


@dataclass(frozen=True)
class Spent:
    """What one threat took on one set of questions: images, seconds of the clock and of the processor."""

    images: int
    clock: float
    processor: float

    def outside(self, seconds: float) -> float:
        """Share of the clock's time outside a model of so many seconds an image."""
        return 1 - self.images * seconds / self.clock

    def one_by_one(self, seconds: float) -> float:
        """The same share, had nothing been made beside the model."""
        return self.processor / (self.processor + self.images * seconds)


def enlarged(question: Question, side: int) -> Question:
    """A phantom with so many pixels, under the severities of clinical images."""
    picture = Image.fromarray(canonical(question.image)).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return replace(
        question, image=ImageBytes(buffer.getvalue(), question.image.name), dataset="enlarged phantoms"
    )


def spent(name: str, questions: Sequence[Question], seconds: float) -> Spent:
    threat = load_threat(name)
    assert isinstance(threat, AlteringThreat)
    batch = Batch(tuple(questions), tuple(canonical(question.image) for question in questions))
    seeds = [question_seed(0, question.id) for question in questions]
    clock, processor = time.perf_counter(), time.process_time()
    trials = threat.meet(Waiting(batch, seconds), seeds)
    return Spent(
        sum(trial.forward_passes for trial in trials),
        time.perf_counter() - clock,
        time.process_time() - processor,
    )


def grid(names: Sequence[str], questions: Sequence[Question], seconds: float, side: int) -> Grid:
    rows = []
    for name in names:
        for modality in dict.fromkeys(question.modality for question in questions):
            warm, *chosen = [enlarged(one, side) for one in questions if one.modality == modality]
            spent(name, [warm], 0)  # what is loaded once, such as fonts
            took = spent(name, chosen, seconds)
            rows.append(
                (
                    name,
                    modality,
                    str(took.images),
                    f"{1000 * took.processor / took.images:.1f}",
                    f"{100 * took.one_by_one(seconds):.1f}",
                    f"{100 * took.outside(seconds):.1f}",
                )
            )
    header = (
        "Threat",
        "Modality",
        "Images",
        "Processor time an image (ms)",
        "outside the model, one after another (%)",
        "outside the model (%)",
    )
    return Grid("Time outside the model", header, tuple(rows), names=2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threat", nargs="+", default=["corruptions", "corruptions-worst", "injection"])
    parser.add_argument("--questions", type=int, default=2, help="of every modality")
    parser.add_argument("--seconds", type=float, default=0.1, help="of the model, an image")
    parser.add_argument("--side", type=int, default=256, help="of the images, in pixels")
    given = parser.parse_args()
    questions = phantom_questions(per_modality=given.questions + 1)
    print(grid(given.threat, questions, given.seconds, given.side).markdown())


if __name__ == "__main__":
    main()
