"""`medrobust` in FSDP2, on CPU processes: to see that a sharded training runs, where there is no GPU.

    torchrun --standalone --nproc_per_node 2 benchmarks/sharded_on_cpus.py train at-grpo RECIPE --out FOLDER

accelerate sets FSDP up for accelerators only; here its state is told that CPU processes are to be sharded as well, with
the settings of recipes/accelerate/fsdp2.yaml, in float32. It steps into accelerate (1.15); no way to train.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

os.environ.update(
    ACCELERATE_USE_CPU="true",
    ACCELERATE_USE_FSDP="true",
    FSDP_VERSION="2",
    FSDP_AUTO_WRAP_POLICY="TRANSFORMER_BASED_WRAP",
    FSDP_RESHARD_AFTER_FORWARD="true",
    FSDP_STATE_DICT_TYPE="FULL_STATE_DICT",
    FSDP_CPU_RAM_EFFICIENT_LOADING="false",
)

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType


class _Sharded:
    """The kind of a distributed run: FSDP where it is of CPU processes and a plugin of FSDP was given."""

    def __get__(self, state: AcceleratorState, owner: type | None = None) -> DistributedType:
        kind: DistributedType = vars(state)["distributed_type"]
        sharded = kind == DistributedType.MULTI_CPU and vars(state).get("fsdp_plugin") is not None
        return DistributedType.FSDP if sharded else kind

    def __set__(self, state: AcceleratorState, kind: DistributedType) -> None:
        vars(state)["distributed_type"] = kind


def main() -> None:
    """Run the command line in a process of torchrun."""
    initialise = AcceleratorState.__init__

    def with_plugin(state: Any, *arguments: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        initialise(state, *arguments, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None:
            state.fsdp_plugin = fsdp_plugin

    AcceleratorState.__init__ = with_plugin
    AcceleratorState.distributed_type = _Sharded()
    sys.argv[0] = "medrobust"
    runpy.run_module("medrobust_bench", run_name="__main__")


if __name__ == "__main__":
    main()
