"""Deliberately broken models and attacks, each of which an audit must see through, and the honest toy."""

from __future__ import annotations

import hashlib
import io
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

import medrobust_bench
from medrobust_bench.attacks.pgd import Pgd
from medrobust_bench.data.dataset import Dataset
from medrobust_bench.models.adapter import Answer
from medrobust_bench.models.pixels import to_pixels
from medrobust_bench.runs.audit.subject import Subject
from medrobust_bench.runs.audit.thorough import examine
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.vocabulary import Modality
from medrobust_bench.testing import ToyQuestions
from tests.linear import LinearAdapter, make_questions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from medrobust_bench.attacks.attack_result import AttackResult
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question

SHAPE = (12, 12)
ATTACK = "pgd-linf"
QUESTIONS = 12


def as_it_is(pixels: torch.Tensor) -> torch.Tensor:
    return pixels


class Toy(LinearAdapter):
    """A linear toy whose scores depend on what an option says, not on where it stands.

    Args:
        name: what results call it.
        sees: what the model sees of an image on the attacked path.
        deployed: the same on the deployed path; unset, as `sees`.
        scale_of_scores: multiplies every score.
        parses: whether an answer can be parsed, by the question's seed.
    """

    def __init__(
        self,
        name: str = "honest",
        *,
        sees: Callable[[torch.Tensor], torch.Tensor] = as_it_is,
        deployed: Callable[[torch.Tensor], torch.Tensor] | None = None,
        scale_of_scores: float = 1.0,
        by_position: bool = False,
        parses: Callable[[torch.Tensor], bool] = lambda image: True,
    ) -> None:
        super().__init__(seed=5, shape=SHAPE, scale=0.3)
        self.name = name
        self.sees = sees
        self.deployed = deployed or sees
        self.scale_of_scores = scale_of_scores
        self.by_position = by_position
        self.parses = parses

    @property
    def record(self) -> Any:
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        return super().record.model_copy(update={"id": self.name, "weights_sha256": digest})

    def bind(self, questions: Sequence[Question]) -> Any:
        bound = super().bind(questions)
        return SeeingQuestions(bound.batch, bound.weights, bound.biases, toy=self)

    def parameters(self, question: Question, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        weights = []
        for place, option in enumerate(question.options):
            key = f"{question.id} {place if self.by_position else option}"
            draw = np.random.default_rng([self.seed, *hashlib.sha256(key.encode()).digest()])
            weights.append(draw.normal(0, self.scale, size))
        bias = torch.from_numpy(np.stack(weights)).sum(dim=1) * -0.5  # a mid-grey image decides nothing
        return torch.from_numpy(np.stack(weights)), bias


@dataclass(eq=False)
class SeeingQuestions(ToyQuestions):
    """Bound questions of a `Toy`."""

    toy: Toy

    def scores(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().scores(self.toy.sees(pixels))

    def answer(self, images: Sequence[NDArray[np.uint8]], *, exact: bool = True) -> list[Answer]:
        answers = []
        for row, image in enumerate(images):
            pixels = to_pixels([image])
            choice = int(self.select([row]).logits(self.toy.deployed(pixels)).argmax())
            answers.append(Answer(choice if self.toy.parses(pixels) else None))
        return answers

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().logits(pixels) * self.toy.scale_of_scores


class Forgetful(Pgd):
    """A search that hands in the image on which it started, whatever it met on its way."""

    def search(self, bound: Any, seeds: Any, *, watch: Any = None) -> list[AttackResult]:
        found = super().search(bound, seeds, watch=watch)
        clean = bound.batch.images
        return [replace(one, image=image, answer=None) for one, image in zip(found, clean, strict=True)]


def eight_bit(pixels: torch.Tensor) -> torch.Tensor:
    return torch.round(pixels * 255) / 255


def jpeg(pixels: torch.Tensor) -> torch.Tensor:
    images = []
    for image in (pixels.detach() * 255).round().byte().permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="JPEG", quality=75)
        images.append(np.asarray(Image.open(buffer), dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) + 0 * pixels


def randomly_resized(pixels: torch.Tensor) -> torch.Tensor:
    side = int(torch.randint(8, 12, ()))
    small = torch.nn.functional.interpolate(pixels, size=(side, side), mode="bilinear")
    return torch.nn.functional.interpolate(small, size=SHAPE, mode="bilinear")


def shifted(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.roll(1, dims=3)


def ignored(pixels: torch.Tensor) -> torch.Tensor:
    ramp = torch.linspace(0, 1, pixels[0].numel()).reshape(pixels.shape[1:])
    return 0 * pixels + ramp


def neighbours(pixels: torch.Tensor) -> torch.Tensor:
    return pixels + 0.3 * (pixels.mean(dim=0, keepdim=True) - pixels)


@dataclass(frozen=True)
class Case:
    """One entry of the kit.

    Attributes:
        what: what is wrong, in words.
        flag: the check that must fail because of it; empty for the honest model.
        toy: the model.
        attack: the attack, if it is not the honest one.
        threat: name of the threat of the run.
    """

    what: str
    flag: str
    toy: Toy
    attack: Callable[[Threat], Threat] = lambda threat: threat
    threat: str = ATTACK

    def dataset(self) -> Dataset:
        """Questions that the model answers right wherever its answer can be parsed."""
        speaking = copy(self.toy)
        speaking.parses = lambda image: True
        questions = make_questions(speaking, QUESTIONS, modalities=[Modality.CT])
        return Dataset(name="kit", split="test", questions=tuple(questions), synthetic=True)

    def audit(self, folder: Path) -> dict[str, str]:
        """Verdict of every check, light and heavy; the worst one where a check is made twice."""
        torch.manual_seed(0)
        dataset = self.dataset()
        findings = []
        if self.flag != "gradient present":  # no white-box attack can even start there
            run = medrobust_bench.evaluate(
                model=self.toy, threats=[self.threat, "noise:draws=2"], data=dataset, out=folder
            )
            findings += [finding for result in run.results for finding in result.audit]
        attack = self.attack(load_threat(self.threat))
        subject = Subject(self.toy, dataset.questions, attack, seed=0)
        record = examine(subject, model=self.toy.name, witnesses={}, transferred={})
        verdicts: dict[str, str] = {}
        for finding in (*findings, *record.findings):
            verdicts[finding.check] = max(
                verdicts.get(finding.check, "pass"), finding.verdict, key=("pass", "warn", "fail").index
            )
        return verdicts


def kit() -> list[Case]:
    return [
        Case("honest model, honest attack", "", Toy()),
        Case("8-bit quantiser in front", "gradient non-zero", Toy("quantised", sees=eight_bit)),
        Case("JPEG in front", "finite-difference slope", Toy("jpeg", sees=jpeg)),
        Case("random resize in front", "output is fixed", Toy("resized", sees=randomly_resized)),
        Case("logits × 1000", "scores not saturated", Toy("saturated", scale_of_scores=1000.0)),
        Case("detached vision tower", "gradient present", Toy("detached", sees=lambda p: p.detach())),
        Case("image ignored", "image dependence", Toy("blind", sees=ignored)),
        Case(
            "own preprocessing off by one pixel",
            "attacked path is deployed path",
            Toy("shifted", sees=shifted, deployed=as_it_is),
        ),
        Case("answers by position", "order of the options", Toy("positional", by_position=True)),
        Case("neighbours in a batch leak", "score alone and in company", Toy("leaky", sees=neighbours)),
        Case(
            "most answers unparsable",
            "unparsed, clean",
            Toy("mumbling", parses=lambda image: int(image.sum() * 255) % 5 == 0),
        ),
        Case(
            "best iterate thrown away", "nothing thrown away", Toy("forgotten"), lambda t: Forgetful(t.spec)
        ),
        Case(
            "two tiny steps",
            "iterative beats single step",
            Toy("hasty"),
            threat=f"{ATTACK}:steps=2,step_size=1/510",
        ),
    ]
