"""A complete check of a card, in minutes: does everything run on it, and what do attack and verdict make of it?

    python -m benchmarks.gpu                        # a GPU of 24 GB or more
    python -m benchmarks.gpu --tiny --device cpu    # a small shape, to try the program out on any machine

First everything that a run does, once, with the shipped models (`benchmarks.device`). Then a model of the Qwen2.5-VL-3B
shape, bf16, on 384-pixel images, as it is and after `torch.compile`. The weights are random, so that nothing is
downloaded; no question breaks, so that every step of PGD meets the whole batch. Per batch size:

- attack steps per second, one image and one gradient step each, everything included;
- share of the card's matrix throughput: floating-point operations of a step, as torch counts them, times steps per
  second, over the throughput of one large bf16 matrix product, measured in the same run;
- peak memory that torch allocated, weights included;
- tokens per second of verdicts: greedy completions, image and prompt included.

Compiled, one batch size is measured: each would be compiled anew.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForImageTextToText,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from benchmarks import device as device_part
from medrobust_bench.attacks.losses import CrossEntropy, loss_at
from medrobust_bench.data.image import canonical
from medrobust_bench.models import probes
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.packed_attention import pack_attention
from medrobust_bench.models.patchify import project_patches
from medrobust_bench.models.probes import synthetic_questions
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.train.tokenizer import (
    CHAT_TEMPLATE,
    IMAGE,
    VIDEO,
    VISION_END,
    VISION_START,
    learn_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import PreTrainedModel

    from medrobust_bench.models.adapter import BoundQuestions

UNBREAKABLE = "pgd-linf:eps=1/25500,step_size=1/25500"
"""Less than half a grey level: the deployed path sees the clean image, whatever the attack finds."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2.5-VL.

    Attributes:
        text: of its language model.
        vision: of its vision tower.
        side: of the square images, in pixels.
        product: rows and columns of the matrices whose product is timed.
    """

    text: dict[str, object]
    vision: dict[str, object]
    side: int
    product: int


QWEN_3B = Shape(
    text={
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    vision={"hidden_size": 1280, "out_hidden_size": 2048},
    side=384,
    product=8192,
)
TINY = Shape(
    text={
        "vocab_size": 1024,
        "bos_token_id": None,
        "eos_token_id": None,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]},
    },
    vision={
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
    },
    side=56,
    product=256,
)


class Row(NamedTuple):
    """What was measured with one batch size.

    Attributes:
        batch: images attacked together.
        steps: gradient steps of one image, per second.
        operations: floating-point operations of such a step.
        memory: peak, in bytes; None on the CPU.
        tokens: written per second in verdicts; None where that was not measured.
        compiled: whether by `torch.compile`.
    """

    batch: int
    steps: float
    operations: float
    memory: int | None
    tokens: float | None = None
    compiled: bool = False


def configuration(shape: Shape, special: dict[str, int]) -> Qwen2_5_VLConfig:
    """The configuration of a shape, with the ids of its special tokens."""
    return Qwen2_5_VLConfig(
        text_config=shape.text, vision_config=shape.vision, tie_word_embeddings=True, **special
    )


def random_checkpoint(
    shape: Shape, device: torch.device, **image: object
) -> tuple[PreTrainedModel, Qwen2_5_VLProcessor]:
    """A model of random bf16 weights and its processor, whose tokenizer knows little more than bytes.

    Args:
        shape: of the model.
        device: that holds it.
        **image: further arguments of the image processor.
    """
    texts = [STRATEGIES[AnswerMode.LETTER].prompt(question) for question in synthetic_questions()]
    tokenizer = learn_tokenizer(texts, vocabulary=512)
    names = {
        "image_token_id": IMAGE,
        "video_token_id": VIDEO,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
    }
    special = {field: tokenizer.convert_tokens_to_ids(token) for field, token in names.items()}
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(configuration(shape, special), dtype=torch.bfloat16)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    processor = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(**image), tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT_TEMPLATE
    )
    return model, processor


def build(shape: Shape, device: torch.device, *, apart: bool = False) -> HuggingFaceVLM:
    """Such a model that scores letters.

    Args:
        shape: of the model.
        device: that holds it.
        apart: leave the vision tower's attention as transformers has it, window by window.
    """
    model, processor = random_checkpoint(shape, device)
    model.eval().requires_grad_(False)
    project_patches(model)
    if not apart:
        pack_attention(model)
    return HuggingFaceVLM(model, processor, mode=AnswerMode.LETTER)


def bind(adapter: HuggingFaceVLM, side: int, batch: int) -> BoundQuestions:
    """Questions about square images that the model answers right, as many as the batch holds."""
    three = synthetic_questions(side, side)
    answers = adapter.bind(three).answer([canonical(question.image) for question in three])
    answered = [replace(q, answer=a.choice or 0) for q, a in zip(three, answers, strict=True)]
    return adapter.bind([replace(answered[index % 3], id=str(index)) for index in range(batch)])


def matrix_throughput(size: int, device: torch.device, *, repeats: int = 20) -> float:
    """Floating-point operations per second of a square bf16 matrix product; the fastest of several."""
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    fastest = min(_seconds(lambda: left @ right, device) for _ in range(repeats))
    return 2 * size**3 / fastest


def operations(bound: BoundQuestions) -> int:
    """Floating-point operations of a gradient step of one image."""
    one = bound.select([0])
    pixels = one.batch.pixels().requires_grad_()
    # as matrix products: the counter knows no attention with fewer keys than queries
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        torch.autograd.grad(loss_at(CrossEntropy(), one, pixels, [""]).value.sum(), pixels)
    return int(counter.get_total_flops())


def measure(adapter: HuggingFaceVLM, side: int, batch: int, steps: int) -> Row:
    """Attack one batch."""
    bound = bind(adapter, side, batch)
    threat = load_threat(f"{UNBREAKABLE},steps={steps}")
    cuda = bound.batch.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds = _seconds(lambda: threat.search(bound, range(batch)), bound.batch.device)
    return Row(
        batch=batch,
        steps=batch * steps / seconds,
        operations=operations(bound),
        memory=torch.cuda.max_memory_allocated() if cuda else None,
    )


def verdicts(adapter: HuggingFaceVLM, side: int, batch: int, tokens: int) -> float:
    """Tokens per second of greedy completions on a batch of images, each of so many tokens."""
    question = synthetic_questions(side, side)[0]
    prompt, image = adapter.render(question), canonical(question.image)
    longest = adapter.greedy.max_new_tokens, adapter.greedy.min_new_tokens
    adapter.greedy.update(max_new_tokens=tokens, min_new_tokens=tokens)
    try:
        seconds = _seconds(
            lambda: adapter.complete_batch([prompt] * batch, [image] * batch), adapter.model.device
        )
    finally:
        adapter.greedy.update(max_new_tokens=longest[0], min_new_tokens=longest[1])
    return batch * tokens / seconds


def rows(
    adapter: HuggingFaceVLM, side: int, batches: Sequence[int], *, steps: int, tokens: int, compiled: int
) -> Iterator[Row]:
    """Batch after batch, as long as memory holds them; then one of them compiled.

    Args:
        adapter: the model; it stays compiled.
        side: of the images.
        batches: their sizes.
        steps: of the attack.
        tokens: of a completion.
        compiled: the batch size that is measured again; the largest that fitted where it is smaller.
    """
    fitted = 0
    for batch in batches:
        try:
            row = measure(adapter, side, batch, steps)
            yield row._replace(tokens=verdicts(adapter, side, batch, tokens))
        except torch.OutOfMemoryError:
            break
        fitted = batch
    if not (batch := min(compiled, fitted)):
        return
    adapter.model.compile()
    for repeats in (2, steps):  # the first round compiles
        row = measure(adapter, side, batch, repeats)
    verdicts(adapter, side, batch, tokens)
    yield row._replace(tokens=verdicts(adapter, side, batch, tokens), compiled=True)


def profile(adapter: HuggingFaceVLM, side: int, batch: int) -> str:
    """Where an attack of two steps spends its time, by operation and kernel; the most expensive of the device first."""
    bound = bind(adapter, side, batch)
    threat = load_threat(f"{UNBREAKABLE},steps=2")
    cuda = bound.batch.device.type == "cuda"
    with torch.profiler.profile() as profiler:  # of whatever is there
        _seconds(lambda: threat.search(bound, range(batch)), bound.batch.device)
    key = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    return str(profiler.key_averages().table(sort_by=key, row_limit=30, max_name_column_width=70))


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, until the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


HEADERS = ("Batch", "Steps/s", "TFLOP per step", "% of matrix throughput", "Peak GiB", "Tokens/s")


def cells(row: Row, throughput: float) -> list[str]:
    """A row in words.

    Args:
        row: what was measured.
        throughput: floating-point operations per second of the matrix product.
    """
    return [
        f"{row.batch}, compiled" if row.compiled else str(row.batch),
        f"{row.steps:.2f}",
        f"{row.operations / 1e12:.3f}",
        f"{100 * row.steps * row.operations / throughput:.1f}",
        "–" if row.memory is None else f"{row.memory / 2**30:.1f}",
        "–" if row.tokens is None else f"{row.tokens:.1f}",
    ]


def show(cells: Sequence[str]) -> None:
    """Print a row of a Markdown table; at once, since time on a card may end."""
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="a small shape")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--compiled", type=int, default=4, help="batch size that is compiled; 0: none")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--apart", action="store_true", help="vision attention window by window")
    parser.add_argument("--profile", type=int, metavar="BATCH", help="profile a search of so many images")
    parser.add_argument("--models", nargs="*", default=device_part.MODELS, help="for the first part")
    arguments = parser.parse_args()
    shape, device = (TINY if arguments.tiny else QWEN_3B), torch.device(arguments.device)
    start = time.perf_counter()

    card = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}\n", flush=True)
    done = device_part.everything(arguments.device, models=arguments.models)
    print(device_part.table(done), flush=True)

    adapter = build(shape, device, apart=arguments.apart)
    throughput = matrix_throughput(shape.product, device)
    parameters = adapter.model.num_parameters() / 1e9
    print(
        f"\n{parameters:.2f} billion parameters, {arguments.steps} steps, {arguments.tokens} tokens, "
        f"images of {shape.side} pixels; bf16 matrix product of {shape.product}: {throughput / 1e12:.2f} TFLOP/s\n"
        f"Largest difference of a logit in company, in s.d.: {probes.batch_gap(adapter):.3f}, among copies of itself "
        f"{probes.batch_rounding(adapter):.3f}; questions are {'' if adapter.batchable else 'not '}put together\n"
    )
    measure(adapter, shape.side, 1, 2)  # the first passes choose kernels
    if arguments.profile is not None:
        print(profile(adapter, shape.side, arguments.profile), flush=True)
    measured = rows(
        adapter,
        shape.side,
        arguments.batches,
        steps=arguments.steps,
        tokens=arguments.tokens,
        compiled=arguments.compiled,
    )
    show(HEADERS)
    show([":--", *["--:"] * (len(HEADERS) - 1)])
    for row in measured:
        show(cells(row, throughput))
    print(f"\n{time.perf_counter() - start:.0f} seconds in all")
    if any(trial.fault is not None for trial in done):
        sys.exit(1)


if __name__ == "__main__":
    main()
