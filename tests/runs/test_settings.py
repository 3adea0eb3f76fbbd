from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.settings import PHANTOM_LIMIT, RunSettings, read_settings, settings_from
from medrobust_bench.specs.vocabulary import Modality

if TYPE_CHECKING:
    from pathlib import Path


def test_every_wrong_key_is_reported_together() -> None:
    with pytest.raises(InvalidInputError) as raised:
        settings_from({"modell": "x", "limit": 0, "seed": -1}, where="run.yaml")
    text = str(raised.value)
    assert len(raised.value.problems) == 3
    assert "modell" in text
    assert "known settings are models, threats" in text


def test_a_modality_is_known_whatever_its_case() -> None:
    assert settings_from({"modalities": ["ct", "X-RAY"]}, where="").modalities == (Modality.CT, Modality.XRAY)
    assert settings_from({"modalities": [" PET "]}, where="").modalities == ("PET",), (
        "the data set may know it"
    )
    with pytest.raises(InvalidInputError, match=r"modalities\.0"):
        settings_from({"modalities": [7]}, where="")


def test_the_sample_is_small_only_for_the_embedded_default() -> None:
    assert RunSettings().sample_size == PHANTOM_LIMIT
    assert RunSettings(data="somewhere").sample_size is None
    assert RunSettings(data="somewhere", limit=3).sample_size == 3
    assert RunSettings(limit=3).sample_size == 3


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("- a\n- b\n", "not a mapping"),
        ("models: [", "cannot be read"),
        ("!!python/name:os.system", "cannot be read"),
    ],
)
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(InvalidInputError, match=complaint):
        read_settings(path)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("# nothing\n")
    assert settings_from(read_settings(path), where="") == RunSettings()
