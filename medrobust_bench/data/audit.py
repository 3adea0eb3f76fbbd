"""What a data set holds, what is wrong with it, and whether its splits share images."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from medrobust_bench.data.baselines import Baselines, baselines
from medrobust_bench.data.leakage import Leak, find_leaks
from medrobust_bench.data.rows import without_repeated_ids
from medrobust_bench.data.source import check_images, read_source
from medrobust_bench.data.splits import SPLITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from medrobust_bench.data.question import Question
    from medrobust_bench.data.rows import PublishedQuestion
    from medrobust_bench.problems import Problem

UNSPLIT = "unsplit"


@dataclass(frozen=True, slots=True)
class Entry:
    """One usable question, as an audit sees it.

    Attributes:
        split: "train", "validation", "test", or "unsplit" where neither the publisher nor the image's content tells.
        image_path: its image's published path.
        digest: hex SHA-256 of its image; None when only the text was read.
        question: the question.
    """

    split: str
    image_path: str
    digest: str | None
    question: Question

    @property
    def modality(self) -> str:
        """Its modality."""
        return self.question.modality

    @property
    def question_type(self) -> str:
        """Its question type."""
        return self.question.question_type


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of checking one data set.

    Attributes:
        source: the path that was checked.
        name: the data set's name.
        entries: every usable question.
        problems: everything that is wrong.
        skipped: what was left out on purpose.
        has_images: whether image files were opened; otherwise only the text was checked.
        split_by_content: whether the splits are this project's own (`splits.split_of`) rather than published ones.
        types_inferred: number of questions whose type is a guess from the wording.
        notes: what a user should know about how the data set was understood.
    """

    source: str
    name: str
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[Problem, ...]
    has_images: bool
    split_by_content: bool
    types_inferred: int
    notes: tuple[str, ...] = ()

    def counts(self) -> Counter[tuple[str, str]]:
        """Number of questions by modality and question type."""
        return Counter((entry.modality, entry.question_type) for entry in self.entries)

    def repeated_files(self) -> int:
        """Number of image files whose content stands under another path already."""
        files = {(entry.image_path, entry.digest) for entry in self.entries if entry.digest is not None}
        return len(files) - len({digest for _, digest in files})

    def splits(self) -> tuple[str, ...]:
        """The splits that have questions, training first."""
        present = {entry.split for entry in self.entries}
        return tuple(split for split in (*SPLITS, UNSPLIT) if split in present)

    def images(self, *, by_content: bool, split: str | None = None) -> dict[str, frozenset[str]]:
        """Keys of the distinct images by modality: content digests, or published paths."""
        return _by_modality(
            (entry, entry.digest if by_content else entry.image_path)
            for entry in self.entries
            if split in (None, entry.split)
        )

    def groups(self, *, split: str | None = None) -> dict[str, frozenset[str]]:
        """Patients or studies by modality; empty where none are named."""
        return _by_modality((e, e.question.group) for e in self.entries if split in (None, e.split))

    def leaks(self) -> tuple[Leak, ...]:
        """Images, patients and studies that two of its splits share: those of the later that the earlier has too."""
        found: list[Leak] = []
        for seen, held_out in self.compared():
            names = {"held_out_name": held_out, "seen_name": seen}
            found += find_leaks(
                self.images(by_content=self.has_images, split=held_out),
                self.images(by_content=self.has_images, split=seen),
                **names,
            )
            found += find_leaks(self.groups(split=held_out), self.groups(split=seen), kind="groups", **names)
        return tuple(found)

    def compared(self) -> tuple[tuple[str, str], ...]:
        """Pairs of splits that should share nothing, the earlier first."""
        return tuple(pair for pair in combinations(self.splits(), 2) if UNSPLIT not in pair)

    def leaks_into(self, other: Audit) -> tuple[Leak, ...]:
        """Images, and patients or studies, of this data set that stand again in another one.

        Images are compared by content when both have theirs.
        """
        by_content = self.has_images and other.has_images
        names = {"held_out_name": self.source, "seen_name": other.source}
        return (
            *find_leaks(self.images(by_content=by_content), other.images(by_content=by_content), **names),
            *find_leaks(self.groups(), other.groups(), kind="groups", **names),
        )

    def near_leaks(self, clusters: Mapping[str, str], others: Sequence[Audit] = ()) -> tuple[Leak, ...]:
        """Near-duplicates on two sides: between its splits, and between it and other data sets.

        Args:
            clusters: cluster of every image that has near-duplicates, by digest; see `near.near_clusters`.
            others: data sets that should share nothing with this one.
        """

        def near(audit: Audit, split: str | None = None) -> dict[str, frozenset[str]]:
            return _by_modality(
                (e, clusters.get(e.digest or "")) for e in audit.entries if split in (None, e.split)
            )

        found: list[Leak] = []
        for seen, held_out in self.compared():
            found += find_leaks(
                near(self, held_out),
                near(self, seen),
                held_out_name=held_out,
                seen_name=seen,
                kind="near-duplicates",
            )
        for other in others:
            found += find_leaks(
                near(self),
                near(other),
                held_out_name=self.source,
                seen_name=other.source,
                kind="near-duplicates",
            )
        return tuple(found)

    def baselines(self) -> Baselines | None:
        """What its test split gives away without images, with its training split at hand; None without a test split."""
        asked = [entry.question for entry in self.entries if entry.split == "test"]
        known = [entry.question for entry in self.entries if entry.split == "train"]
        return baselines(asked, known) if asked else None


def _by_modality(keys: Iterable[tuple[Entry, str | None]]) -> dict[str, frozenset[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for entry, key in keys:
        if key is not None:
            found[entry.modality].add(key)
    return {modality: frozenset(of_modality) for modality, of_modality in found.items()}


def audit(source: str | Path, *, images: Path | None = None, text_only: bool = False, seed: int = 0) -> Audit:
    """Check a data set on disk completely, all splits of it.

    Args:
        source: see `source.open_data`.
        images: the folder that image paths are relative to, if it is not found by itself.
        text_only: read the text alone. A data set without its images is always read so.
        seed: seed of the split by image content.

    Raises:
        InvalidInputError: it is no data set at all. Problems inside it are collected, not raised.
    """
    reading = read_source(source, split="all", images=images)
    has_images = not (text_only or reading.no_images)
    by_split: defaultdict[str | None, list[PublishedQuestion]] = defaultdict(list)
    for row in reading.questions:
        by_split[row.split].append(row)
    problems, skipped = list(reading.problems), list(reading.skipped)
    rows: list[PublishedQuestion] = []
    for rows_of_split in by_split.values():
        # The same question in two published splits is a leak, not a repeated row.
        kept, repeated = without_repeated_ids(rows_of_split)
        rows += kept
        problems += repeated
    digests: Sequence[str | None] = (None,) * len(rows)
    sides = [row.split or UNSPLIT for row in rows]
    if has_images:
        checked = check_images(rows, split="all", seed=seed, near=reading.near)
        rows, digests, sides = list(checked.rows), checked.digests, list(checked.sides)
        problems += checked.problems
        skipped += checked.skipped
    entries = tuple(
        Entry(side, row.image_path, digest, row.question)
        for row, digest, side in zip(rows, digests, sides, strict=True)
    )
    return Audit(
        source=str(source),
        name=reading.name,
        entries=entries,
        problems=tuple(problems),
        skipped=tuple(skipped),
        has_images=has_images,
        split_by_content=all(row.split is None for row in rows),
        types_inferred=sum(row.type_inferred for row in rows),
        notes=reading.notes,
    )
