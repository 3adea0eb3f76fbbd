from __future__ import annotations

import pytest

from medrobust_bench.data.clinical import Direction, Meaning, direction, meaning
from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.question import Question
from medrobust_bench.specs.vocabulary import Modality, QuestionType


def ask(
    *options: str, text: str = "What is shown?", question_type: QuestionType = QuestionType.DIAGNOSIS
) -> Question:
    image = ImageBytes(b"")
    return Question("q", image, text, options, 0, Modality.CT, question_type, "tests")


@pytest.mark.parametrize(
    ("wording", "expected"),
    [
        ("no abnormality", Meaning.NORMAL),
        ("Normal tissue without a lesion", Meaning.NORMAL),
        ("It is abnormal.", Meaning.ABNORMAL),
        ("absent", Meaning.NORMAL),
        ("severe", Meaning.ABNORMAL),
        ("Non-cancerous condition", Meaning.BENIGN),
        ("Pre-cancerous condition", Meaning.ABNORMAL),
        ("adenocarcinoma", Meaning.MALIGNANT),
        ("spine metastasis", Meaning.MALIGNANT),
        ("nevus", Meaning.BENIGN),
        ("pneumonia", Meaning.ABNORMAL),
        ("I'm not sure", None),
    ],
)
def test_wordings(wording: str, expected: Meaning | None) -> None:
    assert meaning(ask(wording, "other"), 0) is expected


def test_yes_and_no_depend_on_what_is_asked() -> None:
    ill = ask("Yes", "No", text="Does this image show signs of pneumonia?")
    assert (meaning(ill, 0), meaning(ill, 1)) == (Meaning.ABNORMAL, Meaning.NORMAL)
    assert meaning(ask("Yes", "No", text="Is this image normal?"), 0) is None


@pytest.mark.parametrize(
    ("truth", "said", "expected"),
    [
        ("melanoma", "nevus", Direction.DOWNGRADED),
        ("nevus", "melanoma", Direction.UPGRADED),
        ("melanoma", "no abnormality", Direction.MISSED),
        ("nevus", "no abnormality", Direction.MISSED),
        ("no abnormality", "melanoma", Direction.OVERCALLED),
        ("pneumonia", "pleural effusion", None),
        ("melanoma", "melanoma in situ", None),
    ],
)
def test_directions(truth: str, said: str, expected: Direction | None) -> None:
    assert direction(ask(truth, said), 1) is expected


def test_questions_that_are_not_clinical_have_no_direction() -> None:
    question = ask("normal orientation", "rotated", question_type=QuestionType.ATTRIBUTES)
    assert direction(question, 1) is None
