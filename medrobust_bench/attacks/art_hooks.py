"""What this package uses of the Adversarial Robustness Toolbox beyond its public interface.

ART's attacks return their last iterate, draw from global random states and do not stop at success. What steps into them
relies on names that a release of ART may change without notice; all of them are listed here.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from inspect import signature

from art.attacks.evasion import AdversarialPatchPyTorch, auto_projected_gradient_descent
from art.attacks.evasion.projected_gradient_descent.projected_gradient_descent_pytorch import (
    ProjectedGradientDescentPyTorch,
)

from medrobust_bench.problems import InvalidInputError, Problem

KNOWN = "1.20"

_STEP = ("x", "x_init", "y", "mask", "eps", "eps_step", "random_init", "momentum")
_METHODS: dict[tuple[type, str], tuple[str, ...]] = {
    (ProjectedGradientDescentPyTorch, "_generate_batch"): ("x", "targets", "mask", "eps", "eps_step"),
    (ProjectedGradientDescentPyTorch, "_compute_pytorch"): _STEP,
    (ProjectedGradientDescentPyTorch, "_apply_perturbation_pytorch"): ("x", "perturbation", "eps_step"),
    (ProjectedGradientDescentPyTorch, "_projection"): ("values", "eps", "norm_p"),
    (AdversarialPatchPyTorch, "_train_step"): ("images", "target", "mask"),
    (AdversarialPatchPyTorch, "_loss"): ("images", "target", "mask"),
    (AdversarialPatchPyTorch, "_random_overlay"): ("images", "patch", "scale", "mask"),
}
"""Methods that are called or overridden, and parameters that they have to have."""

_ATTRIBUTES = ("_patch", "_optimizer")
"""What AdversarialPatchPyTorch keeps its patch and its optimiser under."""


@cache
def check_art() -> None:
    """Refuse a toolbox in which something that is relied on is missing.

    Raises:
        InvalidInputError: with all that is missing, and what to install.
    """
    missing = [
        f"{owner.__name__}.{name}"
        for (owner, name), needed in _METHODS.items()
        if not hasattr(owner, name) or not set(needed) <= set(signature(getattr(owner, name)).parameters)
    ]
    set_in_patch = {
        name
        for method in vars(AdversarialPatchPyTorch).values()
        if hasattr(method, "__code__")
        for name in method.__code__.co_names
    }
    missing += [f"AdversarialPatchPyTorch.{name}" for name in _ATTRIBUTES if name not in set_in_patch]
    if not hasattr(auto_projected_gradient_descent, "random_sphere"):
        missing.append("auto_projected_gradient_descent.random_sphere")
    if missing:
        version = importlib.metadata.version("adversarial-robustness-toolbox")
        what = f"does not have {', '.join(missing)} as version {KNOWN} has"
        remedy = f'pip install "adversarial-robustness-toolbox=={KNOWN}.*"'
        raise InvalidInputError([Problem(f"adversarial-robustness-toolbox {version}", what, remedy)])
