"""What generating costs a run of a model that thinks: tokens written one question at a time, and in batches.

    python benchmarks/generation_cost.py
    python benchmarks/generation_cost.py --model tiny-sft-reasoning --limit 32 --threat auto-linf

Every combination of weight type and behaviour is a whole `evaluate` in this process. `before` puts the way in which
answers were asked for until then in place of today's: every check of a search and every replaced image as exact as a
verdict, and nothing remembered but the clean completions. Counted are calls of the model's `generate`: one question
alone (`batch one`), or several at once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

import medrobust_bench
from medrobust_bench.attacks import search
from medrobust_bench.models.bound import HuggingFaceQuestions
from medrobust_bench.models.huggingface import HuggingFaceVLM
from medrobust_bench.runs import chunk
from medrobust_bench.runs.audit import blindness
from medrobust_bench.runs.chunk import Chunk

Images = Sequence[NDArray[np.uint8]]
DTYPES = "bfloat16", "float32"


@dataclass
class Tally:
    """What was generated, by what it was for.

    Attributes:
        purpose: what is generated now: clean, without image, or attack.
        alone: tokens written one question at a time, by purpose.
        together: tokens written in batches, by purpose.
        generations: by purpose and prompt, how often a question was asked alone.
    """

    purpose: str = ""
    alone: Counter[str] = field(default_factory=Counter)
    together: Counter[str] = field(default_factory=Counter)
    generations: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, prompts: Sequence[str], written: Sequence[Sequence[int]]) -> None:
        """Count one call of `generate`."""
        if not self.purpose:  # loading, and trying the model out
            return
        (self.alone if len(prompts) == 1 else self.together)[self.purpose] += sum(map(len, written))
        if len(prompts) == 1:
            self.generations[self.purpose, prompts[0]] += 1

    def most(self, purpose: str) -> int:
        """The most generations alone that any question needed."""
        return max((times for (what, _), times in self.generations.items() if what == purpose), default=0)


@contextmanager
def counting(tally: Tally) -> Iterator[None]:
    """Count what is generated within."""
    generate = HuggingFaceVLM.complete_batch

    def complete_batch(self: HuggingFaceVLM, prompts: Sequence[str], images: Images) -> list[list[int]]:
        written = generate(self, prompts, images)
        tally.count(prompts, written)
        return written

    def purpose(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **named: Any) -> Any:
            tally.purpose = name
            try:
                return method(*arguments, **named)
            finally:
                tally.purpose = ""

        return work

    with ExitStack() as patched:
        patched.enter_context(patch.object(HuggingFaceVLM, "complete_batch", complete_batch))
        for name, method in (("clean", "clean"), ("without image", "without_images"), ("attack", "attack")):
            patched.enter_context(patch.object(Chunk, method, purpose(name, getattr(Chunk, method))))
        yield


@contextmanager
def before() -> Iterator[None]:
    """Answers asked for as they once were."""

    def deployed_answers(bound: Any, asked: dict[int, list[Any]], *, unparsed: Any) -> dict[int, list[Any]]:
        rows = list(asked)  # one image of each
        answers = bound.select(rows).answer([image for (image,) in asked.values()]) if rows else []
        return {row: [answer] for row, answer in zip(rows, answers, strict=True)}

    def answers_without_image(bound: Any, *, seed: int, others: Any) -> list[dict[str, int | None]]:
        images = [
            blindness.replacements(image, blindness.question_seed(seed, question.id), others.get(question.id))
            for image, question in zip(bound.batch.images, bound.batch.questions, strict=True)
        ]
        choices: list[dict[str, int | None]] = [{} for _ in images]
        for name in blindness.REPLACEMENTS:
            if rows := [row for row, made in enumerate(images) if name in made]:
                answers = bound.select(rows).answer([images[row][name] for row in rows])
                for row, answer in zip(rows, answers, strict=True):
                    choices[row][name] = answer.choice
        return choices

    def completions(self: HuggingFaceQuestions, images: Images) -> list[list[int]]:
        known: dict[int, list[int]] = {}
        for row, image in enumerate(images):
            clean = self.cache.clean.get(self.rows[row])
            if clean is not None and (
                np.array_equal(image, self.batch.images[row]) or self._confirms(row, image, clean)
            ):
                known[row] = clean
        rest = [row for row in range(len(images)) if row not in known]
        together = len(rest) > 1 and self.adapter.batchable and self._exact
        guesses = self._write_together(rest, images) if together else [[]] * len(rest)
        for row, guess in zip(rest, guesses, strict=True):
            confirmed = bool(guess) and self._confirms(row, images[row], guess)
            known[row] = guess if confirmed else self.adapter.complete(self.prompts[row], images[row])
            if np.array_equal(images[row], self.batch.images[row]):
                self.cache.clean.setdefault(self.rows[row], known[row])
        return [known[row] for row in range(len(images))]

    with (
        patch.object(search, "TOGETHER", 1),
        patch.object(search, "deployed_answers", deployed_answers),
        patch.object(chunk, "answers_without_image", answers_without_image),
        patch.object(HuggingFaceQuestions, "completions", completions),
    ):
        yield


@dataclass(frozen=True)
class Measured:
    """One evaluation.

    Attributes:
        tally: what was generated.
        verdicts: by threat and question, the option chosen and the replaced images' options.
        attacked: how many questions were attacked.
        asked: how many there were.
    """

    tally: Tally
    verdicts: dict[tuple[str, str], tuple[int | None, bool]]
    attacked: int
    asked: int


def measure(
    model: str, *, dtype: Any, threat: str, data: str, limit: int, old: bool, device: str = "auto"
) -> Measured:
    """Evaluate a model and count what it generates."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(counting(tally))
        if old:
            stack.enter_context(before())
        run = medrobust_bench.evaluate(
            model=model,
            threats=threat,
            data=data,
            limit=limit,
            dtype=dtype,
            device=device,
            out=Path(folder) / "run",
        )
    attacked = [o for outcomes in run.outcomes.values() for o in outcomes if o.attacked]
    verdicts = {
        (o.threat, o.question): (o.choice, o.correct) for outcomes in run.outcomes.values() for o in outcomes
    }
    questions = {o.question for outcomes in run.outcomes.values() for o in outcomes}
    return Measured(tally, verdicts, len({o.question for o in attacked}), len(questions))


