"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import NamedTemporaryFile


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".partial", delete=False
    ) as file:
        partial = Path(file.name)
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    partial.chmod(0o666 & ~_umask())
    partial.replace(path)


def _umask() -> int:
    """What new files must not permit; a temporary file begins as its owner's alone."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
