"""Copies that were resized, compressed again or cropped a little are found; pictures of one kind are told apart."""

from __future__ import annotations

import io
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks import near_search
from medrobust_bench.cli import main
from medrobust_bench.data.image import ImageBytes
from medrobust_bench.data.near import (
    NearPair,
    hash_candidates,
    near_clusters,
    near_pairs,
    read_clusters,
    write_clusters,
)
from medrobust_bench.data.phantoms import Phantom
from medrobust_bench.data.source import open_data
from medrobust_bench.data.splits import SPLITS, split_keys
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.specs.vocabulary import Modality

from .conftest import write_json
from .test_own_tables import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.data.image import ImageSource


def jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def cropped(image: Image.Image, most: float, draw: random.Random) -> Image.Image:
    width, height = image.size
    left, top, right, bottom = (draw.uniform(0, most) for _ in range(4))
    return image.crop(
        (int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height))
    )


def scaled(image: Image.Image, by: float) -> Image.Image:
    return image.resize(
        (max(8, int(image.width * by)), max(8, int(image.height * by))), Image.Resampling.BICUBIC
    )


COPIES: dict[str, Callable[[Image.Image, random.Random], bytes]] = {
    "resized to a half": lambda image, draw: jpeg(scaled(image, 0.5), 95),
    "compressed again": lambda image, draw: jpeg(image, 40),
    "cropped by up to 3 % at each side": lambda image, draw: jpeg(cropped(image, 0.03, draw), 95),
    "cropped by up to 6 % at each side": lambda image, draw: jpeg(cropped(image, 0.06, draw), 95),
    "cropped, resized and compressed": lambda image, draw: jpeg(scaled(cropped(image, 0.04, draw), 0.6), 60),
}


def noise(seed: int, side: int = 160) -> Image.Image:
    """A smooth random picture with structure of every size."""
    draw = np.random.default_rng(seed)
    levels = np.zeros((side, side))
    for cells in (4, 8, 16, 32, 64):
        layer = Image.fromarray(draw.normal(size=(cells, cells)).astype(np.float32))
        levels += np.asarray(layer.resize((side, side), Image.Resampling.BICUBIC)) / cells**0.5
    low, high = levels.min(), levels.max()
    return Image.fromarray(((levels - low) / (high - low) * 255).astype(np.uint8))


@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_found_among_others(kind: str) -> None:
    draw = random.Random(kind)
    pictures = [noise(seed) for seed in range(12)]
    images: list[ImageSource] = [ImageBytes(jpeg(picture, 95)) for picture in pictures]
    images += [ImageBytes(COPIES[kind](picture, draw)) for picture in pictures[:6]]
    assert [(pair.first, pair.second) for pair in near_pairs(images)] == [(n, 12 + n) for n in range(6)]


def test_phantoms_of_one_modality_are_no_copies_of_each_other() -> None:
    assert near_pairs([Phantom(Modality.MRI, index) for index in range(40)]) == []


@given(st.integers(0, 2**32 - 1), st.integers(2, 150), st.integers(0, 120))
@settings(max_examples=25, deadline=None)
def test_hashes_are_compared_as_each_with_each(seed: int, count: int, flips: int) -> None:
    """Random hashes, some of them copies of others with bits changed, also across the blocks of the search."""
    draw = np.random.default_rng(seed)
    bits = draw.random((count, 7, 256)) < 0.5
    for place in range(1, count, 3):
        bits[place, draw.integers(7)] = bits[draw.integers(place), 0]
        bits[place, :, draw.choice(256, flips, replace=False)] ^= True
    bits[..., 0] = False
    hashes = np.packbits(bits, axis=2).view(np.uint64)
    apart = [[(bits[i] != bits[j, 0]).sum(axis=1).min() for j in range(count)] for i in range(count)]
    assert hash_candidates(hashes) == [
        (i, j) for i in range(count) for j in range(i + 1, count) if min(apart[i][j], apart[j][i]) <= 64
    ]


