"""Unpacking trusts nothing, and leaves a whole tree or none."""

from __future__ import annotations

import http.server
import json
import stat
import struct
import threading
import zipfile
from typing import TYPE_CHECKING

import pytest

from medrobust_bench.data import archive as archive_module
from medrobust_bench.data.archive import UnpackLimits, download, leftovers, unpack
from medrobust_bench.data.source import open_data
from medrobust_bench.problems import InvalidInputError

from .conftest import omni_row, write_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = json.dumps([omni_row(1)])


@pytest.fixture
def make_archive(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a good archive, wrapped as the published one, with further members."""
    write_image(tmp_path / "1.png", 1)

    def make(*members: tuple[str | zipfile.ZipInfo, str | bytes], wrapper: str = "OmniMedVQA/") -> Path:
        path = tmp_path / "archive.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr(f"{wrapper}QA_information/Open-access/Set.json", ROWS)
            zipped.write(tmp_path / "1.png", f"{wrapper}Images/Set/1.png")
            for member, content in members:
                zipped.writestr(member, content)
        return path

    return make


def link(name: str, target: str, kind: int = stat.S_IFLNK) -> tuple[zipfile.ZipInfo, str]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix, so that the upper half of the attributes is a file mode
    info.external_attr = (kind | 0o777) << 16
    return info, target


def assert_nothing_left(target: Path) -> None:
    assert not target.exists()
    assert leftovers(target) == []
    assert not (target.parent / "evil").exists()


@pytest.mark.parametrize("wrapper", ["", "OmniMedVQA/"])
def test_good_archive(make_archive: Callable[..., Path], tmp_path: Path, wrapper: str) -> None:
    calls: list[tuple[int, int]] = []
    junk = (("__MACOSX/._a", "x"), (f"{wrapper}Images/.DS_Store", "x"))
    target = unpack(
        make_archive(*junk, wrapper=wrapper),
        tmp_path / "new" / "tree",
        progress=lambda *both: calls.append(both),
    )
    assert sorted(path.name for path in target.rglob("*") if path.is_file()) == ["1.png", "Set.json"]
    assert [question.id for question in open_data(target, split="all").questions] == ["Set_0001"]
    assert (
        calls[-1][0]
        == calls[-1][1]
        == sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    )
    assert leftovers(target) == []
    assert target.stat().st_mode & 0o777 == (tmp_path / "new").stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("/evil", "absolute"),
        ("../evil", "leaves"),
        ("Images/../../evil", "leaves"),
        ("Images/..", "leaves"),
        ("./evil", "leaves"),
        ("a//evil", "leaves"),
        ("..\\evil", "backslash"),
        ("C:\\evil", "backslash"),
        ("C:/evil", "absolute"),
        ("c:evil", "absolute"),
        ("OmniMedVQA/Images/Set/1.png", "stands there twice"),
        ("OmniMedVQA/Images/Set/1.png/evil", "is a file and a folder"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_name(make_archive: Callable[..., Path], tmp_path: Path, name: str, what: str) -> None:
    target = tmp_path / "tree"
    with pytest.raises(InvalidInputError, match=what):
        unpack(make_archive((name, "x")), target)
    assert_nothing_left(target)


@pytest.mark.parametrize(
    ("kind", "what"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "no regular file")]
)
def test_special_member(make_archive: Callable[..., Path], tmp_path: Path, kind: int, what: str) -> None:
    target = tmp_path / "tree"
    with pytest.raises(InvalidInputError, match=what):
        unpack(make_archive(link("OmniMedVQA/Images/evil", "/etc", kind)), target)
    assert_nothing_left(target)


def test_all_hostile_members_are_named(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as caught:
        unpack(make_archive(("../a", "x"), ("fine", "x"), ("/b", "x"), link("c", "/")), tmp_path / "tree")
    assert [problem.row for problem in caught.value.problems] == [3, 5, 6]


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (UnpackLimits(ratio=50), "times its packed size"),
        (UnpackLimits(member_bytes=1_000_000), "member 'bomb' unfolds to"),
        (UnpackLimits(total_bytes=1_000_000), "unfolds to"),
        (UnpackLimits(members=2), "has 3 members"),
    ],
)
def test_bomb_by_its_headers(
    make_archive: Callable[..., Path], tmp_path: Path, limits: UnpackLimits, what: str
) -> None:
    target = tmp_path / "tree"
    with pytest.raises(InvalidInputError, match=what):
        unpack(make_archive(("bomb", bytes(4_000_000))), target, limits=limits)
    assert_nothing_left(target)


def test_bomb_that_understates_its_size(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    path = make_archive(("bomb", bytes(4_000_000)))
    content = bytearray(path.read_bytes())
    true_size = struct.pack("<I", 4_000_000)
    assert content.count(true_size) == 2
    path.write_bytes(content.replace(true_size, struct.pack("<I", 1000)))
    target = tmp_path / "tree"
    with pytest.raises(InvalidInputError, match="damaged"):
        unpack(path, target)
    assert_nothing_left(target)


def test_damaged_archive(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    path = make_archive(("filler", bytes(range(256)) * 40))
    whole = path.read_bytes()
    target = tmp_path / "tree"
    flipped = bytearray(whole)
    flipped[whole.index(b"filler") + 20] ^= 0xFF  # inside the packed bytes: only the checksum can tell
    for content in (whole[: len(whole) // 2], b"", b"no zip", flipped):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="damaged"):
            unpack(path, target)
        assert_nothing_left(target)


def test_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("readme.txt", "hello")
    with pytest.raises(InvalidInputError, match="holds no `QA_information` folder"):
        unpack(path, tmp_path / "tree")
    assert_nothing_left(tmp_path / "tree")


def test_missing_archive(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not exist"):
        unpack(tmp_path / "none.zip", tmp_path / "tree")


def test_target_in_use_is_not_touched(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    target = tmp_path / "tree"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(InvalidInputError, match="not an empty folder"):
        unpack(make_archive(), target)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    (target / "mine.txt").unlink()
    assert unpack(make_archive(), target) == target


def test_disk_too_small(
    make_archive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda path: free)
    with pytest.raises(InvalidInputError, match="are free"):
        unpack(make_archive(), tmp_path / "tree")
    assert_nothing_left(tmp_path / "tree")


def test_interruption_leaves_no_tree(make_archive: Callable[..., Path], tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(make_archive(), tmp_path / "tree", progress=interrupt)
    assert_nothing_left(tmp_path / "tree")


COMMIT = "1" * 40


@pytest.fixture
def hub(make_archive: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local server that answers like the hub's `resolve` address for one file of one data set."""
    content = make_archive().read_bytes()

    class Hub(http.server.BaseHTTPRequestHandler):
        def answer(self, *, with_body: bool) -> None:
            found = self.path == "/datasets/foreverbeliever/OmniMedVQA/resolve/main/OmniMedVQA.zip"
            self.send_response(200 if found else 404)
            if found:
                self.send_header("ETag", '"0123456789abcdef"')
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("Content-Length", str(len(content)))
            else:
                self.send_header("X-Error-Code", "RevisionNotFound")
                self.send_header("Content-Length", "0")
            self.end_headers()
            if found and with_body:
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_download_and_unpack(hub: str, tmp_path: Path) -> None:
    path = download(endpoint=hub)
    assert path.name == "OmniMedVQA.zip"
    assert path.parent.name == COMMIT
    target = unpack(path, tmp_path / "tree")
    assert len(open_data(target, split="all").questions) == 1


def test_unknown_revision(hub: str) -> None:
    with pytest.raises(InvalidInputError, match=r"OmniMedVQA@nix.*check --revision"):
        download(endpoint=hub, revision="nix")


def test_hub_out_of_reach(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client waits between its tries
    with pytest.raises(InvalidInputError, match="cannot be reached"):
        download(endpoint="http://127.0.0.1:9")
