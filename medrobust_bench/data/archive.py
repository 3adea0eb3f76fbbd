"""The published OmniMedVQA archive: download through the Hugging Face hub, and unpack without trusting it.

A zip archive is a program for writing files: member names may climb out of the folder, links may point anywhere, and
a few kilobytes may unfold to terabytes. Every member is judged before the first byte is written, sizes are counted
again while writing, and the result appears under its name only when it is whole.
"""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medrobust_bench.data.omnimedvqa import QUESTIONS_FOLDER, tree_root
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPOSITORY = "foreverbeliever/OmniMedVQA"
ARCHIVE_NAME = "OmniMedVQA.zip"

_BLOCK = 1 << 20
_JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db"}
_DO_NOT_USE = "do not use this archive; fetch it again from its publisher"


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """What an archive may unfold to; the published one holds about 120,000 files and 11 GB.

    Attributes:
        members: largest number of members.
        total_bytes: largest size of all files together.
        member_bytes: largest size of one file.
        ratio: largest ratio of unpacked to packed size of one file, looked at from 1 MiB on: small files of
            repetitive text exceed any useful ratio harmlessly.
    """

    members: int = 1_000_000
    total_bytes: int = 100 * 2**30
    member_bytes: int = 2 * 2**30
    ratio: float = 200.0


def download(*, revision: str = "main", endpoint: str | None = None, repository: str = REPOSITORY) -> Path:
    """Download the published archive, or take it from the hub's local cache.

    An interrupted download goes on where it stopped.

    Args:
        revision: branch, tag or commit of the data set's repository.
        endpoint: address of the hub or a mirror; None for the usual one (or $HF_ENDPOINT).
        repository: name of the data set's repository.

    Returns:
        Path of the archive in the cache; the name of its folder is the commit.

    Raises:
        InvalidInputError: the repository, revision or file is not there, or the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    where = f"{repository}@{revision}"
    try:
        path = hf_hub_download(
            repository, ARCHIVE_NAME, repo_type="dataset", revision=revision, endpoint=endpoint
        )
    except LocalEntryNotFoundError as error:
        remedy = "check the network; or download the archive elsewhere and pass it with --archive"
        raise InvalidInputError([Problem(where, "the hub cannot be reached", remedy)]) from error
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        remedy = "check --revision and --endpoint, or pass a downloaded archive with --archive"
        raise InvalidInputError([Problem(where, f"cannot be downloaded: {reason}", remedy)]) from error
    except OSError as error:
        remedy = (
            "check the network and the free space of the cache; the next try goes on where this one stopped"
        )
        raise InvalidInputError([Problem(where, f"download broke off: {error}", remedy)]) from error
    return Path(path)


def unpack(
    archive: Path,
    target: Path,
    *,
    limits: UnpackLimits | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Unpack an archive of an OmniMedVQA tree.

    The files are written to a temporary folder beside `target`, which takes the name `target` when all of them are
    there. A folder around the tree (as in the published archive) is left out.

    Args:
        archive: the zip file.
        target: the folder to make; must not exist, or be empty.
        limits: what the archive may unfold to.
        progress: called with the bytes written so far and in total.

    Returns:
        `target`.

    Raises:
        InvalidInputError: `target` is in use, the archive is damaged, hostile or holds no OmniMedVQA tree, or the disk
            is too small. Nothing is left behind then.
    """
    limits = limits or UnpackLimits()
    if target.is_symlink() or (target.exists() and not (target.is_dir() and not any(target.iterdir()))):
        remedy = "choose another folder, or remove this one to unpack again"
        raise InvalidInputError([Problem(str(target), "exists and is not an empty folder", remedy)])
    if not archive.is_file():
        raise InvalidInputError([Problem(str(archive), "does not exist", "check the path")])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not _is_junk(member.filename)]
            problems = examine(members, archive=str(archive), limits=limits)
            needed = sum(member.file_size for member in members)
            free = shutil.disk_usage(target.parent).free
            if not problems and needed > free:
                what = f"needs {needed / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free"
                problems = [Problem(str(target.parent), what, "choose a folder on a larger disk")]
            if problems:
                raise InvalidInputError(problems)
            with tempfile.TemporaryDirectory(
                dir=target.parent, prefix=f".{target.name}.unpacking-"
            ) as temporary:
                # A folder inside, since the temporary one is closed to other users and would stay so.
                tree = Path(temporary) / "tree"
                tree.mkdir()
                _extract(opened, members, tree, progress)
                root = tree_root(tree)
                if root is None:
                    what = f"holds no `{QUESTIONS_FOLDER}` folder"
                    raise InvalidInputError([Problem(str(archive), what, "pass the archive of OmniMedVQA")])
                root.rename(target)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        what = f"is damaged or no zip archive: {error}"
        raise InvalidInputError([Problem(str(archive), what, "download it again")]) from error
    except NotImplementedError as error:
        what = f"is packed in a way that cannot be read: {error}"
        raise InvalidInputError([Problem(str(archive), what, _DO_NOT_USE)]) from error
    except OSError as error:
        what, remedy = f"cannot be unpacked: {error}", "check the folder's permissions and free space"
        raise InvalidInputError([Problem(str(target), what, remedy)]) from error
    return target


