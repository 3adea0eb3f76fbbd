"""Every kind of corruption keeps the contract: pure, exact, 8-bit, of the right modalities, not re-stretched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medrobust_bench import extensions
from medrobust_bench.attacks.corruptions.corruption import Corruption
from medrobust_bench.attacks.corruptions.registry import (
    CORRUPTION_GROUP,
    OWN,
    corruption_of,
    corruptions,
    kinds_for,
)
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.phantom import BANKS, Phantom
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import QUESTION_TYPES, Modality, QuestionType

DIGESTS = Path(__file__).with_name("digests.json")
MODALITIES = frozenset(BANKS)
GREY = frozenset({Modality.CT, Modality.MRI, Modality.XRAY, Modality.ULTRASOUND, Modality.OCT})


def example(corruption: Corruption, index: int = 3) -> np.ndarray:
    return canonical(Phantom(min(MODALITIES & (corruption.modalities or MODALITIES)), index))


def digest(corruption: Corruption) -> str:
    """Of a phantom under three amounts."""
    image, sha = example(corruption), hashlib.sha256()
    for share in (0.2, 0.6, 1.0):
        sha.update(corruption(image, corruption.amount(share), np.random.default_rng([7, 1])).tobytes())
    return sha.hexdigest()[:16]


every_kind = pytest.mark.parametrize("corruption", OWN, ids=lambda corruption: corruption.kind)


@every_kind
def test_pure_8_bit_of_the_same_size(corruption: Corruption) -> None:
    image = np.ascontiguousarray(example(corruption)[:51, :38])
    before = image.copy()
    for share in (0.0, 0.5, 1.0):
        amount = corruption.amount(share)
        first = corruption(image, amount, np.random.default_rng(5))
        assert first.dtype == np.uint8
        assert first.shape == image.shape
        assert np.array_equal(first, corruption(image, amount, np.random.default_rng(5)))
        assert np.array_equal(image, before)
    assert not np.array_equal(first, image), "the harshest amount changes nothing"


@every_kind
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(9, 40), (40, 9), (8, 8), (1, 40), (40, 1), (1, 1)])
def test_any_shape_and_flat_images(corruption: Corruption, shape: tuple[int, int]) -> None:
    for level in (0, 130, 255):
        image = np.full((*shape, 3), level, dtype=np.uint8)
        assert corruption(image, corruption.amount(0.7), np.random.default_rng(5)).shape == image.shape


@every_kind
def test_mildest_is_hardly_visible(corruption: Corruption) -> None:
    image = example(corruption)
    mild = corruption(image, corruption.amount(0.0), np.random.default_rng(5))
    assert np.abs(mild.astype(int) - image).mean() < 6


@pytest.mark.parametrize(
    "corruption",
    [kind for kind in OWN if kind.modalities and kind.modalities <= GREY],
    ids=lambda corruption: corruption.kind,
)
def test_grey_stays_grey(corruption: Corruption) -> None:
    image = example(corruption)
    assert (image == image[:, :, :1]).all()
    corrupted = corruption(image, corruption.amount(0.8), np.random.default_rng(5))
    assert (corrupted == corrupted[:, :, :1]).all()


@every_kind
def test_same_bytes_as_ever(corruption: Corruption) -> None:
    """On every machine, with every supported Python and numpy. JPEG and WebP are as exact as their libraries."""
    assert digest(corruption) == json.loads(DIGESTS.read_text())[corruption.kind]


def test_same_bytes_in_another_process() -> None:
    """Whatever the hash seed, the number of threads, or what was drawn before."""
    code = (
        "import json, numpy as np; np.random.seed(3); np.random.rand(7);"
        "from tests.attacks.corruptions.test_kinds import OWN, digest;"
        "print(json.dumps({kind.kind: digest(kind) for kind in OWN[::3]}))"
    )
    environment = {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    ).stdout
    assert json.loads(output) == {kind.kind: digest(kind) for kind in OWN[::3]}


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    for corruption in OWN[::5]:
        corruption(example(corruption), corruption.amount(0.5), np.random.default_rng(5))
    assert np.array_equal(before, np.random.get_state()[1])


def test_nothing_is_stretched_again() -> None:
    """A corruption that narrows or moves the range of levels leaves it so."""
    image = canonical(Phantom(Modality.XRAY, 3))
    rng = np.random.default_rng(0)
    assert corruption_of("brightness-down")(image, 60, rng).max() == image.max() - 60
    assert np.ptp(corruption_of("contrast-down")(image, 0.5, rng)) == pytest.approx(np.ptp(image) / 2, abs=1)
    assert corruption_of("gamma-up")(image, 2, rng).max() < image.max()


def test_enough_kinds() -> None:
    own = Counter(min(kind.modalities) for kind in OWN if kind.modalities and len(kind.modalities) == 1)
    general = len(OWN) - own.total()
    assert len(OWN) == len({kind.kind for kind in OWN}) >= 45
    assert general >= 14
    assert all(own[modality] >= 4 for modality in MODALITIES)


def test_only_where_it_occurs_and_the_label_survives() -> None:
    assert corruption_of("mri-ghosting") not in kinds_for(Modality.CT)
    assert corruption_of("saturation-up") not in kinds_for(Modality.MRI)
    for kind in ("shift", "zoom-in", "xray-collimation"):
        assert not corruption_of(kind).fits(Modality.XRAY, "Disease diagnosis")
        assert corruption_of(kind).fits(Modality.XRAY, "Anatomy identification")
    assert not any(kind.fits(Modality.OCT, QuestionType.ATTRIBUTES) for kind in OWN if kind.moves)
    for modality in MODALITIES:
        for question_type in QUESTION_TYPES:
            assert len(kinds_for(modality, question_type)) >= 15


def test_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="no corruption is called 'snow'"):
        corruption_of("snow")
    with pytest.raises(InvalidInputError, match="did you mean jpeg"):
        corruption_of("JPG")


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch):
    def add(added: object) -> None:
        package = ModuleType("other_package")
        package.FAULT = added
        monkeypatch.setitem(sys.modules, "other_package", package)
        point = EntryPoint("other", "other_package:FAULT", CORRUPTION_GROUP)
        monkeypatch.setattr(extensions, "entry_points", EntryPoints([point]).select)
        corruptions.cache_clear()

    yield add
    monkeypatch.undo()
    corruptions.cache_clear()


def inverted(image, amount, free, rng):
    """Shown as a negative."""
    return 255 - image


def test_another_package_adds_a_kind(entry_point) -> None:
    entry_point(Corruption("inverted", inverted, (0, 1), "", modalities=frozenset({Modality.XRAY})))
    assert corruption_of("inverted") in kinds_for(Modality.XRAY, among=["jpeg", "inverted"])
    assert kinds_for(Modality.CT, among=["inverted"]) == ()
    assert corruption_of("inverted").summary == "Shown as a negative."


def test_suites_mean_the_same_whatever_is_installed(entry_point) -> None:
    before = kinds_for(Modality.XRAY)
    entry_point(Corruption("inverted", inverted, (0, 1), "", modalities=frozenset({Modality.XRAY})))
    assert kinds_for(Modality.XRAY) == before


@pytest.mark.parametrize(
    ("apply", "error", "told"),
    [
        (lambda image, *_: image * 0.5, TypeError, r"makes float64 \[4, 6, 3\], not uint8 \[4, 6, 3\]"),
        (lambda image, *_: image[:, :, 0], TypeError, r"makes uint8 \[4, 6\]"),
        (lambda image, *_: None, TypeError, "makes NoneType"),
        (lambda image, *_: image.fill(0), ValueError, "read-only"),
    ],
)
def test_what_a_function_makes_is_an_8_bit_image_of_the_same_size(apply, error, told) -> None:
    image = np.full((4, 6, 3), 9, dtype=np.uint8)
    with pytest.raises(error, match=told):
        Corruption("odd", apply, (0, 1), "")(image, 0.5, np.random.default_rng(0))
    assert (image == 9).all()


def test_another_package_may_not_take_a_name(entry_point) -> None:
    entry_point(Corruption("jpeg", inverted, (0, 1), ""))
    with pytest.raises(InvalidInputError, match="adds 'jpeg', which exists"):
        corruptions()


def test_another_package_must_bring_a_corruption(entry_point) -> None:
    entry_point(inverted)
    with pytest.raises(InvalidInputError, match="is function, no corruption"):
        corruptions()
