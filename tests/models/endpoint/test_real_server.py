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
from typing import TYPE_CHECKING

import pytest

import medrobust_bench
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
