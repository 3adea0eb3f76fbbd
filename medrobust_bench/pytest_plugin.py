"""The fixture `medrobust_gate`, for those who gate in pytest.

pytest imports this module in every session of an environment that has the package: heavy imports wait for the call.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from medrobust_bench.problems import InvalidInputError, Problem

if TYPE_CHECKING:
    from medrobust_bench.models.adapter import Adapter
    from medrobust_bench.reports.comparison import Comparison


class MedrobustGate(Protocol):
    """What the fixture is: see `__call__`."""

    def __call__(
        self,
        *,
        model: str | Adapter,
        baseline: str | Path,
        fail_if_drop: float,
        alpha: float = 0.05,
        strict: bool = False,
        data: str | None = None,
        images: str | Path | None = None,
        limit: int | None = None,
    ) -> Comparison:
        """Evaluate a model as the baseline was, compare, and fail the test where an accuracy fell.

        Args:
            model: registry id, checkpoint folder, hub id, or an adapter of your own.
            baseline: folder with `run.json` and `journal.jsonl` of a run of one model. Its questions, threats, seed
                and answer mode are used again; the device is chosen anew.
            fail_if_drop: tolerated fall in accuracy, 0 to 1; 0.02 tolerates two points.
            alpha: probability of a false alarm in the whole gate.
            strict: fail also where the sample is too small to exclude such a fall.
            data: where the data set is now; by default where it was for the baseline.
            images: the folder of its images now, where it is not found.
            limit: ask only a sample of this size, a part of the baseline's questions; by default all of them.

        Returns:
            The comparison, for assertions of your own.

        Raises:
            InvalidInputError: the baseline cannot be read, or nothing can be compared with it.
            ValueError: `fail_if_drop` or `alpha` is no share.
        """
        ...


@pytest.fixture(scope="session")
def medrobust_gate(tmp_path_factory: pytest.TempPathFactory) -> MedrobustGate:
    """A function that fails the test where a model's robustness regressed; see `MedrobustGate`."""

    def gate(
        *,
        model: str | Adapter,
        baseline: str | Path,
        fail_if_drop: float,
        alpha: float = 0.05,
        strict: bool = False,
        data: str | None = None,
        images: str | Path | None = None,
        limit: int | None = None,
    ) -> Comparison:
        __tracebackhide__ = True
        from rich.console import Console

        from medrobust_bench.data.reopen import reopen
        from medrobust_bench.reports.comparison import compare
        from medrobust_bench.reports.comparison_tables import print_comparisons
        from medrobust_bench.reports.gate import Gate, judge
        from medrobust_bench.runs.evaluate import evaluate
        from medrobust_bench.runs.run import load_run

        Gate(margin=fail_if_drop, alpha=alpha, strict=strict, judgements=())  # refuses before any work
        before = load_run(Path(baseline))
        plan = before.record.plan
        if len(plan.models) != 1:
            what = f"is of {len(plan.models)} models: {', '.join(plan.models)}"
            raise InvalidInputError([Problem(str(baseline), what, "keep a baseline per model")])
        reopen(plan, data=data, images=images)  # other questions are noticed before any work
        settings = plan.settings.model_dump(exclude={"models", "device"})
        settings["answer_mode"] = before.record.models[plan.models[0]].answer_mode
        if data is not None:
            settings |= {"data": data, "images": None}
        if images is not None:
            settings["images"] = str(images)
        if limit is not None:
            settings["limit"] = limit
        run = evaluate(model=model, out=tmp_path_factory.mktemp("medrobust") / "run", **settings)
        (comparison,) = compare(before, load_run(run.folder))
        judged = judge([comparison], margin=fail_if_drop, alpha=alpha, strict=strict)
        if not judged.passed:
            table = io.StringIO()
            print_comparisons([comparison], judged, console=Console(file=table, width=100))
            pytest.fail(table.getvalue(), pytrace=False)
        return comparison

    return gate
