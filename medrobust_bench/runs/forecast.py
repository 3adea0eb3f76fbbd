"""What a run will take, said before it begins: counted from its plan, and timed on a few of its questions.

Passes are those of questions that withstand everything, so they are the most that can happen: a question that breaks
ends its attack, and a wrong clean answer begins none. Nothing is written.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.attacks.corruption import CorruptionsByChance, WorstCorruption
from medrobust_bench.attacks.injection import CONTROLS, Injection
from medrobust_bench.attacks.losses import CrossEntropy, loss_at
from medrobust_bench.attacks.plan import Planned
from medrobust_bench.attacks.search import GENERATION_INTERVAL
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.certify.cohen import Certification
from medrobust_bench.data.image import to_png
from medrobust_bench.models.adapter import in_full_precision
from medrobust_bench.models.memory import MemoryLimit, release_memory
from medrobust_bench.reports.grid import Grid
from medrobust_bench.runs.audit.blindness import QUESTIONS, REPLACEMENTS
from medrobust_bench.runs.models import gives_scores, open_model
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.runs.engine.task import AnyThreat
    from medrobust_bench.runs.evaluate import Prepared

CALIBRATION = 4
"""Questions that are timed, at most."""

_LINE = 900
"""Bytes of a line of the journal, attempts aside; 611 on average in a run of 71,380 lines."""
_LOSS = 11
"""Bytes of the loss of one image tried."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What one question costs a model on this machine, in seconds, in a full batch where there is one.

    Attributes:
        forward: one image tried without a gradient.
        gradient: one image tried with its gradient.
        precise: the same in float32, where the model is in half precision and is attacked again; else None.
        answer: one deployed answer.
        draw: one noisy image of a certificate.
        tokens: tokens of a deployed answer, on average; 0 where none is written.
    """

    forward: float
    gradient: float
    precise: float | None
    answer: float
    draw: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Load:
    """What one model does under one threat, at most.

    Attributes:
        model: its name in the run.
        threat: name of the threat.
        forward: images tried without a gradient.
        gradient: images tried with their gradient.
        answers: deployed answers.
        tokens: tokens written for them.
        seconds: on this device.
        disk: bytes of the journal and of the images that are stored.
        bounded: whether the threat says beforehand what it does; where not, only the clean answer is counted.
    """

    model: str
    threat: str
    forward: int
    gradient: int
    answers: int
    tokens: int
    seconds: float
    disk: int
    bounded: bool = True


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take, at most.

    Attributes:
        questions: of the run.
        chunks: of the plan.
        loads: by model, then threat, in the plan's order.
        memory: peak of this process (on CUDA: of the device) while the calibration ran, bytes.
        device: what it ran on.
    """

    questions: int
    chunks: int
    loads: tuple[Load, ...]
    memory: int
    device: str

    def hours(self, devices: int = 1) -> float:
        """On so many devices like this one, at most; loading the models and an uneven end come on top."""
        return sum(load.seconds for load in self.loads) / 3600 / devices

    @property
    def disk(self) -> int:
        """Bytes that the run's folder will hold, at most."""
        return sum(load.disk for load in self.loads)

    def grid(self) -> Grid:
        """As a table."""
        return Grid(
            title=f"At most, for {self.questions} questions in chunks of equal image shape: {self.chunks}",
            header=("model", "threat", "forward", "gradients", "answers", "tokens", "hours", "MB on disk"),
            rows=tuple(
                (
                    load.model,
                    load.threat,
                    f"{load.forward:,}" if load.bounded else "not said",
                    f"{load.gradient:,}" if load.bounded else "not said",
                    f"{load.answers:,}",
                    f"{load.tokens:,}",
                    f"{load.seconds / 3600:.2f}",
                    f"{load.disk / 1e6:.1f}",
                )
                for load in self.loads
            ),
            names=2,
        )

    def sentences(self) -> list[str]:
        """The sums, in words."""
        spread = ", ".join(f"{_duration(self.hours(n))} on {n}" for n in (2, 4, 8))
        return [
            f"at most {_duration(self.hours())} on this device ({self.device}), {spread}; that is if every answer is "
            "right and withstands every threat, and loading the models comes on top",
            f"at most {_size(self.disk)} on disk",
            f"{_size(self.memory)} of memory were needed for {min(CALIBRATION, self.questions)} questions at once; "
            "larger batches are halved where memory runs out",
        ]


def forecast(prepared: Prepared) -> Forecast:
    """Count what a run will do at most, and time a few of its questions.

    Raises:
        InvalidInputError: a model cannot be loaded.
    """
    plan, inputs, settings = prepared.plan, prepared.inputs, prepared.plan.settings
    questions = {question.id: question for question in inputs.dataset.questions}
    # The chunk of the commonest size of image stands for all.
    probe = [questions[name] for name in max(plan.chunks, key=len)[:CALIBRATION]]
    loads, memory, device, threats = [], 0, settings.device, inputs.open_threats()
    for model, source in inputs.models.items():
        adapter = open_model(
            source,
            questions=probe,
            device=settings.device,
            dtype=settings.dtype,
            trust_remote_code=settings.trust_remote_code,
        )
        bound = adapter.bind(probe)
        device = str(bound.batch.device)
        seen = _pace(
            bound,
            scores=adapter.differentiable or gives_scores(adapter, probe),
            gradients=adapter.differentiable,
            float32=settings.float32_attack,
        )
        generates, image = bound.generation is not None, _stored_size(bound)
        memory = max(memory, _peak(bound.batch.device))
        del adapter, bound
        release_memory()
        loads.append(_clean_load(model, len(questions), seen))
        loads += [
            _load(model, threat, list(questions.values()), seen, generates=generates, image=image)
            for threat in threats
        ]
    return Forecast(
        questions=len(questions),
        chunks=len(plan.chunks),
        loads=tuple(loads),
        memory=memory,
        device=device,
    )


