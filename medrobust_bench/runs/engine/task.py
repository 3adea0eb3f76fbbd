"""What a worker is given, and what it gives back: everything that it needs is in it, so that it can be anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.models.cards import Card
    from medrobust_bench.records import Failure, Outcome
    from medrobust_bench.records.witness import Witness
    from medrobust_bench.specs.settings import RunSettings

    AnyThreat: TypeAlias = Threat | AlteringThreat | Certification


@dataclass(frozen=True, slots=True)
class ModelTask:
    """What the chunks of one model have in common.

    Attributes:
        model: its name in the run.
        source: its card, or the model itself where it is in memory.
        settings: of the run; they say how the model is opened, and hold the seed.
        threats: in the plan's order, not trained.
        learning: names of those that are trained against this model first.
        training: questions of the training split for them.
        probe: questions of which a few are scored twice, to see whether scores are random.
        replies: where the replies of a server are kept.
    """

    model: str
    source: Card | Adapter
    settings: RunSettings
    threats: tuple[AnyThreat, ...]
    learning: frozenset[str]
    training: tuple[Question, ...]
    probe: tuple[Question, ...]
    replies: Path


@dataclass(frozen=True, slots=True)
class ChunkTask:
    """One chunk of the plan, and what is left of it for a model.

    Attributes:
        index: of the chunk in the plan.
        questions: B questions of one image shape.
        left: by threat name, clean among them, the rows of the questions that have no outcome yet.
        clean: by question id, the clean outcomes that are there already.
        again: rows of questions whose clean outcome is there, and that are asked without their image once more.
        unseen: by question id, of those that are also asked without their image, the question whose image is shown
            instead; None where there is none.
    """

    index: int
    questions: tuple[Question, ...]
    left: Mapping[str, tuple[int, ...]]
    clean: Mapping[str, Outcome]
    unseen: Mapping[str, Question | None]
    again: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Done:
    """A part of a chunk that is finished: what stands together in the journal.

    Attributes:
        chunk: its index in the plan.
        outcomes: of one threat.
        witnesses: the images that broke an answer.
        failures: questions that came to no outcome under that threat.
    """

    chunk: int
    outcomes: tuple[Outcome, ...]
    witnesses: tuple[Witness, ...] = ()
    failures: tuple[Failure, ...] = ()
