"""What a run is asked for: settings, and models, threats and questions that are in memory already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, Unpack, cast

from medrobust_bench.data.dataset import Dataset
from medrobust_bench.data.source import open_data
from medrobust_bench.runs.threats import open_threat
from medrobust_bench.specs.kinds import ThreatClass, is_known, register_threat
from medrobust_bench.specs.settings import RunSettings, settings_from
from medrobust_bench.specs.threat import ThreatSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from medrobust_bench.attacks.altering import AlteringThreat
    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.certify.cohen import Certification
    from medrobust_bench.data.reader import Reader
    from medrobust_bench.models.adapter import Adapter

    ThreatLike: TypeAlias = Threat | AlteringThreat | Certification | ThreatSpec


class Options(TypedDict, total=False):
    """What `evaluate` takes besides data and folder."""

    model: str | Adapter | Sequence[str | Adapter] | None
    threats: str | ThreatLike | Sequence[str | ThreatLike] | None
    metrics: Sequence[str]
    split: Literal["train", "validation", "test", "all"]
    modalities: Sequence[str]
    limit: int | None
    skip_invalid: bool
    skip_failed: bool
    max_failed: float
    images: str | Path | None
    answer_mode: Literal["letter", "option-text", "reasoning", "generate"] | None
    max_new_tokens: int | None
    revision: str | None
    batch_size: int | Literal["auto"]
    device: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    float32_attack: bool
    trust_remote_code: bool
    seed: int
    base_url: str | None
    answers_from: str | None
    key_variable: str | None
    concurrency: int | None
    price_input: float | None
    price_output: float | None


@dataclass(frozen=True)
class Request:
    """What a run is asked for: settings, and what they name that is in memory already.

    Attributes:
        settings: what to do.
        adapters: models, under the names that `settings.models` gives them.
        threats: under the names that `settings.threats` gives them.
        dataset: questions, instead of `settings.data`.
    """

    settings: RunSettings
    adapters: Mapping[str, Adapter] = field(default_factory=dict)
    threats: Mapping[str, Threat | AlteringThreat | Certification] = field(default_factory=dict)
    dataset: Dataset | None = None


def request(data: str | Dataset | Reader | None, **options: Unpack[Options]) -> Request:
    """The request out of the arguments of `evaluate`.

    Raises:
        InvalidInputError: an argument is wrong.
    """
    demo = RunSettings()
    given: dict[str, Any] = dict(options)
    models, threats = given.pop("model", None), given.pop("threats", None)
    of_models: list[str | Adapter] = _several(demo.models if models is None else models)
    of_threats: list[str | ThreatLike] = _several(demo.threats if threats is None else threats)
    opened = [threat if isinstance(threat, str) else _opened(threat) for threat in of_threats]
    settings = settings_from(
        {
            **given,
            "models": tuple(item if isinstance(item, str) else item.record.id for item in of_models),
            "threats": tuple(item if isinstance(item, str) else item.spec.name for item in opened),
            "data": demo.data if data is None else data if isinstance(data, str) else data.name,
            "metrics": tuple(given.get("metrics", ())),
            "modalities": tuple(given.get("modalities", ())),
            "images": None if given.get("images") is None else str(given["images"]),
        },
        where="evaluate()",
    )
    return Request(
        settings,
        adapters={item.record.id: item for item in of_models if not isinstance(item, str)},
        threats={item.spec.name: item for item in opened if not isinstance(item, str)},
        dataset=_in_memory(data, settings),
    )


def _in_memory(data: str | Dataset | Reader | None, settings: RunSettings) -> Dataset | None:
    """The questions, where they are not to be found by name."""
    if data is None or isinstance(data, str):
        return None
    if isinstance(data, Dataset):
        return data
    return open_data(
        data,
        split=settings.split,
        skip_invalid=settings.skip_invalid,
        modalities=settings.modalities,
        images=None if settings.images is None else Path(settings.images),
    )


def _several(given: Any) -> list[Any]:
    """One or several, as a list."""
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def _opened(threat: ThreatLike) -> Threat | AlteringThreat | Certification:
    """A threat of the caller's; its kind becomes known, so that the run can be read again."""
    if isinstance(threat, ThreatSpec):
        return open_threat(threat)
    if not is_known(threat.spec.kind):
        register_threat(cast("ThreatClass", type(threat)))
    return threat
