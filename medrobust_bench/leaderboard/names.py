"""Names of data sets, threats and models as names of files."""

from __future__ import annotations

import re


def slug(name: str) -> str:
    """A name as a file name: letters, digits, underscores, dots and hyphens, no dot at either end."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "unnamed"
