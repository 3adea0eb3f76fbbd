"""How long attacks take until they have found the same robust accuracy: ours, ours in fewer steps, and their peers.

    pip install torchattacks foolbox
    python -m benchmarks.attack_time --model safemed-r1-tiny-instruct --limit 100
    python -m benchmarks.attack_time --model safemed-r1-tiny-instruct --limit 200 --peers

Every attack meets the same questions, those that the model answers right, in the same batches of 32, and the same ε.
Peers are run as in `benchmarks.attack_speed`, on the model as `from_pretrained` gives it, with the official number and
length of steps. Attacks take turns, batch by batch, in one process and one thread; CPU time counts.

Two curves of standing questions against time are kept for each: of ours after every gradient step, with the successes
verified until then (what the deployed path says about 8-bit images is in our time); of a peer after all of its steps,
and after half of them where answers are not generated, its images rounded into the budget and answered on the deployed
path, which is not in its time.

The table says for each attack what it took in all, what it left standing, which questions it breaks that `pgd-linf`
leaves and the reverse, and when each of ours had broken as many as it did in the end.
"""

from __future__ import annotations

import argparse
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from tabulate import tabulate

from benchmarks.attack_speed import (
    SEED,
    Contest,
    Logits,
    contest_of,
    foolbox_pgd,
    images_of,
    stock_art,
    torchattacks_pgd,
)
from medrobust_bench.attacks.search import Search
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.registry import resolve
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from torch.utils.hooks import RemovableHandle

    from benchmarks.attack_speed import Attack

OURS = ("pgd-linf", "pgd-linf-quick")
TOGETHER = 32


@dataclass
class Progress:
    """What an attack had cost and left after each of some numbers of steps, over all batches.

    Attributes:
        seconds: of CPU, by steps.
        standing: ids of the questions still answered right, by steps.
    """

    seconds: dict[int, float] = field(default_factory=dict)
    standing: dict[int, set[str]] = field(default_factory=dict)

    def add(self, steps: int, seconds: float, standing: set[str]) -> None:
        """Of one batch."""
        self.seconds[steps] = self.seconds.get(steps, 0.0) + seconds
        self.standing[steps] = self.standing.get(steps, set()) | standing

    @property
    def total(self) -> float:
        """CPU seconds of the whole attack."""
        return self.seconds[max(self.seconds)]

    @property
    def left(self) -> set[str]:
        """What stood in the end."""
        return self.standing[max(self.standing)]

    def until(self, standing: int) -> tuple[int, float] | None:
        """Steps and seconds after which no more than so many stood; None where more did in the end."""
        found = [steps for steps, left in self.standing.items() if len(left) <= standing]
        return (min(found), self.seconds[min(found)]) if found else None


def run_ours(threat: str, contest: Contest, progress: Progress) -> None:
    """Attack one batch; progress after every step."""
    questions = contest.ours.batch.questions
    seeds = [question_seed(SEED, question.id) for question in questions]
    start, passes = time.process_time(), 0
    measure = Search.measure

    def watched(search: Search, *args: object, **kwargs: object) -> object:
        nonlocal passes
        found = measure(search, *args, **kwargs)
        passes += 1
        note(passes, {questions[row].id for row in search.open_rows})
        return found

    def note(steps: int, standing: set[str]) -> None:
        noted.append((steps, time.process_time() - start, standing))

    noted: list[tuple[int, float, set[str]]] = []
    Search.measure = watched
    try:
        results = load_threat(threat).search(contest.ours, seeds)
    finally:
        Search.measure = measure
    # What a generating model said last was perhaps not asked yet: the verdict is the deployed path's, and in our time.
    asked = [row for row, result in enumerate(results) if result.answer is None]
    answers = contest.ours.select(asked).answer([results[row].image for row in asked])
    stood = {
        questions[row].id
        for row, answer in zip(asked, answers, strict=True)
        if answer.choice == questions[row].answer
    }
    noted.append((passes + 1, time.process_time() - start, stood))
    by_steps = {steps: (seconds, standing) for steps, seconds, standing in noted}
    last = load_threat(threat).spec.steps + 2
    for steps in range(1, last + 1):
        # A batch of which nothing stands any more costs nothing more.
        seconds, standing = by_steps[min(steps, max(by_steps))]
        progress.add(steps, seconds, standing)


