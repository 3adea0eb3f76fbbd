"""Tiny data sets of ours in the layouts that public ones are published in."""

from __future__ import annotations

import base64
import csv
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import yaml
from PIL import Image

from medrobust_bench.data.cards import shipped_cards

from .conftest import omni_row, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from medrobust_bench.data.dataset import Dataset


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 32), (shade, 255 - shade, 7)).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, rows: Sequence[dict[str, Any]], images: Sequence[str]) -> None:
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    data = datasets.Dataset.from_dict(columns)
    for name in images:
        data = data.cast_column(name, datasets.Image())
    data.to_parquet(path, batch_size=100)


def encoded(shade: int) -> dict[str, Any]:
    return {"bytes": png(shade), "path": None}


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def vqa_rad(folder: Path) -> None:
    for split in ("train", "test"):
        rows = [
            {"image": encoded(10), "question": f"is this {split}?", "answer": "Yes"},
            {"image": encoded(20), "question": "where is the lesion?", "answer": "left lung"},
            {"image": encoded(30), "question": "is it normal?", "answer": "no"},
        ]
        write_parquet(folder / f"data/{split}-00000-of-00001-0a1b.parquet", rows, ["image"])


def path_vqa(folder: Path) -> None:
    vqa_rad(folder)
    write_parquet(
        folder / "data/validation-00000-of-00001.parquet",
        [{"image": encoded(1), "question": "is it?", "answer": "no"}],
        ["image"],
    )


def slake(folder: Path) -> None:
    row = {"img_id": 1, "img_name": "xmlab1/source.jpg", "question": "Is this a CT?", "answer": "Yes", "q_lang": "en",
           "location": "Abdomen", "modality": "CT", "answer_type": "CLOSED", "base_type": "vqa",
           "content_type": "Modality", "triple": ["vhead", "_", "_"], "qid": 11}  # fmt: skip
    others = [{"q_lang": "zh", "question": "是吗", "qid": 12}, {"answer": "Liver", "answer_type": "OPEN", "qid": 13},
              {"answer": "No", "modality": "X-Ray", "content_type": "Abnormality", "qid": 14}]  # fmt: skip
    for split in ("train", "validation", "test"):
        write_json(folder / f"{split}.json", [row, *({**row, **other} for other in others)])
    write_zip(folder / "imgs.zip", {"imgs/xmlab1/source.jpg": png(3), "imgs/xmlab2/source.jpg": png(4)})