def test_the_benchmark_compares_two_searches_that_find_the_same() -> None:
    hashes = near_search.planted(90, np.random.default_rng(0))
    found = near_search.each_with_each(hashes)
    assert found
    assert hash_candidates(hashes) == found


def test_nothing_to_compare() -> None:
    assert near_pairs([]) == []
    assert near_pairs([ImageBytes(jpeg(noise(0), 95))]) == []


@pytest.mark.slow
def test_planted_copies_among_real_images(omnimedvqa: Path) -> None:
    """Recall for each kind of copy, and pairs of real images that are called copies: measured, not assumed."""
    questions = open_data(omnimedvqa, split="all").questions
    images = list({question.image.digest(): question.image for question in questions}.values())
    alone = near_pairs(images)
    if omnimedvqa.name == "omni_mini":
        names = [{images[p.first].name.split("/")[-1], images[p.second].name.split("/")[-1]} for p in alone]
        # Looked at: each shows one picture twice.
        assert names == [
            {"benign_222.png", "benign_267.png"},
            {"malignant_96.png", "malignant_97.png"},
            {"normal_132.png", "normal_20.png"},
        ]
    draw = random.Random(0)
    chosen = draw.sample(range(len(images)), 60)
    for kind, copy in COPIES.items():
        planted = [ImageBytes(copy(images[place].open().convert("RGB"), draw)) for place in chosen]
        pairs = {(pair.first, pair.second) for pair in near_pairs([*images, *planted])}
        found = sum((place, len(images) + n) in pairs for n, place in enumerate(chosen))
        false = {
            (first, second)
            for first, second in pairs
            if second >= len(images) and first < len(images) and chosen[second - len(images)] != first
        }
        print(f"{kind}: {found} of {len(chosen)} found, {len(false)} pairs with other images")
        assert found >= 0.93 * len(chosen), kind


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]), max_size=12
    )
)
def test_clusters_are_the_connected_images(links: list[tuple[int, int]]) -> None:
    digests = [f"{place:02}" for place in range(10)]
    clusters = near_clusters(digests, [NearPair(first, second, 1.0) for first, second in links])
    assert set(clusters) == {digests[place] for link in links for place in link}
    for first, second in links:
        assert clusters[digests[first]] == clusters[digests[second]]
    for digest, cluster in clusters.items():
        assert cluster <= digest
        assert clusters[cluster] == cluster


def test_clusters_are_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "near.csv"
    write_clusters(path, {"b": "a", "a": "a"})
    assert read_clusters(path) == {"a": "a", "b": "a"}
    path.write_text("other,columns\n")
    with pytest.raises(InvalidInputError, match="no list of near-duplicates"):
        read_clusters(path)


def test_near_duplicates_are_kept_on_one_side_by_a_card(tmp_path: Path) -> None:
    """Twenty pictures and a smaller copy of each: without the list some pairs are torn apart, with it none."""
    rows = []
    for seed in range(20):
        for name, content in (("a", jpeg(noise(seed), 95)), ("b", jpeg(scaled(noise(seed), 0.5), 80))):
            (tmp_path / f"{name}{seed}.jpg").write_bytes(content)
            rows.append([f"{name}{seed}.jpg", "Is it?", "yes"])
    table = write_csv(tmp_path / "own.csv", ["image", "question", "answer"], *rows)
    checked = CliRunner().invoke(
        main, ["data", "check", str(table), "--near", "--near-out", str(tmp_path / "near.csv")]
    )
    assert checked.exit_code == 1, checked.output
    assert "20 pairs of near-duplicates among 40 distinct images" in checked.output
    assert "near-duplicates" in checked.output.split("Leakage")[1]
    card = tmp_path / "card.md"
    assert CliRunner().invoke(main, ["data", "card", str(table), "--out", str(card)]).exit_code == 0
    card.write_text(card.read_text().replace("source:\n", "source:\n  near: near.csv\n"))
    sides = {}
    for split in SPLITS:
        try:
            sides |= {q.image.name.split("/")[-1]: split for q in open_data(card, split=split).questions}
        except InvalidInputError:
            continue
    assert len(sides) == 40
    assert all(sides[f"a{seed}.jpg"] == sides[f"b{seed}.jpg"] for seed in range(20))
    again = CliRunner().invoke(main, ["data", "check", str(card), "--near"])
    assert again.exit_code == 0, again.output


