"""Whatever the files and settings hold, a command ends with 0, 1 or 2: no traceback, and no number in silence.

Files are a real data set and a real checkpoint with one thing damaged. `make fuzz` tries forty times as many
(MEDROBUST_FUZZ is the factor).
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

import medrobust_bench
from medrobust_bench.cli import main
from medrobust_bench.cli.ending import BAD_INPUT
from medrobust_bench.specs.settings import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINT = Path(medrobust_bench.__file__).parent / "checkpoints" / "tiny-sft-letter"
WEIGHTS = load_file(CHECKPOINT / "model.safetensors")
DEPTH = int(os.environ.get("MEDROBUST_FUZZ", "1"))
ANYTHING = {"suppress_health_check": list(HealthCheck), "deadline": None, "derandomize": True}
QUESTION = {
    "dataset": "Toy",
    "question_type": "Modality Recognition",
    "question": "Which modality is this?",
    "gt_answer": "CT",
    "option_A": "MRI",
    "option_B": "CT",
    "option_C": "X-ray",
    "modality_type": "CT",
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.floats(allow_nan=True),
    st.text(max_size=30),
    st.sampled_from(["", "../../etc/passwd", "/", "a\0b", "<|image_pad|>", "CT\u200b", "\ud800", "é", "A" * 5000]),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ask(*words: str) -> Result:
    """Run a command; it must end as documented, and say why where it refuses."""
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code in (0, 1, BAD_INPUT), f"{done.exit_code}: {done.output[-2000:]}"
    assert "Traceback" not in done.output
    if done.exit_code == BAD_INPUT:
        assert done.output.strip(), "a refusal without a word"
    return done


def fresh(name: str) -> Path:
    path = Path(name).absolute()
    shutil.rmtree(path, ignore_errors=True)
    return path


def data_set(rows: Any, image: bytes | None = None) -> Path:
    """A data set of four rows as OmniMedVQA lays them out."""
    folder = fresh("data")
    images = folder / "Images" / "Toy"
    images.mkdir(parents=True)
    for number in range(4):
        levels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(levels).save(images / f"{number}.png")
    if image is not None:
        (images / "1.png").write_bytes(image)
    table = folder / "QA_information" / "Open-access" / "Toy.json"
    table.parent.mkdir(parents=True)
    table.write_bytes(rows if isinstance(rows, bytes) else json.dumps(rows).encode("utf-8", "surrogatepass"))
    return folder


def usual_rows() -> list[dict[str, Any]]:
    return [
        {**QUESTION, "question_id": f"Toy_{number}", "image_path": f"Images/Toy/{number}.png"}
        for number in range(4)
    ]


rows_with_a_fault = st.builds(
    lambda row, key, value: [
        {**fields, key: value} if number == row else fields for number, fields in enumerate(usual_rows())
    ],
    st.integers(0, 3),
    st.sampled_from([*QUESTION, "question_id", "image_path", "option_E", "other"]),
    values,
)
files = st.one_of(
    rows_with_a_fault,
    values,
    st.binary(max_size=60),
    st.integers(0, 400).map(lambda cut: json.dumps(usual_rows()).encode()[:cut]),
    st.just(b"\xef\xbb\xbf" + json.dumps(usual_rows()).encode()),
    st.just(b"[" * 100_000),
    st.just(b'[{"question_id": ' + b"9" * 5000 + b"}]"),
)
images = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.sampled_from([b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\0" + b"\xff" * 40]),
    st.integers(1, 200).map(lambda cut: _png()[:cut]),
    st.builds(
        lambda at, byte: _png()[:at] + bytes([byte]) + _png()[at + 1 :],
        st.integers(0, 150),
        st.integers(0, 255),
    ),
)


def _png() -> bytes:
    import io

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


@settings(max_examples=60 * DEPTH, **ANYTHING)
@given(rows=files, image=images)
def test_data_files(rows: Any, image: bytes | None) -> None:
    """`data check` and `run` agree on what is sound, and a run says how many questions its numbers are of."""
    folder = data_set(rows, image)
    checked = ask("data", "check", str(folder))
    assert (checked.exit_code == BAD_INPUT) == (
        "problem" in checked.output.lower().replace("no problems", "")
    )


Weights = dict[str, torch.Tensor]


def _renamed(weights: Weights, name: str) -> None:
    weights[name + ".other"] = weights.pop(name)


def _reshaped(weights: Weights, name: str) -> None:
    weights[name] = torch.cat([weights[name], weights[name][:1]])


def _filled(value: float) -> Callable[[Weights, str], None]:
    def fill(weights: Weights, name: str) -> None:
        weights[name] = torch.full_like(weights[name], value)

    return fill


DAMAGES: dict[str, Callable[[Weights, str], Any]] = {
    "dropped": lambda weights, name: weights.pop(name),
    "renamed": _renamed,
    "reshaped": _reshaped,
    "NaN": _filled(float("nan")),
    "infinite": _filled(float("inf")),
    "integers": lambda weights, name: weights.update({name: weights[name].to(torch.int64)}),
}
damages = st.tuples(st.sampled_from(sorted(DAMAGES)), st.sampled_from(sorted(WEIGHTS)))
cuts = st.tuples(st.just("cut off"), st.integers(0, (CHECKPOINT / "model.safetensors").stat().st_size - 1))
headers = st.tuples(st.just("header"), st.binary(max_size=64))
JSON_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
edits = st.tuples(st.sampled_from(JSON_FILES), st.integers(0, 10**6), values)


def damaged(damage: tuple[Any, ...]) -> Path:
    """A checkpoint with one thing wrong."""
    folder = fresh("checkpoint")
    shutil.copytree(CHECKPOINT, folder)
    kind, detail, *more = damage
    path = folder / "model.safetensors"
    if kind in DAMAGES:
        weights = dict(WEIGHTS)
        DAMAGES[kind](weights, detail)
        save_file(
            {name: value.contiguous() for name, value in weights.items()}, path, metadata={"format": "pt"}
        )
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:detail])
    elif kind == "header":
        path.write_bytes(struct.pack("<Q", len(detail)) + detail)
    else:
        document = json.loads((folder / kind).read_text(encoding="utf-8"))
        places = list(_places(document))
        holder, key = places[detail % len(places)]
        holder[key] = more[0]
        (folder / kind).write_text(json.dumps(document), encoding="utf-8", errors="surrogatepass")
    return folder


def _places(value: Any) -> Any:
    """Everything in a JSON document that can be exchanged, the vocabulary of a tokenizer aside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        if key not in ("vocab", "merges"):
            yield from _places(inner)


