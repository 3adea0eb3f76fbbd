"""Everything that a run's settings name, found and checked before any model is loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from medrobust_bench.attacks.altering import AlteringThreat
from medrobust_bench.attacks.threat import TrainedThreat
from medrobust_bench.data.reopen import open_asked
from medrobust_bench.data.source import sample
from medrobust_bench.models.cards import ENDPOINT, Card
from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.reports.metrics import find_metric
from medrobust_bench.runs.cards import card_of
from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.kinds import plugged_in
from medrobust_bench.specs.registry import load_specification, official_threats
from medrobust_bench.specs.threat import CLEAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medrobust_bench.data.dataset import Dataset
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.reports.metrics import Metric
    from medrobust_bench.runs.engine.task import AnyThreat
    from medrobust_bench.specs.settings import RunSettings
    from medrobust_bench.specs.threat import ThreatSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """What a run works on.

    Attributes:
        models: by registry id, the card of each, or the model itself where it is in memory.
        threats: specifications of adversaries and certifications, in the order asked for.
        opened: by name, those that are open already; the others are opened when they are needed, see `open_threats`.
        dataset: the sample of questions.
        training: questions of the training split, for threats that learn from them; empty without such threats.
        metrics: further ones, by name.
    """

    models: Mapping[str, Card | Adapter]
    threats: tuple[ThreatSpec, ...]
    dataset: Dataset
    opened: Mapping[str, AnyThreat] = field(default_factory=dict)
    training: tuple[Question, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def open_threats(self) -> tuple[AnyThreat, ...]:
        """What carries the specifications out; imports torch and the toolbox."""
        return tuple(self.opened.get(spec.name) or open_threat(spec) for spec in self.threats)


def unknown_names(settings: RunSettings) -> list[Problem]:
    """What is wrong with the names of models, threats and metrics; found at once, before data are read or torch."""
    found = Reading([])
    cards = [found.attempt(partial(card_of, name, settings)) for name in settings.models]
    specs = [found.attempt(partial(load_specification, text)) for text in _threats(settings)]
    found.problems += unsuitable(
        [card.id for card in cards if card is not None and card.adapter == ENDPOINT],
        [spec for spec in specs if spec is not None],
    )
    for metric in settings.metrics:
        found.attempt(partial(find_metric, metric))
    return found.problems


def read_inputs(
    settings: RunSettings,
    *,
    problems: Sequence[Problem] = (),
    adapters: Mapping[str, Adapter] | None = None,
    threats: Mapping[str, AnyThreat] | None = None,
    frozen: Mapping[str, ThreatSpec] | None = None,
    dataset: Dataset | None = None,
) -> Inputs:
    """Find models, threats and questions.

    Args:
        settings: names them.
        problems: found elsewhere already, to be reported with the rest.
        adapters: models already in memory, under the names that `settings.models` gives them.
        threats: threats already opened, under the names that `settings.threats` gives them.
        frozen: what else these names mean, where an earlier run says so.
        dataset: questions already in memory, instead of `settings.data`.

    Raises:
        InvalidInputError: everything that is wrong, all together.
    """
    found = Reading(list(problems))
    adapters = adapters or {}
    models: list[tuple[str, Card | Adapter]] = []
    smoothed: list[str] = []
    for name in settings.models:
        if name in adapters:
            models.append((name, adapters[name]))
            smoothed += [name] if adapters[name].record.smoothing else []
        elif card := found.attempt(partial(card_of, name, settings)):
            models.append((card.id, card))
            smoothed += [card.id] if card.smoothing else []
    in_memory = {name: threat.spec for name, threat in (threats or {}).items()}
    known = {**(frozen or {}), **in_memory}
    named = [
        known.get(text) or found.attempt(partial(load_specification, text)) for text in _threats(settings)
    ]
    asked = [spec for spec in named if spec]
    opened = {spec.name: (threats or {})[name] for name, spec in in_memory.items()}
    # Here already: what learns, what may suit none of the images, and of other packages what may refuse its settings.
    opened |= {
        spec.name: threat
        for spec in asked
        if spec.name not in opened
        and (spec.trained or spec.remade or plugged_in(spec.kind))
        and (threat := found.attempt(partial(open_threat, spec)))
    }
    if any(spec.yields == "certified" for spec in asked):
        remedy = "certify the plain model: the certificates are promises about its smoothed form"
        found.problems.extend(
            Problem(
                where=name, what="is smoothed already, which a certification would do again", remedy=remedy
            )
            for name in smoothed
        )
    blind = [
        name
        for name, model in models
        if (model.adapter == ENDPOINT if isinstance(model, Card) else not model.differentiable)
    ]
    found.problems += unsuitable(blind, asked)
    metrics = {name: found.attempt(partial(find_metric, name)) for name in settings.metrics}
    found.twice([name for name, _model in models], "--model", "name it once, or two models apart: PATH=NAME")
    found.twice([spec.name for spec in asked], "--threat")
    training = _read_training(
        settings, [opened[spec.name] for spec in asked if spec.name in opened], found, dataset
    )
    if dataset is None:
        dataset = found.attempt(partial(open_asked, settings, limit=settings.sample_size))
    elif settings.sample_size is not None:
        dataset = sample(dataset, settings.sample_size, seed=settings.seed)
    if dataset is not None and dataset.questions:
        found.problems += _pointless([opened[spec.name] for spec in asked if spec.name in opened], dataset)
    if found.problems or dataset is None:
        raise InvalidInputError(found.problems)
    return Inputs(
        models=dict(models),
        threats=tuple(asked),
        opened=opened,
        dataset=dataset,
        training=training,
        metrics={name: metric for name, metric in metrics.items() if metric},
    )


def unsuitable(models: Sequence[str], specs: Sequence[ThreatSpec]) -> list[Problem]:
    """What models without a gradient in their pixels cannot meet.

    Args:
        models: names of those that give none.
        specs: what they are asked to meet.
    """
    needed = [spec.name for spec in specs if spec.white_box]
    possible = [spec.name for spec in official_threats() if not spec.white_box and not spec.needs_scores]
    remedy = (
        f"take threats that need answers alone ({', '.join(possible)}), or those that need scores of options where the "
        "model gives them; or attack a model whose weights you have, and put its images to this one with "
        "`medrobust transfer`"
    )
    what = f"gives no gradient in the pixels, which {', '.join(needed)} need"
    return [Problem(name, what, remedy) for name in models if needed]


def scoreless(model: str, specs: Sequence[ThreatSpec]) -> list[Problem]:
    """What a model that gives answers alone, and no scores of options, cannot meet."""
    needed = [spec for spec in specs if spec.needs_scores]
    remedies = dict.fromkeys(
        "base=generate certifies by counting answers" if spec.yields == "certified" else "take rays instead"
        for spec in needed
    )
    what = f"gives no scores of options, which {', '.join(spec.name for spec in needed)} need"
    return [Problem(model, what, "; ".join(remedies))] if needed else []


def _pointless(threats: Sequence[AnyThreat], dataset: Dataset) -> list[Problem]:
    """The threats that would change no image of a data set, such as a fault of MRI on CT."""
    about = ", ".join(sorted({question.modality for question in dataset.questions}))
    what = f"changes the image of none of the {len(dataset.questions)} questions ({about})"
    remedy = "choose another, or questions about a modality in which it occurs"
    return [
        Problem(threat.spec.name, what, remedy)
        for threat in threats
        if isinstance(threat, AlteringThreat) and not any(map(threat.fewest_passes, dataset.questions))
    ]


def _threats(settings: RunSettings) -> list[str]:
    """The threats that are asked for, beside clean answers."""
    return [text for text in settings.threats if text != CLEAN.name]


def _read_training(
    settings: RunSettings,
    threats: Sequence[AnyThreat],
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
    size = max(threat.training_questions for threat in learning)
    training = found.attempt(partial(open_asked, settings, split="train", limit=size))
    return () if training is None else training.questions


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

    def twice(self, names: Sequence[str], where: str, remedy: str = "name it once") -> None:
        """Note every name that is given more than once."""
        self.problems.extend(
            Problem(where=where, what=f"names {name} {count} times", remedy=remedy)
            for name, count in Counter(names).items()
            if count > 1
        )
