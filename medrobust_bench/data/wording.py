"""What a question's wording tells about its type, for files that do not publish it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from medrobust_bench.specs.vocabulary import QuestionType

if TYPE_CHECKING:
    from collections.abc import Sequence

_TECHNIQUES = re.compile(
    r"\b(ct|mri|pet|spect|x[-_ ]?rays?|ultrasound|ultrasonography|sonography|mammogra\w+|fluoroscopy|endoscop\w+"
    r"|angiogra\w+"
    r"|tomography|thermography|elastography|scintigraphy|radiography|dermoscop\w+|microscop\w+|fundus photography"
    r"|echocardiogram|electrocardiogra\w+|electroencephalography|magnetoencephalography|spectroscopy"
    r"|photography|imaging)\b",
    re.IGNORECASE,
)
_ASKS_MODALITY = re.compile(
    r"\bmodality\b|\bimaging\b.*\b(technique|technology|method|tool|procedure|type|used|employed|utilized|performed)\b"
    r"|\b(technique|technology|method|kind|type|form) (of|for) (medical |diagnostic )?(imaging|image capture|scan)\b"
    r"|\b(technique|technology|method|tool)\b.*\b(obtain|captur|acquir|produc|generat|creat|record|tak|us)\w*",
    re.IGNORECASE,
)
_GRADE = re.compile(
    r"\b(stage (0|i{1,3}|iv)[abc]?|grade [0-9iv]+|(mild|moderate|severe|proliferative|no) diabetic retinopathy)\b",
    re.IGNORECASE,
)
_ASKS_GRADE = re.compile(
    r"\b(stag(e|es|ing)|grad(e|es|ing)|severity|level of cancer|image quality|quality of)\b", re.IGNORECASE
)
_ASKS_ATTRIBUTE = re.compile(
    r"\b(attributes?|characteristics?|features?|axis|orientation|shape|number of|how many)\b"
    r"|\bform of (the )?(sperm|cells?)\b|\b(left|right) eye\b|\boculus\b|\b(observed?|said?|say) (about|regarding)\b",
    re.IGNORECASE,
)
_ASKS_ANATOMY = re.compile(
    r"\b(anatom\w+|organs?|joints?|bones?|body|cells?|cellular|tissue|part (is|of|can|does|are)|parts"
    r"|area of|areas? (is|does|depicted|shown)|regions?|structures?|content|subject matter)\b",
    re.IGNORECASE,
)
_ASKS_FINDING = re.compile(
    r"\b(abnormal\w*|anomal\w+|irregular\w*|unusual|disease|diagnos\w+|condition|patholog\w+|lesion|cancer\w*|tumou?r"
    r"|malignan\w+|benign|infect\w+|covid\S*|illness|ailment|impacted|affected|unhealthy|healthy|normal)\b",
    re.IGNORECASE,
)


def question_type_from_wording(text: str, options: Sequence[str]) -> str:
    """Guess a question's type from its words, for files that do not publish it.

    Modality and anatomy are decided by the words nearly always. Diagnosis, grading and attributes are not: the same
    sentence about the abnormality in an image asks for a grade in one source collection and
    for a disease in another, so the options are looked at too, and what is left is called a diagnosis. Accuracies per
    question type that rest on this are estimates; `docs/data.md` says how good they are.
    """
    techniques = sum(_TECHNIQUES.search(option) is not None for option in options)
    if _ASKS_MODALITY.search(text) and techniques >= 1 and not _ASKS_FINDING.search(text):
        return QuestionType.MODALITY
    if _ASKS_GRADE.search(text) or sum(_GRADE.search(option) is not None for option in options) >= 1:
        return QuestionType.GRADING
    if _ASKS_ATTRIBUTE.search(text):
        return QuestionType.ATTRIBUTES
    if _ASKS_ANATOMY.search(text) and not _ASKS_FINDING.search(text):
        return QuestionType.ANATOMY
    return QuestionType.DIAGNOSIS
