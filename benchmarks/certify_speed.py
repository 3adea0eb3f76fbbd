"""What sequential certification saves: passes, time and memory, against four other ways to certify.

    python benchmarks/certify_speed.py --model NAME [--model NAME ...] --sigma 0.25 --figure growth.png

First, on a synthetic population whose probabilities are stated and which needs no model, draws are simulated. Then one
run, the same questions, σ, α and cap for all:

- ours, sequential: stops as soon as the radii are decided;
- ours, fixed n: CERTIFY of Cohen et al. (2019), all n draws in batches;
- one by one: the same draws in batches of one;
- ART: `PyTorchRandomizedSmoothing.certify` of the Adversarial Robustness Toolbox;
- bare loop: nothing but forward passes on one fixed batch, the floor of any of them.

Draws are measured on every model up to `--measure`. Beyond, certifications are simulated, with probabilities drawn from
the posterior (Jeffreys prior) of what each question answered in the longest measured run, since 1,000 right of 1,000 is
no proof of certainty. Time and memory are those of the first model: CPU time of one thread, which other work on the
machine disturbs less than wall time, and what the peak lies above the state before, each in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from tabulate import tabulate

from medrobust_bench.certify.sequential import plan_looks
from medrobust_bench.certify.simulation import simulate, synthetic_population
from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.data.source import open_data, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

LOOKS, N0 = 16, 100
TIMED_BATCHES, TIMED_QUESTIONS, ROUNDS = 10, 4, 3
CAPS = (1_000, 10_000, 100_000)
RADII = {
    "σ": (1.0,),
    "2σ": (2.0,),
    "σ and 2σ": (1.0, 2.0),
    "σ, 2σ and 3σ": (1.0, 2.0, 3.0),
}
METHODS = ("ours, sequential", "ours, fixed n", "one by one", "ART", "bare loop")


@dataclass(frozen=True)
class Setting:
    model: str
    data: str
    sigma: float
    alpha: float
    batch_size: int
    keep_size: bool = False

    def questions(self, count: int, side: int | None = None) -> list[Question]:
        """The first questions, their images resized to a square where a side is given."""
        questions = sample(open_data(self.data, split="test"), count, seed=0).questions
        if side is None:
            return list(questions)
        from PIL import Image

        return [
            replace(
                question,
                image=ImageBytes(
                    to_png(np.array(Image.fromarray(canonical(question.image)).resize((side, side))))
                ),
            )
            for question in questions
        ]


class Measured(NamedTuple):
    """Draws measured on one model.

    Attributes:
        rows: of the table.
        right: [N] right answers in the longest measured run.
        n: draws of that run.
        passes: by method, [N] passes of each question, radii σ and 2σ.
    """

    rows: list[tuple[Any, ...]]
    right: NDArray[np.int64]
    n: int
    passes: dict[str, NDArray[np.int64]]


def main() -> None:
    arguments = _arguments()
    print(
        f"σ = {arguments.sigma}, α = {arguments.alpha}, {arguments.questions} questions of {arguments.data}\n"
    )
    truth = np.repeat(synthetic_population(1000), 50)
    print_table(
        "Draws per question, simulated: synthetic population", simulated_draws(truth, arguments.alpha, CAPS)
    )
    settings = [
        Setting(
            model, arguments.data, arguments.sigma, arguments.alpha, arguments.batch_size, arguments.keep_size
        )
        for model in arguments.model
    ]
    caps = [cap for cap in CAPS if cap <= arguments.measure]
    with ProcessPoolExecutor(len(settings), mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(measure_draws, setting, arguments.questions, caps) for setting in settings]
        measured = {setting.model: task.result() for setting, task in zip(settings, tasks, strict=True)}
    beyond = [cap for cap in CAPS if cap > arguments.measure]
    for model, seen in measured.items():
        print_table(f"Draws per question, measured: {model}", seen.rows)
        probabilities = np.random.default_rng(0).beta(
            seen.right + 0.5, seen.n - seen.right + 0.5, (500, len(seen.right))
        )
        rows = simulated_draws(probabilities.ravel(), arguments.alpha, beyond)
        print_table(f"Draws per question, simulated from these measurements: {model}", rows)
    measure_costs(settings[0], arguments.draws)
    sizes = measure_sizes(settings[0])
    if arguments.figure:
        draw(arguments.figure, arguments.alpha, measured, sizes)


def measure_draws(setting: Setting, n_questions: int, caps: Sequence[int]) -> Measured:
    """Certify every question with and without stopping."""
    import torch

    from medrobust_bench.certify.cohen import SmoothedQuestion
    from medrobust_bench.models.registry import load_model, resolve

    class Remembering(SmoothedQuestion):
        """Counts once what several grids ask for: looks and draws of a cap are the same for all."""

        known: dict[tuple[int, int, int], NDArray[np.int64]]

        def counts(self, purpose: Any, draws: int, *, after: int = 0) -> NDArray[np.int64]:
            if (purpose, draws, after) not in self.known:
                self.known[purpose, draws, after] = super().counts(purpose, draws, after=after)
            return self.known[purpose, draws, after]

    torch.set_num_threads(1)
    adapter = load_model(resolve(setting.model))
    questions = setting.questions(n_questions)
    smoothed = []
    for row, question in enumerate(questions):
        one = Remembering(
            adapter.bind([question]), sigma=setting.sigma, seed=row, batch_size=setting.batch_size
        )
        one.known = {}
        smoothed.append(one)
    rows, right, passes = [], np.zeros(len(questions), np.int64), {}
    for cap in caps:
        fixed = [one.certify(n0=N0, n=cap, alpha=setting.alpha) for one in smoothed]
        right = np.array(
            [
                certificate.estimation_counts[question.answer]
                for certificate, question in zip(fixed, questions, strict=True)
            ]
        )
        passes["fixed n"] = np.array([certificate.draws for certificate in fixed])
        for name, multiples in RADII.items():
            grid = [setting.sigma * multiple for multiple in multiples]
            ours = [
                one.certify(n0=0, n=cap, alpha=setting.alpha, looks=LOOKS, radii=grid) for one in smoothed
            ]
            draws = np.array([certificate.draws for certificate in ours])
            accuracies = [
                100
                * float(
                    np.mean([c.certifies(q.answer, grid[-1]) for c, q in zip(group, questions, strict=True)])
                )
                for group in (fixed, ours)
            ]
            rows.append((f"{cap:,}", name, *_ratio(cap, float(draws.mean())), *accuracies))
            if name == "σ and 2σ":
                passes["ours"] = draws
    return Measured(rows, right, caps[-1], passes)


def simulated_draws(
    truth: NDArray[np.float64], alpha: float, caps: Sequence[int], names: Sequence[str] = tuple(RADII)
) -> list[tuple[Any, ...]]:
    """The rows of the table of draws for questions of known probability."""
    rows = []
    for cap in caps:
        for name in names:
            grid = RADII[name]
            runs = [
                simulate(
                    truth,
                    plan_looks(n=cap, looks=looks, alpha=alpha, radii=grid, sigma=1.0),
                    radii=grid,
                    sigma=1.0,
                    generator=np.random.default_rng(0),
                )
                for looks in (1, LOOKS)
            ]
            accuracies = [100 * float((run.radius >= grid[-1]).mean()) for run in runs]
            rows.append((f"{cap:,}", name, *_ratio(cap, float(runs[1].draws.mean())), *accuracies))
    return rows


def measure_costs(setting: Setting, draws: list[int]) -> None:
    """CPU time per pass, and peak memory at several numbers of draws, of each method."""
    times = _alone(_times, setting, METHODS, None)
    floor = times["bare loop"]
    rows = [
        (
            method,
            f"{1e3 * times[method]:.2f}",
            f"{times[method] / floor:.2f}",
            *(f"{_alone(_peak, setting, method, n):.0f}" for n in draws),
        )
        for method in METHODS
    ]
    headers = ("Method", "ms per pass", "of bare loop", *(f"peak MB, n = {n:,}" for n in draws))
    print_table(f"Cost: {setting.model}", rows, headers)


def measure_sizes(setting: Setting) -> list[tuple[int, float, float]]:
    """CPU seconds per pass of ours and of the bare loop, by image size."""
    sizes, rows = [], []
    for side in (64, 128, 256, 384):
        times = _alone(_times, setting, ("ours, fixed n", "bare loop"), side)
        ours, bare = times["ours, fixed n"], times["bare loop"]
        sizes.append((side, ours, bare))
        cells = (f"{1e3 * ours:.2f}", f"{1e3 * bare:.2f}", f"{1e3 * (ours - bare):.2f}")
        rows.append((f"{side} × {side}", *cells))
    print_table("Image size", rows, ("Image", "ms per pass", "bare loop", "difference"))
    return sizes


def _alone(function: Callable[..., Any], *arguments: object) -> Any:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _times(setting: Setting, methods: tuple[str, ...], side: int | None) -> dict[str, float]:
    """CPU seconds per pass of certifying: the median of rounds in which the methods take turns."""
    bound = _bound(setting, side)
    n = TIMED_BATCHES * setting.batch_size - N0  # with the selection, whole batches
    seconds: dict[str, list[float]] = {method: [] for method in methods}
    for _round in range(ROUNDS + 1):
        for method in methods:
            work, passes = _work(setting, method, bound, n)
            start = time.process_time()
            counted = work()
            seconds[method].append((time.process_time() - start) / (counted or passes))
    return {method: float(np.median(taken[1:])) for method, taken in seconds.items()}  # the first warms up


def _peak(setting: Setting, method: str, n: int) -> float:
    """Peak memory in MB above the state before, of certifying one question."""
    bound = _bound(setting, None)[:1]
    _work(setting, method, bound, 2 * setting.batch_size)[0]()  # warm up
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    _work(setting, method, bound, n)[0]()
    return _memory("VmHWM") - before


def _bound(setting: Setting, side: int | None) -> list[Any]:
    """Questions, each bound alone."""
    import torch

    from medrobust_bench.models.registry import load_model, resolve

    torch.set_num_threads(1)
    adapter: Any = load_model(resolve(setting.model))
    if side is not None and setting.keep_size:
        area = side * side
        adapter.processor.image_processor.size = {"shortest_edge": area, "longest_edge": area}
    return [adapter.bind([question]) for question in setting.questions(TIMED_QUESTIONS, side)]


def _work(
    setting: Setting, method: str, questions: list[Any], n: int
) -> tuple[Callable[[], int | None], int]:
    """What a method does, and its passes where it does not count them itself.

    The first question is certified. Sequential certification, which ends sooner on some, takes all of them.
    """
    import torch

    from medrobust_bench.certify.cohen import SmoothedQuestion

    bound = questions[0]

    def smoothed(batch_size: int, question: Any = bound) -> SmoothedQuestion:
        return SmoothedQuestion(question, sigma=setting.sigma, seed=0, batch_size=batch_size)

    def sequential() -> int:
        grid = [setting.sigma, 2 * setting.sigma]
        return sum(
            smoothed(setting.batch_size, question)
            .certify(n0=0, n=n, alpha=setting.alpha, looks=LOOKS, radii=grid)
            .draws
            for question in questions
        )

    def fixed(batch_size: int) -> int:
        return smoothed(batch_size).certify(n0=N0, n=n, alpha=setting.alpha).draws

    def bare() -> None:
        several = bound.select([0] * setting.batch_size)
        pixels = several.batch.pixels()
        with torch.no_grad():
            for _batch in range(n // setting.batch_size):
                several.scores(pixels)

    if method == "ours, sequential":
        return sequential, 0
    if method == "ours, fixed n":
        return lambda: fixed(setting.batch_size), 0
    if method == "one by one":
        return lambda: fixed(1), 0
    if method == "bare loop":
        return bare, n // setting.batch_size * setting.batch_size
    return _art(setting, bound, n), n + N0


def _art(setting: Setting, bound: Any, n: int) -> Callable[[], None]:
    import torch
    from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing

    class Model(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = bound.select([0] * len(pixels)).scores(pixels)
            return scores

    (image,) = bound.batch.images
    pixels = np.moveaxis(image, 2, 0)[None].astype(np.float32) / 255
    estimator = PyTorchRandomizedSmoothing(
        model=Model(),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=pixels.shape[1:],
        nb_classes=len(bound.batch.questions[0].options),
        sample_size=N0,
        scale=setting.sigma,
        alpha=setting.alpha,
        device_type="cpu",
    )

    def certify() -> None:
        estimator.certify(pixels, n=n, batch_size=setting.batch_size)

    return certify


def _memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _ratio(cap: int, draws: float) -> tuple[str, str, str]:
    return f"{cap + N0:,}", f"{draws:,.0f}", f"{(cap + N0) / draws:.1f}"


def print_table(
    title: str,
    rows: list[tuple[Any, ...]],
    headers: Sequence[str] = (
        "Cap", "Radii", "fixed n", "ours", "times fewer", "certified, fixed, %", "certified, ours, %",
    ),
) -> None:  # fmt: skip
    if rows:
        cells = [[f"{cell:.1f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
        align = ["left", "left", *["right"] * (len(headers) - 2)]
        table = tabulate(cells, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=align)
        print(f"{title}\n\n{table}\n", flush=True)


def draw(
    path: Path, alpha: float, measured: dict[str, Measured], sizes: list[tuple[int, float, float]]
) -> None:
    """Growth with the cap, with the number of questions and with the size of the image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    growth, questions, image = figure.subplots(1, 3)
    caps = [int(cap) for cap in np.geomspace(100, 1_000_000, 9)]
    truth = synthetic_population(4000)
    growth.loglog(caps, [cap + N0 for cap in caps], "k--", label="fixed n")
    for name in ("σ", "2σ", "σ, 2σ and 3σ"):
        rows = simulated_draws(truth, alpha, caps, [name])
        growth.loglog(caps, [float(row[3].replace(",", "")) for row in rows], label=f"ours, r = {name}")
    growth.set(xlabel="cap on the draws", ylabel="mean draws per question", title="synthetic population")
    for color, (model, seen) in enumerate(measured.items()):
        for method, line in (("fixed n", "--"), ("ours", "-")):
            total = np.concatenate([[0], np.cumsum(seen.passes[method])])
            questions.plot(total, line, color=f"C{color}", label=f"{model}, {method}")
    cap = next(iter(measured.values())).n
    questions.set(xlabel="questions", ylabel="passes", title=f"measured, cap {cap:,}, r = σ and 2σ")
    sides = [side for side, _ours, _bare in sizes]
    image.plot(sides, [1e3 * ours for _side, ours, _bare in sizes], "o-", label="ours")
    image.plot(sides, [1e3 * bare for _side, _ours, bare in sizes], "k--", label="bare loop")
    image.set(
        xlabel="side of the image in pixels", ylabel="CPU ms per pass", ylim=(0, None), title="measured"
    )
    for axes in (growth, questions, image):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
        axes.title.set_fontsize(9)
    figure.savefig(path, dpi=150)
    print(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="may be given more than once")
    parser.add_argument("--data", default="phantoms")
    parser.add_argument("--sigma", type=float, default=0.25)
    parser.add_argument("--alpha", type=float, default=0.001)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument(
        "--measure", type=int, default=1_000, choices=CAPS, help="largest cap that is measured, not simulated"
    )
    parser.add_argument("--draws", type=int, nargs="+", default=[250, 1_000], help="for memory")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--keep-size",
        action="store_true",
        help="let the model see images of every size as they are (image processors of the Qwen-VL kind)",
    )
    parser.add_argument("--figure", type=Path, help="draw the growth into this file")
    arguments = parser.parse_args()
    arguments.model = arguments.model or ["tiny-sft-letter"]
    return arguments


if __name__ == "__main__":
    main()
