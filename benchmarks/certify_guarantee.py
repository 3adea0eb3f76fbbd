"""How often sequential certification is wrong where it is most likely to be: at the boundary of every official radius.

    python benchmarks/certify_guarantee.py

A question whose probability under noise is exactly Φ(r/σ) may be certified at radii up to r; a claim beyond r is wrong.
Counted is the largest claim that *any* rule for stopping could have made, so the share holds for ours as well.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import binomtest, norm
from tabulate import tabulate

from medrobust_bench.certify.sequential import plan_looks
from medrobust_bench.certify.simulation import simulate
from medrobust_bench.specs.registry import official_threats


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=400_000, help="certifications per boundary")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    rows = []
    for threat in official_threats():
        if threat.kind != "certification":
            continue
        sigma, radii = float(threat.sigma), tuple(map(float, threat.radii))
        for alpha in (float(threat.alpha), 0.05):
            plan = plan_looks(n=threat.n, looks=threat.looks, alpha=alpha, radii=radii, sigma=sigma)
            for radius in radii:
                truth = np.full(arguments.trials, norm.cdf(radius / sigma))
                seen = simulate(truth, plan, radii=radii, sigma=sigma, generator=generator)
                beyond = radius * (1 + 1e-12)
                any_rule, ours = int((seen.largest > beyond).sum()), int((seen.radius > beyond).sum())
                interval = binomtest(any_rule, arguments.trials).proportion_ci(0.99)
                rows.append(
                    (
                        threat.name,
                        f"{alpha:g}",
                        f"{radius:g}",
                        f"{any_rule / arguments.trials:.5f}",
                        f"{interval.low:.5f}–{interval.high:.5f}",
                        f"{ours / arguments.trials:.5f}",
                        f"{seen.draws.mean():,.0f}",
                    )
                )
    headers = ("Certification", "α", "r", "wrong, any rule", "99 % interval", "wrong, our rule", "mean draws")
    print(f"{arguments.trials:,} trials per row, seed {arguments.seed}\n")
    print(tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True))


if __name__ == "__main__":
    main()
