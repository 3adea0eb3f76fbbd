"""What one image turned out to be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageState:
    """What one image turned out to be.

    Attributes:
        digest: hex SHA-256 of its content; None where it could not be read.
        fault: what is wrong with it; None where nothing is, or where it was not asked to be decoded.
        remedy: what to do about the fault.
        steps: what making it canonical does to it, in standing words; empty where it was not decoded.
        shape: height and width of its canonical image; None where it was not decoded.
    """

    digest: str | None
    fault: str | None = None
    remedy: str = ""
    steps: tuple[str, ...] = ()
    shape: tuple[int, int] | None = None
