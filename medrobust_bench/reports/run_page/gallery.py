"""Examples of broken answers: the clean image, the adversarial one, what was changed, and both answers."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medrobust_bench.data.image import canonical, from_png
from medrobust_bench.data.question import LETTERS
from medrobust_bench.reports.run_page.flips import outcome_direction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from medrobust_bench.data.question import Question
    from medrobust_bench.records import Outcome
    from medrobust_bench.records.witness import Witness

_LOSSLESS_SIDE = 128
_LONGEST_TEXT = 600


@dataclass(frozen=True, slots=True)
class Example:
    """One broken answer, ready for a page.

    Attributes:
        clean, adversarial, difference: data URIs.
        amplification: factor by which the difference is shown, around mid-grey.
        levels: largest change of a value, in grey levels.
        changed: share of values that were changed.
        right: the right option, as letter and text.
        given: the option given under attack, as letter and text, or that it could not be parsed.
        how: what was done to the image, in words; "" where its values were changed one by one.
        direction: what the error means clinically, or "".
        clean_text, text: what a generating model said on the clean and on the adversarial image.
    """

    model: str
    threat: str
    question: str
    modality: str
    asked: str
    options: tuple[str, ...]
    right: str
    given: str
    how: str
    direction: str
    clean_text: str
    text: str
    clean: str
    adversarial: str
    difference: str
    amplification: int
    levels: int
    changed: float


def examples(
    outcomes: Mapping[tuple[str, str], Sequence[Outcome]],
    witnesses_of: Callable[[str, str], Sequence[Witness]],
    questions: Mapping[str, Question],
    *,
    limit: int,
) -> list[Example]:
    """Examples that take turns over models, threats and modalities, clinically directed errors first.

    Args:
        outcomes: by model and threat; clean ones among them.
        witnesses_of: the images that broke an answer of a model under a threat.
        questions: by id.
        limit: at most so many.
    """
    queues = []
    for model, threat in outcomes:
        witnesses = {witness.question: witness for witness in witnesses_of(model, threat)}
        broken = [
            o for o in outcomes[model, threat] if o.attacked and not o.correct and o.question in witnesses
        ]
        ordered = _by_turns(sorted(broken, key=lambda o: outcome_direction(o, questions[o.question]) is None))
        queues.append([(outcome, witnesses[outcome.question]) for outcome in ordered])
    chosen = [
        queue[turn]
        for turn in range(max(map(len, queues), default=0))
        for queue in queues
        if turn < len(queue)
    ][:limit]
    clean_texts = {
        (o.model, o.question): o.text
        for (_model, threat), found in outcomes.items()
        if threat == "clean"
        for o in found
    }
    return [
        _example(outcome, witness, questions[outcome.question], clean_texts[outcome.model, outcome.question])
        for outcome, witness in chosen
    ]


def _by_turns(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """One of each modality in turn, in the order given."""
    seen: dict[str, int] = {}
    turns = []
    for place, outcome in enumerate(outcomes):
        seen[outcome.modality] = seen.get(outcome.modality, 0) + 1
        turns.append((seen[outcome.modality], place, outcome))
    return [outcome for _turn, _place, outcome in sorted(turns, key=lambda entry: entry[:2])]


def _example(outcome: Outcome, witness: Witness, question: Question, clean_text: str) -> Example:
    clean, adversarial = canonical(question.image), from_png(witness.image)
    change = adversarial.astype(np.int16) - clean
    levels = int(np.abs(change).max())
    amplification = max(1, 127 // max(1, levels))
    direction = outcome_direction(outcome, question)
    return Example(
        model=outcome.model,
        threat=outcome.threat,
        question=question.id,
        modality=question.modality,
        asked=question.text,
        options=question.options,
        right=option_name(question, question.answer),
        given=option_name(question, outcome.choice),
        how=_how(outcome),
        direction="" if direction is None else direction.value,
        clean_text=_cut(clean_text),
        text=_cut(outcome.text),
        clean=data_uri(clean),
        adversarial=data_uri(adversarial),
        difference=data_uri((128 + amplification * change).clip(0, 255).astype(np.uint8)),
        amplification=amplification,
        levels=levels,
        changed=float((change != 0).mean()),
    )


def option_name(question: Question, option: int | None) -> str:
    """An option as letter and text; None is an answer that cannot be parsed."""
    if option is None:
        return "an answer that cannot be parsed"
    if not 0 <= option < len(question.options):  # in a stranger's journal
        return "none of the options"
    return f"{LETTERS[option]}, {question.options[option]}"


def _how(outcome: Outcome) -> str:
    """What was done to the image, where it is a fault or a text; else ""."""
    decisive = outcome.decisive
    if decisive is None:
        return ""
    if decisive.severity is None:
        return f"“{decisive.what}” was written into it"
    return f"{decisive.what} at severity {decisive.severity}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + " …"


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """A data URI: lossless for small images; larger ones, which are only looked at here, as WebP."""
    small = max(pixels.shape[:2]) <= _LOSSLESS_SIDE
    buffer = io.BytesIO()
    if small:
        Image.fromarray(pixels).save(buffer, format="PNG")
    else:
        Image.fromarray(pixels).save(buffer, format="WEBP", quality=90)
    kind = "png" if small else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
