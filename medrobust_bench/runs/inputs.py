"""Everything that a run's settings name, found and checked before any model is loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.data.source import open_data, sample
from medrobust_bench.models.prompt import AnswerMode
from medrobust_bench.models.registry import load_model, resolve
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.runs.threats import load_threat
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.specs.settings import RunSettings

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What a run works on.

    Attributes:
        models: by registry id, how to load each.
        threats: adversaries and certifications, in the order asked for.
        dataset: the sample of questions.
        training: questions of the training split, for threats that learn from them; empty without such threats.
    """

    models: Mapping[str, Callable[[], Adapter]]
    threats: tuple[Threat | Certification, ...]
    dataset: Dataset
    training: tuple[Question, ...] = ()


def read_inputs(
    settings: RunSettings,
    *,
    problems: Sequence[Problem] = (),
    adapters: Mapping[str, Adapter] | None = None,
    dataset: Dataset | None = None,
) -> Inputs:
    """Find models, threats and questions.

    Args:
        settings: names them.
        problems: found elsewhere already, to be reported with the rest.
        adapters: models already in memory, under the names that `settings.models` gives them.
        dataset: questions already in memory, instead of `settings.data`.

    Raises:
        InvalidInputError: everything that is wrong, all together.
    """
    found = Reading(list(problems))
    adapters = adapters or {}
    mode = None if settings.answer_mode is None else AnswerMode(settings.answer_mode)
    models: list[tuple[str, Callable[[], Adapter]]] = []
    smoothed: list[str] = []
    for name in settings.models:
        if name in adapters:
            models.append((name, partial(_already, adapters[name])))
            smoothed += [name] if adapters[name].record.smoothing else []
        elif card := found.attempt(partial(resolve, name, answer_mode=mode)):
            load = partial(
                load_model,
                card,
                device=settings.device,
                dtype=settings.dtype,
                trust_remote_code=settings.trust_remote_code,
            )
            models.append((card.id, load))
            smoothed += [card.id] if card.smoothing else []
    threats = [found.attempt(partial(load_threat, text)) for text in settings.threats if text != CLEAN.name]
    if any(threat and threat.spec.kind == "certification" for threat in threats):
        remedy = "certify the plain model: the certificates are promises about its smoothed form"
        found.problems.extend(
            Problem(
                where=name, what="is smoothed already, which a certification would do again", remedy=remedy
            )
            for name in smoothed
        )
    found.twice([name for name, _load in models], "--model")
    found.twice([threat.spec.name for threat in threats if threat], "--threat")
    training = _read_training(settings, [threat for threat in threats if threat], found, dataset)
    dataset = dataset or found.attempt(
        partial(
            open_data,
            settings.data,
            split=settings.split,
            skip_invalid=settings.skip_invalid,
            modalities=settings.modalities,
        )
    )
    if found.problems or dataset is None:
        raise InvalidInputError(found.problems)
    if settings.sample_size is not None:
        dataset = sample(dataset, settings.sample_size, seed=settings.seed)
    return Inputs(
        models=dict(models),
        threats=tuple(threat for threat in threats if threat),
        dataset=dataset,
        training=training,
    )


def _read_training(
    settings: RunSettings,
    threats: Sequence[Threat | Certification],
    found: Reading,
    dataset: Dataset | None,
) -> tuple[Question, ...]:
    """A balanced sample of the training split, as large as the threats want; never the questions that are attacked."""
    learning = [threat for threat in threats if isinstance(threat, TrainedThreat)]
    if not learning:
        return ()
    if dataset is not None or settings.split in ("train", "all"):
        names = ", ".join(threat.spec.name for threat in threats if isinstance(threat, TrainedThreat))
        what = "questions in memory have no training split" if dataset else "the training split is attacked"
        remedy = "evaluate the test split of a data set"
        found.problems.append(
            Problem(where=names, what=f"learns from the training split, but {what}", remedy=remedy)
        )
        return ()
    training = found.attempt(
        partial(
            open_data,
            settings.data,
            split="train",
            skip_invalid=settings.skip_invalid,
            modalities=settings.modalities,
        )
    )
    if training is None:
        return ()
    size = max(threat.training_questions for threat in learning)
    return sample(training, size, seed=settings.seed).questions


class Reading:
    """Collects problems instead of stopping at the first."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` returns; None, with its problems noted, where the input is invalid."""
        try:
            return read()
        except InvalidInputError as error:
            self.problems.extend(error.problems)
            return None

    def twice(self, names: Sequence[str], where: str) -> None:
        """Note every name that is given more than once."""
        self.problems.extend(
            Problem(where=where, what=f"names {name} {count} times", remedy="name it once")
            for name, count in Counter(names).items()
            if count > 1
        )


def _already(adapter: Adapter) -> Adapter:
    return adapter
