"""A real server, `transformers serve` on a checkpoint that ships with the package, through a line that breaks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import medrobust_bench
from medrobust_bench import evaluate
from medrobust_bench.data.image import canonical
from medrobust_bench.data.phantoms.questions import phantom_questions
from medrobust_bench.models.answers.registry import STRATEGIES
from medrobust_bench.models.endpoint.chat import Chat, Prompt
from medrobust_bench.models.endpoint.client import ChatClient
from medrobust_bench.models.endpoint.settings import EndpointSettings
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.read_answer import AnswerKind
from tests.models.endpoint.server import Fault, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

for package in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow
CHECKPOINT = Path(medrobust_bench.__file__).parent / "checkpoints" / "safemed-r1-tiny"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    command = [
        *(sys.executable, "-m", "transformers.cli.transformers", "serve", str(CHECKPOINT)),
        *("--device", "cpu", "--host", "127.0.0.1", "--port", str(port)),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_it_answers_phantoms_as_the_checkpoint_does_and_survives_a_bad_line(address: str) -> None:
    questions = phantom_questions(per_modality=1)[:6]
    images = [canonical(question.image) for question in questions]
    local = HuggingFaceVLM.from_pretrained(CHECKPOINT, mode=AnswerMode.REASONING, device="cpu")
    here = [
        local.bind([question]).answer([image])[0] for question, image in zip(questions, images, strict=True)
    ]
    prompts = [
        Prompt(STRATEGIES[AnswerMode.REASONING].prompt(question), question.options) for question in questions
    ]

    with serving(address) as proxy:
        proxy.faults = [Fault.RATE, Fault.ERROR, Fault.CUT, Fault.HALF]
        settings = EndpointSettings(model=str(CHECKPOINT), base_url=proxy.url, concurrency=2, max_tokens=128)
        client = ChatClient(settings)
        there = Chat(client, letters=False).ask(prompts, images)

    assert [answer.kind for answer in there] == [AnswerKind.READ] * len(questions)
    assert [answer.choice for answer in there] == [answer.choice for answer in here]
    assert client.usage.requests == len(questions)
    assert client.usage.retries == 4
    assert client.usage.completion_tokens > 0


def test_a_run_and_the_images_of_another_model_end_to_end(address: str, tmp_path: Path) -> None:
    served = f"openai:{CHECKPOINT}=served"
    asked: dict[str, Any] = {"threats": ["noise:draws=1", "rays:queries=6"], "limit": 4, "device": "cpu"}
    with serving(address) as proxy:
        proxy.faults = [Fault.RATE, Fault.CUT, Fault.ERROR]
        run = evaluate(
            model=served,
            base_url=proxy.url,
            answer_mode="reasoning",
            max_new_tokens=128,
            out=tmp_path / "run",
            **asked,
        )
        usage = run.usage("served")
        assert usage is not None
        assert usage.requests == len(proxy.seen) - 3
    assert usage.completion_tokens > 10 * usage.requests, "the rationale was written"
    local = evaluate(model="safemed-r1-tiny", out=tmp_path / "local", **asked)
    for name in ("clean", *asked["threats"]):
        here, there = local.outcomes["safemed-r1-tiny", name], run.outcomes["served", name]
        assert [outcome.choice for outcome in here] == [outcome.choice for outcome in there]

    source = evaluate(
        model="tiny-sft-letter", out=tmp_path / "source", **asked | {"threats": "pgd-linf:steps=5"}
    )
    (to_server,) = source.transfer(served, base_url=address, answer_mode="reasoning")
    (to_local,) = source.transfer("safemed-r1-tiny", device="cpu")
    assert to_server.broken > 0
    assert [outcome.target_choice for outcome in to_server.outcomes] == [
        outcome.target_choice for outcome in to_local.outcomes
    ]
    assert to_server.target.weights_sha256 is None

    attacked: dict[str, Any] = asked | {"threats": "pgd-linf:steps=3", "model": "safemed-r1-tiny"}
    hybrid = evaluate(answers_from=str(CHECKPOINT), base_url=address, out=tmp_path / "hybrid", **attacked)
    alone = evaluate(out=tmp_path / "alone", **attacked)
    for name in ("clean", "pgd-linf:steps=3"):
        here, there = (run.outcomes["safemed-r1-tiny", name] for run in (alone, hybrid))
        assert [outcome.choice for outcome in here] == [outcome.choice for outcome in there]
    server = hybrid.record.models["safemed-r1-tiny"].server
    assert server is not None
    assert (server.compared, server.agreed) == (4, 4)
    usage = hybrid.usage("safemed-r1-tiny")
    assert usage is not None
    assert usage.requests >= 12, "clean, clean again, and at least one verdict each"
    assert to_local.target.weights_sha256 is not None
