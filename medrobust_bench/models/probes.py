"""Small experiments on a model, with synthetic questions: does a gradient reach the pixels, do batches disturb?"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from medrobust_bench.data.image import ImageBytes, canonical, to_png
from medrobust_bench.data.question import Question
from medrobust_bench.models.image_path import works_on_tensors
from medrobust_bench.models.non_finite import refuse_non_finite
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.models.bound import HuggingFaceQuestions
    from medrobust_bench.models.huggingface import HuggingFaceVLM

SIDE = 64
_OPTIONS = (
    ("Present", "Absent"),
    ("CT", "Magnetic resonance imaging", "X-ray"),
    ("Mild", "Moderate", "Severe", "None"),
)
_TEXTS = (
    "Is there a lesion?",
    "Which imaging modality was used to take this picture?",
    "How severe is the finding?",
)
# Largest difference between batch and single question, in standard deviations of the logits, that is still rounding.
# Where questions see their neighbours it is about 0.2 (InstructBLIP).
_ROUNDING = {torch.bfloat16: 0.15, torch.float16: 0.05}
_ROUNDING_IN_FULL_PRECISION = 0.01
TIMES_ITS_OWN = 3
"""By how much more than among copies of itself a question may differ in company."""
_RULED_OUT = -1e4  # models write the lowest number of their dtype, of which float16's is the highest


def synthetic_image(seed: int, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """A smooth coloured picture, uint8 [H, W, 3], levels well inside 0 to 255."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(2 * np.pi * (a * x + b * y + c)) for a, b, c in rng.uniform(0.3, 2.0, (3, 3))]
    return (128 + 70 * np.stack(waves, -1)).round().astype(np.uint8)


def synthetic_questions(height: int = SIDE, width: int = SIDE) -> list[Question]:
    """Three questions of different lengths about three pictures of one size."""
    return [
        Question(
            id=f"synthetic-{seed}",
            image=ImageBytes(to_png(synthetic_image(seed, height, width)), name=f"synthetic image {seed}"),
            text=text,
            options=options,
            answer=0,
            modality=Modality.CT,
            question_type=QuestionType.ATTRIBUTES,
            dataset="synthetic",
        )
        for seed, (text, options) in enumerate(zip(_TEXTS, _OPTIONS, strict=True))
    ]


def gradient_norm(adapter: HuggingFaceVLM) -> float:
    """Euclidean norm of the gradient of the next-token logits' spread in the pixels; 0 where there is none."""
    if not works_on_tensors(adapter.processor.image_processor):
        return 0.0
    bound = adapter.bind_batch(*_bindable(synthetic_questions()[:1]))
    pixels = bound.batch.pixels().requires_grad_()
    spread = possible(bound.next_token_logits(bound.image_features(pixels))).std()
    if not spread.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(spread, pixels, allow_unused=True)
    return 0.0 if gradient is None else float(gradient.norm())


def batch_gap(adapter: HuggingFaceVLM, questions: Sequence[Question] | None = None) -> float:
    """Largest difference between the logits of a question in a left-padded batch and alone.

    Args:
        adapter: the model.
        questions: questions of different lengths about images of one shape; synthetic ones by default.

    Returns:
        The difference in standard deviations of the logits.
    """
    questions, images = _bindable(questions or synthetic_questions())
    together = official_logits(adapter, adapter.bind_batch(questions, images))
    alone = torch.cat(
        [
            official_logits(adapter, adapter.bind_batch([question], [image]))
            for question, image in zip(questions, images, strict=True)
        ]
    )
    return float((together - alone).abs().max() / alone.std())


def batch_rounding(adapter: HuggingFaceVLM, questions: Sequence[Question] | None = None) -> float:
    """Largest difference between the logits of a question alone and among copies of itself, in the same unit.

    There is nothing to pad and nobody else to see: what is left is rounding, which grows with the depth of a model
    and with the size of its vocabulary.
    """
    questions, images = _bindable(questions or synthetic_questions())
    gaps = []
    for question, image in zip(questions, images, strict=True):
        alone = official_logits(adapter, adapter.bind_batch([question], [image]))
        copies = official_logits(
            adapter, adapter.bind_batch([question] * len(questions), [image] * len(questions))
        )
        gaps.append(float((copies - alone).abs().max() / alone.std()))
    return max(gaps)


def undisturbed(
    adapter: HuggingFaceVLM,
    gap: float,
    questions: Sequence[Question] | None = None,
    *,
    dtypes: Iterable[torch.dtype],
) -> bool:
    """Whether a `batch_gap` is rounding.

    Args:
        adapter: the model.
        gap: measured.
        questions: with which it was.
        dtypes: floating-point types in which the model computes.
    """
    if gap <= max(batch_tolerance(dtype) for dtype in dtypes):
        return True
    return gap <= TIMES_ITS_OWN * batch_rounding(adapter, questions)


@contextmanager
def arithmetic(model: torch.nn.Module) -> Iterator[set[torch.dtype]]:
    """Inside it, the floating-point types in which linear layers have computed are gathered.

    Under autocast, as trainers with mixed precision have it, they are not the type of the weights.
    """
    types: set[torch.dtype] = set()
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    hooks = [
        layer.register_forward_hook(lambda _layer, _given, made: types.add(made.dtype)) for layer in layers
    ]
    try:
        yield types
    finally:
        for hook in hooks:
            hook.remove()


def batch_tolerance(dtype: torch.dtype) -> float:
    """Up to which `batch_gap` a difference is rounding, by the model's floating-point type."""
    return _ROUNDING.get(dtype, _ROUNDING_IN_FULL_PRECISION)


def _bindable(questions: Sequence[Question]) -> tuple[Sequence[Question], list[NDArray[np.uint8]]]:
    return questions, [canonical(question.image) for question in questions]


def official_logits(adapter: HuggingFaceVLM, bound: HuggingFaceQuestions) -> torch.Tensor:
    """Next-token logits [B, V] of the clean images by the unmodified processor."""
    with torch.inference_mode():
        logits = adapter.logits(adapter.process(bound.prompts, bound.batch.images), keep=1)[:, -1]
    refuse_non_finite(logits, bound.batch.questions)
    return possible(logits)


def possible(logits: torch.Tensor) -> torch.Tensor:
    """The columns of [B, V] logits, as float64, of the tokens that the model does not rule out altogether."""
    logits = logits.double()
    return logits[:, (logits > _RULED_OUT).all(0)]
