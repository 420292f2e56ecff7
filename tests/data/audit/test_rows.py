"""Every text of every shape stands at the path that it is said to stand at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit.rows import Table, read_rows
from alpaca_lora.errors import UserError

ALPACA = {"instruction": "ask", "input": "more", "output": "answer", "history": [["q", "a"]]}
SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "be kind"},
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
        {"from": "human", "value": "q2"},
        {"from": "gpt", "value": "a2"},
    ]
}
MESSAGES = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
PAIR = {"prompt": "q", "completion": "a"}
SPLIT = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}


def _at(row: Any, path: str) -> Any:
    for step in path.split("."):
        row = row[int(step)] if step.isdigit() else row[step]
    return row


@pytest.mark.parametrize("row", [ALPACA, SHAREGPT, MESSAGES, PAIR, SPLIT], ids=lambda row: "-".join(row))
def test_every_text_stands_at_its_path(row: dict[str, Any], table_of: Callable[[list[Any]], Table]) -> None:
    table = table_of([row])
    turns = table.views[0].turns
    assert len(turns) == {"history": 2, "conversations": 2}.get(list(row)[-1], 1)
    for turn in turns:
        assert set(turn.places) <= {"instruction", "input", "output"}
        for field, path in turn.places.items():
            assert _at(row, path) == getattr(turn, field)


def test_rows_that_cannot_be_read_are_kept_apart(table_of: Callable[[list[Any]], Table]) -> None:
    table = table_of([ALPACA, {"instruction": "no answer"}, ALPACA])
    assert [view.row for view in table.views] == [0, 2]
    assert [(row, "'output' is missing" in reason) for row, reason in table.bad] == [(1, True)]
    assert len(table.raw) == 3


def test_a_file_without_one_readable_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": " ", "output": "a"}]))
    with pytest.raises(UserError, match=r"no row of .* can be read: 'instruction' is empty"):
        read_rows(str(path))
