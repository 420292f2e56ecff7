"""Files of rows for the audit's tests, and the real ones where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.rows import Table, read_rows

STANFORD = Path(__file__).parents[4] / "shared" / "data" / "alpaca_data.json"
CHINESE = STANFORD.with_name("alpaca_zh_demo.json")


@pytest.fixture
def table_of(tmp_path: Path) -> Callable[[list[Any]], Table]:
    """Write rows to a file and read them as the audit does."""

    def make(rows: list[Any]) -> Table:
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        return read_rows(str(path))

    return make


@pytest.fixture(scope="session")
def stanford() -> Table:
    if not STANFORD.is_file():
        pytest.skip("../shared is not here")
    return read_rows(str(STANFORD))


@pytest.fixture(scope="session")
def chinese() -> Table:
    if not CHINESE.is_file():
        pytest.skip("../shared is not here")
    return read_rows(str(CHINESE))
