"""What an answer means for a patient, read off its wording: normal, benign, malignant, abnormal.

Data sets do not publish this. It serves to tell apart wrong answers that miss a disease from other wrong answers,
and leaves every wording that it does not know out of the count.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from medrobust_bench.specs.vocabulary import QuestionType

if TYPE_CHECKING:
    from medrobust_bench.data.question import Question


class Meaning(StrEnum):
    """What an answer says about the patient."""

    NORMAL = "normal"
    BENIGN = "benign"
    MALIGNANT = "malignant"
    ABNORMAL = "abnormal"


class Direction(StrEnum):
    """How a wrong answer errs."""

    MISSED = "abnormal → normal"
    DOWNGRADED = "malignant → benign"
    OVERCALLED = "normal → abnormal"
    UPGRADED = "benign → malignant"


_CLINICAL = (QuestionType.DIAGNOSIS, QuestionType.GRADING)

_NORMAL = re.compile(
    r"\b(normal|healthy|unremarkable|undamaged|unaffected|absent|negative)\b"
    r"|\bno (\w+ )?(abnormalit\w+|finding\w*|tumou?rs?|lesions?|disease|pathology|retinopathy|evidence|signs?)\b",
    re.IGNORECASE,
)
_BENIGN = re.compile(
    r"\b(benign|non[- ]?cancer\w*|non[- ]?malignan\w*|nevus|naevus|nevi|ha?emangioma\w*|cysts?|lipoma\w*|fibroadenoma"
    r"\w*|seborrheic keratos\w+|dermatofibroma\w*)\b",
    re.IGNORECASE,
)
_MALIGNANT = re.compile(
    r"(?<!pre-)(?<!pre)\b(malignan\w*|cancer\w*|\w*carcinoma\w*|melanoma\w*|\w*sarcoma\w*|lymphoma\w*"
    r"|leuka?emia|metasta\w+|glioma\w*|glioblastoma\w*)\b",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(
    r"\b(not sure|unsure|uncertain|unknown|doubtful|indeterminate|inconclusive|suspicious|cannot|can't"
    r"|too (low|blurry))\b",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"^(yes|no)\b[.,]?", re.IGNORECASE)
_ASKS_WHETHER_ILL = re.compile(r"^\s*(is|are|does|do|has|have|can|could|was|were)\b", re.IGNORECASE)


def meaning(question: Question, option: int) -> Meaning | None:
    """What an option says about the patient; None where its wording does not tell, or nothing clinical is asked."""
    if question.question_type not in _CLINICAL:
        return None
    text = question.options[option]
    if _UNCERTAIN.search(text):
        return None
    said = _YES_NO.match(text)
    if said is not None and _ASKS_WHETHER_ILL.match(question.text):
        if _NORMAL.search(question.text):  # "Is this image normal?" turns yes and no around
            return None
        return Meaning.ABNORMAL if said[1].lower() == "yes" else Meaning.NORMAL
    if _NORMAL.search(text):
        return Meaning.NORMAL
    if _BENIGN.search(text):
        return Meaning.BENIGN
    return Meaning.MALIGNANT if _MALIGNANT.search(text) else Meaning.ABNORMAL


def direction(question: Question, choice: int) -> Direction | None:
    """How a wrong choice errs; None where it is right or harmless in these terms."""
    truth, said = meaning(question, question.answer), meaning(question, choice)
    if truth is None or said is None or truth is said:
        return None
    if said is Meaning.NORMAL:
        return Direction.MISSED
    if truth is Meaning.NORMAL:
        return Direction.OVERCALLED
    if (truth, said) == (Meaning.MALIGNANT, Meaning.BENIGN):
        return Direction.DOWNGRADED
    if (truth, said) == (Meaning.BENIGN, Meaning.MALIGNANT):
        return Direction.UPGRADED
    return None
