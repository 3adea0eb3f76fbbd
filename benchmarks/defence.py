"""What adversarial GRPO adds from an undefended start: the tables of docs/at_grpo.md and their figure.

    for seed in 0 1 2; do
      medrobust train at-sft  tiny-rising-at-sft  --seed $seed --out runs/tiny-rising-at-sft-$seed
      medrobust train at-grpo tiny-rising-at-grpo --seed $seed --out runs/tiny-rising-at-grpo-$seed
      medrobust train at-grpo tiny-rising-grpo    --seed $seed --out runs/tiny-rising-grpo-$seed
    done
    for model in tiny-sft-reasoning runs/tiny-rising-*-[0-9]; do
      medrobust run --model $model --answer-mode reasoning --data phantoms --limit 200 \\
        --threat pgd-linf:eps=2/255 --threat pgd-linf --out runs/evaluation/$(basename $model)
    done
    for model in tiny-sft-reasoning runs/tiny-rising-*-[0-9]; do   # under threats that none was trained against
      medrobust run --model $model --answer-mode reasoning --data phantoms --limit 64 \\
        --threat patch:area=1/100 --threat pgd-l2:eps=1/4 --out runs/unseen/$(basename $model)
    done
    python -m benchmarks.defence runs runs/evaluation --unseen runs/unseen

Seeds that have not been trained and evaluated yet are left out, and the tables say of how many seeds each row is. The
shipped models under threats that they were not trained against are read from the leaderboard's submissions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.page import trainings_parser, write_tables
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records.journal import Journal
from medrobust_bench.reports.grid import MISSING, Grid
from medrobust_bench.reports.run_page.figures import LIGHT
from medrobust_bench.reports.seeds import SeedEstimate, over_seeds
from medrobust_bench.runs.audit.blindness import dependent_answers, sampled_questions
from medrobust_bench.runs.run import Run, load_run
from medrobust_bench.train.curve import StepLog
from medrobust_bench.train.settings import CURVE_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

PAGE, FIGURE = Path("docs/at_grpo.md"), Path("docs/defence.png")
Measure = Callable[[Run, str], "NDArray[np.bool_]"]
START = "tiny-sft-reasoning"
ARMS = {
    "tiny-rising-at-sft": "adversarial fine-tuning",
    "tiny-rising-at-grpo": "adversarial GRPO",
    "tiny-rising-grpo": "plain GRPO",
}
SUBMISSIONS = Path("leaderboards/submissions/phantoms")
SHIPPED = {
    "safemed-r1-tiny": "adversarial GRPO",
    "tiny-grpo": "plain GRPO",
    "tiny-at-sft": "adversarial fine-tuning",
}
UNSEEN = ("pgd-linf", "auto-linf", "corruptions-quick", "corruptions-worst", "injection")
# (held against, looked at); None is the common start
PAIRS = (
    (None, "tiny-rising-at-sft"),
    (None, "tiny-rising-at-grpo"),
    (None, "tiny-rising-grpo"),
    ("tiny-rising-grpo", "tiny-rising-at-grpo"),
    ("tiny-rising-at-sft", "tiny-rising-at-grpo"),
)


@dataclass(frozen=True)
class Arm:
    """A way to train: several seeds of one recipe."""

    name: str
    curves: tuple[list[dict[str, Any]], ...]
    evaluations: tuple[Run, ...]


def outcomes(run: Run, threat: str) -> list[Any]:
    (found,) = [rows for (_, name), rows in run.outcomes.items() if name == threat]
    return sorted(found, key=lambda outcome: outcome.question)


def answers(run: Run, threat: str) -> NDArray[np.bool_]:
    return np.array([outcome.correct for outcome in outcomes(run, threat)])


def asked_without_image(run: Run) -> list[str]:
    """The questions that credit is about, in order of their ids."""
    questions = [outcome.question for outcome in outcomes(run, "clean")]
    return sorted(sampled_questions(questions, seed=run.record.plan.settings.seed))


def credited(run: Run, threat: str) -> NDArray[np.bool_]:
    """Of those questions, which are right under a threat and depend on the image where they are clean."""
    asked = asked_without_image(run)
    depends = dependent_answers(outcomes(run, "clean"), set(asked))
    right = {outcome.question: outcome.correct for outcome in outcomes(run, threat)}
    return np.array([depends[question] and right[question] for question in asked])


def images_of(run: Run, measure: Measure) -> list[str]:
    """Which image each question of a measure is about."""
    shown = {outcome.question: outcome.image_sha256 for outcome in outcomes(run, "clean")}
    return [
        shown[question] for question in (sorted(shown) if measure is answers else asked_without_image(run))
    ]


def columns(threats: Sequence[str]) -> list[tuple[Measure, str]]:
    """What the tables tell of each threat: who is right, and under attack who is credited to the image too."""
    return [
        (measure, threat)
        for threat in threats
        for measure in (answers, credited)
        if (measure, threat) != (credited, "clean")
    ]


def headings(threats: Sequence[str]) -> list[str]:
    return [threat + (", credited" if measure is credited else "") for measure, threat in columns(threats)]


def read_arm(name: str, training: Path, evaluations: Path) -> Arm:
    """The seeds of an arm that are trained and evaluated."""
    curves, runs = [], []
    for folder in sorted(evaluations.glob(f"{name}-[0-9]")):
        try:
            runs.append(load_run(folder))
        except InvalidInputError as error:
            print(f"left out: {error}")
            continue
        curves.append(StepLog(training / folder.name / CURVE_FILE).entries())
    return Arm(name, tuple(curves), tuple(runs))


def percent(found: SeedEstimate, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    text = f"{100 * found.value:{sign}.1f} ({100 * found.low:{sign}.1f} to {100 * found.high:{sign}.1f})"
    return text.replace("-", "−")


def mean_of(curves: Sequence[Sequence[Mapping[str, Any]]], name: str, part: slice) -> str:
    """Mean over seeds of the mean over a part of the steps at which something was logged."""
    means = []
    for curve in curves:
        values = [entry[name] for entry in curve if entry.get(name) is not None]
        if not values:
            return MISSING
        size = len(values)
        means.append(np.mean(values[slice(*(int(size * (end or 0) / 3) for end in (part.start, part.stop)))]))
    return f"{np.mean(means):.3g}"


def accuracy_grid(start: Run, arms: Sequence[Arm], threats: Sequence[str]) -> Grid:
    """Accuracy of every arm: mean over seeds and questions, its interval, and each seed."""
    rows = []
    for name, runs in [
        ("the start, " + START, (start,)),
        *((ARMS[arm.name], arm.evaluations) for arm in arms),
    ]:
        cells = []
        for measure, threat in columns(threats):
            answered = np.stack([measure(run, threat) for run in runs])
            each = " ".join(f"{100 * share:.1f}" for share in answered.mean(1))
            found = percent(over_seeds(answered, images=images_of(start, measure)))
            cells.append(found + (f"; {each}" if len(runs) > 1 else ""))
        rows.append((name, str(len(runs)), *cells))
    return Grid("Accuracy", ("Trained by", "Seeds", *headings(threats)), tuple(rows), names=1)


def difference_grid(start: Run, arms: Sequence[Arm], threats: Sequence[str]) -> Grid:
    """The pairs, question by question."""
    runs: dict[str | None, tuple[Run, ...]] = {None: (start,)}
    runs |= {arm.name: arm.evaluations for arm in arms}
    rows = []
    for before, now in PAIRS:
        if now not in runs or before not in runs:
            continue
        cells = []
        for measure, threat in columns(threats):
            held, found = (np.stack([measure(run, threat) for run in runs[arm]]) for arm in (before, now))
            cells.append(percent(over_seeds(found, held, images=images_of(start, measure)), signed=True))
        name = f"{ARMS[now]} less {'the start' if before is None else ARMS[before]}"
        rows.append((name, *cells))
    return Grid("Differences", ("Difference", *headings(threats)), tuple(rows), names=1)


def cost_grid(arms: Sequence[Arm]) -> Grid:
    """What each arm cost, from its training log."""
    rows = []
    for arm in arms:
        last = [curve[-1] for curve in arm.curves]
        columns = [
            [entry[f"passes/{name}"] for entry in last] for name in ("forward", "backward", "cpu_seconds")
        ]
        forward, backward, seconds = (float(np.mean(column)) for column in columns)
        rows.append(
            (
                ARMS[arm.name],
                str(last[0]["step"]),
                f"{forward:.2f}",
                f"{backward:.2f}",
                f"{forward + backward:.2f}",
                f"{seconds:.0f}",
            )
        )
    header = ("Trained by", "Steps", "Forward", "Backward", "Together", "CPU seconds")
    return Grid("Cost", header, tuple(rows), names=1)


SIGNAL = {
    "robust_accuracy": "right rollouts, attacked prompts",
    "clean_accuracy": "right rollouts, clean prompts",
    "robust_reward": "reward, attacked prompts",
    "groups_without_variance": "groups without variance",
    "frac_reward_zero_std": "the same as TRL counts it",
    "entropy": "entropy, nats per token",
    "grad_norm": "gradient norm",
    "attack/loss_before": "inner attack, loss before (nats)",
    "attack/loss_after": "inner attack, loss after (nats)",
}


def signal_grid(arms: Sequence[Arm]) -> Grid:
    """What the trainers logged, first and last third of the steps."""
    header = [f"{ARMS[arm.name]}, {part} third" for arm in arms for part in ("first", "last")]
    rows = [
        (
            label,
            *(mean_of(arm.curves, name, third) for arm in arms for third in (slice(0, 1), slice(2, 3))),
        )
        for name, label in SIGNAL.items()
    ]
    return Grid("Signal", ("Mean over steps", *header), tuple(rows), names=1)


def shipped_grid(submissions: Path) -> Grid:
    """Three shipped models of one start under threats that none was trained against, but for the first; a seed each."""
    cells: dict[tuple[str, str | None], list[str]] = {}
    for threat in UNSEEN:
        answered = {}
        for name in SHIPPED:
            journal = Journal(submissions / threat / name / "journal.jsonl").read()
            answered[name] = sorted(
                (outcome for outcome in journal if outcome.threat == threat), key=lambda o: o.question
            )
        questions = [[outcome.question for outcome in found] for found in answered.values()]
        if any(asked != questions[0] for asked in questions):
            raise SystemExit(f"{submissions / threat}: {', '.join(SHIPPED)} were asked different questions")
        images = [outcome.image_sha256 for outcome in next(iter(answered.values()))]
        shares = {name: np.array([[o.share_right for o in found]]) for name, found in answered.items()}
        for now, before in [*((name, None) for name in SHIPPED), *combinations(SHIPPED, 2)]:
            held = None if before is None else shares[before]
            found = percent(over_seeds(shares[now], held, images=images), signed=before is not None)
            cells.setdefault((now, before), []).append(found)
    rows = [
        (SHIPPED[now] + ("" if before is None else f" less {SHIPPED[before]}"), *row)
        for (now, before), row in cells.items()
    ]
    return Grid("Shipped", ("Trained on by", *UNSEEN), tuple(rows), names=1)


def passes(entry: Mapping[str, Any]) -> float:
    """Million tokens forward and backward until an entry of the log."""
    return float(entry["passes/forward"] + entry["passes/backward"])


def draw(start: Run, arms: Sequence[Arm], threat: str) -> Figure:
    """Accuracy against passes, a line a seed: under attack, of that what is credited to the image, and clean."""
    figure = Figure(figsize=(11, 3.6), layout="constrained", facecolor=LIGHT.paper)
    robust, dependent, clean = figure.subplots(1, 3, sharey=True, sharex=True)
    questions = len(answers(start, threat))
    for number, arm in enumerate(arms):
        style = {"linewidth": 1.2, "markersize": 4, **LIGHT.dots(number)}
        for seed, (curve, run) in enumerate(zip(arm.curves, arm.evaluations, strict=True)):
            spent = [0, passes(curve[-1])]
            label = ARMS[arm.name] if seed == 0 else None
            for panel, measure in ((robust, answers), (dependent, credited)):
                ends = [100 * measure(one, threat).mean() for one in (start, run)]
                panel.plot(spent, ends, label=label, **style)
            measured = [entry for entry in curve if "validation_accuracy" in entry]
            clean.plot(
                [passes(entry) for entry in measured],
                [100 * entry["validation_accuracy"] for entry in measured],
                **style,
            )
    robust.set(title=f"{threat}, {questions} test phantoms", ylabel="right (%)")
    dependent.set(title=f"{threat}, credited, {len(credited(start, threat))} of them")
    clean.set(title="clean, 96 validation phantoms")
    for panel in (robust, dependent, clean):
        panel.set(xlabel="forward and backward passes (million tokens)", ylim=(0, 100))
        panel.grid(color=LIGHT.faint, linewidth=0.6)
    robust.legend(frameon=False, fontsize=8)
    return figure


def check_comparable(runs: Sequence[Run]) -> None:
    """See that runs can be held against each other, credited accuracies too."""
    for one, other in pairwise(runs):
        if one.record.plan.data.digest != other.record.plan.data.digest:
            raise SystemExit(f"{one.folder} and {other.folder} asked different questions")
        kinds = [shown_instead(run) for run in (one, other)]
        if kinds[0] != kinds[1]:
            told = " and ".join(", ".join(sorted(kind)) or "nothing" for kind in kinds)
            raise SystemExit(f"{one.folder} and {other.folder} showed different images instead: {told}")


def shown_instead(run: Run) -> set[str]:
    """What a run shows in the place of an image, to see whether answers depend on it."""
    return {kind for outcome in outcomes(run, "clean") for kind in outcome.blind_choices or ()}


def read_all(training: Path, evaluations: Path) -> tuple[Run, list[Arm], list[str]]:
    """The start, the arms that are evaluated, and the threats that all of them met."""
    try:
        start = load_run(evaluations / START)
    except InvalidInputError as error:
        raise SystemExit(str(error)) from error
    arms = [read_arm(name, training, evaluations) for name in ARMS]
    arms = [arm for arm in arms if arm.evaluations]
    check_comparable([start, *(run for arm in arms for run in arm.evaluations)])
    asked = [{threat.name for threat in run.threats} for arm in arms for run in arm.evaluations]
    threats = [
        t.name for t in start.threats if t.name != "worst-case" and all(t.name in one for one in asked)
    ]
    return start, arms, threats


def main() -> None:
    parser = trainings_parser(__doc__)
    parser.add_argument("--unseen", type=Path, help="folder of the runs under threats not trained against")
    arguments = parser.parse_args()
    start, arms, threats = read_all(arguments.training, arguments.evaluations)
    grids = {
        "defence-cost": cost_grid(arms),
        "defence-accuracy": accuracy_grid(start, arms, threats),
        "defence-differences": difference_grid(start, arms, threats),
        "defence-signal": signal_grid([arm for arm in arms if "grpo" in arm.name]),
        "defence-shipped": shipped_grid(SUBMISSIONS),
    }
    if arguments.unseen is not None:
        elsewhere = read_all(arguments.training, arguments.unseen)
        grids["defence-unseen-accuracy"] = accuracy_grid(*elsewhere)
        grids["defence-unseen-differences"] = difference_grid(*elsewhere)
    tables = {name: grid.markdown() for name, grid in grids.items()}
    if arguments.print:
        print("\n\n".join(tables.values()))
        return
    write_tables(PAGE, tables)
    draw(start, arms, threats[1]).savefig(FIGURE, dpi=150, metadata={"Software": None})
    print(f"{PAGE} and {FIGURE} written")


if __name__ == "__main__":
    main()
