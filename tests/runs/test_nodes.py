"""Machines leave a cluster and join it while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import medrobust_bench
from medrobust_bench.runs.observer import Observer
from tests.runs.test_cluster import evaluate, same

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from medrobust_bench.records import Outcome


@pytest.mark.slow
def test_nodes_leave_and_join(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra [ray]")
    from ray.cluster_utils import Cluster

    ray.shutdown()
    evaluate(tmp_path / "whole")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    leaving = cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        seen: list[str] = []

        class Changing(Observer):
            def advanced(self, outcomes: Sequence[Outcome]) -> None:
                seen.extend(one.question for one in outcomes)
                if len(seen) == 4:
                    cluster.remove_node(leaving, allow_graceful=False)
                    cluster.add_node(num_cpus=1)

        with medrobust_bench.RayEngine(workers=1, logs=tmp_path / "logs") as engine:
            run = evaluate(tmp_path / "run", engine=engine, observer=Changing())
        assert run.failures == ()
        assert same(tmp_path / "run", tmp_path / "whole")
        assert "died" in (tmp_path / "logs" / "worker-1.log").read_text()
    finally:
        ray.shutdown()
        cluster.shutdown()
