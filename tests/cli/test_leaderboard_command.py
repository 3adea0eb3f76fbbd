from __future__ import annotations

from typing import TYPE_CHECKING

from click.testing import CliRunner

from medrobust_bench.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from medrobust_bench.records import Result


def test_build_writes_the_tables_and_names_them(make_result: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a.json").write_text(make_result().model_dump_json())
    out = tmp_path / "boards"
    done = CliRunner().invoke(
        main, ["leaderboard", "build", "--results", str(tmp_path / "results"), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    written = ["README.md", "phantoms/pgd-linf.md", "site/index.html"]
    assert done.stdout.split() == [str(out / name) for name in written]
    assert "25.0 (11.2–46.9)" in (out / "phantoms/pgd-linf.md").read_text()


def test_bad_results_exit_with_two(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    done = CliRunner().invoke(main, ["leaderboard", "build", "--results", str(tmp_path)])
    assert done.exit_code == 2
    assert "is no result file" in done.stderr