def _clean_load(model: str, questions: int, pace: Pace) -> Load:
    answers = 2 * questions + len(REPLACEMENTS) * min(QUESTIONS, questions)
    return Load(
        model=model,
        threat=CLEAN.name,
        forward=0,
        gradient=0,
        answers=answers,
        tokens=round(answers * pace.tokens),
        seconds=answers * pace.answer,
        disk=questions * _LINE,
    )


def _load(
    model: str, threat: AnyThreat, questions: Sequence[Question], pace: Pace, *, generates: bool, image: int
) -> Load:
    """What a model does under one threat with questions that all withstand."""
    forward = gradient = answers = draws = disk = 0
    bounded = True
    for question in questions:
        disk += _LINE
        if isinstance(threat, Certification):
            draws += threat.spec.n0 + threat.spec.n
        elif isinstance(threat, CorruptionsByChance):
            answers += len(threat.planned(question))
        elif isinstance(threat, WorstCorruption):
            forward += len(threat.kinds(question)) + threat.spec.queries
            answers += 1
        elif isinstance(threat, Injection):
            sorts = 1 + len(CONTROLS)
            forward += sorts * threat.spec.queries
            answers += sorts
        elif isinstance(threat, Planned):
            runs = threat.planned(question, generates=generates)
            tried = sum(run.most for run in runs)
            steps = sum(run.most - 1 for run in runs if run.gradient)
            forward, gradient = forward + tried - steps, gradient + steps
            answers += 1 + (tried // GENERATION_INTERVAL if generates else 0)
            disk += _LOSS * tried + (0 if threat.spec.remade else image)
        else:
            queries = getattr(threat.spec, "queries", None)
            bounded = queries is not None
            forward += queries or 0
            answers += 1
    if isinstance(threat, TrainedThreat):
        gradient += threat.training_questions * int(getattr(threat.spec, "epochs", 1))
    again = pace.precise is not None and gradient > 0
    seconds = forward * pace.forward + gradient * pace.gradient + answers * pace.answer + draws * pace.draw
    if again:
        seconds += (forward + gradient) * (pace.precise or 0.0)
    written = answers + (draws if isinstance(threat, Certification) and threat.spec.base == "generate" else 0)
    return Load(
        model=model,
        threat=threat.spec.name,
        forward=forward * (1 + again) + draws,
        gradient=gradient * (1 + again),
        answers=answers,
        tokens=round(written * pace.tokens),
        seconds=seconds,
        disk=disk,
        bounded=bounded,
    )


def _pace(bound: BoundQuestions, *, scores: bool, gradients: bool, float32: bool) -> Pace:
    """Time everything that the model can do once to warm up, and once more."""
    rows, images = len(bound.batch), bound.batch.images
    pixels = bound.batch.pixels()
    precise = in_full_precision(bound) if float32 and gradients else None
    written = bound.generation.clean() if bound.generation is not None else []
    answering = _seconds(lambda: bound.select([0]).answer([_other(images[0])]))
    return Pace(
        forward=_seconds(lambda: _tried(bound, pixels, gradient=False)) / rows if scores else 0.0,
        gradient=_seconds(lambda: _tried(bound, pixels, gradient=True)) / rows if gradients else 0.0,
        precise=None if precise is None else _seconds(lambda: _tried(precise, pixels, gradient=True)) / rows,
        answer=answering,
        draw=_seconds(lambda: bound.answer(images, exact=False)) / rows,
        tokens=sum(map(len, written)) / len(written) if written else 0.0,
    )


def _tried(bound: BoundQuestions, pixels: torch.Tensor, *, gradient: bool) -> None:
    """Try images as an attack does, in parts where memory runs out."""

    def part(rows: Sequence[int]) -> list[None]:
        images = pixels[rows[0] : rows[-1] + 1].clone().requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            value = loss_at(CrossEntropy(), bound.select(rows), images, [""] * len(rows)).value
        if gradient:
            torch.autograd.grad(value.sum(), images)
        return [None] * len(rows)

    MemoryLimit().run(part, range(len(bound.batch)))


def _seconds(work: Callable[[], object]) -> float:
    """Wall seconds of the second time."""
    work()
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _other(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Nearly the same image: the answer to the clean one is remembered."""
    changed = image.copy()
    changed[0, 0] ^= 1
    return changed


def _stored_size(bound: BoundQuestions) -> int:
    """Bytes of a stored image: the first one under the noise of an attack, which PNG cannot compress."""
    image = bound.batch.images[0].astype(np.int16)
    noise = np.random.default_rng(0).integers(-8, 9, image.shape)
    return len(to_png((image + noise).clip(0, 255).astype(np.uint8)))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _size(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _duration(hours: float) -> str:
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} seconds"
    return f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:,.1f} hours"
