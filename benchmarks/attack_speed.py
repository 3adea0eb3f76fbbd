"""Our attacks against their peers: same model, same questions, same ε and steps; CPU time and robust accuracy.

    pip install torchattacks foolbox
    python benchmarks/attack_speed.py --model tiny-sft-letter --limit 32

- ours: `pgd-linf` and `apgd-linf`, with every success verified on the deployed path, all included in the time;
- stock ART: `PyTorchClassifier` around the same logits and `ProjectedGradientDescentPyTorch`;
- torchattacks and foolbox: their PGD on the same logits; foolbox's own `run` returns the last iterate;
- batch of one: torchattacks' APGD, one question after the other, as papers on vision-language models run it.

Peers get the parameters already frozen and only their attack is timed, not the check of their images, which are rounded
into the budget and answered on the deployed path like ours. For models that score options.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from art.attacks.evasion import ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from tabulate import tabulate

from medrobust_bench.data.image import canonical
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.evaluation.plan import question_seed
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.threats.registry import load_threat
from medrobust_bench.threats.search import to_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from medrobust_bench.models.adapter import BoundQuestions

SEED = 0


class Logits(torch.nn.Module):
    """Bound questions as a classifier of images: row i of a batch is question i."""

    def __init__(self, bound: BoundQuestions) -> None:
        super().__init__()
        self.bound = bound
        self.parameter = torch.nn.Parameter(torch.zeros(()))  # peers look for the device of one

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.bound.option_logits(pixels.float()).clamp_min(-1e4)  # a missing option, but finite


class Clock(torch.nn.Module):
    """Seconds of CPU spent inside the model, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = 0.0

    def watch(self, bound: BoundQuestions) -> Callable[[], None]:
        """Time what bound questions do from now on; returns how to stop it."""
        kind, gradient = type(bound), torch.autograd.grad
        names = ("reference_loss", "rival_leads", "answer", "select")
        originals = {name: getattr(kind, name) for name in names}
        for name, original in originals.items():
            setattr(kind, name, self._timed(original))
        torch.autograd.grad = self._timed(gradient)

        def stop() -> None:
            for name, original in originals.items():
                setattr(kind, name, original)
            torch.autograd.grad = gradient

        return stop

    def _timed(self, function: Callable[..., object]) -> Callable[..., object]:
        def timed(*args: object, **kwargs: object) -> object:
            start = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.inside += time.process_time() - start

        return timed


