"""Memory and time of one step of adversarial GRPO, estimated from its parts; nothing of that size is run.

    python -m benchmarks.step_estimate lora-3b-8b --prompt 500 --completion 200 --tflops 200 --bandwidth 2000

The model is built without weights (on torch's meta device) in the sizes of Qwen2.5-VL-3B. What is counted: tokens as
`PassCounter` counts them, two floating-point operations per weight and token forward, two backward for the gradient in
the activations and two more for weights that are trained; for decoding, which memory limits, every weight read once a
token. Attention's own operations, the vision tower's tokens and all overhead are left out: a lower bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import torch
from tabulate import tabulate
from transformers import AutoModelForImageTextToText

from benchmarks.gpu import QWEN_3B, configuration
from medrobust_bench.train.recipe import read_rl_recipe

if TYPE_CHECKING:
    from medrobust_bench.train.rl_settings import RlSettings

HALF, SINGLE = 2, 4  # bytes
KEPT_A_LAYER = 34
"""Bytes of activations that a layer keeps per token and unit of width, in 16 bits, without attention scores
(Korthikanti et al. 2022, arXiv:2205.05198, equation 1)."""


@dataclass(frozen=True)
class Tokens:
    """Tokens that go through the decoder in one optimiser step of one process."""

    attack_forward: float
    attack_backward: float
    prefill: float
    decoded: float
    update: float

    @classmethod
    def of(cls, recipe: RlSettings, prompt: int, completion: int) -> Tokens:
        """From the recipe and the mean lengths of prompt (image included) and completion, in tokens."""
        whole = prompt + completion
        attack = recipe.attack
        attacked = 0.0 if attack is None else recipe.drawn * (1 - attack.clean_share)
        steps = 0 if attack is None else attack.steps
        return cls(
            attack_forward=attacked
            * (steps + 1)
            * whole,  # and the greedy answer whose likelihood is lowered
            attack_backward=attacked * steps * whole,
            prefill=recipe.drawn * recipe.group * prompt,
            decoded=recipe.drawn * recipe.group * completion,
            update=recipe.rollouts * whole,
        )

    @property
    def forward(self) -> float:
        """As `passes/forward` counts, without the two passes of the steps at which the attack's loss is logged."""
        return self.attack_forward + self.prefill + self.decoded + self.update

    @property
    def backward(self) -> float:
        """As `passes/backward` counts."""
        return self.attack_backward + self.update


def adapter_parameters(model: torch.nn.Module, recipe: RlSettings) -> int:
    """Weights of the recipe's adapters: rank × (inputs + outputs) of every module that they sit on."""
    from peft import get_peft_model

    assert recipe.lora is not None
    adapted = get_peft_model(model, recipe.lora.config())
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


@click.command()
@click.argument("recipe")
@click.option("--prompt", default=500, show_default=True, help="Tokens of a prompt, its image included.")
@click.option("--completion", default=200, show_default=True, help="Tokens of a completion.")
@click.option(
    "--tflops", default=200.0, show_default=True, help="10^12 operations a second that the GPU keeps up."
)
@click.option("--bandwidth", default=2000.0, show_default=True, help="GB a second that it reads.")
def main(recipe: str, prompt: int, completion: int, tflops: float, bandwidth: float) -> None:
    """Print what one step takes in memory and time."""
    settings = read_rl_recipe(recipe)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(configuration(QWEN_3B, {}))
    text = model.config.text_config
    weights = sum(weight.numel() for weight in model.parameters())
    trained = adapter_parameters(model, settings) if settings.lora else weights
    tokens = Tokens.of(settings, prompt, completion)
    micro = settings.micro_batch or settings.rollouts
    attacked = 0 if settings.attack is None else min(settings.attack.batch_size, settings.drawn)
    whole, width, layers = prompt + completion, text.hidden_size, text.num_hidden_layers
    heads = text.num_attention_heads
    rollouts = settings.drawn * settings.group
    cache = 2 * layers * text.num_key_value_heads * (width // heads) * HALF
    activations = KEPT_A_LAYER * width * layers * whole
    held = [
        (
            "weights, bfloat16" if settings.lora else "weights, float32",
            weights * (HALF if settings.lora else SINGLE),
        ),
        (
            "trained weights, gradient and Adam, float32",
            trained * 4 * SINGLE if settings.lora else trained * 3 * SINGLE,
        ),
    ]
    peaks = [
        (f"attack on {attacked}: activations", attacked * activations),
        (f"{rollouts} rollouts: cache of keys and values", rollouts * whole * cache),
        (f"update of {micro}: activations", micro * activations),
        (
            f"update of {micro}: activations, checkpointed",
            micro * whole * width * HALF * layers + activations * micro / layers,
        ),
        (
            f"update of {micro}: logits of the completions, float32",
            micro * completion * text.vocab_size * SINGLE,
        ),
    ]
    rows = [(name, f"{size / 2**30:.1f} GiB") for name, size in held]
    rows += [(f"besides, {name}", f"{size / 2**30:.1f} GiB") for name, size in peaks]
    click.echo(f"{weights:,} weights, {trained:,} trained\n{tabulate(rows, headers=('Memory', ''))}\n")
    both = 6 if not settings.lora else 4
    times = [
        ("inner attack", (2 * tokens.attack_forward + 2 * tokens.attack_backward) * weights / tflops / 1e12),
        ("rollouts: reading prompts", 2 * tokens.prefill * weights / tflops / 1e12),
        ("rollouts: writing", completion * weights * HALF / bandwidth / 1e9),
        (
            "attack's greedy answers: writing",
            completion * weights * HALF / bandwidth / 1e9 if attacked else 0.0,
        ),
        ("update", both * tokens.update * weights / tflops / 1e12),
    ]
    rows = [(name, f"{seconds:.1f} s") for name, seconds in times]
    rows.append(("together, at least", f"{sum(seconds for _, seconds in times):.1f} s"))
    click.echo(tabulate(rows, headers=("Time", "")))
    click.echo(f"\nthousand tokens: {tokens.forward / 1e3:.1f} forward, {tokens.backward / 1e3:.1f} backward")


if __name__ == "__main__":
    main()
