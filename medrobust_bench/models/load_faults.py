"""Why a checkpoint cannot be loaded, as one problem with its remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ANY = "give a local folder or hub id of a safetensors image-text-to-text model"
_HUB = {
    GatedRepoError: (
        "is a gated repository, and this machine has not been let in",
        "accept its licence at https://huggingface.co/{source} while logged in there, then run `hf auth login` here "
        "(or set HF_TOKEN); or download it elsewhere and give the folder",
    ),
    RepositoryNotFoundError: (
        "is no repository on the hub, or a private one",
        "check the name; for a private repository run `hf auth login`, or set HF_TOKEN; or give a local folder",
    ),
    RevisionNotFoundError: (
        "has no such revision",
        "give a commit, branch or tag that https://huggingface.co/{source}/commits lists",
    ),
    LocalEntryNotFoundError: (
        "is not in the cache, and the hub cannot be reached or must not be asked",
        "check the network (HTTPS_PROXY, HF_ENDPOINT) and HF_HUB_OFFLINE, or download the model elsewhere and give the "
        "folder",
    ),
    HfHubHTTPError: (
        "cannot be fetched: the hub refuses it",
        "check the name and the token; try again later; or download the model elsewhere and give the folder",
    ),
}
"""By error of the hub, the more particular first, what is wrong and what to do."""

_QUANTISERS = {
    "bitsandbytes": "bitsandbytes",
    "awq": "gptqmodel",
    "gptq": "gptqmodel",
    "compressed-tensors": "compressed-tensors",
    "torchao": "torchao",
    "quanto": "optimum-quanto",
    "hqq": "hqq",
}
"""The package that reads a checkpoint quantised by a method."""


def cannot_load(
    source: str | Path, error: str | BaseException, *, quantised: str | None = None
) -> InvalidInputError:
    """One problem out of whatever was raised while a checkpoint was loaded.

    Args:
        source: folder or hub id.
        error: what was raised, or what is wrong.
        quantised: the method by which the checkpoint is quantised, where it is.
    """
    causes = list(_causes(error)) if isinstance(error, BaseException) else []
    for kind, (what, remedy) in _HUB.items():
        if any(isinstance(one, kind) for one in causes):
            return InvalidInputError([Problem(str(source), what, remedy.format(source=source))])
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if quantised is not None:
        package = _QUANTISERS.get(quantised)
        what = f"is quantised by {quantised}, and cannot be loaded here: {said}"
        wanted = f"pip install {package}, on a machine that it supports; or " if package else ""
        return InvalidInputError(
            [Problem(str(source), what, f"{wanted}give the checkpoint that is not quantised")]
        )
    return InvalidInputError([Problem(str(source), f"cannot be loaded: {said}", _ANY)])


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
