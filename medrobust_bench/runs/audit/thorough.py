"""The audit with the model at hand: every check on one model, one attack and a sample of questions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from medrobust_bench.problems import InvalidInputError, Problem
from medrobust_bench.records import Finding, Record
from medrobust_bench.runs.audit import masking as masks
from medrobust_bench.runs.audit import optimisation as search
from medrobust_bench.runs.audit.artefact import stored_images
from medrobust_bench.runs.audit.check import Check, Skipped
from medrobust_bench.runs.audit.gradient import PRESENT, company, gradient_health, half_precision
from medrobust_bench.runs.audit.losses import FLAT, RISING
from medrobust_bench.runs.audit.masking import fixed_output, masking, same_path
from medrobust_bench.runs.audit.optimisation import optimisation_health, watched_attack
from medrobust_bench.runs.audit.options import option_order, same_verdict
from medrobust_bench.runs.audit.rivalry import searches_by_gradient
from medrobust_bench.runs.audit.subject import Subject
from medrobust_bench.specs.seeds import question_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from medrobust_bench.attacks.threat import Threat
    from medrobust_bench.data.question import Question
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import AnyWitness
    from medrobust_bench.specs.threat import ThreatSpec

NEED_THE_ATTACK = (
    search.SILENT,
    FLAT,
    RISING,
    search.MORE_STEPS,
    search.MORE_RESTARTS,
    search.OTHER_LOSS,
    search.SINGLE_STEP,
    search.LARGER,
    search.UNBOUNDED,
    masks.SAME_PATH,
    masks.NOISE,
    masks.SQUARE,
    masks.TRANSFER,
)


class AuditRecord(Record):
    """What the audit of one model under one attack found.

    Attributes:
        model: its name in the run.
        threat: name of the attack.
        questions: ids of the sampled questions.
        findings: of the checks that were made.
        skipped: check to reason, for those that do not apply.
    """

    model: str
    threat: str
    questions: tuple[str, ...]
    findings: tuple[Finding, ...]
    skipped: dict[str, str]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(finding.verdict != "fail" for finding in self.findings)


def sample(clean: Sequence[Outcome], size: int, *, seed: int) -> list[str]:
    """Ids of some questions that the model answers right, drawn by seed; a larger sample holds a smaller one."""
    right = [outcome.question for outcome in clean if outcome.correct]
    return sorted(right, key=lambda question: question_seed(seed, f"{question}\x1faudit"))[:size]


def examinable(spec: ThreatSpec) -> bool:
    """Whether the audit has checks for a threat: it follows the gradient, inside a norm ball."""
    return searches_by_gradient(spec) and spec.norm_ball


def audit_model(
    adapter: Adapter,
    questions: Mapping[str, Question],
    attacks: Sequence[Threat],
    *,
    model: str,
    clean: Sequence[Outcome],
    size: int,
    seed: int,
    witnesses: Mapping[tuple[str, str], Sequence[AnyWitness]],
    tell: Callable[[str], None] = lambda what: None,
) -> list[AuditRecord]:
    """Examine a model under attacks of its run.

    Args:
        adapter: the model.
        questions: of the run, by id.
        attacks: see `examinable`.
        model: its name in the run.
        clean: its outcomes on the clean images.
        size: of the sample of questions that it answers right.
        seed: of the run.
        witnesses: the run's, by model and attack; those of other models are tried on this one.
        tell: told what is about to be done.

    Raises:
        InvalidInputError: the model answers fewer than two questions right.
    """
    ids = sample(clean, size, seed=seed)
    if len(ids) < 2:
        what = f"answers {len(ids)} questions right: there is nothing to attack"
        raise InvalidInputError([Problem(model, what, "audit a model that knows answers")])
    records = []
    for attack in attacks:
        transferred: dict[str, list[AnyWitness]] = {}
        for (other, name), found in witnesses.items():
            if other != model and name == attack.spec.name:
                for witness in found:
                    transferred.setdefault(witness.question, []).append(witness)
        own = witnesses.get((model, attack.spec.name), ())
        records.append(
            examine(
                Subject(adapter, [questions[name] for name in ids], attack, seed=seed),
                model=model,
                witnesses={witness.question: witness for witness in own},
                transferred=transferred,
                tell=tell,
            )
        )
    return records


def examine(
    subject: Subject,
    *,
    model: str,
    witnesses: Mapping[str, AnyWitness],
    transferred: Mapping[str, Sequence[AnyWitness]],
    tell: Callable[[str], None] = lambda what: None,
) -> AuditRecord:
    """Make every check.

    Args:
        subject: the model, its attack, the questions.
        model: its name in the run.
        witnesses: the run's, of this model and attack, by question.
        transferred: those of the run's other models under the same attack.
        tell: told what is about to be done.
    """
    tell("stored images")
    found = stored_images(subject, witnesses)
    tell("gradients")
    found += gradient_health(subject)
    found += [half_precision(subject), company(subject)]
    found += [fixed_output(subject), option_order(subject), same_verdict(subject)]
    if _fails(found, PRESENT):
        why = "no gradient arrives, so that the attack cannot run"
        found += [Skipped(check.name, why) for check in NEED_THE_ATTACK]
    else:
        tell(f"the attack itself, on {len(subject.questions)} questions")
        began = time.perf_counter()
        trials, returned = watched_attack(subject)
        tell(f"its variations; the attack took {time.perf_counter() - began:.0f} s, and there are up to ten")
        found += [returned, *optimisation_health(subject, trials, tell)]
        tell("attacks without gradients")
        found += [same_path(subject, trials), *masking(subject, trials, transferred)]
    return AuditRecord(
        model=model,
        threat=subject.threat.spec.name,
        questions=tuple(question.id for question in subject.questions),
        findings=tuple(item for item in found if not isinstance(item, Skipped)),
        skipped={item.check: item.why for item in found if isinstance(item, Skipped)},
    )


def _fails(found: Sequence[Finding | Skipped], check: Check) -> bool:
    return any(
        isinstance(item, Finding) and item.check == check.name and item.verdict == "fail" for item in found
    )
