"""Phantoms: deterministic, nested, disjoint, balanced, decidable from shapes, betrayed by texture."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms import (
    Phantom,
    ct,
    dermoscopy,
    mri,
    oct,
    open_phantoms,
    phantom_questions,
    ultrasound,
    xray,
)
from medrobust_bench.data.phantoms.canvas import SIDE, Plane, wave
from medrobust_bench.data.phantoms.draws import Draws
from medrobust_bench.data.phantoms.phantom import BANKS, SPLITS
from medrobust_bench.data.phantoms.scene import ABSENT, NORMAL, SEVERITIES, Scene
from medrobust_bench.data.phantoms.sheet import contact_sheet
from medrobust_bench.data.phantoms.texture import (
    AMPLITUDE,
    ANATOMY_GRATINGS,
    ATTRIBUTE_GRATINGS,
    FINDING_GRATINGS,
    GRADE_GRATINGS,
    MODALITY_GRATINGS,
    TRUTH,
    grating,
    texture,
)
from medrobust_bench.data.question import LETTERS
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import QUESTION_TYPES, Modality, QuestionType

GRATINGS = (*MODALITY_GRATINGS, *ANATOMY_GRATINGS, *FINDING_GRATINGS, *GRADE_GRATINGS, *ATTRIBUTE_GRATINGS)

# The suite is frozen: shipped checkpoints were trained on exactly these questions and pixels.
FROZEN = {
    "train": "f8aa0bfbd9370d496a0c5d0965454c8820412534127190809c1ca51e1fc68f55",
    "validation": "c82c8a0ffdf925cf2250738c1c5c91c64471a98087d0fc65a8dd490bf55635db",
    "test": "7e2fe4c6b33611aa43a3712e1836cb779c396af35ac31385ff87af935e00b43f",
}


@pytest.fixture(scope="module")
def questions():
    return phantom_questions("train", per_modality=500)


@pytest.fixture(scope="module")
def others():
    return phantom_questions("test", per_modality=250)


@pytest.mark.parametrize("split", SPLITS)
def test_questions_and_pixels_are_the_frozen_ones(split):
    assert open_phantoms(split, per_modality=15).digest() == FROZEN[split]


def test_a_phantom_is_an_image_source():
    phantom = Phantom(Modality.OCT, 12)
    pixels = phantom.render()
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert phantom.name == "phantom/test/oct/00012"
    assert np.array_equal(canonical(phantom), pixels)
    assert phantom.digest() == hashlib.sha256(b"(64, 64, 3)" + pixels.tobytes()).hexdigest()
    assert pickle.loads(pickle.dumps(phantom)) == phantom


@pytest.mark.parametrize(("split", "index"), [("holdout", 0), ("test", -1)])
def test_a_phantom_outside_the_suite_is_refused(split, index):
    with pytest.raises(ValueError, match="no phantom"):
        Phantom(Modality.CT, index, split)


def test_all_wrong_arguments_are_reported_together():
    with pytest.raises(InvalidInputError) as caught:
        phantom_questions("holdout", per_modality=0)
    assert [problem.where for problem in caught.value.problems] == ["split", "per_modality"]


def test_smaller_suites_are_prefixes_of_larger_ones():
    small, large = phantom_questions(per_modality=7), phantom_questions(per_modality=23)
    for modality in BANKS:
        first = [question for question in large if question.modality == modality][:7]
        assert first == [question for question in small if question.modality == modality]


def test_splits_and_seeds_share_no_image():
    suites = [*((split, 0) for split in SPLITS), ("test", 1)]
    digests = {
        suite: {
            question.image.digest()
            for question in phantom_questions(suite[0], per_modality=10, seed=suite[1])
        }
        for suite in suites
    }
    assert all(len(seen) == 80 for seen in digests.values())
    for one, other in combinations(suites, 2):
        assert not digests[one] & digests[other]


def test_the_data_set_says_that_it_is_synthetic():
    dataset = open_phantoms(per_modality=2)
    assert (dataset.name, dataset.split, dataset.synthetic, len(dataset.questions)) == (
        "phantoms",
        "test",
        True,
        16,
    )


def test_modalities_and_question_types_are_balanced(questions):
    counts = Counter((question.modality, question.question_type) for question in questions)
    assert counts == dict.fromkeys(((m, t) for m in BANKS for t in QUESTION_TYPES), 100)
    assert len({question.id for question in questions}) == len(questions)


def test_options_differ_and_hold_the_answer_once(questions):
    for question in questions:
        assert len({option.lower() for option in question.options}) == len(question.options)
    shares = Counter(len(question.options) for question in questions)
    assert shares[4] > len(questions) / 3
    assert set(shares) == {2, 3, 4, 5}


def test_no_letter_is_favoured(questions):
    for count in (2, 3, 4):
        asked = [question for question in questions if len(question.options) == count]
        letters = Counter(question.letter for question in asked)
        for letter in LETTERS[:count]:
            assert letters[letter] / len(asked) == pytest.approx(1 / count, abs=0.05)


def test_no_answer_dominates_its_kind_of_question(questions):
    answers = defaultdict(Counter)
    for question in questions:
        if question.question_type == QuestionType.MODALITY:  # one answer per modality, so taken together
            answers[question.question_type][question.options[question.answer]] += 1
        else:
            answers[question.modality, question.question_type][question.options[question.answer]] += 1
    for counts in answers.values():
        assert max(counts.values()) <= 0.6 * counts.total()


@pytest.mark.parametrize("kind", QUESTION_TYPES)
def test_a_text_only_reader_fitted_on_train_stays_near_chance(kind, questions, others):
    """Reader: of the options offered, the one that was right most often when offered with this question text."""

    offered, right = Counter(), Counter()
    for question in (question for question in questions if question.question_type == kind):
        offered.update((question.text, option) for option in question.options)
        right[question.text, question.options[question.answer]] += 1
    test = [question for question in others if question.question_type == kind]
    hits = chance = 0.0
    for question in test:
        scores = [right[question.text, o] / max(1, offered[question.text, o]) for o in question.options]
        hits += scores.index(max(scores)) == question.answer
        chance += 1 / len(question.options)
    assert hits / len(test) <= chance / len(test) + 0.12


def test_explanations_are_short_true_and_free_of_letters(questions):
    for question in questions:
        text, scene = question.explanation, question.image.scene()
        assert len(text.split()) <= 25
        assert not re.search(r"\b[A-E]\b", text)
        assert question.modality in text
        assert scene.anatomy in text
        assert scene.finding in text.lower()
        assert scene.finding == NORMAL or scene.grade in text.lower()
        answer = question.options[question.answer]
        if answer not in ("Yes", "No", ABSENT):
            assert answer.lower() in text.lower()


def test_the_vocabulary_is_modest(questions):
    words = {
        word
        for question in questions
        for word in re.findall(
            r"[\w-]+", " ".join((question.text, *question.options, question.explanation)).lower()
        )
    }
    assert len(words) < 400


def test_gratings_are_orthogonal_so_each_label_is_betrayed_on_its_own():
    stack = np.stack([grating(pattern).ravel() for pattern in GRATINGS])
    gram = stack @ stack.T / (SIDE * SIDE)
    assert np.allclose(gram, 0.5 * np.eye(len(GRATINGS)), atol=1e-12)


def test_the_texture_is_as_faint_as_documented():
    labels = [
        (0, 8, MODALITY_GRATINGS),
        (1, 3, ANATOMY_GRATINGS),
        (2, 7, FINDING_GRATINGS),
        (3, 4, GRADE_GRATINGS),
        (0, 5, ATTRIBUTE_GRATINGS),
    ]
    faint = texture(Draws("amplitude"), labels)
    assert np.abs(faint).max() <= 5 * AMPLITUDE == 12.5
    assert np.sqrt((faint * faint).mean()) == pytest.approx(AMPLITUDE * np.sqrt(2.5))  # 4 grey levels


@pytest.mark.parametrize("modality", BANKS)
def test_the_texture_alone_tells_nearly_every_grade(modality):
    """A linear reader of the faint gratings, blind to shape, is right; one within 8/255 can be made wrong."""
    stack = np.stack([grating(pattern) for pattern in GRADE_GRATINGS])

    def reader(pixels):
        grey = pixels.mean(axis=-1)  # a Laplacian takes the shapes away first
        neighbours = sum(np.roll(grey, step, axis) for step in (-1, 1) for axis in (0, 1))
        return int((stack * (grey - neighbours / 4)).sum(axis=(1, 2)).argmax())

    hits = flips = 0
    for index in range(60):
        phantom = Phantom(modality, index)
        truth = ("absent", "mild", "moderate", "severe").index(phantom.scene().grade)
        pixels = phantom.render().astype(float)
        said = reader(pixels)
        hits += said == truth
        forged = pixels + 8 * np.sign(stack[(said + 1) % 4] - stack[said])[..., None]
        flips += reader(np.clip(forged, 0, 255)) != said
    assert hits / 60 >= 0.75
    assert flips == 60


@pytest.mark.parametrize("modality", BANKS)
def test_every_lesion_changes_many_pixels_by_far_more_than_a_perturbation(modality):
    """The robust cue: dozens of pixels differ by 40 grey levels from the same picture without it."""
    bank = BANKS[modality]
    for anatomy, findings in bank.findings.items():
        for finding in findings:
            for grade, at_least in (("mild", 36), ("moderate", 90), ("severe", 150)):
                attribute = bank.attributes[anatomy][0]

                def drawn(name, grade, attribute=attribute, anatomy=anatomy):
                    rng = Draws("contrast", modality, anatomy)
                    return bank.draw(Scene(anatomy, name, grade, attribute), Plane.posed(rng), rng)

                change = np.abs(drawn(finding, grade) - drawn(NORMAL, ABSENT))
                change = change if change.ndim == 2 else change.max(axis=-1)
                assert (change >= 40).sum() >= at_least, (anatomy, finding, grade)


@pytest.mark.parametrize("module", [ct, mri, xray, ultrasound, oct, dermoscopy])
def test_severities_are_far_apart(module):
    rng = Draws("sizes")
    smallest, largest = {}, {}
    for grade in SEVERITIES:
        sizes = [Scene("", "", grade, "").size(module._RADII, rng) for _ in range(200)]
        smallest[grade], largest[grade] = min(sizes), max(sizes)
    assert largest["mild"] * 1.25 < smallest["moderate"]
    assert largest["moderate"] * 1.25 < smallest["severe"]


def test_draws_are_exact_and_keyed():
    assert Draws("a", 1).random((3,)).tolist() == [
        Draws("a", 1).random(),
        *Draws("a", 1).random((3,)).tolist()[1:],
    ]
    assert Draws("a", 1).random() != Draws("a", 2).random()
    sample = Draws("spread").random((20000,))
    assert 0 <= sample.min() < sample.max() < 1
    assert sample.mean() == pytest.approx(0.5, abs=0.01)
    assert sorted(Draws("order").shuffled(range(9))) == list(range(9))


def test_the_wave_is_nearly_a_sine():
    turns = np.linspace(-2, 2, 401)
    assert np.abs(wave(turns) - np.sin(2 * np.pi * turns)).max() < 0.06


def test_a_label_is_betrayed_truly_as_often_as_documented():
    honest = 0
    for index in range(2000):
        faint = texture(Draws("honesty", index), [(1, 4, GRADE_GRATINGS)])
        honest += np.array_equal(faint, AMPLITUDE * grating(GRADE_GRATINGS[1]))
    assert honest / 2000 == pytest.approx(TRUTH, abs=0.012)


def test_the_contact_sheet_has_a_row_per_modality():
    rows = {modality: phantom_questions(per_modality=1)[:2] for modality in (Modality.CT, Modality.MRI)}
    sheet = contact_sheet(rows)
    assert sheet.width > 2 * 3 * SIDE
    assert sheet.height > 2 * 3 * SIDE