def pmc_vqa(folder: Path) -> None:
    header = ["index", "Figure_path", "Caption", "Question", "Choice A", "Choice B", "Choice C", "Choice D", "Answer",
              "split", "Answer_label"]  # fmt: skip
    rows = [
        ["0", "PMC1_F1.jpg", "A, b", "Which uptake?", " A:Diffuse, mild ", " B:Focal", " C:None", " D:Unclear", "Focal",
         "test", "B"],
        ["1", "PMC2_F1.jpg", "c", "How many?", "A: One", "B: Two", "C: Three", "D: Four", "Four", "test", "D"],
    ]  # fmt: skip
    for split in ("train", "test"):
        with (folder / f"{split}_2.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
    write_zip(folder / "images_2.zip", {"figures/PMC1_F1.jpg": png(1), "figures/PMC2_F1.jpg": png(2)})


def medxpertqa_mm(folder: Path) -> None:
    row = {
        "id": "MM-1",
        "question": "A man coughs. What is it?\nAnswer Choices: (A) Flu (B) Cold (C) Cancer (D) Asthma (E) Croup",
        "options": {"A": "Flu", "B": "Cold", "C": "Cancer", "D": "Asthma", "E": "Croup"},
        "label": "C",
        "images": ["MM-1-a.jpeg"],
        "medical_task": "Diagnosis",
        "body_system": "Respiratory",
        "question_type": "Reasoning",
    }
    several = {**row, "id": "MM-2", "images": ["MM-1-a.jpeg", "MM-2-b.jpeg"]}
    (folder / "MM").mkdir()
    for split in ("dev", "test"):
        (folder / f"MM/{split}.jsonl").write_text("\n".join(map(json.dumps, (row, several))) + "\n")
    write_zip(folder / "images.zip", {"images/MM-1-a.jpeg": png(5), "images/MM-2-b.jpeg": png(6)})


def gmai_mmbench(folder: Path) -> None:
    header = ["index", "question", "A", "B", "C", "D", "E", "answer", "image", "department", "clinical vqa task",
              "perceptual granularity", "split"]  # fmt: skip
    picture = [base64.b64encode(png(shade)).decode() for shade in (1, 2)]
    rows = [
        ["0", "Which, then?", "None", "NA", "Polyp", "", "", "B", picture[0], "Surgery", "Diagnosis", "image", "val"],
        ["1", 'What "is"\nit?', "1", "2", "3", "4", "5", "E", picture[1], "Surgery", "Counting", "image", "val"],
    ]  # fmt: skip
    with (folder / "GMAI-MMBench_VAL.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([header, *rows])


def mmmu_medical(folder: Path) -> None:
    subjects = (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    )
    for number, subject in enumerate(subjects):
        row = {"id": f"validation_{subject}_1", "question": "<image 1> What is shown?",
               "options": "['A', 'one, two', \"it's\"]",
               "explanation": "", **{f"image_{place}": None for place in range(2, 8)}, "image_1": encoded(number),
               "img_type": "['Body Scans: MRI, CT.']", "answer": "C", "topic_difficulty": "Easy",
               "question_type": "multiple-choice", "subfield": "Anatomy"}  # fmt: skip
        several = {**row, "id": f"validation_{subject}_2", "image_2": encoded(99)}
        open_question = {
            **row,
            "id": f"validation_{subject}_3",
            "question_type": "open",
            "options": "[]",
            "answer": "5",
        }
        for split in ("dev", "validation"):
            rows = [{**item, "id": f"{split}_{item['id']}"} for item in (row, several, open_question)]
            write_parquet(
                folder / subject / f"{split}-00000-of-00001.parquet",
                rows,
                [f"image_{n}" for n in range(1, 8)],
            )


def omnimedvqa(folder: Path) -> None:
    rows = [omni_row(1, option_C="PET"), omni_row(2, modality_type="X-Ray")]
    write_zip(
        folder / "OmniMedVQA.zip",
        {
            "OmniMedVQA/QA_information/Open-access/Set.json": json.dumps(rows).encode(),
            "OmniMedVQA/QA_information/Restricted-access/Set.json": json.dumps([omni_row(3)]).encode(),
            "__MACOSX/OmniMedVQA/QA_information/Open-access/._Set.json": b"\0",
            "OmniMedVQA/Images/Set/1.png": png(1),
            "OmniMedVQA/Images/Set/2.png": png(2),
        },
    )


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "gmai-mmbench": gmai_mmbench,
    "medxpertqa-mm": medxpertqa_mm,
    "mmmu-medical": mmmu_medical,
    "omnimedvqa": omnimedvqa,
    "path-vqa": path_vqa,
    "pmc-vqa": pmc_vqa,
    "slake": slake,
    "vqa-rad": vqa_rad,
}
YES_NO = ("Yes", "No")
EXPECTED: dict[str, list[tuple[str, tuple[str, ...], str, str]]] = {
    "gmai-mmbench": [
        ("Which, then?", ("None", "NA", "Polyp"), "B", "not stated"),
        ('What "is"\nit?', ("1", "2", "3", "4", "5"), "E", "not stated"),
    ],
    "medxpertqa-mm": [
        ("A man coughs. What is it?", ("Flu", "Cold", "Cancer", "Asthma", "Croup"), "C", "not stated")
    ],
    "mmmu-medical": [("What is shown?", ("A", "one, two", "it's"), "C", "Body Scans: MRI, CT.")] * 5,
    "omnimedvqa": [
        ("How was this image taken?", ("MRI", "CT", "PET"), "B", "CT"),
        ("How was this image taken?", ("MRI", "CT"), "B", "X-ray"),
    ],
    "path-vqa": [("is this test?", YES_NO, "A", "Pathology"), ("is it normal?", YES_NO, "B", "Pathology")],
    "pmc-vqa": [
        ("Which uptake?", ("Diffuse, mild", "Focal", "None", "Unclear"), "B", "not stated"),
        ("How many?", ("One", "Two", "Three", "Four"), "D", "not stated"),
    ],
    "slake": [("Is this a CT?", YES_NO, "A", "CT"), ("Is this a CT?", YES_NO, "B", "X-ray")],
    "vqa-rad": [("is this test?", YES_NO, "A", "Radiology"), ("is it normal?", YES_NO, "B", "Radiology")],
}


def own_copy(name: str, folder: Path) -> Path:
    """The shipped card for the files in a folder, without the number of rows that the whole data set has."""
    _, front, body = shipped_cards()[name].read_text().split("---\n", 2)
    fields = yaml.safe_load(front)
    fields.pop("expect", None)
    fields["source"] = {
        "folder": ".",
        **{k: v for k, v in fields["source"].items() if k not in ("hub", "revision")},
    }
    card = folder / f"{name}.md"
    card.write_text(f"---\n{yaml.safe_dump(fields)}---\n{body}")
    return card


def asked(dataset: Dataset) -> list[tuple[str, tuple[str, ...], str, str]]:
    return [(q.text, q.options, q.letter, q.modality) for q in dataset.questions]
