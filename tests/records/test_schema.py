from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from medrobust_bench.records import Result, json_schema

if TYPE_CHECKING:
    from collections.abc import Callable

PUBLISHED = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text() == json_schema(), (
        "python -m medrobust_bench.records.result > docs/result.schema.json"
    )


def test_a_result_survives_its_file(make_result: Callable[..., Result]) -> None:
    result = make_result(certified={0.25: 4})
    assert Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("change", [{"schema_version": "0.9"}, {"surprise": 1}, {"seed": "many"}])
def test_another_schema_is_refused(make_result: Callable[..., Result], change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Result.model_validate({**make_result().model_dump(), **change})
