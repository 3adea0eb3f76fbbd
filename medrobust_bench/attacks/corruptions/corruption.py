"""What a corruption is: one acquisition fault as a function from an 8-bit image to an 8-bit image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from medrobust_bench.attacks.corruptions.fields import uniform
from medrobust_bench.specs.vocabulary import Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

Image: TypeAlias = NDArray[np.uint8]
Apply: TypeAlias = Callable[[Image, float, "Sequence[float]", np.random.Generator], Image]

COLOUR = frozenset(
    {
        Modality.FUNDUS,
        Modality.DERMOSCOPY,
        Modality.MICROSCOPY,
        Modality.ENDOSCOPY,
        Modality.COLPOSCOPY,
        Modality.DIGITAL_PHOTOGRAPHY,
    }
)
LOSES_PICTURE = frozenset({QuestionType.DIAGNOSIS, QuestionType.GRADING, QuestionType.ATTRIBUTES})
"""What is not asked under a kind that pushes part of the picture out of the frame: the lesion may lie there."""
MOVED = frozenset({QuestionType.ATTRIBUTES})
"""What is not asked under a kind that displaces the picture: in which part of the image something lies."""


@dataclass(frozen=True, slots=True)
class Corruption:
    """One kind of acquisition fault.

    Attributes:
        kind: its name, e.g. "mri-ghosting".
        apply: image uint8 [H, W, 3], amount, free parameters and generator to image uint8 [H, W, 3]; pure. All
            noise comes from the generator; the free parameters are numbers in [0, 1).
        amounts: the mildest and the harshest amount that the kind is used with; the harshest is where a reader
            could still answer.
        unit: of the amount.
        modalities: in whose images the fault occurs; None for any image.
        unfit: question types whose right answer may not survive the fault.
        moves: it displaces the picture; SSIM falls with the first pixel of that, whatever a reader sees, so its
            severities are fifths of the way to the harshest amount.
        free: how many free parameters it has: places, directions and phases, which an adversary may choose.
    """

    kind: str
    apply: Apply
    amounts: tuple[float, float]
    unit: str
    modalities: frozenset[str] | None = None
    unfit: frozenset[str] = frozenset()
    moves: bool = False
    free: int = 0

    def __call__(self, image: Image, amount: float, rng: np.random.Generator) -> Image:
        """The corrupted image uint8 [H, W, 3], its free parameters drawn from the generator first."""
        return self.at(image, amount, tuple(uniform(rng, (self.free,)).tolist()), rng)

    def at(self, image: Image, amount: float, free: Sequence[float], rng: np.random.Generator) -> Image:
        """The corrupted image uint8 [H, W, 3] at free parameters of one's own choice.

        Raises:
            TypeError: the function makes something else than an 8-bit image of the same size.
            ValueError: it writes into the image that it was given.
        """
        held = image.view()
        held.flags.writeable = False
        made = self.apply(held, amount, free, rng)
        if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or made.shape != image.shape:
            kind = f"{made.dtype} {list(made.shape)}" if isinstance(made, np.ndarray) else type(made).__name__
            raise TypeError(f"corruption {self.kind} makes {kind}, not uint8 {list(image.shape)}")
        return made

    def occurs_in(self, modality: str) -> bool:
        """Whether the fault occurs in images of a modality."""
        return self.modalities is None or modality in self.modalities

    def fits(self, modality: str, question_type: str) -> bool:
        """Whether the fault occurs in such an image and leaves the answer to such a question as it is."""
        return self.occurs_in(modality) and question_type not in self.unfit

    def amount(self, share: float) -> float:
        """The amount at a share 0 to 1 of the way to the harshest: in equal ratios where the ends differ tenfold."""
        mildest, harshest = self.amounts
        if min(mildest, harshest) > 0 and not 0.1 < mildest / harshest < 10:
            return float(mildest * (harshest / mildest) ** share)
        return mildest + share * (harshest - mildest)

    @property
    def summary(self) -> str:
        """What the fault is: the first line of the function's docstring."""
        return (self.apply.__doc__ or self.kind).strip().splitlines()[0]
