"""What a cleaning did, in numbers: for the summary of `data clean`, and for the record of a run with `--clean`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alpaca_lora.data.audit.mending import Change

CLEANED = "cleaned.json"
"""What a log in a run's folder calls the file that `--clean` has no need to write."""


@dataclass(frozen=True)
class Counts:
    """Rows that a cleaning touched.

    Attributes:
        changed: rows of the file that stay and have another text.
        dropped: rows of the file that do not stay.
        recovered: new rows at the end, taken out of others.
        marked: rows that stay with a defect which no rule can mend.
        rules: rows by rule and action: set, drop, recover, mark.
    """

    rows_in: int
    rows_out: int
    changed: int
    dropped: int
    recovered: int
    marked: int
    rules: dict[str, dict[str, int]]

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Counts:
        """Take the counts out of what `run.json` keeps of a cleaning."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})

    def rows_of_it(self) -> str:
        """Say what became of the rows that were touched."""
        return f"{self.changed:,} changed, {self.dropped:,} dropped, {self.recovered:,} recovered and put at the end"

    def __str__(self) -> str:
        return f"{self.rows_in:,} rows in, {self.rows_out:,} out: {self.rows_of_it()}"


@dataclass(frozen=True)
class CleanLog:
    """What `--clean` did to the rows that are trained.

    Attributes:
        data_sha256: of the data before.
        sha256: of the file that `data clean` would write.
        lines: the log that it would write beside that file.
    """

    counts: Counts
    data_sha256: str
    sha256: str
    lines: bytes


def count_changes(rows_in: int, changes: Sequence[Change]) -> Counts:
    """Count the rows behind a file's changes; a row that one rule changes twice counts once."""
    rows: dict[tuple[str, str], set[int]] = defaultdict(set)
    for change in changes:
        rows[change.rule, change.action].add(change.row)
    rules: dict[str, dict[str, int]] = defaultdict(dict)
    for (rule, action), touched in rows.items():
        rules[rule][action] = len(touched)
    added, gone, new = (
        {change.row for change in changes if change.action == action} for action in ("recover", "drop", "set")
    )
    recovered, dropped = len(added - gone), len({row for row in gone if row < rows_in})
    return Counts(
        rows_in=rows_in,
        rows_out=rows_in - dropped + recovered,
        changed=len({row for row in new - gone if row < rows_in}),
        dropped=dropped,
        recovered=recovered,
        marked=len({change.row for change in changes if change.action == "mark" and change.severity != "tag"}),
        rules=dict(rules),
    )
