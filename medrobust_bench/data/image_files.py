"""Images of a data set: where their files lie, whether they decode, what their content is."""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard
from urllib.parse import unquote

from PIL import ImageOps

from medrobust_bench.data.decoding import ImageError, decode
from medrobust_bench.data.image import (
    LONGEST_SIDE,
    EncodedImage,
    ImageFile,
    ImageSource,
    canonical_size,
    content_digest,
)
from medrobust_bench.data.image_cache import stamp_of, stamps_of
from medrobust_bench.data.image_state import ImageState
from medrobust_bench.data.rows import RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from medrobust_bench.data.image_cache import ImageCache

MISSING = "is missing"
REDUCED = f"made smaller, to {LONGEST_SIDE} pixels on the longest side"

_STAY_INSIDE = "write the image path relative to the data set's folder and keep the file inside it"
_PLAIN = re.compile(r"[A-Za-z0-9_ ()-][A-Za-z0-9_. ()-]*")
"""A file's name that needs no second look once its folder has been found."""
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class ImageFolder:
    """The folder that a data set's image paths are relative to; no path leads out of the data set.

    Two kinds of symbolic links are followed, since data sets are kept that way:

    - A folder at the top (`Images`) that is a link: image collections are large and stand on another disk. The folder
      that it leads to becomes part of the data set, unless it holds the data set itself (a link to `/` or to `..`).
    - Files that are links into the hub's cache: `blobs/<hash>` in one of the four folders above, as
      `huggingface_hub.snapshot_download` lays them out.

    Any other link must end inside the folder.

    Args:
        folder: see above.
        chosen: whether a user named it. It may then be the folder that holds `Images`, or the folder of images itself:
            where the first part of a path is not in it, the path goes on without that part.
    """

    def __init__(self, folder: Path, *, chosen: bool = False) -> None:
        self.path = folder.resolve()
        self._chosen = chosen
        self._tops: dict[str, Path | None] = {}
        self._names: dict[Path, dict[str, str]] = {}
        # Images share few folders: resolving each folder once is several times faster than each image.
        self._inside: dict[str, bool] = {}
        self._plain: dict[str, str] = {}
        above = [folder.absolute(), self.path]
        blobs = (place / "blobs" for base in above for place in list(base.parents)[:4])
        self._blobs = next((place.resolve() for place in blobs if place.is_dir()), None)

    def image(self, name: str, frame: int | None = None) -> ImageFile:
        """The image that a data set calls `name`, or one frame of it; see `locate`.

        One look at a plain file in a known folder tells both that it is no link and what its stamp is.
        """
        around, _, last = name.rpartition("/")
        if around not in self._plain or not _PLAIN.fullmatch(last):
            return ImageFile(self.locate(name), frame)
        path = self._plain[around] + last
        try:
            seen = os.lstat(path)
        except OSError:
            return ImageFile(path, frame)
        if stat.S_ISLNK(seen.st_mode):
            return ImageFile(self.locate(name), frame)
        return ImageFile(path, frame, stamp_of(seen))

    def locate(self, name: str) -> Path:
        """Where the image that a data set calls `name` should be.

        A name in composed Unicode finds its file in decomposed Unicode and the other way round, since they look alike
        and file systems change one into the other.

        Raises:
            RowError: the path is absolute, leaves the data set (by "..", or through a symbolic link), or is no path.
        """
        if "\\" in name or "\0" in name:
            raise RowError(f"image path {name!r} has a backslash or a zero byte in it", _STAY_INSIDE)
        if "://" in name:
            remedy = "download the images, write their names, and name their folder (--images)"
            raise RowError(f"image path {name!r} is a web address, and nothing is downloaded", remedy)
        if name.startswith("/") or re.match(r"[A-Za-z]:", name):
            raise RowError(f"image path {name!r} is absolute", _STAY_INSIDE)
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise RowError(f"image path {name!r} leaves the data set's folder", _STAY_INSIDE)
        if not name.isascii():
            parts = self._as_on_disk(parts)
        path = self._top(parts, name).joinpath(*parts[1:])
        folder = "/".join(parts[:-1])
        if folder not in self._inside:
            self._inside[folder] = len(parts) < 2 or self._holds(path.parent, parts[0])
        if not self._inside[folder]:
            raise _leads_out(name)
        # os.path, since pathlib raises on names that are too long.
        if os.path.islink(path) and not self._may_follow(path, parts[0] if parts else ""):  # noqa: PTH114
            raise _leads_out(name)
        if len(parts) > 1 and name.isascii():
            self._plain[name.rpartition("/")[0]] = f"{path.parent}{os.sep}"
        return path

    def notes(self) -> tuple[str, ...]:
        """What a user should know: which links at the top led out of the folder."""
        outside = {
            first: top
            for first, top in self._tops.items()
            if top is not None and not top.is_relative_to(self.path)
        }
        return tuple(
            f"images are read from {top}, where the link {first} leads" for first, top in outside.items()
        )

    def _top(self, parts: list[str], name: str) -> Path:
        """Where the first part of a path leads; the folder itself where a user named the folder of images."""
        first = parts[0] if parts else ""
        if first not in self._tops:
            self._tops[first] = self._open_top(self.path / first, several=len(parts) > 1)
        top = self._tops[first]
        if top is None:
            what = f"image path {name!r} leads through a symbolic link to a folder that holds the data set itself"
            raise RowError(what, "let the link lead to the folder of images alone")
        return top

    def _open_top(self, top: Path, *, several: bool) -> Path | None:
        if self._chosen and several and not os.path.lexists(top):
            return self.path
        if not (several and top.is_symlink() and os.path.isdir(top)):  # noqa: PTH112 (pathlib raises on loops)
            return top
        target = Path(os.path.realpath(top))
        if target.is_relative_to(self.path):
            return top
        return None if self.path.is_relative_to(target) else target

    def _holds(self, path: Path, first: str) -> bool:
        # os.path, since pathlib raises on loops of links (up to Python 3.12) and on names that are too long.
        real = Path(os.path.realpath(path))
        top = self._tops[first]
        return real.is_relative_to(self.path) or (top is not None and real.is_relative_to(top))

    def _may_follow(self, path: Path, first: str) -> bool:
        real = Path(os.path.realpath(path))
        is_blob = real.parent == self._blobs and _BLOB.fullmatch(real.name) is not None
        return is_blob or self._holds(path, first)

    def _as_on_disk(self, parts: list[str]) -> list[str]:
        """Parts of a path, each in the Unicode form that its folder has, if it has one."""
        folder, found = self.path, []
        for part in parts:
            if not os.path.lexists(folder / part):
                part = self._listing(folder).get(unicodedata.normalize("NFC", part), part)
            found.append(part)
            folder = folder / part
        return found

    def _listing(self, folder: Path) -> dict[str, str]:
        """Names in a folder by their composed form."""
        if folder not in self._names:
            try:
                names = os.listdir(folder)  # noqa: PTH208 (names alone, of many files)
            except OSError:
                names = []
            self._names[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._names[folder]


def _leads_out(name: str) -> RowError:
    what = f"image path {name!r} leads out of the data set's folder through a symbolic link"
    return RowError(what, "put the file itself there, or name the folder that holds the images (--images)")


def near_miss(path: Path) -> str | None:
    """A file beside a missing one that was probably meant: in other letters, as in web addresses, with an ending."""
    try:
        there = [(unquote(name).casefold(), name) for name in sorted(os.listdir(path.parent))]  # noqa: PTH208
    except OSError:
        return None
    plain = unquote(path.name).casefold()
    alike = [name for form, name in there if form == plain]
    alike += [name for form, name in there if form.rpartition(".")[0] == plain]
    return next(iter(alike), None)


def inspect(
    sources: Iterable[ImageSource],
    *,
    decode: Callable[[ImageSource, str], bool],
    cache: ImageCache | None = None,
) -> dict[ImageSource, ImageState]:
    """Read every distinct image once, in parallel; hash it, and decode it where wanted.

    Args:
        sources: images, repeats allowed.
        decode: whether to decode an image, given the digest of its content.
        cache: what is known of earlier times, which spares reading what has not changed since; None: all are read.
    """
    distinct = list(dict.fromkeys(sources))
    # Stamps from before: if a file changes meanwhile, what is found in it is never taken for the new one's.
    stamps = {} if cache is None else stamps_of(distinct)
    states = {} if cache is None else cache.recall(distinct, stamps)
    unknown = [source for source in distinct if not _suffices(source, states.get(source), decode)]
    if not unknown:
        return states
    workers = min(16, (os.cpu_count() or 1) + 4)
    # Small images are inspected faster than a thread is told to: each gets several at a time.
    size = max(1, min(_TOGETHER, len(unknown) // (4 * workers)))
    parts = [unknown[start : start + size] for start in range(0, len(unknown), size)]
    # Reading, hashing and decoding all release the interpreter lock.
    with ThreadPoolExecutor(max_workers=workers) as pool:
        found = pool.map(lambda part: [(source, _inspect(source, decode)) for source in part], parts)
        inspected = [pair for part in found for pair in part]
    if cache is not None:
        cache.keep(inspected, stamps)
    return states | dict(inspected)


_TOGETHER = 64


def _suffices(
    source: ImageSource, known: ImageState | None, wanted: Callable[[ImageSource, str], bool]
) -> bool:
    """Whether what is known of an image is all that is asked."""
    if known is None or known.digest is None:
        return False
    return known.shape is not None or not wanted(source, known.digest)


def _inspect(source: ImageSource, wanted: Callable[[ImageSource, str], bool]) -> ImageState:
    if not _is_encoded(source):
        return _inspect_rendered(source, wanted)
    try:
        content = source.read()
    except FileNotFoundError:
        return ImageState(None, MISSING, "restore the file from the data set's source")
    except ImageError as error:
        return ImageState(None, error.what, error.remedy)
    except OSError as error:
        return ImageState(
            None, f"cannot be read: {error.strerror or error}", "check the file and its permissions"
        )
    digest = content_digest(content, source.frame)
    if not wanted(source, digest):
        return ImageState(digest)
    try:
        decoded = decode(content, frame=source.frame, coarse=True)
    except ImageError as error:
        return ImageState(digest, error.what, error.remedy)
    return _decoded(digest, decoded.size, decoded.steps)


def _decoded(digest: str, size: tuple[int, int], steps: tuple[str, ...] = ()) -> ImageState:
    width, height = canonical_size(size)
    reduced = (width, height) != size
    return ImageState(digest, steps=(*steps, REDUCED) if reduced else steps, shape=(height, width))


def _is_encoded(source: ImageSource) -> TypeGuard[EncodedImage]:
    # By attributes: `isinstance` with a protocol takes longer than reading a small image.
    return hasattr(source, "read") and hasattr(source, "frame")


def _inspect_rendered(source: ImageSource, wanted: Callable[[ImageSource, str], bool]) -> ImageState:
    """An image source that tells no encoded bytes: some other package's, or rendered."""
    try:
        digest = source.digest()
        if not wanted(source, digest):
            return ImageState(digest)
        image = ImageOps.exif_transpose(source.open())
    except FileNotFoundError:
        return ImageState(None, MISSING, "restore the file from the data set's source")
    except OSError as error:
        return ImageState(None, f"cannot be read: {error}", "replace the image")
    return _decoded(digest, image.size)
