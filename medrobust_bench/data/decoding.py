"""From the bytes of an image file to 8-bit pixels, by stated rules, whoever wrote the file.

Only the formats in `FORMATS` are read (Pillow itself would try any, and start Ghostscript for an EPS file that calls
itself PNG), DICOM through pydicom. Pixels deeper than 8 bits need a rule, since a screen has 256 levels:

1. DICOM: the first window of the header; without a window, as 3.
2. TIFF whose header states the range of its samples (SMinSampleValue and SMaxSampleValue, else MinSampleValue and
   MaxSampleValue): that range.
3. Any other grey image deeper than 8 bits, integer or floating point, of either byte order: from its own darkest to its
   brightest level. Pixels that are no number are refused.
4. Colour of 16 bits a channel: the upper 8 bits.

What was done is told in `Decoded.steps`.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000")
"""What Pillow may open. Of a JPEG with previews behind it (MPO, as phones write it), the picture is read."""

LFS_POINTER = b"version https://git-lfs"
NOT_FETCHED = ("is a pointer of Git LFS and not the file itself", "fetch it: git lfs pull")
"""What is wrong with a file that begins with it, and what to do."""

OWN_RANGE = "grey levels stretched from the image's own darkest to its brightest"
HEADER_RANGE = "grey levels mapped from the range that the file's header states"
UPRIGHT = "turned upright as its orientation tag says"
INVERTED = "inverted: the file stores white as 0"

_DEEP = ("I", "F")
"""How the modes of grey images deeper than 8 bits begin: I;16, I;16B, I;16L, I;16N, I, F."""
_WHITE_IS_ZERO = 0  # PhotometricInterpretation of TIFF
_ON_ITS_SIDE = (5, 6, 7, 8)  # orientations that exchange width and height
_PHOTOMETRIC, _ORIENTATION, _RANGE_TAGS = 262, 274, ((340, 341), (280, 281))

# Pillow's decoders let these through besides OSError when a file is damaged or hostile.
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageError(OSError):
    """An image that cannot be used; `what` and `remedy` as in `Problem`."""

    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: 8 bits a channel, in any of Pillow's modes of that depth.
        size: width and height of the upright image, before a coarse decoding made it smaller.
        steps: what was done to get there that changes what a reader sees, in a few standing words each.
    """

    image: Image.Image
    size: tuple[int, int]
    steps: tuple[str, ...] = ()


def decode(content: bytes, *, frame: int | None = None, coarse: bool = False) -> Decoded:
    """Decode an image file completely.

    Args:
        content: the file's bytes.
        frame: which one to take of several, counted from 0; None refuses a file that has several.
        coarse: a JPEG may be decoded at an eighth of its size. It still reads every coded byte, several times faster.

    Raises:
        ImageError: it is damaged, of a format that is not read, has several frames, or holds pixels that are no number.
    """
    return next(decoder for recognises, decoder in _DECODERS if recognises(content))(content, frame, coarse)


def read_png(content: bytes) -> Image.Image:
    """Decode a PNG file, and nothing else that calls itself so.

    Raises:
        OSError: it is no PNG file, or damaged.
    """
    image = Image.open(io.BytesIO(content), formats=("PNG",))
    image.load()
    return image


def stretched(levels: NDArray[np.float64], low: float, high: float) -> NDArray[np.uint8]:
    """Grey levels mapped linearly from [low, high] to [0, 255], clipped and rounded; all black where low is high."""
    if high <= low:
        return np.zeros(levels.shape, np.uint8)
    scaled: NDArray[np.float64] = ((levels - low) / (high - low) * 255).clip(0, 255).round()
    return scaled.astype(np.uint8)


def check_finite(levels: NDArray[np.float64]) -> None:
    """Refuse pixels that are NaN or infinite.

    Raises:
        ImageError: there are some.
    """
    bad = levels.size - int(np.isfinite(levels).sum())
    if bad:
        what = f"{bad} of its {levels.size} pixels are no number (NaN or infinite)"
        raise ImageError(what, "replace them by levels, such as the background's, or leave the image out")


def check_frame(count: int, frame: int | None) -> int:
    """The frame to read of a file with so many.

    Raises:
        ImageError: there are several and none was chosen, or the one that was chosen is not there.
    """
    if frame is None and count > 1:
        what = f"holds {count} frames, and a question is about one image"
        raise ImageError(
            what, "write the frame that is meant as a file of its own, or name it in a data card (frame)"
        )
    if frame is not None and not 0 <= frame < count:
        raise ImageError(
            f"has no frame {frame}: it holds {count}", "choose a frame that is there, counted from 0"
        )
    return frame or 0