@settings(max_examples=12 * DEPTH, **ANYTHING)
@given(damage=damages | cuts | headers | edits)
def test_checkpoint_folders(damage: tuple[Any, ...]) -> None:
    """A damaged checkpoint is refused; weights that lack, or are no numbers, never give a number."""
    folder = damaged(damage)
    out = fresh("run")
    done = ask("run", "--model", str(folder), "--limit", "2", "--threat", "noise:draws=1", "--out", str(out))
    of_weights = damage[0] in DAMAGES or damage[0] in ("cut off", "header")
    if of_weights and damage[0] not in ("NaN", "infinite", "integers"):
        assert done.exit_code == BAD_INPUT, "not the model that was named"
    if damage[0] in ("NaN", "infinite"):
        assert done.exit_code in (1, BAD_INPUT), "an answer without numbers"
    if done.exit_code == BAD_INPUT:
        assert not list(out.glob("results/*")), "a refused model has results"
    else:
        (recorded,) = json.loads((out / "run.json").read_text())["models"].values()
        assert of_weights or recorded["identity"], "nothing says which model it was"


names = st.sampled_from([*RunSettings.model_fields, "modle", ""])
settings_files = st.dictionaries(names, values, max_size=4)


def _number(text: float | str) -> float:
    try:
        return float(text)
    except (ValueError, OverflowError):
        return 0.0


@settings(max_examples=12 * DEPTH, **ANYTHING)
@given(written=settings_files | values)
def test_settings(written: object) -> None:
    """A settings file runs two questions of phantoms or is refused; it is never half understood."""
    assume(written is not None)  # an empty file asks for the whole demonstration
    if isinstance(written, dict):
        sound = {"models": ["tiny-sft-letter"], "threats": ["noise:draws=1"], "limit": 1}
        written = {**sound, **written}
        many = written["limit"]
        assume(not (isinstance(many, int | float | str) and not isinstance(many, bool) and _number(many) > 2))
    try:
        text = yaml.safe_dump(written, allow_unicode=True)
        Path("settings.yaml").write_text(text, encoding="utf-8")
    except (yaml.YAMLError, UnicodeEncodeError):
        return
    out = fresh("run")
    done = ask("run", "settings.yaml", "--out", str(out))
    if done.exit_code == 0:
        plan = json.loads((out / "run.json").read_text())["plan"]["settings"]
        assert not isinstance(written, dict) or set(written) <= set(plan), (
            "an unknown setting was passed over"
        )


@settings(max_examples=15 * DEPTH, **ANYTHING)
@given(
    option=st.sampled_from(
        ["--model", "--threat", "--data", "--modality", "--limit", "--device", "--seed", "--metric"]
    ),
    text=st.text(max_size=20)
    | st.sampled_from(["pgd-linf:eps=", "pgd-linf:steps=-1", "a=b=c", "owner/x=", "./", "~"]),
)
def test_flags(option: str, text: str) -> None:
    """One flag with any text at all, beside an `--out` that exists: refused, or found to be right."""
    words = [
        "run",
        "--model",
        "tiny-sft-letter",
        "--threat",
        "noise:draws=1",
        "--limit",
        "1",
        "--out",
        "taken",
    ]
    taken = Path("taken")
    taken.mkdir(exist_ok=True)
    (taken / "run.json").write_text("{}")
    (taken / "journal.jsonl").write_text("{}\n")
    assert ask(*words, option, text).exit_code == BAD_INPUT
