"""False-alarm rate and power of `medrobust compare --fail-if-drop`, exactly: python benchmarks/gate_power.py

Lost and gained questions follow a multinomial distribution; every pair of counts is put to the gate, and the
probabilities of those that it fails are added up. No simulation error. Writes docs/gate_power.svg and prints the
tables of docs/compare.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy.special import gammaln, xlogy
from scipy.stats import binom
from tabulate import tabulate

from medrobust_bench.reports.paired import drop_p_value

ALPHA = 0.05
SIZES = (50, 100, 300, 1000)
GAINED = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
MARGINS = (0.0, 0.01, 0.02, 0.05, 0.1)


def failure_rate(n: int, *, margin: float, drop: float, gained: float, alpha: float = ALPHA) -> float:
    """Probability that the gate fails where accuracy truly falls by `drop`.

    Args:
        n: questions, one per image.
        margin: of the gate.
        drop: true fall in accuracy.
        gained: probability that a question is gained; it is lost with probability gained + drop.
        alpha: of the gate.
    """
    lost_count, gained_count = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    possible = lost_count + gained_count <= n
    b, c = lost_count[possible], gained_count[possible]
    exact = binom.sf(b - 1, b + c, 0.5)
    fails = np.maximum(drop_p_value(b, c, n, margin=margin), exact) <= alpha
    b, c = b[fails], c[fails]
    logs = gammaln(n + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(n - b - c + 1)
    logs += xlogy(b, gained + drop) + xlogy(c, gained) + xlogy(n - b - c, 1 - 2 * gained - drop)
    return float(np.exp(logs).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/gate_power.svg"))
    out = parser.parse_args().out

    rows = [
        (n, *(f"{max(failure_rate(n, margin=m, drop=m, gained=g) for g in GAINED):.3f}" for m in MARGINS))
        for n in SIZES
    ]
    print("False alarms: highest rate over all shares of gained questions, true drop equal to the margin\n")
    print(tabulate(rows, headers=("Questions", *(f"margin {m:g}" for m in MARGINS)), tablefmt="pipe"))

    drops = (0.0, 0.02, 0.04, 0.06, 0.08, 0.10, 0.15, 0.20)
    rows = [(n, *(f"{failure_rate(n, margin=0.02, drop=d, gained=0.02):.2f}" for d in drops)) for n in SIZES]
    print("\nPower at a margin of 0.02, 2 % of the questions gained\n")
    print(tabulate(rows, headers=("Questions", *(f"drop {d:g}" for d in drops)), tablefmt="pipe"))
    draw(out)


def draw(out: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "gate"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")
    drops = np.linspace(0, 0.2, 21)
    for n in SIZES:
        power = [failure_rate(n, margin=0.02, drop=drop, gained=0.02) for drop in drops]
        axes.plot(100 * drops, power, label=f"{n} questions")
    axes.axhline(ALPHA, color="grey", linewidth=0.8, linestyle=":")
    axes.axvline(2, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="true drop in accuracy (points)", ylabel="probability that the gate fails", ylim=(0, 1.02)
    )
    axes.legend(frameon=False)
    figure.savefig(out, metadata={"Date": None})
    print(f"\nWritten to {out}")


if __name__ == "__main__":
    main()
