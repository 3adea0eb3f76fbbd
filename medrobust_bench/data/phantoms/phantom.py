"""One synthetic picture: its scene is drawn by lot from (seed, split, modality, index), its pixels follow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image

from medrobust_bench.data.phantoms import ct, dermoscopy, fundus, microscopy, mri, oct, ultrasound, xray
from medrobust_bench.data.phantoms.canvas import Plane
from medrobust_bench.data.phantoms.draws import Draws
from medrobust_bench.data.phantoms.scene import ABSENT, GRADES, NONE, NORMAL, SEVERITIES, Bank, Scene
from medrobust_bench.data.phantoms.texture import (
    ANATOMY_GRATINGS,
    ATTRIBUTE_GRATINGS,
    FINDING_GRATINGS,
    GRADE_GRATINGS,
    MODALITY_GRATINGS,
    texture,
)
from medrobust_bench.specs.vocabulary import QUESTION_TYPES, Modality, QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.phantoms.texture import Wave

T = TypeVar("T")

BANKS: dict[str, Bank] = {
    Modality.CT: ct.BANK,
    Modality.MRI: mri.BANK,
    Modality.XRAY: xray.BANK,
    Modality.ULTRASOUND: ultrasound.BANK,
    Modality.OCT: oct.BANK,
    Modality.FUNDUS: fundus.BANK,
    Modality.DERMOSCOPY: dermoscopy.BANK,
    Modality.MICROSCOPY: microscopy.BANK,
}
SPLITS = ("train", "validation", "test")
_TYPES = QUESTION_TYPES
# The random streams are named by these: another spelling draws other pictures.
_MODALITY_CODES = dict(
    zip(BANKS, ("CT", "MRI", "XRAY", "ULTRASOUND", "OCT", "FUNDUS", "DERMOSCOPY", "MICROSCOPY"), strict=True)
)
_TYPE_CODES = dict(
    zip(QUESTION_TYPES, ("MODALITY", "ANATOMY", "DIAGNOSIS", "GRADING", "ATTRIBUTES"), strict=True)
)
_LOWEST, _HIGHEST = 13.0, 242.0  # the plain picture stays in this range, so that its texture is never clipped


@dataclass(frozen=True, slots=True)
class Phantom:
    """A synthetic medical picture, rendered on demand; an image source.

    Attributes:
        modality: imaging modality, one of `BANKS`.
        index: number within (seed, split, modality); it also fixes what the picture's question asks about.
        split: "train", "validation" or "test"; their random streams are disjoint.
        seed: seed of the whole suite.
    """

    modality: str
    index: int
    split: str = "test"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS or self.index < 0 or self.modality not in BANKS:
            raise ValueError(f"no phantom {self.index} of {self.modality!r} in split {self.split!r}")

    @property
    def name(self) -> str:
        """E.g. "phantom/test/ct/00012"."""
        return f"phantom/{self.split}/{_MODALITY_CODES[self.modality].lower()}/{self.index:05d}"

    @property
    def question_type(self) -> str:
        """What is asked about this picture: the types take turns."""
        return _TYPES[self.index % len(_TYPES)]

    def draws(self, purpose: str) -> Draws:
        """This picture's own random numbers for one purpose."""
        return Draws(self.seed, self.split, _MODALITY_CODES[self.modality], self.index, purpose)

    def _in_turn(self, choices: Sequence[T]) -> T:
        """The choice whose turn it is: each comes once in every lap, in shuffled order; so answers balance."""
        lap, place = divmod(self.index // len(_TYPES), len(choices))
        order = Draws(
            self.seed,
            self.split,
            _MODALITY_CODES[self.modality],
            _TYPE_CODES[self.question_type],
            lap,
            "turns",
        )
        return order.shuffled(choices)[place]

    def scene(self) -> Scene:
        """The true parameters; what the question asks about is balanced, the rest is drawn by lot."""
        bank, kind, rng = BANKS[self.modality], self.question_type, self.draws("scene")
        anatomy, grade, finding, attribute = rng.pick(bank.anatomies), rng.pick(SEVERITIES), None, None
        if kind == QuestionType.ANATOMY:
            anatomy = self._in_turn(bank.anatomies)
        elif kind == QuestionType.ATTRIBUTES:
            attribute = self._in_turn(bank.all_attributes)
            anatomy = rng.pick([place for place in bank.anatomies if attribute in bank.attributes[place]])
        elif kind == QuestionType.GRADING:
            grade = self._in_turn(GRADES)
        elif kind == QuestionType.DIAGNOSIS:
            finding = self._in_turn(bank.all_findings)
            anatomy = rng.pick([at for at in bank.anatomies if finding in (NORMAL, *bank.findings[at])])
        finding = finding or rng.pick(bank.findings[anatomy])
        attribute = attribute or rng.pick(bank.attributes[anatomy])
        if kind in (QuestionType.MODALITY, QuestionType.ANATOMY) and rng.random() < 0.25:
            finding = NORMAL
        if finding == NORMAL or grade == ABSENT:
            finding, grade = NORMAL, ABSENT
            attribute = NONE if bank.lesion_attribute else attribute
        return Scene(anatomy, finding, grade, attribute)

    def render(self) -> NDArray[np.uint8]:
        """The pixels, uint8 [64, 64, 3]."""
        bank, scene, rng = BANKS[self.modality], self.scene(), self.draws("pixels")
        plain = bank.draw(scene, Plane.posed(rng), rng)
        plain = plain * rng.uniform(0.93, 1.05) + rng.uniform(-6, 6)
        if plain.ndim == 2:
            plain = np.stack((plain, plain, plain), axis=-1)
        faint = texture(rng, self._labels(bank, scene))
        levels = np.clip(plain, _LOWEST, _HIGHEST) + faint[..., None]
        return np.floor(levels + 0.5).astype(np.uint8)

    def _labels(self, bank: Bank, scene: Scene) -> list[tuple[int, int, tuple[Wave, ...]]]:
        """The labels that the faint texture gives away: class, number of classes, gratings."""
        attributes = (NONE, *bank.all_attributes) if bank.lesion_attribute else bank.all_attributes
        labels: tuple[tuple[str, tuple[str, ...], tuple[Wave, ...]], ...] = (
            (self.modality, tuple(BANKS), MODALITY_GRATINGS),
            (scene.anatomy, bank.anatomies, ANATOMY_GRATINGS),
            (scene.finding, bank.all_findings, FINDING_GRATINGS),
            (scene.grade, GRADES, GRADE_GRATINGS),
            (scene.attribute, attributes, ATTRIBUTE_GRATINGS),
        )
        return [(classes.index(label), len(classes), gratings) for label, classes, gratings in labels]

    def open(self) -> Image.Image:
        """The picture as an RGB image."""
        return Image.fromarray(self.render())

    def digest(self) -> str:
        """Hex SHA-256 over shape and pixel bytes."""
        pixels = self.render()
        return hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()
