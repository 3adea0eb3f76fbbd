"""Where a data set's files are: a folder, a zip archive, or the hub's cache. Archives are read and never unpacked."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Protocol

from medrobust_bench.data.decoding import ImageError, decode
from medrobust_bench.data.image import content_digest
from medrobust_bench.data.image_files import ImageFolder
from medrobust_bench.data.rows import RowError
from medrobust_bench.data.table import TableFile
from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from PIL.Image import Image

    from medrobust_bench.data.image import ImageSource

_LARGEST_MEMBER = 2 * 2**30
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Images(Protocol):
    """Images by the names that a data set has for them."""

    def image(self, name: str, frame: int | None) -> ImageSource:
        """The image of a name.

        Raises:
            RowError: the name leads out of the data set, or means several images.
        """
        ...

    def notes(self) -> tuple[str, ...]:
        """What a user should know."""
        ...


class FolderImages:
    """Images in a folder; see `ImageFolder`."""

    def __init__(self, folder: Path, *, chosen: bool = False) -> None:
        self._folder = ImageFolder(folder, chosen=chosen)

    def image(self, name: str, frame: int | None) -> ImageSource:
        """See `Images`."""
        return self._folder.image(name, frame)

    def notes(self) -> tuple[str, ...]:
        """See `Images`."""
        return self._folder.notes()


class ArchiveImages:
    """Images in a zip archive, by their whole name or by its end, where that means one file only."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self._members = set(_opened(archive).namelist())
        self._by_end: dict[str, list[str]] = {}
        for member in sorted(self._members):
            if not member.endswith("/") and not _is_junk(member):
                self._by_end.setdefault(PurePosixPath(member).name, []).append(member)

    def image(self, name: str, frame: int | None) -> ImageSource:
        """See `Images`."""
        if name in self._members:
            return ArchivedImage(self._archive, name, frame)
        end = "/" + name.strip("/")
        fitting = [
            member for member in self._by_end.get(PurePosixPath(name).name, []) if f"/{member}".endswith(end)
        ]
        if len(fitting) > 1:
            what = f"image {name!r} may be {fitting[0]!r} or {fitting[1]!r} in {self._archive.name}"
            raise RowError(what, "write more of its path, with the card's `image.prefix`")
        return ArchivedImage(self._archive, fitting[0] if fitting else name, frame)

    def notes(self) -> tuple[str, ...]:
        """See `Images`."""
        return ()


class NoImages:
    """None besides those that stand in the rows."""

    def image(self, name: str, frame: int | None) -> ImageSource:
        """See `Images`."""
        remedy = "name the images' folder or zip file in the card (`source.images`), or a folder (--images)"
        raise RowError(f"image {name!r} is a path, and nothing says where it leads", remedy)

    def notes(self) -> tuple[str, ...]:
        """See `Images`."""
        return ()


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """An image in a zip archive, read when it is asked for; its digest is that of its bytes."""

    archive: Path
    member: str
    frame: int | None = None

    @property
    def name(self) -> str:
        """Archive and member."""
        return f"{self.archive}:{self.member}"

    @property
    def location(self) -> tuple[Path, str]:
        """See `FiledImage`."""
        return self.archive, self.member

    def read(self) -> bytes:
        """The unpacked bytes."""
        return _member(self.archive, self.member)

    def open(self) -> Image:
        """Decode the bytes completely."""
        return decode(self.read(), frame=self.frame).image

    def digest(self) -> str:
        """SHA-256 of the bytes."""
        return content_digest(self.read(), self.frame)


def folder_tables(folder: Path, patterns: Iterable[str]) -> list[TableFile]:
    """The files of rows in a folder that fit one of the patterns, in the order of patterns, then by name."""
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [TableFile(str(path), path.relative_to(folder).as_posix(), path) for path in dict.fromkeys(found)]


def archive_tables(archive: Path, patterns: Iterable[str]) -> list[TableFile]:
    """The files of rows in a zip archive that fit one of the patterns, read into memory."""
    members = sorted(member for member in _opened(archive).namelist() if not _is_junk(member))
    found = [member for pattern in patterns for member in members if PurePosixPath(member).match(pattern)]
    return [
        TableFile(f"{archive}:{member}", member, content=_member(archive, member))
        for member in dict.fromkeys(found)
    ]


def hub_folder(repository: str, revision: str, patterns: Iterable[str], *, download: bool = True) -> Path:
    """The folder of a hub data set's files in the local cache, downloaded if they are not there yet.

    Args:
        repository: owner/name.
        revision: branch, tag or commit.
        patterns: which files are wanted.
        download: whether what is not in the cache may be fetched.

    Raises:
        InvalidInputError: the data set or revision is not there, or the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    where = f"{repository}@{revision}"
    try:
        folder = snapshot_download(
            repository,
            repo_type="dataset",
            revision=revision,
            allow_patterns=list(patterns),
            local_files_only=not download,
        )
    except LocalEntryNotFoundError as error:
        remedy = "check the network; or download the data set elsewhere and name its folder: --data ID=FOLDER"
        raise InvalidInputError(
            [Problem(where, "is not in the cache, and the hub cannot be reached", remedy)]
        ) from error
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "check the name, the revision, and whether the data set asks for a login (`hf auth login`)"
        raise InvalidInputError([Problem(where, f"cannot be downloaded: {reason}", remedy)]) from error
    return Path(folder)


def _is_junk(member: str) -> bool:
    """Whether it is what a Mac leaves in archives beside the files, or hidden."""
    return any(part == "__MACOSX" or part.startswith(".") for part in PurePosixPath(member).parts)


def _opened(archive: Path) -> zipfile.ZipFile:
    """An archive, kept open: the table of contents of a large one takes seconds to read."""
    try:
        state = archive.stat()
        return _kept_open(archive, state.st_mtime_ns, state.st_size)
    except (*_DAMAGED, OSError) as error:
        what = f"cannot be read as a zip archive: {error}"
        raise InvalidInputError([Problem(str(archive), what, "fetch it again from its publisher")]) from error


@lru_cache(maxsize=8)
def _kept_open(archive: Path, _changed: int, _size: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive)


def _member(archive: Path, member: str) -> bytes:
    try:
        info = _opened(archive).getinfo(member)
    except KeyError as error:
        raise FileNotFoundError(f"{archive} holds no {member}") from error
    if info.file_size > _LARGEST_MEMBER:
        what = f"unfolds to {info.file_size / 2**30:.1f} GiB in {archive.name}"
        raise ImageError(what, "do not use this archive; fetch it again from its publisher")
    try:
        return _opened(archive).read(info)
    except _DAMAGED as error:
        raise ImageError(f"is damaged in {archive.name}: {error}", "fetch the archive again") from error
