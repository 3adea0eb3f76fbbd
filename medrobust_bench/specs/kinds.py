"""Kinds of threats: what a specification of each holds.

A kind of another package is a threat class (see `medrobust_bench.attacks.threat`) that names its specification as
`spec_class`. It becomes known by `register_threat`, or by an entry point of the group `medrobust_bench.threats` that
is called like the kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Protocol, TypeVar, get_args

from pydantic import PlainValidator, SerializeAsAny, WithJsonSchema

from medrobust_bench import extensions
from medrobust_bench.specs.apgd import ApgdSpec
from medrobust_bench.specs.auto import AutoSpec
from medrobust_bench.specs.certification import CertificationSpec
from medrobust_bench.specs.corruption import CorruptionSpec, CorruptionSuiteSpec, WorstCorruptionSpec
from medrobust_bench.specs.injection import InjectionSpec
from medrobust_bench.specs.noise import NoiseSpec
from medrobust_bench.specs.patch import PatchSpec
from medrobust_bench.specs.pgd import PgdSpec
from medrobust_bench.specs.rays import RaysSpec
from medrobust_bench.specs.square import SquareSpec
from medrobust_bench.specs.threat import CleanSpec, ThreatSpec, WorstCaseSpec
from medrobust_bench.specs.universal_patch import UniversalPatchSpec

THREAT_GROUP = "medrobust_bench.threats"


class ThreatClass(Protocol):
    """The class of a threat, as another package hands it in.

    Attributes:
        spec_class: its specification, whose field `kind` is a `Literal` with one value.
    """

    spec_class: type[ThreatSpec]

    def __call__(self, spec: Any) -> Any:
        """The threat that carries out a specification."""
        ...


T = TypeVar("T", bound=ThreatClass)


def kind_of(spec_class: type[ThreatSpec]) -> str:
    """The kind that a class of specifications is for."""
    (kind,) = get_args(spec_class.model_fields["kind"].annotation)
    return str(kind)


_BUILT_IN: dict[str, type[ThreatSpec]] = {
    kind_of(known): known
    for known in (
        PgdSpec,
        ApgdSpec,
        SquareSpec,
        RaysSpec,
        AutoSpec,
        PatchSpec,
        UniversalPatchSpec,
        NoiseSpec,
        CorruptionSpec,
        CorruptionSuiteSpec,
        WorstCorruptionSpec,
        InjectionSpec,
        CertificationSpec,
        CleanSpec,
        WorstCaseSpec,
    )
}
_registered: dict[str, ThreatClass] = {}


def register_threat(threat: T) -> T:
    """Make a kind of threat known to this process; usable as a class decorator.

    Raises:
        ValueError: the kind is built in, or somebody else's.
    """
    kind = kind_of(threat.spec_class)
    if kind in _BUILT_IN or _registered.get(kind, threat) is not threat:
        raise ValueError(f"the kind {kind!r} is taken")
    _registered[kind] = threat
    return threat


def plugged_in(kind: str) -> ThreatClass | None:
    """The class that carries out a kind which is not built in: registered, or named by an entry point.

    Raises:
        InvalidInputError: the entry point does not load, or names no class of threats of this kind.
    """
    if kind in _registered or kind in _BUILT_IN:
        return _registered.get(kind)
    added = extensions.extension(THREAT_GROUP, kind)
    if added is None:
        return None
    spec = getattr(added.value, "spec_class", None)
    if not (isinstance(spec, type) and issubclass(spec, ThreatSpec) and kind_of(spec) == kind):
        remedy = f"name a class of threats whose `spec_class` has kind: Literal[{kind!r}]"
        raise added.refused(f"is no threat of the kind {kind!r}", remedy)
    threat: ThreatClass = added.value  # type: ignore[assignment]
    return register_threat(threat)


def is_known(kind: str) -> bool:
    """Whether specifications of a kind can be read here."""
    return kind in _BUILT_IN or plugged_in(kind) is not None


def kinds() -> list[str]:
    """The kinds that can be specified here, built in ones first."""
    asked_for = [kind for kind, known in _BUILT_IN.items() if known not in (CleanSpec, WorstCaseSpec)]
    return [*asked_for, *sorted({*_registered, *extensions.names(THREAT_GROUP)})]


def spec_class(kind: object) -> type[ThreatSpec]:
    """What specifications of a kind hold.

    Raises:
        ValueError: nobody knows the kind.
    """
    if isinstance(kind, str):
        if kind in _BUILT_IN:
            return _BUILT_IN[kind]
        if (threat := plugged_in(kind)) is not None:
            return threat.spec_class
    raise ValueError(
        f"kind {kind!r} is unknown; known are {', '.join(kinds())}, and those of packages that are installed"
    )


def read_spec(fields: object) -> ThreatSpec:
    """The specification that a mapping holds, of the class of its kind.

    Raises:
        ValueError: unknown kind, unknown key, or a value out of range (pydantic's `ValidationError` is one).
    """
    if isinstance(fields, ThreatSpec):
        return fields
    if not isinstance(fields, Mapping):
        raise ValueError("a specification is a mapping with name and kind")
    return spec_class(fields.get("kind")).model_validate(dict(fields))


AnySpec = Annotated[
    SerializeAsAny[ThreatSpec],
    PlainValidator(read_spec),
    WithJsonSchema(
        {
            "type": "object",
            "description": "The threat's full specification; the fields beyond name and kind depend on its kind",
            "properties": {"name": {"type": "string"}, "kind": {"type": "string"}},
            "required": ["name", "kind"],
            "additionalProperties": True,
        }
    ),
]
"""A specification as a field of a record: validated by its kind, written whole."""