def leftovers(target: Path) -> list[Path]:
    """Temporary folders that killed unpackings of `target` left behind, or running ones are filling."""
    return sorted(target.parent.glob(f".{target.name}.unpacking-*"))


def examine(members: Sequence[zipfile.ZipInfo], *, archive: str, limits: UnpackLimits) -> list[Problem]:
    """Everything that forbids unpacking these members, judged by their headers alone."""
    problems = []
    if len(members) > limits.members:
        problems.append(
            Problem(archive, f"has {len(members)} members, more than {limits.members}", _DO_NOT_USE)
        )
    total = sum(member.file_size for member in members)
    if total > limits.total_bytes:
        what = f"unfolds to {total / 2**30:.1f} GiB, more than {limits.total_bytes / 2**30:.1f} GiB"
        problems.append(Problem(archive, what, _DO_NOT_USE))
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    for row, member in enumerate(members, start=1):
        fault = _member_fault(member, limits)
        path = PurePosixPath(member.filename)
        if fault is None and not member.is_dir():
            if path in files:
                fault = "stands there twice"
            files.add(path)
            folders.update(path.parents)
        elif fault is None:
            folders.update((path, *path.parents))
        if fault is not None:
            problems.append(Problem(archive, f"member {member.orig_filename!r} {fault}", _DO_NOT_USE, row))
    for path in sorted(files & folders):
        problems.append(Problem(archive, f"member {str(path)!r} is a file and a folder", _DO_NOT_USE))
    return problems


def _member_fault(member: zipfile.ZipInfo, limits: UnpackLimits) -> str | None:
    name = member.orig_filename
    kind = stat.S_IFMT(member.external_attr >> 16)
    if "\0" in name or "\\" in name:
        return "has a backslash or a zero byte in its name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    if not name.strip("/") or any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        return "has a name that leaves or blurs its folder"
    if stat.S_ISLNK(kind):
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is no regular file"
    if member.flag_bits & 0x1:
        return "is encrypted"
    if member.file_size > limits.member_bytes:
        return (
            f"unfolds to {member.file_size / 2**30:.1f} GiB, more than {limits.member_bytes / 2**30:.1f} GiB"
        )
    if member.file_size >= _BLOCK and member.file_size > limits.ratio * member.compress_size:
        return f"unfolds to more than {limits.ratio:g} times its packed size"
    return None


def _is_junk(name: str) -> bool:
    return not _JUNK.isdisjoint(PurePosixPath(name).parts)


def _extract(
    opened: zipfile.ZipFile,
    members: Sequence[zipfile.ZipInfo],
    folder: Path,
    progress: Callable[[int, int], None],
) -> None:
    total = sum(member.file_size for member in members)
    done = 0
    for member in members:
        path = folder / member.filename
        if member.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with opened.open(member) as source, path.open("xb") as sink:
            while block := source.read(_BLOCK):
                written += len(block)
                if written > member.file_size:
                    raise zipfile.BadZipFile(f"{member.filename!r} is larger than it says")
                sink.write(block)
                progress(done + written, total)
        if written != member.file_size:
            raise zipfile.BadZipFile(f"{member.filename!r} is smaller than it says")
        done += written