GROUPS = st.lists(
    st.tuples(st.none() | st.sampled_from(["P1", "P2", "P3"]), st.none() | st.sampled_from("abcdef")),
    max_size=20,
)


@given(GROUPS)
def test_what_shares_a_group_or_an_image_shares_a_key(rows: list[tuple[str | None, str | None]]) -> None:
    keys = split_keys([group for group, _ in rows], [digest for _, digest in rows])
    for (group, digest), key in zip(rows, keys, strict=True):
        assert (key == "") == (group is None and digest is None)
        for (other_group, other_digest), other_key in zip(rows, keys, strict=True):
            if (group is not None and group == other_group) or (
                digest is not None and digest == other_digest
            ):
                assert key == other_key
    if not any(group for group, _ in rows):
        assert keys == [digest or "" for _, digest in rows], "nothing changes where no group is named"


def test_patients_stay_on_one_side_and_torn_ones_are_reported(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(noise(number, 24), 95))
    rows = [[f"{number}.jpg", "Is it?", "yes", f"P{number // 3}"] for number in range(60)]
    table = write_csv(tmp_path / "own.csv", ["image", "question", "answer", "patient"], *rows)
    sides: dict[str | None, set[str]] = {}
    for split in SPLITS:
        for question in open_data(table, split=split).questions:
            sides.setdefault(question.group, set()).add(split)
    assert len(sides) == 20
    assert all(len(found) == 1 for found in sides.values())
    rows = [[*row, "train" if place % 3 else "test"] for place, row in enumerate(rows)]
    torn = write_csv(tmp_path / "torn.csv", ["image", "question", "answer", "patient", "split"], *rows)
    checked = CliRunner().invoke(main, ["data", "check", str(torn)])
    assert checked.exit_code == 1, checked.output
    assert "groups" in checked.output
    whole = CliRunner().invoke(main, ["data", "check", str(table)])
    assert "Splits by patient or study, else by image content" in whole.output
    assert "20 of 20" in checked.output


def test_groups_are_one_cluster_in_a_run(tmp_path: Path) -> None:
    import medrobust_bench

    for number in range(12):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(noise(number, 48), 95))
    rows = [
        {
            "id": f"q{n}",
            "image": f"{n}.jpg",
            "question": "Is it?",
            "answer": "yes" if n < 6 else "no",
            "patient": patient,
        }
        for n, patient in enumerate(["P1"] * 6 + ["P2"] * 6)
    ]
    widths = {}
    for name, kept in (("grouped", rows), ("alone", [{**row, "patient": None} for row in rows])):
        write_json(tmp_path / f"{name}.json", kept)
        run = medrobust_bench.evaluate(
            model="tiny-sft-letter",
            threats="noise:draws=1",
            data=str(tmp_path / f"{name}.json"),
            split="all",
            out=tmp_path / f"run-{name}",
        )
        result = run.results[0]
        widths[name] = result.metrics.clean_accuracy.high - result.metrics.clean_accuracy.low
        assert result.data.groups == (2 if name == "grouped" else None)
        (outcomes, *_) = run.outcomes.values()
        assert {outcome.group for outcome in outcomes} == ({"P1", "P2"} if name == "grouped" else {None})
        assert len({outcome.cluster for outcome in outcomes}) == (2 if name == "grouped" else 12)
        assert ('"group"' in (tmp_path / f"run-{name}/journal.jsonl").read_text()) == (name == "grouped")
    assert widths["grouped"] > widths["alone"], "two patients tell less than twelve images"
