"""What sequential certification saves: passes, time and memory, against four other ways to certify.

    python benchmarks/certify_speed.py --model tiny-sft-letter --sigma 0.05

One run, one model, the same questions, σ, α and cap for all:

- ours, sequential: stops as soon as the radii are decided;
- ours, fixed n: CERTIFY of Cohen et al. (2019), all n draws in batches;
- one by one: the same draws in batches of one;
- ART: `PyTorchRandomizedSmoothing.certify` of the Adversarial Robustness Toolbox;
- bare loop: nothing but forward passes on one fixed batch, the floor of any of them.

Draws are measured up to `--measure`; beyond, certifications are simulated from the share of right answers that each
question had in the largest measured run (`--log` takes the shares from a published log instead, and needs no model).
Times are CPU times of one thread; memory is what the peak lies above the state before, each in a process of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm
from tabulate import tabulate

from medrobust_bench.certify.published_log import read_log
from medrobust_bench.certify.sequential import plan_looks
from medrobust_bench.certify.simulation import simulate
from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.data.source import open_data, sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question

LOOKS, N0 = 16, 100
TIMED_BATCHES, ROUNDS = 10, 5
CAPS = (1_000, 10_000, 100_000)
METHODS = ("ours, sequential", "ours, fixed n", "one by one", "ART", "bare loop")


@dataclass(frozen=True)
class Setting:
    model: str
    data: str
    sigma: float
    alpha: float
    batch_size: int

    def question(self, side: int | None) -> Question:
        """The first question, its image resized to a square where a side is given."""
        (question,) = sample(open_data(self.data, split="test"), 1, seed=0).questions
        if side is None:
            return question
        from PIL import Image

        image = Image.fromarray(canonical(question.image)).resize((side, side))
        return replace(question, image=ImageBytes(to_png(np.array(image))))


def main() -> None:
    arguments = _arguments()
    setting = Setting(arguments.model, arguments.data, arguments.sigma, arguments.alpha, arguments.batch_size)
    radii = {
        "r = σ": (1.0,),
        "r = 2σ": (2.0,),
        "r = σ and 2σ": (1.0, 2.0),
        "r = σ, 2σ and 3σ": (1.0, 2.0, 3.0),
    }
    shares = None
    if arguments.log is not None:
        rows = read_log(arguments.log)
        # A certified radius is a lower bound; as the truth it makes questions a little harder than they were.
        shares = np.array(
            [norm.cdf(float(row.radius) / arguments.sigma) if row.correct else 0.0 for row in rows]
        )
        print(f"shares from the radii of {arguments.log.name}, {len(rows)} questions\n")
        print_table("Draws per question, simulated", *simulated_draws(shares, radii, arguments.alpha, CAPS))
        if arguments.figure:
            draw(arguments.figure, shares, arguments.alpha, [])
        return
    caps = [cap for cap in CAPS if cap <= arguments.measure]
    shares = measure_draws(setting, arguments.questions, caps, radii)
    beyond = [cap for cap in CAPS if cap > arguments.measure]
    print_table(
        "Draws per question, simulated from these shares",
        *simulated_draws(shares, radii, setting.alpha, beyond),
    )
    measure_costs(setting, arguments.draws)
    sizes = measure_sizes(setting)
    if arguments.figure:
        draw(arguments.figure, shares, setting.alpha, sizes)


def measure_draws(
    setting: Setting, n_questions: int, caps: list[int], radii: dict[str, tuple[float, ...]]
) -> NDArray[np.float64]:
    """Certify every question with and without stopping; the shares of right answers in the longest run."""
    from medrobust_bench.certify.cohen import SmoothedQuestion
    from medrobust_bench.models.registry import load_model, resolve

    adapter = load_model(resolve(setting.model))
    questions = sample(open_data(setting.data, split="test"), n_questions, seed=0).questions
    smoothed = [
        SmoothedQuestion(
            adapter.bind([question]), sigma=setting.sigma, seed=row, batch_size=setting.batch_size
        )
        for row, question in enumerate(questions)
    ]
    rows, shares = [], np.zeros(len(questions))
    for cap in caps:
        fixed = [one.certify(n0=N0, n=cap, alpha=setting.alpha) for one in smoothed]
        shares = np.array(
            [
                certificate.estimation_counts[question.answer] / cap
                for certificate, question in zip(fixed, questions, strict=True)
            ]
        )
        for name, multiples in radii.items():
            grid = [setting.sigma * multiple for multiple in multiples]
            ours = [
                one.certify(n0=0, n=cap, alpha=setting.alpha, looks=LOOKS, radii=grid) for one in smoothed
            ]
            draws = np.mean([certificate.draws for certificate in ours])
            accuracies = [
                100
                * np.mean([c.certifies(q.answer, grid[-1]) for c, q in zip(group, questions, strict=True)])
                for group in (fixed, ours)
            ]
            rows.append((f"{cap:,}", name, *_ratio(cap, float(draws)), *accuracies))
    print(
        f"{setting.model}, {len(questions)} questions of {setting.data}, σ = {setting.sigma}, α = {setting.alpha}\n"
    )
    print_table("Draws per question, measured", _draw_headers(), rows)
    return shares


def simulated_draws(
    shares: NDArray[np.float64],
    radii: dict[str, tuple[float, ...]],
    alpha: float,
    caps: Any,
    repeats: int = 50,
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """The table of draws for questions of known share of right answers."""
    truth, rows = np.repeat(shares, repeats), []
    for cap in caps:
        for name, grid in radii.items():
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
    return _draw_headers(), rows


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
    print_table("Cost", headers, rows)


def measure_sizes(setting: Setting) -> list[tuple[int, float, float]]:
    """CPU seconds per pass of ours and of the bare loop, by image size."""
    sizes, rows = [], []
    for side in (64, 128, 256, 384):
        times = _alone(_times, setting, ("ours, fixed n", "bare loop"), side)
        ours, bare = times["ours, fixed n"], times["bare loop"]
        sizes.append((side, ours, bare))
        cells = (f"{1e3 * ours:.2f}", f"{1e3 * bare:.2f}", f"{1e3 * (ours - bare):.2f}")
        rows.append((f"{side} × {side}", *cells))
    print_table("Image size", ("Image", "ms per pass", "bare loop", "difference"), rows)
    return sizes


def _alone(function: Callable[..., Any], *arguments: object) -> Any:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _times(setting: Setting, methods: tuple[str, ...], side: int | None) -> dict[str, float]:
    """CPU seconds per pass of certifying one question: the median of rounds in which the methods take turns."""
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
    bound = _bound(setting, None)
    _work(setting, method, bound, 2 * setting.batch_size)[0]()  # warm up
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    _work(setting, method, bound, n)[0]()
    return _memory("VmHWM") - before


def _bound(setting: Setting, side: int | None) -> Any:
    import torch

    from medrobust_bench.models.registry import load_model, resolve

    torch.set_num_threads(1)
    return load_model(resolve(setting.model)).bind([setting.question(side)])


def _work(setting: Setting, method: str, bound: Any, n: int) -> tuple[Callable[[], int | None], int]:
    """What a method does for one question, and its passes where it does not count them itself."""
    import torch

    from medrobust_bench.certify.cohen import SmoothedQuestion

    def smoothed(batch_size: int) -> SmoothedQuestion:
        return SmoothedQuestion(bound, sigma=setting.sigma, seed=0, batch_size=batch_size)

    def sequential() -> int:
        grid = [setting.sigma, 2 * setting.sigma]
        one = smoothed(setting.batch_size)
        return one.certify(n0=0, n=n, alpha=setting.alpha, looks=LOOKS, radii=grid).draws

    def fixed(batch_size: int) -> int:
        return smoothed(batch_size).certify(n0=N0, n=n, alpha=setting.alpha).draws

    def bare() -> None:
        several = bound.select([0] * setting.batch_size)
        pixels = torch.from_numpy(np.stack(several.images)).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            for _batch in range(n // setting.batch_size):
                several.option_logits(pixels)

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
            scores: torch.Tensor = bound.select([0] * len(pixels)).option_logits(pixels)
            return scores

    (image,) = bound.images
    pixels = np.moveaxis(image, 2, 0)[None].astype(np.float32) / 255
    estimator = PyTorchRandomizedSmoothing(
        model=Model(),
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=pixels.shape[1:],
        nb_classes=len(bound.questions[0].options),
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


def _draw_headers() -> tuple[str, ...]:
    return ("Cap", "Radii", "fixed n", "ours", "times fewer", "certified, fixed, %", "certified, ours, %")


def print_table(title: str, headers: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    if rows:
        cells = [[f"{cell:.1f}" if isinstance(cell, float) else cell for cell in row] for row in rows]
        print(
            f"{title}\n\n{tabulate(cells, headers=headers, tablefmt='pipe', disable_numparse=True)}\n",
            flush=True,
        )


def draw(
    path: Path,
    shares: NDArray[np.float64],
    alpha: float,
    sizes: list[tuple[int, float, float]],
) -> None:
    """Growth with the cap, and with the size of the image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8 if sizes else 4.4, 3.4), layout="constrained")
    growth, *beside = figure.subplots(1, 2 if sizes else 1, squeeze=False)[0]
    caps = [int(cap) for cap in np.geomspace(100, 1_000_000, 9)]
    growth.loglog(caps, [cap + N0 for cap in caps], "k--", label="fixed n")
    for name, grid in {"σ": (1.0,), "2σ": (2.0,), "σ, 2σ and 3σ": (1.0, 2.0, 3.0)}.items():
        _headers, rows = simulated_draws(shares, {name: grid}, alpha, caps, repeats=2)
        growth.loglog(caps, [float(row[3].replace(",", "")) for row in rows], label=f"ours, r = {name}")
    growth.set(xlabel="cap on the draws", ylabel="mean draws per question")
    for image in beside:
        sides = [side for side, _ours, _bare in sizes]
        image.plot(sides, [1e3 * ours for _side, ours, _bare in sizes], "o-", label="ours")
        image.plot(sides, [1e3 * bare for _side, _ours, bare in sizes], "k--", label="bare loop")
        image.set(xlabel="side of the image in pixels", ylabel="ms per pass", ylim=(0, None))
    for axes in (growth, *beside):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)
    print(path)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny-sft-letter")
    parser.add_argument("--data", default="phantoms")
    parser.add_argument("--sigma", type=float, default=0.05)
    parser.add_argument("--alpha", type=float, default=0.001)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument(
        "--measure", type=int, default=1_000, help="largest cap that is measured, not simulated"
    )
    parser.add_argument("--draws", type=int, nargs="+", default=[250, 500, 1_000], help="for time and memory")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--log", type=Path, help="published log (idx label predict radius correct time)")
    parser.add_argument("--figure", type=Path, help="draw the growth into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
