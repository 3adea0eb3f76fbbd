"""Journals, results and submissions name questions by these digests: never adapt them to the code."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data.source import open_data, sample

if TYPE_CHECKING:
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset

PHANTOMS = {
    "train": "defa608dc0f76a26948dfe33fc9e9c575652dc394b41e8de1a5f8cf786270454",
    "test": "4fe273bf66a2ac72c7e725af51e813367a30da10d882d0b80afa1b99d7bf36a3",
}
OMNI_MINI = {
    "train": "591a603f02fbe4686e953bf0156966df6ab399dde9482b9b2b79ae01df98d132",
    "test": "593a795ef886d282f7e5ff05def16a2ee391c9f3f8e63fbbcfcaabc0da43d999",
    "all": "3df31a152c21f3b29e8597bca41ee9feea7c6a5ffd8313f5cd44696369a4f73b",
}


def names(dataset: Dataset) -> str:
    """Digest of what stands in outcomes beside the answers, and is not part of the data set's own digest."""
    rows = (f"{q.id}\x1f{q.modality}\x1f{q.question_type}\x1f{q.dataset}" for q in dataset.questions)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


@pytest.mark.parametrize(("split", "digest"), PHANTOMS.items())
def test_phantoms(split: str, digest: str) -> None:
    assert open_data("phantoms", split=split).digest() == digest


def test_phantom_sample_and_names() -> None:
    dataset = open_data("phantoms")
    assert sample(dataset, 50).digest() == "e67e680b89af07b9218c0b7f318c721f8d2adaa6850351a9cb331673be5b134e"
    assert names(dataset) == "28002e63fbfc13857618a816bf4d5f8230d21fe19268a11e41ea16980039b64e"


@pytest.mark.parametrize(("split", "digest"), OMNI_MINI.items())
def test_real_tree(omnimedvqa: Path, split: str, digest: str) -> None:
    if omnimedvqa.name != "omni_mini":
        pytest.skip("another tree than the one that was measured")
    assert open_data(omnimedvqa, split=split).digest() == digest


def test_real_sample_and_names(omnimedvqa: Path) -> None:
    if omnimedvqa.name != "omni_mini":
        pytest.skip("another tree than the one that was measured")
    dataset = open_data(omnimedvqa)
    assert sample(dataset, 50).digest() == "30fefc87d684e68813fd2bd559a99289b0f08944054f3b92530b7a8461fa3562"
    assert names(dataset) == "08a5faac2e59bcff2bed754fc8ca16aa87dabbae480971652e6b333fe1718bab"
