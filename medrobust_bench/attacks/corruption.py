"""Acquisition faults as threats: by chance, and at their worst."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from medrobust_bench.attacks.altering import Trial, image_sha256
from medrobust_bench.attacks.corruptions.fields import between, normal, uniform
from medrobust_bench.attacks.corruptions.registry import corruption_of, kinds_for
from medrobust_bench.attacks.corruptions.severity import amount_of
from medrobust_bench.attacks.query_search import QuerySearch
from medrobust_bench.data.phantoms.questions import NAME as PHANTOMS
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.records import Alteration
from medrobust_bench.specs.seeds import Purpose, question_seed, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from typing import TypeVar

    from numpy.typing import NDArray

    from medrobust_bench.attacks.corruptions.corruption import Corruption, Image
    from medrobust_bench.attacks.corruptions.severity import Origin
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Answer, BoundQuestions
    from medrobust_bench.specs.corruption import CorruptionSpec, CorruptionSuiteSpec, WorstCorruptionSpec

    S = TypeVar("S")
    T = TypeVar("T")

_WORKERS = 2
"""Threads that make images while the model answers; numpy and scipy let go of the interpreter for most of the work."""
_AHEAD = 32
"""Images that are made before they are asked for: the slow ones of a question while its quick ones are answered."""


class _Corruptions:
    """What threats over corruptions share: which kinds a question meets, and how an image is made again."""

    spec: CorruptionSpec | CorruptionSuiteSpec | WorstCorruptionSpec

    def _check_kinds(self) -> None:
        """Raise InvalidInputError with every kind that nobody knows."""
        problems = []
        for fault in self.spec.faults:
            try:
                corruption_of(fault)
            except InvalidInputError as error:
                problems += [replace(problem, where=self.spec.name) for problem in error.problems]
        if problems:
            raise InvalidInputError(problems)

    def kinds(self, question: Question) -> tuple[Corruption, ...]:
        """The kinds that a question meets."""
        return kinds_for(question.modality, question.question_type, among=self.spec.faults)


@dataclass(frozen=True, slots=True)
class CorruptionsByChance(_Corruptions):
    """Each kind once at each severity, its parameters fixed by kind and question.

    The same stream serves all severities of a kind: the hairs of severity 1 are among those of severity 5.

    Attributes:
        spec: the published specification.
    """

    spec: CorruptionSpec | CorruptionSuiteSpec

    def __post_init__(self) -> None:
        self._check_kinds()

    def planned(self, question: Question) -> list[Alteration]:
        """What a question meets, in order, without hashes and answers."""
        return [
            _plain(kind, question, severity)
            for kind in self.kinds(question)
            for severity in self.spec.severities
        ]

    def meet(self, bound: BoundQuestions, seeds: Sequence[int]) -> list[Trial]:
        """Have every altered image answered; see `AlteringThreat`."""
        batch = bound.batch
        planned = [
            (row, alteration)
            for row, question in enumerate(batch.questions)
            for alteration in self.planned(question)
        ]

        def make(one: tuple[int, Alteration]) -> Image:
            row, alteration = one
            return _made(batch.images[row], seeds[row], alteration)

        met: list[list[tuple[Alteration, Answer]]] = [[] for _ in seeds]
        for (row, alteration), image in _made_ahead(make, planned):
            (said,) = bound.select([row]).answer([image])
            met[row].append((_answered(alteration, image, said.choice), said))
        return [_trial(done, question.answer) for done, question in zip(met, batch.questions, strict=True)]

    def missing(self, question: Question, alterations: Sequence[Alteration]) -> str | None:
        """See `AlteringThreat`: every planned image must be there, in order, and nothing else."""
        planned = [_named(alteration) for alteration in self.planned(question)]
        found = [_named(alteration) for alteration in alterations]
        if planned == found:
            return None
        lacking = [name for name in planned if name not in found]
        added = [name for name in found if name not in planned]
        return (
            f"lacks {lacking[0]}" if lacking else f"has {added[0]} too much" if added else "is out of order"
        )

    def fewest_passes(self, question: Question) -> int:
        """See `AlteringThreat`."""
        return len(self.planned(question))

    def remake(self, question: Question, clean: Image, seed: int, alteration: Alteration) -> Image:
        """See `AlteringThreat`."""
        if alteration not in (
            planned.model_copy(update={"image_sha256": alteration.image_sha256, "choice": alteration.choice})
            for planned in self.planned(question)
        ):
            raise ValueError(f"{_named(alteration)} is nothing that {self.spec.name} does to it")
        return _made(clean, seed, alteration)


@dataclass(frozen=True)
class WorstCorruption(_Corruptions):
    """The worst kind, then by a query search its worst parameters.

    The search is a (1+1) evolution strategy on the kinds that came closest to a wrong answer: it mutates the free
    parameters of the best image so far (on a circle, since most are angles and phases), or draws everything anew.

    Attributes:
        spec: the published specification.
    """

    spec: WorstCorruptionSpec

    def __post_init__(self) -> None:
        self._check_kinds()

    def meet(self, bound: BoundQuestions, seeds: Sequence[int]) -> list[Trial]:
        """Search until an answer breaks; see `AlteringThreat`."""
        batch = bound.batch
        search: QuerySearch[Alteration] = QuerySearch(bound)
        hunts = [self._hunt(question, seed) for question, seed in zip(batch.questions, seeds, strict=True)]
        plain = [self._plain(question) for question in batch.questions]
        following = {row: first for row, hunt in enumerate(hunts) if (first := next(hunt, None)) is not None}
        coming: dict[tuple[int, int], Future[Image]] = {}
        depth = max(1, _AHEAD // len(batch))
        with ThreadPoolExecutor(_WORKERS) as pool:

            def begin(row: int, alteration: Alteration) -> Future[Image]:
                return pool.submit(_made, batch.images[row], seeds[row], alteration)

            for step in count():
                if not following:
                    break
                made = {row: coming.get((row, step)) or begin(row, how) for row, how in following.items()}
                # What is tried after one image of each kind follows from the answers; until then it is known.
                coming = {
                    (row, later): coming.get((row, later)) or begin(row, plain[row][later])
                    for later in range(step + 1, step + 1 + depth)
                    for row in following
                    if later < len(plain[row])
                }
                leads = search.show({row: (following[row], image.result()) for row, image in made.items()})
                sent = {row: _sent(hunts[row], leads[row]) for row in following if row in search.open_rows}
                following = {row: alteration for row, alteration in sent.items() if alteration is not None}
        trials = []
        for row, found in enumerate(search.results()):
            if found is None:
                trials.append(Trial((), None, 0))
                continue
            said = found.answer or bound.select([row]).answer([found.image])[0]
            done = _answered(found.how, found.image, said.choice)
            trials.append(Trial((done,), said, found.passes + (found.answer is None)))
        return trials

    def missing(self, question: Question, alterations: Sequence[Alteration]) -> str | None:
        """See `AlteringThreat`: one image, where any kind fits."""
        expected = 1 if self.kinds(question) else 0
        return None if len(alterations) == expected else f"has {len(alterations)} images, not {expected}"

    def fewest_passes(self, question: Question) -> int:
        """See `AlteringThreat`: one of each kind, every query, and the answer to the worst."""
        kinds = len(self.kinds(question))
        return kinds + self.spec.queries + 1 if kinds else 0

    def remake(self, question: Question, clean: Image, seed: int, alteration: Alteration) -> Image:
        """See `AlteringThreat`."""
        kind = next((kind for kind in self.kinds(question) if kind.kind == alteration.what), None)
        if kind is None or alteration.severity != self.spec.severity or alteration.amount is None:
            raise ValueError(f"{_named(alteration)} is nothing that {self.spec.name} does to it")
        searched = alteration.draw > 0 or alteration.free is not None
        low, high = sorted(self._range(kind, question))
        plain = amount_of(kind, question.modality, self.spec.severity, _origin(question))
        if not low <= alteration.amount <= high or (not searched and alteration.amount != plain):
            raise ValueError(f"amount {alteration.amount:g} is not that of severity {self.spec.severity}")
        if alteration.draw > self.spec.queries or (searched and not self.spec.queries):
            raise ValueError(f"draw {alteration.draw} is beyond {self.spec.queries} queries")
        if alteration.free is not None and len(alteration.free) != kind.free:
            raise ValueError(f"{len(alteration.free)} free parameters, {kind.kind} has {kind.free}")
        return _made(clean, seed, alteration)

    def _range(self, kind: Corruption, question: Question) -> tuple[float, float]:
        """The amounts of the severity: from that of the one below to its own."""
        origin, severity = _origin(question), self.spec.severity
        mild = kind.amounts[0] if severity == 1 else amount_of(kind, question.modality, severity - 1, origin)
        return mild, amount_of(kind, question.modality, severity, origin)

    def _plain(self, question: Question) -> list[Alteration]:
        """One image of each kind, as the suites make it."""
        return [_plain(kind, question, self.spec.severity) for kind in self.kinds(question)]

    def _hunt(self, question: Question, seed: int) -> Generator[Alteration, float, None]:
        """The images to try, each chosen by the leads of the wrong options on those before (sent in)."""
        best: dict[str, tuple[float, Alteration]] = {}
        kinds = {kind.kind: kind for kind in self.kinds(question)}
        for plain in self._plain(question):
            best[plain.what] = ((yield plain), plain)
        for query in range(1, self.spec.queries + 1 if kinds else 1):
            rng = stream(seed, Purpose.QUERIES, query)
            ranked = sorted(best, key=lambda name: -best[name][0])
            # Half of the queries go to the kind in the lead, a quarter to the next, and so on.
            rank = min(int(-np.log2(between(rng, 0, 1))), len(ranked) - 1)
            lead, parent = best[ranked[rank]]
            candidate = self._offspring(kinds[ranked[rank]], question, parent, query, rng)
            height = yield candidate
            if height > lead:
                best[ranked[rank]] = (height, candidate)

    def _offspring(
        self, kind: Corruption, question: Question, parent: Alteration, query: int, rng: np.random.Generator
    ) -> Alteration:
        mild, harsh = self._range(kind, question)
        amount = harsh + (mild - harsh) * float(np.maximum(between(rng, -1, 1), 0))
        if not kind.free or parent.free is None or between(rng, 0, 1) < 0.3:
            free, draw = uniform(rng, (kind.free,)), query
        else:
            free, draw = (np.array(parent.free) + 0.15 * normal(rng, (kind.free,))) % 1.0, parent.draw
        low, high = sorted((mild, harsh))
        return parent.model_copy(
            update={
                "amount": min(max(float(f"{amount:.6g}"), low), high),
                "draw": draw,
                "free": tuple(np.minimum(free, 1 - 1e-9).tolist()),
            }
        )


def at_severity(kind: str, question: Question, clean: Image, seed: int, severity: int) -> Image:
    """The image that a suite makes of a question by a kind at a severity.

    Args:
        kind: of fault.
        question: whose image it is.
        clean: uint8 [H, W, 3], its canonical image.
        seed: of the run.
        severity: 1 to 5.
    """
    plain = _plain(corruption_of(kind), question, severity)
    return _made(clean, question_seed(seed, question.id), plain)


def corruption_by_chance(image: Image, question: Question, *, severity: int, seed: int) -> Image:
    """One fault that occurs in the question's modality and leaves its answer as it is, drawn by the seed.

    Args:
        image: uint8 [H, W, 3], canonical.
        question: decides which faults may be.
        severity: 1 to 5.
        seed: of the draw and of the fault.

    Returns:
        The image with the fault; as it is where none can be.
    """
    kinds = kinds_for(question.modality, question.question_type)
    if not kinds:
        return image
    kind = kinds[stream(seed, Purpose.SELECTION).integers(len(kinds))]
    return _made(image, seed, _plain(kind, question, severity))


def _made_ahead(make: Callable[[S], T], planned: Iterable[S]) -> Iterator[tuple[S, T]]:
    """What is made of each, in order, while the one before is being looked at; a few are kept at most."""
    waiting: deque[tuple[S, Future[T]]] = deque()
    with ThreadPoolExecutor(_WORKERS) as pool:
        for one in planned:
            waiting.append((one, pool.submit(make, one)))
            if len(waiting) > _AHEAD:
                first, made = waiting.popleft()
                yield first, made.result()
        for first, made in waiting:
            yield first, made.result()


def _sent(hunt: Generator[Alteration, float, None], lead: float) -> Alteration | None:
    """What a hunt wants to see next; None where it is over."""
    try:
        return hunt.send(lead)
    except StopIteration:
        return None


def _trial(done: Sequence[tuple[Alteration, Answer]], answer: int) -> Trial:
    """What became of a question whose alterations were answered like this."""
    answers = [said for _, said in done]
    decisive = next((said for said in answers if said.choice != answer), answers[-1] if answers else None)
    return Trial(tuple(alteration for alteration, _ in done), decisive, len(done))


def _origin(question: Question) -> Origin:
    return "phantoms" if question.dataset == PHANTOMS else "clinical"


def _plain(kind: Corruption, question: Question, severity: int) -> Alteration:
    """A kind at a severity by chance, without hash and answer."""
    amount = amount_of(kind, question.modality, severity, _origin(question))
    return Alteration(what=kind.kind, severity=severity, amount=amount, image_sha256="", choice=None)


def _made(clean: NDArray[np.uint8], seed: int, alteration: Alteration) -> NDArray[np.uint8]:
    """The image of an alteration: all it needs beside it is the clean image and the question's seed."""
    assert alteration.amount is not None
    kind = corruption_of(alteration.what)
    rng = stream(question_seed(seed, kind.kind), Purpose.ALTERATION, alteration.draw)
    if alteration.free is None:
        return kind(clean, alteration.amount, rng)
    return kind.at(clean, alteration.amount, alteration.free, rng)


def _answered(alteration: Alteration, image: NDArray[np.uint8], choice: int | None) -> Alteration:
    return alteration.model_copy(update={"image_sha256": image_sha256(image), "choice": choice})


def _named(alteration: Alteration) -> str:
    return f"{alteration.what} at severity {alteration.severity}"