def _decode_picture(content: bytes, frame: int | None, coarse: bool) -> Decoded:
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
        count = 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        chosen = check_frame(count, frame)
        if chosen:
            image.seek(chosen)
        size = image.size
        drafted = coarse and image.draft(image.mode, (1, 1)) is not None
        orientation = image.getexif().get(_ORIENTATION, 1)  # loading turns a TIFF, and forgets the tag
        image.load()
        steps = () if frame is None else (f"frame {chosen}",)
        if image.mode.startswith(_DEEP):
            grey, done = _shallow(image)
            image, steps = grey, (*steps, *done)
        upright = ImageOps.exif_transpose(image)
        if {orientation, image.getexif().get(_ORIENTATION, 1)} != {1}:
            steps = (*steps, UPRIGHT)
        if not drafted:
            size = upright.size
        elif orientation in _ON_ITS_SIDE:
            size = (size[1], size[0])
        upright.convert(
            "RGB"
        )  # what the canonical image does next can fail as well: colour spaces without RGB
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if not content:
            raise ImageError("is an empty file", "fetch it again from the data set's source") from error
        if content.startswith(LFS_POINTER):
            raise ImageError(*NOT_FETCHED) from error
        remedy = f"replace the file by one of {', '.join(FORMATS)}, or DICOM"
        raise ImageError("cannot be decoded: not an image of a format that is read", remedy) from error
    except _DECODING_ERRORS as error:
        raise ImageError(f"cannot be decoded: {error}", "replace the file") from error
    return Decoded(upright, size, steps)


def _shallow(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """A grey image deeper than 8 bits as one of 8 bits: Pillow's own conversion would clip at 255."""
    levels = np.asarray(image).astype(np.float64)
    check_finite(levels)
    tags: Mapping[int, object] = getattr(image, "tag_v2", {})
    stated = _stated_range(tags)
    low, high = stated or (float(levels.min()), float(levels.max()))
    grey = stretched(levels, low, high)
    steps: tuple[str, ...] = (HEADER_RANGE if stated else OWN_RANGE,)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey, steps = 255 - grey, (*steps, INVERTED)
    made = Image.fromarray(grey)
    if orientation := image.getexif().get(_ORIENTATION):  # not lost on the way
        made.getexif()[_ORIENTATION] = orientation
    return made, steps


def _stated_range(tags: Mapping[int, object]) -> tuple[float, float] | None:
    for pair in _RANGE_TAGS:
        low, high = (_number(tags.get(tag)) for tag in pair)
        if low is not None and high is not None and low < high:
            return low, high
    return None


def _number(value: object) -> float | None:
    if isinstance(value, tuple):
        value = value[0] if len(value) == 1 else None
    try:
        number = float(value)  # type: ignore[arg-type]  # rationals of Pillow are numbers without saying so
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _is_dicom(content: bytes) -> bool:
    return content[128:132] == b"DICM"


def _decode_dicom(content: bytes, frame: int | None, coarse: bool) -> Decoded:
    try:
        from medrobust_bench.data.dicom import decode_dicom
    except ModuleNotFoundError as error:
        remedy = "install it: pip install 'medrobust-bench[dicom]'"
        raise ImageError("is a DICOM file, which pydicom reads", remedy) from error
    return decode_dicom(content, frame)


_NIFTI = {348: slice(344, 348), 540: slice(4, 8)}
"""Size of the header, with which a NIfTI file of version 1 or 2 begins, and where its magic word stands."""


def _is_nifti(content: bytes) -> bool:
    if content[:2] == b"\x1f\x8b":
        try:
            content = zlib.decompressobj(wbits=31).decompress(content[:65536], 512)
        except zlib.error:
            return False
    sizes = (int.from_bytes(content[:4], "little"), int.from_bytes(content[:4], "big"))
    return any(content[_NIFTI[size]][:2] in (b"n+", b"ni") for size in sizes if size in _NIFTI)


def _refuse_nifti(content: bytes, frame: int | None, coarse: bool) -> Decoded:
    remedy = "write the slice that the question is about as PNG, with its window (nibabel, 3D Slicer)"
    raise ImageError("is a NIfTI volume, and a question is about one image", remedy)


_DECODERS: tuple[
    tuple[Callable[[bytes], bool], Callable[[bytes, int | None, bool], Decoded]],
    ...,
] = (
    (_is_dicom, _decode_dicom),
    (_is_nifti, _refuse_nifti),
    (lambda _content: True, _decode_picture),
)


def from_base64(text: object) -> bytes:
    """The encoded image in a cell of text, a data URL or bare.

    Raises:
        ImageError: it is none.
    """
    if not isinstance(text, str):
        raise ImageError("is no base64 text", "write the encoded image as base64")
    try:
        return base64.b64decode(text.partition(";base64,")[2] or text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"is no base64 text: {error}", "write the encoded image as base64") from error
