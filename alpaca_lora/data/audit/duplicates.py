"""Rows that say or ask what an earlier row does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.questions import question_keys
from alpaca_lora.data.audit.rows import RowView
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote


def whole(row: RowView) -> tuple[object, ...]:
    """Give all that a row says, to compare it with another."""
    return (row.system, *((turn.instruction, turn.input, turn.output) for turn in row.turns))


def _exact(rows: Sequence[RowView]) -> Iterator[tuple[int, int, Hit]]:
    first: dict[tuple[object, ...], int] = {}
    for place, row in enumerate(rows):
        earlier = first.setdefault(whole(row), row.row)
        if earlier != row.row:
            yield place, 0, Hit("instruction", f"the same as row {earlier}, letter by letter", 1.0, DROP)


def _near(rows: Sequence[RowView]) -> Iterator[tuple[int, int, Hit]]:
    english = is_english(rows)
    first: dict[tuple[object, ...], RowView] = {}
    for place, row in enumerate(rows):
        keys = question_keys(row, english=english)
        found = [first[key] for key in keys if key in first]
        if found and whole(other := min(found, key=lambda other: other.row)) != whole(row):
            reason = f"asks what row {other.row} asks: {quote(other.turns[0].instruction)}"
            yield place, 0, Hit("instruction", reason, 0.9)
        if keys:
            first.setdefault(keys[0], row)


EXACT_DUPLICATE = Rule(
    "exact-duplicate",
    "defect",
    "an earlier row is the same, letter by letter",
    find_all=_exact,
)
NEAR_DUPLICATE = Rule(
    "near-duplicate",
    "tag",
    "an earlier row asks the same in other words; numbers, quoted phrases and input agree",
    find_all=_near,
    precision=251 / 268,
    read="all 268 pairs",
)
