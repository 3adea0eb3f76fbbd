"""Our attacks against their peers: same model, same questions, same ε and steps; CPU time and robust accuracy.

    pip install torchattacks foolbox
    python benchmarks/attack_speed.py
    python benchmarks/attack_speed.py --growth

- ours: `pgd-linf` and `apgd-linf`, with every success verified on the deployed path, all included in the time;
- stock ART: `PyTorchClassifier` around the model and `ProjectedGradientDescentPyTorch`;
- torchattacks and foolbox: their PGD; foolbox's own `run` returns the last iterate;
- batch of one: torchattacks' APGD, one question after the other, as papers on vision-language models run it.

Peers get the model as `from_pretrained` gives it, wrapped into a classifier of images whose classes are the options:
the same differentiable logits as ours, computed at the last position only. A second run of stock ART gets our frozen
model with its faster patch embedding, to tell what these are worth. Only the attack of a peer is timed, not the check
of its images, which are rounded into the budget and answered on the deployed path like ours. Attacks take turns, and
the fastest of several rounds counts.

A reasoning model is no classifier: its peers attack the answer letter after an empty rationale, while the verdict is
on the answer that it generates. The comparison is one of speed only for models that score options.

`--growth` attacks with a budget too small to break anything, so that every step meets every question, and shows how
time grows with the number of questions, of steps, and with the image size, which the processor (of the Qwen-VL kind)
is told to keep.
"""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from PIL import Image
from tabulate import tabulate
from transformers import AutoModelForImageTextToText, AutoProcessor

from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import checkpoint, load_model, resolve
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import BoundQuestions
    from medrobust_bench.models.cards import Card

    Attack = Callable[["Contest"], list[np.ndarray]]

SEED = 0
UNBREAKABLE = "pgd-linf:eps=1/25500,step_size=1/25500"
NUMBERS, STEPS, SIDES = (1, 2, 4, 8, 16, 32), (5, 10, 20, 40), (64, 128, 192, 256, 384)


class Logits(torch.nn.Module):
    """Bound questions as a classifier of images: row i of a batch is question i."""

    def __init__(self, bound: BoundQuestions, model: torch.nn.Module) -> None:
        super().__init__()
        self.bound = bound
        self.model = model

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.bound.scores(pixels.float()).clamp_min(-1e4)  # a missing option, but finite


@dataclass(frozen=True)
class Contest:
    """Questions that a model answers right, and the same model as it comes out of the box.

    Attributes:
        ours: bound to our adapter.
        model: of that adapter.
        stock: bound to an adapter around a model as `from_pretrained` gives it.
        stock_model: that model.
    """

    ours: BoundQuestions
    model: torch.nn.Module
    stock: BoundQuestions
    stock_model: torch.nn.Module

    @property
    def answers(self) -> list[int]:
        """The right answers."""
        return self.ours.batch.answers

    @property
    def pixels(self) -> torch.Tensor:
        """The clean images, [B, 3, H, W]."""
        return self.ours.batch.pixels()

    def classifier(self, *, stock: bool = True) -> Logits:
        """What peers attack."""
        return Logits(self.stock, self.stock_model) if stock else Logits(self.ours, self.model)


def ours(threat: str) -> Attack:
    def attack(contest: Contest) -> list[np.ndarray]:
        bound, seeds = (
            contest.ours,
            [question_seed(SEED, question.id) for question in contest.ours.batch.questions],
        )
        return [result.image / 255 for result in load_threat(threat).search(bound, seeds)]

    return attack


