"""Where the evidence of a submission goes: beside it, or to a data set on the hub."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from medrobust_bench.leaderboard import submit as writing
from medrobust_bench.leaderboard.answers import counted
from medrobust_bench.leaderboard.entry import Entry
from medrobust_bench.leaderboard.evidence import read_answers, read_beside, read_proof
from medrobust_bench.leaderboard.submit import submit
from medrobust_bench.problems import InvalidInputError
from medrobust_bench.runs.run import load_run

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = "c" * 40


class Hub:
    """The hub's part that submissions use, in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.private: bool | None = None

    def create_repo(self, repository: str, *, repo_type: str, private: bool, exist_ok: bool) -> None:
        assert (repository, repo_type, exist_ok) == ("owner/evidence", "dataset", True)
        self.private = private

    def create_commit(self, repository: str, operations: list[Any], **_kwargs: str) -> SimpleNamespace:
        for operation in operations:
            path = self.root / operation.path_in_repo
            path.parent.mkdir(parents=True, exist_ok=True)
            with operation.as_file() as content:
                path.write_bytes(content.read())
        return SimpleNamespace(oid=COMMIT)

    def get_paths_info(self, repository: str, file: str, **_kwargs: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(size=(self.root / file).stat().st_size)]

    def download(self, repository: str, file: str, *, repo_type: str, revision: str) -> str:
        assert (repository, repo_type, revision) == ("owner/evidence", "dataset", COMMIT)
        return str(self.root / file)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.download)
    return made


def attacked(written: list[Path]) -> tuple[Path, Entry]:
    (path,) = [path for path in written if "pgd" in path.parent.name]
    return path, Entry.model_validate_json(path.read_bytes())


def test_images_go_to_the_hub_and_the_journal_stays(schooled_run: Path, tmp_path: Path, hub: Hub) -> None:
    run = load_run(schooled_run)
    path, _entry = attacked(submit(run, tmp_path))
    assert {file.name for file in path.with_suffix("").iterdir()} == {"journal.jsonl", "witnesses.parquet"}
    path, entry = attacked(submit(run, tmp_path, hub="owner/evidence"))
    assert {file.name for file in path.with_suffix("").iterdir()} == {"journal.jsonl"}, (
        "nothing is left behind"
    )
    place = f"owner/evidence@{COMMIT}/{path.relative_to(tmp_path).with_suffix('')}/witnesses.parquet"
    assert {file.name: file.hub for file in entry.evidence} == {
        "journal.jsonl": None,
        "witnesses.parquet": place,
    }
    assert hub.private, "whether images may be shown to everybody is not for the program to say"

    proof, faults = read_proof(path, entry)
    assert (faults, proof is None or len(proof.witnesses) == 0) == ([], False)
    beside = read_beside(path, entry)
    assert proof is not None
    assert beside is not None
    assert (beside.threat, beside.witnesses) == (proof.threat, ())


def test_a_large_journal_goes_as_well(
    schooled_run: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "LARGEST_IN_REPOSITORY", 1000)
    run = load_run(schooled_run)
    with pytest.raises(InvalidInputError, match="more than a pull request may carry"):
        submit(run, tmp_path)
    path, entry = attacked(submit(run, tmp_path, hub="owner/evidence"))
    assert [file.name for file in path.with_suffix("").iterdir()] == ["answers.csv"], "what ranks stays"
    assert {file.name for file in entry.evidence if file.hub} == {"journal.jsonl", "witnesses.parquet"}
    assert read_beside(path, entry) is None
    attacked_lines = run.outcomes["schooled", entry.result.threat.name]
    assert read_answers(path, entry) == counted(attacked_lines, entry.result.threat)


def test_files_changed_on_the_hub_are_noticed(schooled_run: Path, tmp_path: Path, hub: Hub) -> None:
    path, entry = attacked(submit(load_run(schooled_run), tmp_path, hub="owner/evidence"))
    (file,) = hub.root.rglob(f"{path.parent.name}/*/witnesses.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "another SHA-256" in str(read_proof(path, entry)[1])
    file.write_bytes(content[:-1])
    assert "another size" in str(read_proof(path, entry)[1])


def test_a_hub_that_refuses_is_bad_input(
    schooled_run: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load_run(schooled_run)
    with pytest.raises(InvalidInputError, match="write OWNER/DATASET"):
        submit(run, tmp_path, hub="evidence")

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise LocalTokenNotFoundError("no token")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(InvalidInputError, match="no token → log in"):
        submit(run, tmp_path, hub="owner/evidence")


def test_a_submission_says_when_it_was_made(honest: Path) -> None:
    (path, *_others) = sorted(honest.rglob("*.json"))
    assert set(json.loads(path.read_text())) >= {"submitted", "entry_version"}
