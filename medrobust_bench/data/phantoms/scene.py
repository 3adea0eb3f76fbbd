"""What a phantom shows: its true parameters, and the vocabulary that each modality draws them from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from medrobust_bench.data.phantoms.canvas import Field, Plane
    from medrobust_bench.data.phantoms.draws import Draws

NORMAL = "no abnormality"
ABSENT = "absent"
NONE = "none"
SEVERITIES = ("mild", "moderate", "severe")
GRADES = (ABSENT, *SEVERITIES)


@dataclass(frozen=True, slots=True)
class Scene:
    """The true parameters of one picture.

    Attributes:
        anatomy: the part of the body.
        finding: the disease or sign, or `NORMAL`.
        grade: one of `GRADES`; `ABSENT` exactly when the finding is `NORMAL`.
        attribute: side, position, orientation, stain or artefact; `NONE` where there is no lesion to have it.
    """

    anatomy: str
    finding: str
    grade: str
    attribute: str

    @property
    def level(self) -> int:
        """0 to 2 for mild to severe. ValueError for a normal scene."""
        return SEVERITIES.index(self.grade)

    def size(self, sizes: tuple[float, float, float], rng: Draws) -> float:
        """The size of this scene's severity, give or take 5 %: the severities stay far apart."""
        return sizes[self.level] * rng.uniform(0.95, 1.05)


@dataclass(frozen=True, slots=True)
class Bank:
    """One modality's vocabulary, questions and brush.

    Attributes:
        findings: the findings that can occur, per anatomy (`NORMAL` always can).
        attributes: the attributes that can occur, per anatomy.
        lesion_attribute: whether the attribute belongs to the lesion (else every picture has one).
        attribute_phrase: how the attribute reads in an explanation, e.g. "in the {} half".
        anatomy_questions: phrasings of the anatomy question.
        diagnosis_questions: phrasings of the question which disease is shown.
        grading_questions: phrasings of the grading question.
        attribute_questions: phrasings of the attribute question.
        draw: paints the scene on a plane; grey [64, 64] or RGB [64, 64, 3], 0 to 255.
    """

    findings: Mapping[str, tuple[str, ...]]
    attributes: Mapping[str, tuple[str, ...]]
    lesion_attribute: bool
    attribute_phrase: str
    anatomy_questions: tuple[str, ...]
    diagnosis_questions: tuple[str, ...]
    grading_questions: tuple[str, ...]
    attribute_questions: tuple[str, ...]
    draw: Callable[[Scene, Plane, Draws], Field]

    @property
    def anatomies(self) -> tuple[str, ...]:
        """All anatomies."""
        return tuple(self.findings)

    @property
    def all_findings(self) -> tuple[str, ...]:
        """`NORMAL` and every finding of every anatomy, each once."""
        return tuple(dict.fromkeys((NORMAL, *(name for names in self.findings.values() for name in names))))

    @property
    def all_attributes(self) -> tuple[str, ...]:
        """Every attribute of every anatomy, each once."""
        return tuple(dict.fromkeys(name for names in self.attributes.values() for name in names))