def run_peer(attack: Attack, steps: int, contest: Contest, progress: Progress) -> None:
    """Attack one batch; progress after half of the steps and after all."""
    noted: dict[int, tuple[float, list[np.ndarray]]] = {}
    start = time.process_time()
    with gradient_passes() as passes:
        images = attack(contest)
        total = time.process_time() - start
    half = steps // 2
    if len(passes) > half and contest.ours.generation is None:
        seconds, pixels = passes[half]
        noted[half] = seconds - start, images_of(pixels)
    noted[steps] = total, images
    for number, (seconds, found) in noted.items():
        progress.add(number, seconds, still_right(contest, found))


@contextmanager
def gradient_passes() -> Iterator[list[tuple[float, torch.Tensor]]]:
    """Inside it, when each forward pass of a peer's classifier begins whose gradient is asked for, and on what."""
    passes: list[tuple[float, torch.Tensor]] = []

    def note(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, Logits) and torch.is_grad_enabled() and given[0].requires_grad:
            passes.append((time.process_time(), given[0].detach().clone()))

    handle: RemovableHandle = torch.nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield passes
    finally:
        handle.remove()


def still_right(contest: Contest, found: Sequence[np.ndarray]) -> set[str]:
    """Ids of the questions that the deployed path answers right, the images rounded into the official budget."""
    batch = contest.ours.batch
    budget = load_threat("pgd-linf").budget(found[0].shape[:2], SEED)
    rounded = [budget.round(clean, image) for clean, image in zip(batch.images, found, strict=True)]
    verdicts = contest.ours.answer(rounded)
    return {
        question.id
        for question, verdict in zip(batch.questions, verdicts, strict=True)
        if verdict.choice == question.answer
    }


def batches(contest: Contest) -> Iterator[Contest]:
    """A contest in parts."""
    for start in range(0, len(contest.answers), TOGETHER):
        rows = range(start, min(start + TOGETHER, len(contest.answers)))
        part = Contest(
            contest.ours.select(rows), contest.model, contest.stock.select(rows), contest.stock_model
        )
        # As in a run, where the clean completions are there before an attack.
        part.ours.answer(part.ours.batch.images)
        yield part


def table(by: dict[str, Progress], questions: int) -> str:
    """The measurements as Markdown."""
    official = by[OURS[0]]
    rows = []
    for name, progress in by.items():
        same = [ours.until(len(progress.left)) for ours in (by[ours] for ours in OURS)]
        rows.append(
            (
                name,
                f"{progress.total:.1f}",
                len(progress.left),
                f"{len(official.left - progress.left)} / {len(progress.left - official.left)}",
                *(
                    "never" if at is None else f"{at[1]:.1f} ({at[0]} passes, {progress.total / at[1]:.1f}×)"
                    for at in same
                ),
            )
        )
    headers = (
        "By",
        "CPU seconds",
        f"Left, of {questions}",
        f"Breaks more / less than {OURS[0]}",
        *(f"{name} left as few after, s" for name in OURS),
    )
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def curves(by: dict[str, Progress]) -> str:
    """Standing questions after every number of passes, a line for each attack."""
    return "\n".join(
        f"{name}: "
        + ", ".join(
            f"{steps}: {len(left)} ({progress.seconds[steps]:.1f} s)"
            for steps, left in progress.standing.items()
        )
        for name, progress in by.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="safemed-r1-tiny-instruct")
    parser.add_argument("--data", default="phantoms")
    parser.add_argument("--limit", type=int, default=100, help="those answered right are attacked")
    parser.add_argument("--steps", type=int, default=20, help="of the peers")
    parser.add_argument(
        "--peers",
        nargs="*",
        default=["stock ART", "torchattacks", "foolbox"],
        help="which of them; none: only ours",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    eps, step = 8 / 255, 2 / 255
    peers = {
        "stock ART": lambda: stock_art(eps, step, arguments.steps),
        "torchattacks": lambda: torchattacks_pgd(eps, step, arguments.steps),
        "foolbox": lambda: foolbox_pgd(eps, step, arguments.steps),
    }
    chosen = {name: peers[name]() for name in arguments.peers}
    contest = contest_of(
        resolve(arguments.model), sample(open_data(arguments.data), arguments.limit, seed=SEED).questions
    )
    by = {name: Progress() for name in (*OURS, *chosen)}
    for part in batches(contest):
        for name in OURS:
            run_ours(name, part, by[name])
        for name, attack in chosen.items():
            run_peer(attack, arguments.steps, part, by[name])
    print(table(by, len(contest.answers)))
    print(f"\nStanding after so many gradient passes:\n\n{curves(by)}")


if __name__ == "__main__":
    main()
