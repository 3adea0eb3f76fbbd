"""Falsified numbers, questions, images and certificates: each rejected for its reason."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from medrobust_bench.data.image import from_png, to_png
from medrobust_bench.records.intervals import wilson
from tests.leaderboard.forgery import reasons

if TYPE_CHECKING:
    from collections.abc import Callable

    from medrobust_bench.models.cards import Card
    from tests.leaderboard.forgery import Forgery

# Falsified numbers


def test_an_edited_score(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    metrics = made.result["metrics"]
    right = round(metrics["robust_accuracy"]["value"] * 24)
    metrics["robust_accuracy"] = wilson(right + 1, 24).model_dump()
    assert f"metrics.robust_accuracy.value is {(right + 1) / 24}" in reasons(made.save(), cards)


def test_an_edited_interval(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["robust_accuracy"]["low"] += 0.01
    assert "metrics.robust_accuracy.low is" in reasons(made.save(), cards)


def test_an_edited_modality(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["metrics"]["worst_modality"] = (
        "CT" if made.result["metrics"]["worst_modality"] != "CT" else "MRI"
    )
    assert "metrics.worst_modality is" in reasons(made.save(), cards)


def test_an_edited_cost(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["cost"]["backward_passes"] += 1000
    assert "cost.backward_passes is" in reasons(made.save(), cards)


def test_broken_answers_called_right(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "correct": True} for line in lines])
    assert "verdict contradicts the choice" in reasons(made.save(), cards)


def test_broken_answers_rewritten(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def rewrite(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**line, "correct": True, "choice": line["answer"], "witness_sha256": None}
            if line["threat"] == "pgd-linf" and line["attacked"]
            else line
            for line in lines
        ]

    made.journal(rewrite)
    said = reasons(made.save(), cards)
    assert "witnesses: for answers that were not broken" in said
    assert "metrics.robust_accuracy.value" in said


def test_the_answer_key_changed(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "answer": line["choice"], "correct": True} for line in lines])
    assert "answer is not the published one" in reasons(made.save(), cards)


def test_right_answers_left_alone(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(
        lambda lines: [
            {**line, "attacked": False} if line["threat"] == "pgd-linf" and line["correct"] else line
            for line in lines
        ]
    )
    assert "not attacked although right" in reasons(made.save(), cards)


def without_control(line: dict[str, Any]) -> None:
    line["blind_choices"] = None


def with_half_a_control(line: dict[str, Any]) -> None:
    del line["blind_choices"]["noise"]


def with_an_impossible_answer(line: dict[str, Any]) -> None:
    line["blind_choices"]["blank"] = 9


@pytest.mark.parametrize("change", [without_control, with_half_a_control, with_an_impossible_answer])
def test_a_blindness_control_of_chosen_questions(
    change: Callable[[dict[str, Any]], None], forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")

    def spoil(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        change(next(line for line in lines if line["blind_choices"]))
        return lines

    made.journal(spoil)
    assert "blindness control is not what the plan asks" in reasons(made.save(), cards)


# Falsified questions


def test_wrong_answers_called_robust(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def unattacked(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        name = next(line["question"] for line in lines if line["threat"] != "clean" and line["correct"])
        for line in (line for line in lines if line["question"] == name):
            wrong = 1 - min(line["answer"], 1)
            if line["threat"] == "clean":
                line |= {"choice": wrong, "clean_choice": wrong, "correct": False, "blind_choices": None}
            else:
                line |= {"clean_choice": wrong, "attacked": False, "attempts": []}
        return lines

    made.journal(unattacked)
    assert "attack: another answer without an attack" in reasons(made.save(), cards)


def test_unsteadiness_that_the_clean_answers_do_not_show(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.journal(
        lambda lines: [{**line, "steady": False} if line["threat"] != "clean" else line for line in lines]
    )
    assert "journal: steadiness differs from the clean line" in reasons(made.save(), cards)


def test_an_attack_that_did_not_run_in_full(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")

    def halved(line: dict[str, Any]) -> dict[str, Any]:
        attempts = [{**attempt, "losses": attempt["losses"][:10]} for attempt in line["attempts"]]
        return {**line, "attempts": attempts}

    made.journal(lambda lines: list(map(halved, lines)))
    assert "left standing before the attack had run in full" in reasons(made.save(), cards)


def test_an_attack_that_cost_less_than_it_tells_of(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "forward_passes": 1} for line in lines])
    assert "journal: cost is less than the images that it tells of" in reasons(made.save(), cards)


def test_a_certificate_on_a_clean_line(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    certificate = {"radius": 3.5, "height": 64, "width": 64}
    made.journal(
        lambda lines: [
            {**line, "certificate": certificate} if line["threat"] == "clean" else line for line in lines
        ]
    )
    assert "journal: clean line tells of an attack or a certificate" in reasons(made.save(), cards)


def test_dropped_hard_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [line for line in lines if line["threat"] == "clean" or line["correct"]])
    assert "questions: dropped under the threat" in reasons(made.save(), cards)


def test_dropped_questions_and_a_smaller_n(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["n"] = 20
    assert "data: number of questions is 20, the selection gives 24" in reasons(made.save(), cards)


def test_repeated_easy_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [*lines, *(line for line in lines if line["correct"])])
    assert "questions: repeated under the threat" in reasons(made.save(), cards)


def test_invented_questions(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [*lines, {**lines[-1], "question": "phantom/test/ct/99999"}])
    assert "questions: not in the data set, under the threat: phantom/test/ct/99999" in reasons(
        made.save(), cards
    )


def test_a_wrong_split_digest(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.result["data"]["digest"] = "0" * 64
    assert "data: digest is 0000" in reasons(made.save(), cards)


def test_other_images(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.journal(lambda lines: [{**line, "image_sha256": "0" * 64} for line in lines])
    assert "image is not the published one" in reasons(made.save(), cards)


def test_a_lucky_seed_passed_off_as_the_official_one(
    forgery: Callable[[str], Forgery], cards: dict[str, Card]
) -> None:
    made = forgery("certified-l2-quick")
    made.journal(
        lambda lines: [
            {**line, "certificate": {**line["certificate"], "seed": 7}} if line["certificate"] else line
            for line in lines
        ]
    )
    assert "certificates, seed" in reasons(made.save(), cards)


# Falsified images


def test_epsilon_exceeded_by_one_level(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def push(row: dict[str, Any]) -> dict[str, Any]:
        from medrobust_bench.data.image import canonical
        from medrobust_bench.data.source import open_data

        (question,) = [q for q in open_data("phantoms").questions if q.id == row["question"]]
        clean, image = canonical(question.image).astype(int), from_png(row["image"]).astype(int)
        place = np.argwhere((np.abs(image - clean) == 8) & (image > 0) & (image < 255))[0]
        image[tuple(place)] += 1 if image[tuple(place)] > clean[tuple(place)] else -1
        return {**row, "image": to_png(image.astype(np.uint8))}

    made.witness(push)
    assert "changes a value by 9 levels, 8 allowed" in reasons(made.save(), cards)


def test_a_patch_outside_its_place(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("patch")

    def scribble(row: dict[str, Any]) -> dict[str, Any]:
        image = from_png(row["image"])
        image[0, :], image[-1, :] = 255 - image[0, :], 255 - image[-1, :]
        return {**row, "image": to_png(image)}

    made.witness(scribble)
    assert "outside" in reasons(made.save(), cards)


def test_a_swapped_image(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    rows = pq.read_table(made.folder / "witnesses.parquet").to_pylist()
    made.witness(lambda row: {**row, "image": rows[1]["image"]}, told=False)
    assert "the image is not the one that was judged" in reasons(made.save(), cards)
    made.witness(lambda row: {**row, "image": rows[1]["image"]})
    assert "levels, 8 allowed" in reasons(made.save(), cards)


def test_a_float_only_artefact(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")

    def floating(row: dict[str, Any]) -> dict[str, Any]:
        buffer = io.BytesIO()
        levels = from_png(row["image"])[..., 0].astype(np.float32) / 255
        Image.fromarray(levels, mode="F").save(buffer, format="TIFF")
        return {**row, "image": buffer.getvalue()}

    made.witness(floating)
    assert "the image is no PNG" in reasons(made.save(), cards)


def test_an_image_of_another_size(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.witness(lambda row: {**row, "image": to_png(from_png(row["image"])[:32])})
    assert "the image has 64 × 32 pixels, the clean one 64 × 64" in reasons(made.save(), cards)


def test_no_image_at_all(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.witness(lambda row: {**row, "image": b"\x89PNG nothing"})
    assert "the image is no PNG" in reasons(made.save(), cards)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda png: png + b"<html>", "is damaged or cut off"),
        (lambda png: png[:-9], "is damaged or cut off"),
        (lambda png: png + chunk(b"IEND", b""), "holds more than pixels: IEND"),
        (
            lambda png: png[:33] + chunk(b"gAMA", struct.pack(">I", 1)) + png[33:],
            "holds more than pixels: gAMA",
        ),
        (lambda png: png[:33] + chunk(b"acTL", bytes(8)) + png[33:], "holds more than pixels: acTL"),
        (lambda png: png[:33] + png[-12:], "holds more than pixels"),
        (
            lambda png: png[:8] + chunk(b"IHDR", png[16:24] + bytes([16, 2, 0, 0, 0])) + png[33:],
            "is not 8-bit RGB without interlacing",
        ),
        (lambda png: png[:33] + chunk(b"IDAT", b"nothing") + png[-12:], "cannot be decoded"),
    ],
)
def test_a_png_that_is_more_than_its_pixels(
    change: Callable[[bytes], bytes],
    reason: str,
    forgery: Callable[[str], Forgery],
    cards: dict[str, Card],
) -> None:
    made = forgery("pgd-linf")
    made.witness(lambda row: {**row, "image": change(row["image"])})
    assert f"the image {reason}" in reasons(made.save(), cards)


def test_missing_witnesses(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    table = pq.read_table(made.folder / "witnesses.parquet")
    pq.write_table(table.slice(1), made.folder / "witnesses.parquet", compression="none")
    assert "witnesses: none for phantom/" in reasons(made.save(), cards)


def test_a_witness_file_left_out(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("pgd-linf")
    made.document["evidence"] = made.document["evidence"][:1]
    assert "no image is there to show it" in reasons(made.save(), cards)


# Falsified certificates


def certificates(
    made: Forgery, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda lines: [
        {**line, "certificate": change(line["certificate"])} if line["certificate"] else line
        for line in lines
    ]


def test_an_impossible_radius(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")
    made.journal(certificates(made, lambda one: {**one, "radius": 2.5}))
    assert "certificates, radius: the radius is not what the counts give" in reasons(made.save(), cards)


def test_counts_that_do_not_add_up(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")

    def more(one: dict[str, Any]) -> dict[str, Any]:
        *looks, last = one["looks"]
        return {**one, "looks": [*looks, {**last, "counts": [count + 1 for count in last["counts"]]}]}

    made.journal(certificates(made, more))
    assert "certificates, counts" in reasons(made.save(), cards)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one: {}, "is not a certificate"),
        (lambda one: {**one, "radius": "0.1"}, "is not a certificate"),
        (
            lambda one: {**one, "height": 1},
            "certificates, image: the size is not that of the published image",
        ),
        (
            lambda one: {**one, "looks": [{**look, "counts": [*look["counts"], 0]} for look in one["looks"]]},
            "certificates, options",
        ),
        (
            lambda one: {**one, "looks": [{**look, "counts": [10**30]} for look in one["looks"]]},
            "is not a certificate",
        ),
    ],
)
def test_a_certificate_of_something_else(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    reason: str,
    forgery: Callable[[str], Forgery],
    cards: dict[str, Card],
) -> None:
    made = forgery("certified-l2-quick")
    made.journal(
        lambda lines: [
            {**line, "certificate": line["certificate"] and change(line["certificate"])} for line in lines
        ]
    )
    assert reason in reasons(made.save(), cards)


def test_a_certificate_without_its_draws(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")
    made.journal(lambda lines: [{**line, "forward_passes": 0} for line in lines])
    assert "certificates, cost: fewer passes than draws" in reasons(made.save(), cards)


def test_certificates_left_out(forgery: Callable[[str], Forgery], cards: dict[str, Card]) -> None:
    made = forgery("certified-l2-quick")
    made.journal(lambda lines: [{**line, "certificate": None} for line in lines])
    assert "questions have none" in reasons(made.save(), cards)
