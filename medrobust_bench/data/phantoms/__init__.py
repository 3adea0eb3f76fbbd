"""Phantoms: a synthetic suite of eight imaging modalities, rendered on demand. No patient's image is in it."""

from medrobust_bench.data.phantoms.phantom import Phantom
from medrobust_bench.data.phantoms.questions import open_phantoms, phantom_questions

__all__ = ["Phantom", "open_phantoms", "phantom_questions"]
