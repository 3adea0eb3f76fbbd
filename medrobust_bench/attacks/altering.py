"""Threats whose images can be made again from the clean ones: corruptions and injected text.

No image of theirs is stored. The journal says how each was made and what it hashes to, so that whoever has the data
makes it again, byte for byte, and an image that was softened afterwards does not pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer, BoundQuestions
    from medrobust_bench.records import Alteration
    from medrobust_bench.specs.threat import ThreatSpec


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one question under such a threat.

    Attributes:
        alterations: the images that count, with the deployed answers to them; empty where none applies.
        said: the deployed answer to the decisive one: the first that is answered wrongly, else the last; None where
            there is none.
        forward_passes: forward passes of this question, the deployed answers among them.
    """

    alterations: tuple[Alteration, ...]
    said: Answer | None
    forward_passes: int


@runtime_checkable
class AlteringThreat(Protocol):
    """A threat whose images can be made again."""

    @property
    def spec(self) -> ThreatSpec:
        """The published specification."""
        ...

    def meet(self, bound: BoundQuestions, seeds: Sequence[int]) -> list[Trial]:
        """Alter the images of B questions and have them answered on the deployed path.

        Args:
            bound: B questions.
            seeds: B integers; all randomness about question i comes from seeds[i].
        """
        ...

    def missing(self, question: Question, alterations: Sequence[Alteration]) -> str | None:
        """What a list of alterations lacks or has too much, in a few words; None where it is what the threat makes."""
        ...

    def fewest_passes(self, question: Question) -> int:
        """Forward passes that a question costs at least that withstands everything."""
        ...

    def certain(
        self, question: Question, clean: NDArray[np.uint8], seed: int, alteration: Alteration
    ) -> bool:
        """Whether a question that stands has met this image for certain, whatever was answered to the others.

        Args:
            question: whose image it is.
            clean: uint8 [H, W, 3], its canonical image.
            seed: the question's.
            alteration: of any threat; its answer is not looked at.
        """
        ...

    def remake(
        self, question: Question, clean: NDArray[np.uint8], seed: int, alteration: Alteration
    ) -> NDArray[np.uint8]:
        """The altered image again.

        Args:
            question: whose image it is.
            clean: uint8 [H, W, 3], its canonical image.
            seed: the question's.
            alteration: how it was made; its answer and hash are not looked at.

        Raises:
            ValueError: the threat does not make such an image.
        """
        ...


def image_sha256(image: NDArray[np.uint8]) -> str:
    """Hex SHA-256 of an image's raw RGB bytes."""
    return hashlib.sha256(image.tobytes()).hexdigest()


def remade_image(
    threat: AlteringThreat, question: Question, clean: NDArray[np.uint8], seed: int, alteration: Alteration
) -> tuple[NDArray[np.uint8] | None, str]:
    """The image of an alteration, made again; or None and what is wrong with it.

    Args:
        threat: that made it.
        question: whose image it is.
        clean: uint8 [H, W, 3], its canonical image.
        seed: of the run.
        alteration: as the journal has it.
    """
    try:
        image = threat.remake(question, clean, question_seed(seed, question.id), alteration)
    except ValueError as error:
        return None, str(error)
    if image_sha256(image) != alteration.image_sha256:
        return None, f"{alteration.what}, made again, is another image than the journal names"
    return image, ""
