"""How long a file's texts are, how many are empty, and in which scripts they are written; no model is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from alpaca_lora.data.audit.rows import Field, RowView
from alpaca_lora.data.audit.scripts import ascii_letters, letters_by_script

_FIELDS: tuple[Field, ...] = ("instruction", "input", "output")
_SHOWN = 4
_UNSPACED = ("Han", "Kana", "Thai")
"""Scripts that put no space between words: each of their letters counts as a word."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of one field: characters of the texts that are not empty (median, 95th percentile, longest, all), and words."""

    median: int
    p95: int
    longest: int
    characters: int
    words: int
    empty: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of a file: the lengths of each field, its letters by script, and its answers by the script most of each is in."""

    lengths: Mapping[str, Lengths]
    letters: Counter[str]
    answers: Counter[str]


def measure(rows: Sequence[RowView]) -> Statistics:
    """Count characters, words, empty texts and scripts over all turns of the rows."""
    letters: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    lengths: dict[str, Lengths] = {}
    for field in _FIELDS:
        texts: list[str] = [getattr(turn, field) for row in rows for turn in row.turns]
        sizes = np.array([len(text) for text in texts if text.strip()] or [0])
        words = 0
        for text in texts:
            if text.isascii():
                latin = ascii_letters(text)
                letters["Latin"] += latin
                words += len(text.split())
                most = "Latin" if latin else "no letters"
            else:
                found = letters_by_script(text)
                letters.update(found)
                words += max(len(text.split()), sum(found[script] for script in _UNSPACED))
                most = found.most_common(1)[0][0] if found else "no letters"
            if field == "output":
                answers[most] += 1
        median, p95 = np.percentile(sizes, (50, 95)).round().astype(int).tolist()
        empty = len(texts) - np.count_nonzero(sizes)
        lengths[field] = Lengths(median, p95, int(sizes.max()), int(sizes.sum()), words, int(empty))
    return Statistics(lengths, letters, answers)


def print_statistics(statistics: Statistics, console: Console) -> None:
    """Print a line for each field, then the scripts."""
    grid = Grid(title="texts, in characters", title_justify="left")
    for name in ("field", "median", "p95", "longest", "all", "words", "empty"):
        grid.add_column(name, justify="left" if name == "field" else "right")
    for field, of in statistics.lengths.items():
        numbers = (of.median, of.p95, of.longest, of.characters, of.words, of.empty)
        grid.add_row(field, *(f"{number:,}" for number in numbers))
    console.print(grid)
    _print_shares("scripts", statistics.letters, "of all letters", console)
    _print_shares("answers", statistics.answers, "of the answers, by the script of most letters", console)


def _print_shares(title: str, counts: Counter[str], what: str, console: Console) -> None:
    total = max(1, counts.total())
    shares = ", ".join(
        f"{script} {count:,} ({100 * count / total:.2f} %)" for script, count in counts.most_common(_SHOWN)
    )
    more = len(counts) - _SHOWN
    line = f"{title} {shares or 'none'}{f' and {more} more' if more > 0 else ''} {what}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
