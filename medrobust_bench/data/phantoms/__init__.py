"""Phantoms: a synthetic data set of eight imaging modalities, rendered on demand.

Every picture is computed from (seed, split, modality, index); no patient's image is in it. The pictures look like
their modalities to a person, and like nothing else: a score on them says nothing about clinical performance.
"""

from medrobust_bench.data.phantoms.phantom import Phantom
from medrobust_bench.data.phantoms.questions import open_phantoms, phantom_questions

__all__ = ["Phantom", "open_phantoms", "phantom_questions"]
