"""What other packages add: found by group and name, refused by name where it cannot be used."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Literal

import pytest

from medrobust_bench import extensions
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.reports.metrics import METRIC_GROUP, find_metric
from medrobust_bench.specs import kinds
from medrobust_bench.specs.kinds import THREAT_GROUP, plugged_in
from medrobust_bench.specs.threat import ThreatSpec


class HazeSpec(ThreatSpec):
    kind: Literal["haze"] = "haze"
    yields = "corrupted"


class Haze:
    spec_class = HazeSpec


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("weather")
    package.Haze, package.rain, package.number = Haze, lambda outcomes, threat: None, 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "weather", package)
    points = [
        EntryPoint("haze", "weather:Haze", THREAT_GROUP),
        EntryPoint("fog", "weather:Haze", THREAT_GROUP),
        EntryPoint("mist", "weather:number", THREAT_GROUP),
        EntryPoint("gone", "weather:missing", THREAT_GROUP),
        EntryPoint("twice", "weather:Haze", THREAT_GROUP),
        EntryPoint("twice", "weather:number", THREAT_GROUP),
        EntryPoint("rain", "weather:rain", METRIC_GROUP),
        EntryPoint("three", "weather:number", METRIC_GROUP),
        EntryPoint("nowhere", "no_such_package:rain", METRIC_GROUP),
    ]
    monkeypatch.setattr(extensions, "entry_points", EntryPoints(points).select)
    monkeypatch.setattr(kinds, "_registered", {})


def test_an_object_is_found_by_group_and_name() -> None:
    found = extensions.extension(METRIC_GROUP, "rain")
    assert found is not None
    assert found.value is sys.modules["weather"].rain
    assert extensions.extension(METRIC_GROUP, "haze") is None
    assert extensions.names(METRIC_GROUP) == ["nowhere", "rain", "three"]


def test_a_kind_is_the_one_that_its_specification_names() -> None:
    assert plugged_in("haze") is Haze
    assert plugged_in("snow") is None


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("fog", "'fog' of weather:Haze: is no threat of the kind 'fog' → name a class"),
        ("mist", "is no threat of the kind 'mist'"),
        ("gone", "does not load: .*missing"),
        ("twice", "is added by weather:Haze and by weather:number → remove all but one"),
    ],
)
def test_a_kind_that_cannot_be_used_is_named(kind: str, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        plugged_in(kind)


@pytest.mark.parametrize(
    ("metric", "what"),
    [("three", "cannot be called"), ("nowhere", "does not load: No module named 'no_such_package'")],
)
def test_a_metric_that_cannot_be_used_is_named(metric: str, what: str) -> None:
    with pytest.raises(InvalidInputError, match=what):
        find_metric(metric)
