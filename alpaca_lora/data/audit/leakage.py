"""Rows of a training file that stand in a validation file, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alpaca_lora.data.audit.duplicates import whole
from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.questions import question_keys
from alpaca_lora.data.audit.rows import RowView, Table, read_rows
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote


def against_rules(paths: Sequence[str]) -> tuple[Rule, ...]:
    """Give the rule that compares with these files, none without a file."""
    return (leaked_row([read_rows(path) for path in paths]),) if paths else ()


def leaked_row(others: Sequence[Table]) -> Rule:
    """Make the rule that no row says or asks what a row of these other files does."""

    def find(rows: Sequence[RowView]) -> Iterator[tuple[int, int, Hit]]:
        english = is_english(rows)
        said: dict[tuple[object, ...], tuple[str, RowView]] = {}
        asked: dict[tuple[object, ...], tuple[str, RowView]] = {}
        for table in others:
            for row in table.views:
                said.setdefault(whole(row), (table.name, row))
                for key in question_keys(row, english=english)[:1]:
                    asked.setdefault(key, (table.name, row))
        for place, row in enumerate(rows):
            if whole(row) in said:
                name, other = said[whole(row)]
                yield place, 0, Hit("instruction", f"the same as row {other.row} of {name}", 1.0, DROP)
                continue
            for key in question_keys(row, english=english):
                if key in asked:
                    name, other = asked[key]
                    reason = f"asks what row {other.row} of {name} asks: {quote(other.turns[0].instruction)}"
                    yield place, 0, Hit("instruction", reason, 0.9, DROP)
                    break

    return Rule("leaked-row", "defect", "a row of the file given by --against says or asks the same", find_all=find)
