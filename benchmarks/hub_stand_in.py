"""`medrobust` with a folder in the place of the Hugging Face hub, to measure what submissions with much evidence cost.

    HUB_STAND_IN=DIR python -m benchmarks.hub_stand_in submit RUN --out OUT --push-to-hub owner/evidence

Only what submitting and verifying ask of the hub is there, and a commit overwrites the one before: nothing is sent.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import huggingface_hub

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMIT = "c" * 40


class FolderHub:
    """The part of the hub that submissions use, in a folder.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def create_repo(self, repository: str, **_settings: object) -> None:
        """Nothing to do."""

    def create_commit(
        self, repository: str, operations: Sequence[Any], **_settings: object
    ) -> SimpleNamespace:
        """Copy the files, as they stream to the hub."""
        for operation in operations:
            path = self._root / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as content, path.open("wb") as file:
                shutil.copyfileobj(content, file)
        return SimpleNamespace(oid=COMMIT)

    def get_paths_info(self, repository: str, file: str, **_settings: object) -> list[SimpleNamespace]:
        """How large a file is."""
        return [SimpleNamespace(size=(self._root / file).stat().st_size)]

    def download(self, repository: str, file: str, **_settings: object) -> str:
        """Where a file is: the hub's client would have fetched it to the disk as well."""
        return str(self._root / file)


# Not under the condition below: a submission is verified in a process of its own, which imports this module too.
hub = FolderHub(Path(os.environ["HUB_STAND_IN"]))
huggingface_hub.HfApi = lambda: hub  # type: ignore[misc, assignment]
huggingface_hub.hf_hub_download = hub.download  # type: ignore[assignment]

if __name__ == "__main__":
    main(prog_name="medrobust")
