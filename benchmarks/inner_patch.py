"""How strong the patch of the mixture's inner attack is, against models that were trained on it and one that was not.

    python -m benchmarks.inner_patch tiny-at-sft runs/tiny-mixture-at-sft-0

For 48 validation phantoms the mean loss (nats) of what the model itself writes, with the right letter: on the clean
image, and under the worse of ball and patch, whose steps are those of the recipe or many more.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

import medrobust_bench
from medrobust_bench.data.image import canonical
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.reports.grid import Grid
from medrobust_bench.train.inner_attack import InnerAttack, prompt_seed
from medrobust_bench.train.mixture import PATCH, MixtureSettings
from medrobust_bench.train.settings import AttackSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medrobust_bench.data.question import Question

QUESTIONS, STEPS = 48, (3, 25)


def row(name: str, questions: Sequence[Question], steps: Sequence[int]) -> tuple[str, ...]:
    """Loss of one model on the clean images and under so many steps, and how often the patch was the worse."""
    model = medrobust_bench.load_model(name, answer_mode="reasoning", device="cpu")
    if not isinstance(model, HuggingFaceVLM):
        raise SystemExit(f"{name} has no gradient")
    mixture = MixtureSettings(patch=Fraction(1, 20))
    attack = InnerAttack(model, loss="completion", batch_size=QUESTIONS, mixture=mixture)
    images = [canonical(question.image) for question in questions]
    seeds = [prompt_seed(0, question.id, 0) for question in questions]
    cells = []
    for number in steps:
        spec = AttackSettings(steps=number).at(0)
        assert spec is not None
        made = attack.perturb(questions, images, spec=spec, seeds=seeds, measure=True)
        if not cells:
            cells.append(f"{np.mean([one.clean_loss for one in made]):.2f}")
        patched = sum(one.threat == PATCH for one in made)
        cells.append(f"{np.mean([one.loss for one in made]):.2f}; {patched} of {len(made)}")
    return (name, *cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", help="shipped checkpoints or folders")
    arguments = parser.parse_args()
    questions = sample(open_data("phantoms", split="validation"), QUESTIONS).questions
    under = (f"Under {number} steps; of the patch" for number in STEPS)
    rows = tuple(row(name, questions, STEPS) for name in arguments.models)
    print(Grid("Inner patch", ("Model", "Clean", *under), rows, names=1).markdown())


if __name__ == "__main__":
    main()
