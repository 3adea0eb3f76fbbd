"""Threats by name: official ones, overrides that say what they changed, files, and every mistake reported."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust_bench.certify.cohen import Certification
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.kinds import read_spec
from medrobust_bench.specs.patch import PatchSpec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.registry import is_official, load_specification, official_threats

if TYPE_CHECKING:
    from pathlib import Path

OFFICIAL = [specification.name for specification in official_threats()]


def problems(text: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        load_specification(text)
    return str(caught.value)


def test_the_official_numbers() -> None:
    linf, l2 = load_specification("pgd-linf"), load_specification("pgd-l2")
    assert isinstance(linf, PgdSpec)
    assert (linf.norm, linf.eps, linf.steps, linf.step_size, linf.restarts) == (
        "linf",
        Fraction(8, 255),
        20,
        Fraction(2, 255),
        1,
    )
    assert isinstance(l2, PgdSpec)
    assert (l2.norm, l2.eps, l2.step_size) == ("l2", Fraction(1, 2), Fraction(5, 2) * Fraction(1, 2) / 20)
    patch = load_specification("patch")
    assert isinstance(patch, PatchSpec)
    assert patch.area == Fraction(1, 20)
    certified = load_specification("certified-l2")
    assert isinstance(certified, CertificationSpec)
    assert (certified.n, certified.alpha, certified.sigma) == (10_000, Fraction(1, 1000), Fraction(1, 4))
    assert (certified.n0, certified.looks) == (0, 16)
    assert certified.radii == (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_official_threat_loads_says_what_it_is_and_survives_json(name: str) -> None:
    specification = load_specification(name)
    assert specification.name == name
    assert is_official(specification)
    assert specification.summary
    assert read_spec(specification.model_dump(mode="json")) == specification
    assert load_threat(name).spec == specification


def test_l2_budgets_mean_the_same_change_per_pixel_at_every_size() -> None:
    spec = load_specification("pgd-l2")
    assert isinstance(spec, PgdSpec)
    assert spec.radius(32, 32) == 0.5
    assert spec.radius(384, 384) == 6.0
    for height, width in [(32, 32), (384, 384), (384, 255)]:
        assert spec.radius(height, width) / (3 * height * width) ** 0.5 == pytest.approx(spec.rms)


def test_overrides_are_exact_and_named_in_canonical_form() -> None:
    spec = load_specification("pgd-linf: steps = 50 ,eps=0.2")
    assert isinstance(spec, PgdSpec)
    assert (spec.eps, spec.steps, spec.step_size) == (Fraction(1, 5), 50, Fraction(2, 255))
    assert spec.name == "pgd-linf:eps=0.2,steps=50"
    assert not is_official(spec)
    assert load_specification("pgd-linf:eps=4/255,steps=50").name == "pgd-linf:eps=4/255,steps=50"
    assert load_specification("certified-l2:n=100000").name == "certified-l2:n=100000"


def test_steps_that_are_all_alike_go_unmentioned_in_results() -> None:
    assert "schedule" not in load_specification("pgd-linf").model_dump(mode="json")
    constant = load_specification("pgd-linf-quick:schedule=constant")
    assert (constant.name, "schedule" in constant.model_dump()) == ("pgd-linf-quick:schedule=constant", False)
    assert load_specification(constant.name) == constant
    assert load_specification("pgd-linf-quick").model_dump(mode="json")["schedule"] == "cosine"
    assert load_specification("pgd-linf:schedule=cosine").name == "pgd-linf:schedule=cosine"
    assert load_specification("pgd-linf:schedule=constant").name == "pgd-linf"


def test_overrides_that_change_nothing_leave_the_official_specification() -> None:
    spec = load_specification("pgd-linf:eps=16/510,steps=20")
    assert spec.name == "pgd-linf"
    assert is_official(spec)
    assert load_specification("pgd-linf:eps=8/255,steps=50").name == "pgd-linf:steps=50"


def test_an_unstated_step_size_follows_eps_and_steps() -> None:
    spec = load_specification("pgd-l2:eps=1,steps=50")
    assert isinstance(spec, PgdSpec)
    assert spec.step_size == Fraction(1, 20)


@given(st.fractions(Fraction(1, 255), 1, max_denominator=1000), st.integers(1, 100), st.integers(1, 3))
def test_the_name_of_an_overridden_threat_loads_it_again(eps: Fraction, steps: int, restarts: int) -> None:
    spec = load_specification(f"pgd-linf:eps={eps},steps={steps},restarts={restarts}")
    assert load_specification(spec.name) == spec


def test_a_file_is_a_specification(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: gentle\nkind: pgd\nnorm: linf\neps: 1/255\nsteps: 10\n")
    spec = load_specification(str(file))
    assert isinstance(spec, PgdSpec)
    assert (spec.name, spec.step_size) == ("gentle", Fraction(1, 4) / 255)
    assert load_specification(f"{file}:steps=20").name == "gentle:steps=20"
    assert not is_official(spec)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: pgd-linf\nkind: pgd\nnorm: linf\neps: 1/255\nsteps: 1\n", "differs from the official"),
        ("name: 'pgd-linf:x'\nkind: pgd\nnorm: linf\neps: 1/255\nsteps: 1\n", "contains a colon"),
        (
            "name: a\nkind: fgsm\n",
            "kind 'fgsm' is unknown → use one of pgd, apgd, square, rays, auto, patch, ",
        ),
        ("name: a\n", "kind None is unknown"),
        ("name: a\nkind: pgd\nnorm: linf\neps: 1/255\nsteps: 1\nstep: 2\n", "unknown key 'step'"),
        ("name: a\nkind: pgd\nnorm: linf\nsteps: 1\n", "'eps' is missing"),
        ("kind: noise\nnorm: linf\neps: 0.1\ndraws: 1\n", "'name' is missing"),
        ("- 1\n", "does not hold the fields"),
        ("a: [1\n", "is not YAML"),
        ("name: c\nkind: certification\nsigma: 1\nn0: 1\nn: 9\nalpha: 0.1\nradii: [2, 1]\n", "ascending"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    message = problems(str(file))
    assert expected in message
    assert str(file) in message


def test_an_official_specification_written_to_a_file_stays_official(tmp_path: Path) -> None:
    file = tmp_path / "copy.yaml"
    file.write_text(load_specification("pgd-linf").model_dump_json())  # JSON is YAML
    assert is_official(load_specification(str(file)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pgd", "use one of apgd-l2, apgd-linf, auto-l2, auto-linf, certified-l2, "),
        ("", "no threat is called ''"),
        ("Injection-fait", "did you mean injection-faint"),
        ("corruptions:severities=1", "corruptions has no number or name to override; write anything else"),
        ("missing.yaml", "cannot be read"),
        ("pgd-linf:", "write key=value"),
        ("pgd-linf:eps", "'eps' is no override"),
        ("pgd-linf:radius=1", "pgd-linf has norm, eps, steps, step_size, restarts, loss, focus"),
        ("pgd-linf:loss=dlr", "'cross-entropy', 'margin' or 'targeted'"),
        ("square:first_share=1", "below 1"),
        ("square:norm=l2", "'linf'"),
        ("auto-l2:queries=5", "works in L∞ only"),
        ("patch-universal:rotation=200", "from 0 to 180"),
        ("pgd-linf:name=official", "'name' cannot be overridden"),
        ("certified-l2:radii=1", "'radii' cannot be overridden"),
        ("pgd-linf:eps=1/255,eps=2/255", "given twice"),
        ("pgd-linf:eps=8", "for grey levels write 8/255"),
        ("pgd-linf:eps=0", "eps: must be positive"),
        ("pgd-linf:eps=a", "'a' is not a number"),
        ("pgd-linf:step_size=0", "step_size: must be positive"),
        ("pgd-l2:steps=0", "greater than or equal to 1"),
        ("pgd-linf:norm=l1", "'linf' or 'l2'"),
        ("patch:area=5", "at most 1"),
        ("noise:draws=1.5", "integer"),
        ("certified-l2:alpha=1", "below 1"),
        ("certified-l2:sigma=-1", "sigma: must be positive"),
        ("certified-l2:base=logits", "'likelihood' or 'generate'"),
    ],
)
def test_mistakes_name_what_is_possible(text: str, expected: str) -> None:
    assert expected in problems(text)


def test_all_mistakes_are_reported_together() -> None:
    message = problems("pgd-linf:foo=1,eps")
    assert "'foo'" in message
    assert "'eps' is no override" in message


def test_listing_threats_loads_nothing_heavy() -> None:
    code = (
        "import sys; from medrobust_bench.specs.registry import official_threats; official_threats();"
        "print(sorted({'torch', 'art', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[]"


def test_certification_is_a_threat_of_its_own_kind() -> None:
    assert isinstance(load_threat("certified-l2"), Certification)
