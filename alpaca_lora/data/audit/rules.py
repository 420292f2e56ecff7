"""What a rule of the data doctor is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from alpaca_lora.data.audit.rows import Field, RowView, TurnView

Severity = Literal["defect", "normalise", "tag"]


@dataclass(frozen=True, slots=True)
class Fix:
    """What mends a hit: give the field a new text, or drop the row.

    `new_rows` are whole rows (instruction, input, output) that were hidden in the field.
    """

    action: Literal["set", "drop"]
    value: str = ""
    new_rows: tuple[dict[str, str], ...] = ()


DROP = Fix("drop")


@dataclass(frozen=True, slots=True)
class Hit:
    """One flaw in one text of a turn; `reason` quotes the evidence, `confidence` runs from 0 to 1."""

    field: Field
    reason: str
    confidence: float
    fix: Fix | None = None


@dataclass(frozen=True)
class Rule:
    """One flaw: how it is called, what it means, and the function that finds it.

    Attributes:
        id: name in kebab-case, as given to `--only` and `--skip`.
        severity: `defect`: the row teaches something wrong; `normalise`: it is mended without loss; `tag`: worth
            knowing, and no reason to change it.
        find: gives the hits in one turn; None for a rule over the whole file.
        find_all: gives (place in the sequence, turn, hit) over the whole file; None for a rule over single turns.
        precision: share of true hits among those read, and `read` says how many were; None: not measured.
        english_only: the rule looks for English words, and is off in a file of another language.
        default: on without being asked for by `--only`.
    """

    id: str
    severity: Severity
    description: str
    find: Callable[[TurnView], Iterable[Hit]] | None = None
    find_all: Callable[[Sequence[RowView]], Iterable[tuple[int, int, Hit]]] | None = None
    precision: float | None = None
    read: str = ""
    english_only: bool = False
    default: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """A hit in its place: 0-based row in the file, and the path of the text in the raw row."""

    row: int
    rule: str
    severity: Severity
    field: str
    reason: str
    confidence: float
    fix: dict[str, Any] | None


def counted(number: int, noun: str) -> str:
    """Write a number with its noun, as in "1 row" and "2 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def quote(text: str, length: int = 60) -> str:
    """Quote the beginning of a text on one line, as evidence."""
    short = " ".join(text[: 2 * length].split())
    return f"“{short[:length]}…”" if len(short) > length or len(text) > 2 * length else f"“{short}”"


def quote_end(text: str, length: int = 40) -> str:
    """Quote the end of a text on one line, as evidence."""
    short = " ".join(text[-2 * length :].split())
    return f"“…{short[-length:]}”" if len(short) > length or len(text) > 2 * length else f"“{short}”"
