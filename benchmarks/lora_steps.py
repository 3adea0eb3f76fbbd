"""Real steps of adversarial GRPO with adapters on a model of three billion random weights: seconds and memory.

    python -m benchmarks.lora_steps                 # a GPU of 48 GB or more
    python -m benchmarks.lora_steps --tiny          # a small shape, to try the program out on any machine

A checkpoint of the Qwen2.5-VL-3B shape (`benchmarks.gpu`) is written to a folder and trained by the recipe
`lora-3b-8b` as it is, but for what the machine lacks: the questions are phantoms, brought to 384 by 384 pixels, and a
rollout has so many tokens at most as `--tokens` says. Random weights end no sentence, so that all have as many.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from statistics import mean

import click
import torch
from tabulate import tabulate

from benchmarks.gpu import QWEN_3B, TINY, random_checkpoint
from medrobust_bench.train.recipe import read_rl_recipe
from medrobust_bench.train.reinforcement import reinforce
from medrobust_bench.train.settings import CURVE_FILE, TrainingData

RECIPE = "lora-3b-8b"
SHOWN = ("attack", "generation", "update")


@click.command()
@click.option("--tiny", is_flag=True, help="A small shape.")
@click.option("--steps", default=10, show_default=True)
@click.option("--tokens", default=128, show_default=True, help="Of a rollout, at most.")
def main(*, tiny: bool, steps: int, tokens: int) -> None:
    """Train, and print the seconds of every part of a step, the first apart."""
    shape = TINY if tiny else QWEN_3B
    cuda = torch.cuda.is_available()
    recipe = read_rl_recipe(RECIPE)
    with tempfile.TemporaryDirectory() as folder:
        base, out = Path(folder) / "base", Path(folder) / "trained"
        area = shape.side**2
        size = {"shortest_edge": area, "longest_edge": area}
        model, processor = random_checkpoint(shape, torch.device("cuda" if cuda else "cpu"), size=size)
        parameters = model.num_parameters()
        model.save_pretrained(base)
        processor.save_pretrained(base)
        del model
        changed = {
            "base": str(base),
            "data": TrainingData(per_modality=4, validation_per_modality=1),
            "steps": steps,
            "max_new_tokens": tokens,
            "trl": {"save_strategy": "no", "disable_tqdm": True},
        }
        reinforce(recipe.model_copy(update=changed), out, report=click.echo)
        curve = [json.loads(line) for line in (out / CURVE_FILE).read_text().splitlines()]
    logged = [line for line in curve if "seconds/update" in line]
    card = torch.cuda.get_device_name() if cuda else "CPU"
    click.echo(
        f"\n{card}, torch {torch.__version__}, {parameters / 1e9:.2f} billion weights, recipe {RECIPE}: "
        f"{recipe.prompts} prompts of {recipe.group} rollouts of {tokens} tokens, {recipe.micro_batch} in a pass\n"
    )
    rows = [
        (
            name,
            f"{logged[0][f'seconds/{name}']:.2f}",
            f"{mean(one[f'seconds/{name}'] for one in logged[1:]):.2f}",
        )
        for name in SHOWN
    ]
    headers = ("Seconds of a step", "the first", f"mean of the {len(logged) - 1} after it")
    click.echo(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    if cuda:
        click.echo(f"\nPeak memory: {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