def stock_art(eps: float, step: float, steps: int, *, stock: bool = True) -> Attack:
    def attack(contest: Contest) -> list[np.ndarray]:
        pixels = contest.pixels
        classifier = PyTorchClassifier(
            contest.classifier(stock=stock),
            torch.nn.CrossEntropyLoss(),
            tuple(pixels.shape[1:]),
            max(len(question.options) for question in contest.ours.batch.questions),
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        np.random.seed(SEED)
        found = ProjectedGradientDescentPyTorch(
            classifier,
            eps=eps,
            eps_step=step,
            max_iter=steps,
            num_random_init=1,
            batch_size=len(pixels),
            verbose=False,
        ).generate(pixels.numpy(), np.array(contest.answers))
        return images_of(torch.from_numpy(found))

    return attack


def torchattacks_pgd(eps: float, step: float, steps: int) -> Attack:
    import torchattacks

    def attack(contest: Contest) -> list[np.ndarray]:
        torch.manual_seed(SEED)
        peer = torchattacks.PGD(
            contest.classifier().eval(), eps=eps, alpha=step, steps=steps, random_start=True
        )
        return images_of(peer(contest.pixels, torch.tensor(contest.answers)))

    return attack


def foolbox_pgd(eps: float, step: float, steps: int) -> Attack:
    import foolbox

    def attack(contest: Contest) -> list[np.ndarray]:
        torch.manual_seed(SEED)
        model = foolbox.PyTorchModel(contest.classifier().eval(), bounds=(0, 1), device="cpu")
        peer = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
        _, clipped, _ = peer(model, contest.pixels, torch.tensor(contest.answers), epsilons=eps)
        return images_of(clipped)

    return attack


def one_by_one_apgd(eps: float, steps: int) -> Attack:
    import torchattacks

    def attack(contest: Contest) -> list[np.ndarray]:
        found = []
        for row, answer in enumerate(contest.answers):
            alone = Logits(contest.stock.select([row]), contest.stock_model).eval()
            peer = torchattacks.APGD(alone, eps=eps, steps=steps, n_restarts=1, seed=SEED)
            found += images_of(peer(contest.pixels[[row]], torch.tensor([answer])))
        return found

    return attack


def images_of(pixels: torch.Tensor) -> list[np.ndarray]:
    return list(pixels.detach().permute(0, 2, 3, 1).cpu().numpy())


def contest_of(card: Card, questions: Sequence[Question]) -> Contest:
    """The questions that a model answers right, of those whose images have the first one's shape."""
    adapter = load_model(card, device="cpu", dtype="float32")
    assert isinstance(adapter, HuggingFaceVLM), "peers know models of transformers only"
    source = checkpoint(card)
    untouched = AutoModelForImageTextToText.from_pretrained(source, dtype=torch.float32).eval()
    stock = HuggingFaceVLM(untouched, AutoProcessor.from_pretrained(source), mode=adapter.mode)
    shape = canonical(questions[0].image).shape
    questions = [question for question in questions if canonical(question.image).shape == shape]
    answered = adapter.bind(questions).answer([canonical(question.image) for question in questions])
    right = [
        question
        for question, answer in zip(questions, answered, strict=True)
        if answer.choice == question.answer
    ]
    print(f"{card.id}: {len(right)} of {len(questions)} questions answered right, images {shape[:2]}\n")
    return Contest(
        ours=adapter.bind(right),
        model=adapter.model,
        stock=stock.bind(right),
        stock_model=untouched,
    )


def compare(contest: Contest, attacks: dict[str, Attack], *, rounds: int) -> str:
    """Markdown: CPU time and robust accuracy of attacks that share ε and steps; the first is ours.

    Args:
        contest: what is attacked.
        attacks: by name.
        rounds: how often each takes its turn.
    """
    seconds: dict[str, float] = dict.fromkeys(attacks, float("inf"))
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(rounds):
        for name, attack in attacks.items():
            start = time.process_time()
            found[name] = attack(contest)
            seconds[name] = min(seconds[name], time.process_time() - start)
    base = next(iter(seconds.values()))
    return tabulate(
        [
            (name, f"{seconds[name]:.2f}", f"{seconds[name] / base:.2f}", still_right(contest, found[name]))
            for name in attacks
        ],
        headers=("By", "CPU seconds", "Times ours", f"Still right, of {len(contest.answers)}"),
        tablefmt="pipe",
        disable_numparse=True,
    )


def still_right(contest: Contest, found: Sequence[np.ndarray]) -> int:
    """How many questions the deployed path answers right, the images rounded into 8/255 of the clean ones."""
    budget = load_threat("pgd-linf").budget(found[0].shape[:2], SEED)
    rounded = [
        budget.round(clean, image) for clean, image in zip(contest.ours.batch.images, found, strict=True)
    ]
    verdicts = contest.ours.answer(rounded)
    return sum(verdict.choice == answer for verdict, answer in zip(verdicts, contest.answers, strict=True))


class Point(NamedTuple):
    """One measurement of growth.

    Attributes:
        questions: attacked together.
        steps: of the attack.
        side: of the square images, in pixels.
        seconds: of CPU.
        outside: share of them spent outside the model's forward and backward passes.
    """

    questions: int
    steps: int
    side: int
    seconds: float
    outside: float


def growth(
    adapter: HuggingFaceVLM,
    questions: Sequence[Question],
    *,
    numbers: Sequence[int] = NUMBERS,
    steps: Sequence[int] = STEPS,
    sides: Sequence[int] = SIDES,
) -> dict[str, list[Point]]:
    """Time against number of questions, number of steps and image size, each with the others held small.

    Args:
        adapter: the model; its image processor is told the image size.
        questions: at least as many as the largest number.
        numbers: of questions.
        steps: of the attack.
        sides: of the square images, in pixels.
    """
    return {
        "questions": [spent(adapter, questions[:number], min(steps), min(sides)) for number in numbers],
        "steps": [
            spent(adapter, questions[: max(numbers) // 4 or 1], number, min(sides)) for number in steps
        ],
        "side": [spent(adapter, questions[:1], min(steps), side) for side in sides],
    }


def spent(adapter: HuggingFaceVLM, questions: Sequence[Question], steps: int, side: int) -> Point:
    """Attack questions that cannot break, their images scaled to `side`."""
    area = side * side
    adapter.processor.image_processor.size = {"shortest_edge": area, "longest_edge": area}
    scaled = [replace(question, image=at_side(question, side)) for question in questions]
    answers = adapter.bind(scaled).answer([canonical(question.image) for question in scaled])
    bound = adapter.bind([replace(q, answer=a.choice or 0) for q, a in zip(scaled, answers, strict=True)])
    threat = load_threat(f"{UNBREAKABLE},steps={steps}")
    with clock(adapter.model) as inside:
        start = time.process_time()
        threat.search(bound, range(len(answers)))
        seconds = time.process_time() - start
    return Point(len(answers), steps, side, seconds, 1 - sum(inside) / seconds)


def at_side(question: Question, side: int) -> ImageBytes:
    """A question's image, scaled to a square."""
    image = Image.fromarray(canonical(question.image)).resize((side, side), Image.Resampling.BICUBIC)
    return ImageBytes(to_png(np.asarray(image)), name=f"{question.id} at {side} pixels")


@contextmanager
def clock(model: torch.nn.Module) -> Iterator[list[float]]:
    """Inside it, CPU seconds of each forward pass of the model and of each gradient are noted."""
    inside: list[float] = []
    started: list[float] = []
    gradient = torch.autograd.grad

    def timed(*args: object, **kwargs: object) -> object:
        start = time.process_time()
        found = gradient(*args, **kwargs)
        inside.append(time.process_time() - start)
        return found

    hooks = (
        model.register_forward_pre_hook(lambda *_: started.append(time.process_time())),
        model.register_forward_hook(lambda *_: inside.append(time.process_time() - started.pop())),
    )
    torch.autograd.grad = timed
    try:
        yield inside
    finally:
        torch.autograd.grad = gradient
        for hook in hooks:
            hook.remove()


def growth_table(curves: dict[str, list[Point]]) -> str:
    """The measurements as Markdown."""
    return tabulate(
        [
            (
                f"number of {name}" if name != "side" else "image side",
                point.questions,
                point.steps,
                point.side,
                f"{point.seconds:.2f}",
                f"{1000 * point.seconds / point.questions / point.steps:.1f}",
                f"{100 * point.outside:.1f}",
            )
            for name, points in curves.items()
            for point in points
        ],
        headers=(
            "Growing",
            "Questions",
            "Steps",
            "Image side",
            "CPU seconds",
            "ms per question and step",
            "Outside the model %",
        ),
        tablefmt="pipe",
        disable_numparse=True,
    )


def draw(curves: dict[str, list[Point]], out: Path) -> None:
    """One panel per curve, both axes logarithmic."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullLocator

    labels = {"questions": "questions", "steps": "steps", "side": "image side (pixels)"}
    figure, panels = pyplot.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
    for panel, (name, points) in zip(panels, curves.items(), strict=True):
        sizes = [getattr(point, name) for point in points]
        panel.loglog(sizes, [point.seconds for point in points], "o-")
        panel.set_xticks(sizes, map(str, sizes))
        panel.set(xlabel=labels[name])
        panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        panel.xaxis.set_minor_locator(NullLocator())
        panel.grid(linewidth=0.4)
    panels[0].set(ylabel="CPU seconds")
    figure.savefig(out, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny-sft-letter", help="card id, checkpoint folder or hub id")
    parser.add_argument(
        "--answer-mode", type=AnswerMode, choices=tuple(AnswerMode), help="instead of its own"
    )
    parser.add_argument("--data", default="phantoms")
    parser.add_argument(
        "--limit", type=int, default=32, help="questions, of which those answered right are attacked"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--apgd-steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each attack, the fastest counts")
    parser.add_argument("--growth", action="store_true", help="how time grows, instead of the comparison")
    parser.add_argument("--out", type=Path, default=Path("docs/attack_growth.svg"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    card = resolve(arguments.model, answer_mode=arguments.answer_mode)
    questions = sample(open_data(arguments.data), arguments.limit, seed=SEED).questions
    if arguments.growth:
        adapter = load_model(card, device="cpu", dtype="float32")
        assert isinstance(adapter, HuggingFaceVLM), "the image processor of a model of transformers is set"
        curves = growth(adapter, questions)
        print(growth_table(curves))
        draw(curves, arguments.out)
        print(f"\nWritten to {arguments.out}")
        return

    contest = contest_of(card, questions)
    eps, step, steps, apgd = 8 / 255, 2 / 255, arguments.steps, arguments.apgd_steps
    print(f"PGD, {steps} steps\n")
    attacks = {
        "ours, pgd-linf": ours(f"pgd-linf:steps={steps}"),
        "stock ART": stock_art(eps, step, steps),
        "ART on our frozen model": stock_art(eps, step, steps, stock=False),
        "torchattacks": torchattacks_pgd(eps, step, steps),
        "foolbox": foolbox_pgd(eps, step, steps),
    }
    print(compare(contest, attacks, rounds=arguments.rounds))
    print(f"\nAuto-PGD, {apgd} steps\n")
    attacks = {
        "ours, apgd-linf": ours(f"apgd-linf:steps={apgd}"),
        "torchattacks, batch of one": one_by_one_apgd(eps, apgd),
    }
    print(compare(contest, attacks, rounds=arguments.rounds))


if __name__ == "__main__":
    main()