def table(model: str, *, threat: str, data: str, limit: int, device: str = "auto") -> str:
    """Before and after, in both types, as Markdown."""
    rows = []
    for dtype in DTYPES:
        old, new = (
            measure(model, dtype=dtype, threat=threat, data=data, limit=limit, old=old, device=device)
            for old in (True, False)
        )
        differing = sum(new.verdicts[key] != verdict for key, verdict in old.verdicts.items())
        for purpose, of in (("clean", "asked"), ("without image", "attacked"), ("attack", "attacked")):
            for name, one in (("before", old), ("after", new)):
                questions = getattr(one, of)
                times = sum(n for (what, _), n in one.tally.generations.items() if what == purpose)
                rows.append(
                    (
                        dtype,
                        purpose if purpose != "attack" else threat,
                        name,
                        f"{one.tally.alone[purpose] / max(1, questions):.0f}",
                        f"{one.tally.together[purpose] / max(1, questions):.0f}",
                        f"{times / max(1, questions):.2f}",
                        one.tally.most(purpose),
                        "" if name == "before" else f"{differing} of {len(old.verdicts)}",
                    )
                )
    header = (
        "Weights",
        "For",
        "",
        "Tokens at batch one per question",
        "in batches",
        "Generations at batch one per question",
        "most",
        "Verdicts that differ",
    )
    return tabulate(rows, headers=header, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="safemed-r1-tiny")
    parser.add_argument("--threat", default="pgd-linf")
    parser.add_argument("--data", default="phantoms")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    print(table(given.model, threat=given.threat, data=given.data, limit=given.limit, device=given.device))
