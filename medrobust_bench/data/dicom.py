"""DICOM files as a viewer shows them: rescaled, windowed by their header, white where white is meant. Needs pydicom."""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.pixels.utils import pixel_array

from medrobust_bench.data.decoding import (
    INVERTED,
    OWN_RANGE,
    Decoded,
    ImageError,
    check_finite,
    check_frame,
    stretched,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW = "grey levels windowed as the DICOM header says"
LOOK_UP_TABLE = "grey levels mapped by the table in the DICOM header"
PALETTE = "colours looked up in the palette of the DICOM header"

# What pydicom and its plugins raise on damaged or hostile files.
_READING_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
)
_FAR = 1e9  # beyond every grey level


def decode_dicom(content: bytes, frame: int | None) -> Decoded:
    """Decode a DICOM file to 8 bits a channel.

    Grey levels go through the modality table (or slope and intercept), then the first window or table of the header
    (PS3.3 C.11.2), or, where there is none, from the darkest to the brightest level that is no padding. MONOCHROME1 is
    inverted. Colour is taken as RGB.

    Args:
        content: the file's bytes.
        frame: see `decoding.decode`.

    Raises:
        ImageError: it is damaged, has no pixels or several frames, or nothing installed reads its compression.
    """
    try:
        header = pydicom.dcmread(io.BytesIO(content))
        if "PixelData" not in header:
            raise ImageError("is a DICOM file without pixels", "name the file that holds the image")
        chosen = check_frame(int(header.get("NumberOfFrames") or 1), frame)
        pixels = pixel_array(header, index=chosen)
        image, steps = (_colour if header.SamplesPerPixel > 1 else _grey_or_palette)(header, pixels)
    except ImageError:
        raise
    except _READING_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        remedy = "replace the file, or write the image as PNG; compressed pixels may need `pip install pylibjpeg[all]`"
        raise ImageError(f"DICOM file cannot be decoded: {reason}", remedy) from error
    return Decoded(image, image.size, steps if frame is None else (f"frame {chosen}", *steps))


def _colour(header: pydicom.Dataset, pixels: NDArray[np.generic]) -> tuple[Image.Image, tuple[str, ...]]:
    return Image.fromarray(_upper_bits(pixels, int(header.BitsStored))), ()


def _grey_or_palette(
    header: pydicom.Dataset, pixels: NDArray[np.generic]
) -> tuple[Image.Image, tuple[str, ...]]:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        looked_up = apply_color_lut(pixels, header)
        return Image.fromarray(_upper_bits(looked_up[..., :3], 8 * looked_up.dtype.itemsize)), (PALETTE,)
    levels = np.asarray(apply_modality_lut(pixels, header), dtype=np.float64)
    check_finite(levels)
    if header.get("VOILUTSequence"):
        top = 2.0 ** int(header.VOILUTSequence[0].LUTDescriptor[2]) - 1
        table = apply_voi_lut(levels.astype(np.int64), header, prefer_lut=True)
        grey, done = stretched(table.astype(np.float64), 0.0, top), LOOK_UP_TABLE
    elif header.get("WindowCenter") not in (None, "") and header.get("WindowWidth") not in (None, ""):
        # The window's own output range depends on the file; levels far outside tell where black and white are.
        with np.errstate(over="ignore"):
            windowed = apply_windowing(np.append(levels.ravel(), (-_FAR, _FAR)), header)
        grey, done = stretched(windowed[:-2].reshape(levels.shape), windowed[-2], windowed[-1]), WINDOW
    else:
        shown = levels[np.asarray(pixels) != header.get("PixelPaddingValue", None)]
        shown = shown if shown.size else levels
        grey, done = stretched(levels, float(shown.min()), float(shown.max())), OWN_RANGE
    if header.PhotometricInterpretation == "MONOCHROME1":
        return Image.fromarray(255 - grey), (done, INVERTED)
    return Image.fromarray(grey), (done,)


def _upper_bits(pixels: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    return (np.asarray(pixels).astype(np.int64) >> max(0, bits - 8)).clip(0, 255).astype(np.uint8)