def ours(threat: str) -> Callable[[BoundQuestions, Sequence[int], Sequence[int]], list[np.ndarray]]:
    def attack(bound: BoundQuestions, answers: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        pixels = to_pixels(bound.images, bound.device)
        return [finding.image / 255 for finding in load_threat(threat).search(bound, pixels, answers, seeds)]

    return attack


def stock_art(eps: float, step: float, steps: int) -> Callable[..., list[np.ndarray]]:
    def attack(bound: BoundQuestions, answers: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        pixels = to_pixels(bound.images)
        options = max(len(question.options) for question in bound.questions)
        classifier = PyTorchClassifier(
            Logits(bound),
            torch.nn.CrossEntropyLoss(),
            tuple(pixels.shape[1:]),
            options,
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
        ).generate(pixels.numpy(), np.array(answers))
        return images_of(torch.from_numpy(found))

    return attack


def torchattacks_pgd(eps: float, step: float, steps: int) -> Callable[..., list[np.ndarray]]:
    import torchattacks

    def attack(bound: BoundQuestions, answers: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        torch.manual_seed(SEED)
        peer = torchattacks.PGD(Logits(bound).eval(), eps=eps, alpha=step, steps=steps, random_start=True)
        return images_of(peer(to_pixels(bound.images), torch.tensor(answers)))

    return attack


def foolbox_pgd(eps: float, step: float, steps: int) -> Callable[..., list[np.ndarray]]:
    import foolbox

    def attack(bound: BoundQuestions, answers: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        torch.manual_seed(SEED)
        model = foolbox.PyTorchModel(Logits(bound).eval(), bounds=(0, 1), device="cpu")
        peer = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=True)
        _, clipped, _ = peer(model, to_pixels(bound.images), torch.tensor(answers), epsilons=eps)
        return images_of(clipped)

    return attack


def one_by_one_apgd(eps: float, steps: int) -> Callable[..., list[np.ndarray]]:
    import torchattacks

    def attack(bound: BoundQuestions, answers: Sequence[int], seeds: Sequence[int]) -> list[np.ndarray]:
        found = []
        for row, answer in enumerate(answers):
            alone = bound.select([row])
            peer = torchattacks.APGD(Logits(alone).eval(), eps=eps, steps=steps, n_restarts=1, seed=SEED)
            found += images_of(peer(to_pixels(alone.images), torch.tensor([answer])))
        return found

    return attack


def images_of(pixels: torch.Tensor) -> list[np.ndarray]:
    return list(pixels.detach().permute(0, 2, 3, 1).cpu().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny-sft-letter", help="card id, checkpoint folder or hub id")
    parser.add_argument("--answer-mode", default=None, choices=["letter", "option-text"])
    parser.add_argument("--data", default="phantoms")
    parser.add_argument(
        "--limit", type=int, default=32, help="questions, of which those answered right are attacked"
    )
    parser.add_argument("--levels", type=int, default=8, help="ε in grey levels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--apgd-steps", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    mode = AnswerMode(arguments.answer_mode) if arguments.answer_mode else None
    adapter = load_model(resolve(arguments.model, answer_mode=mode), device="cpu", dtype="float32")
    questions = sample(open_data(arguments.data), arguments.limit, seed=SEED).questions
    shape = canonical(questions[0].image).shape
    bound = adapter.bind([question for question in questions if canonical(question.image).shape == shape])
    rows = [
        row
        for row, (question, answer) in enumerate(
            zip(bound.questions, bound.answer(bound.images), strict=True)
        )
        if answer.choice == question.answer
    ]
    print(
        f"{arguments.model}: {len(rows)} of {len(bound.questions)} questions answered right, images {shape[:2]}"
    )
    bound = bound.select(rows)
    answers = [question.answer for question in bound.questions]
    seeds = [question_seed(SEED, question.id) for question in bound.questions]
    levels, steps, apgd = arguments.levels, arguments.steps, arguments.apgd_steps
    eps, step = levels / 255, 2 / 255
    pgd = f"pgd-linf:eps={levels}/255,steps={steps}"
    contests = {
        f"PGD, {steps} steps": {
            "ours, pgd-linf": ours(pgd),
            "stock ART": stock_art(eps, step, steps),
            "torchattacks": torchattacks_pgd(eps, step, steps),
            "foolbox": foolbox_pgd(eps, step, steps),
        },
        f"Auto-PGD, {apgd} steps": {
            "ours, apgd-linf": ours(f"apgd-linf:eps={levels}/255,steps={apgd}"),
            "torchattacks, batch of one": one_by_one_apgd(eps, apgd),
        },
    }
    budget = load_threat(pgd).budget(shape[:2], 0)
    table, clock = [], Clock()
    for contest, attacks in contests.items():
        base = None
        for name, attack in attacks.items():
            own = name.startswith("ours")
            stop = clock.watch(bound) if own else None
            clock.inside = 0.0
            start = time.process_time()
            found = attack(bound, answers, seeds)
            seconds = time.process_time() - start
            if stop:
                stop()
            base = base or seconds
            rounded = [budget.round(clean, image) for clean, image in zip(bound.images, found, strict=True)]
            standing = sum(
                verdict.choice == answer
                for verdict, answer in zip(bound.answer(rounded), answers, strict=True)
            )
            overhead = f"{100 * (1 - clock.inside / seconds):.1f}" if own else "–"
            table.append(
                (
                    contest,
                    name,
                    f"{seconds:.1f}",
                    f"{seconds / base:.2f}",
                    overhead,
                    f"{standing} of {len(answers)}",
                )
            )
    header = ("Attack", "By", "CPU seconds", "Times ours", "Outside the model %", "Still right")
    print(tabulate(table, headers=header, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
