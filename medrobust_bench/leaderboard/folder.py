"""What may lie in the folder of submissions: submissions and the evidence that they name, nothing else."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from medrobust_bench.certify.fault import SHOWN, Fault
from medrobust_bench.leaderboard.entry import evidence_folder, read_readable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from medrobust_bench.leaderboard.entry import Entry

_PART: Final = re.compile(r"[A-Za-z0-9][\w.=+-]*", re.ASCII)
"""A name of a file or folder that the program itself would give."""


def strays_of(path: Path, entry: Entry) -> list[Fault]:
    """What lies beside a submission's evidence without being named in its manifest."""
    folder = evidence_folder(path)
    if not folder.exists():
        return []
    named = {file.name for file in entry.evidence if file.hub is None}
    found = [file.relative_to(folder).as_posix() for file in _everything(folder)]
    strays = [name for name in found if name not in named]
    if not strays:
        return []
    shown = ", ".join(repr(name[:80]) for name in strays[:SHOWN])
    return [Fault("evidence", f"its folder holds what no manifest names: {shown}")]


def strays(root: Path) -> list[Path]:
    """What lies below the folder of submissions and belongs to none of them.

    A submission stands at `<data>/<threat>/<model>.json`; beside it, in a folder of its name, the files of its
    manifest.

    Args:
        root: the folder of submissions.
    """
    named: set[Path] = set()
    for path in sorted(root.glob("*/*/*.json")):
        if path.is_file() and not path.is_symlink() and proper(path.relative_to(root).as_posix()):
            named.add(path)
            named |= {evidence_folder(path) / name for name in _manifest(path)}
    return [path for path in _everything(root) if path not in named]


def proper(name: str) -> bool:
    """Whether a path relative to the folder has names that the program would give: no control character."""
    return all(_PART.fullmatch(part) for part in name.split("/"))


def _manifest(path: Path) -> set[str]:
    """The names of a submission's evidence; empty where it cannot be read, which its verification says."""
    entry = read_readable(path)
    if entry is None:
        return set()
    return {file.name for file in entry.evidence if file.hub is None}


def _everything(folder: Path) -> Iterator[Path]:
    """Files, links and whatever else is no plain folder, below a folder."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _everything(path)
        else:
            yield path
