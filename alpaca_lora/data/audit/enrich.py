"""`data enrich`: how much more of each flaw a chosen subset holds than the whole it was chosen from."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import RowView, Table, read_rows
from alpaca_lora.data.settings import EnrichConfig
from alpaca_lora.errors import UserError

ANY_DEFECT = "any defect"
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Subset:
    """Rows chosen from a whole.

    Attributes:
        rows: their 0-based numbers in the whole.
        unknown: rows of the subset that the whole does not hold; `repeated`: those that it holds less often.
    """

    rows: frozenset[int]
    unknown: int = 0
    repeated: int = 0


@dataclass(frozen=True)
class Share:
    """How often one rule hits: rows of the whole and of the subset, and the sizes of both."""

    rule: str
    in_whole: int
    whole: int
    in_subset: int
    subset: int

    @property
    def ratio(self) -> float:
        """Give the share in the subset over that in the whole; 1 where the choice did not look at the flaw."""
        return self.in_subset / self.subset / (self.in_whole / self.whole)

    @property
    def interval(self) -> tuple[float, float]:
        """Give the 95 % interval of the ratio.

        The whole is counted, not sampled; what is uncertain is how the choice met the flaw. That is Wilson's interval
        of the hits among the rows chosen or the rows with the flaw, whichever are fewer: neither can hold more.
        """
        fewer, more = sorted((self.in_whole, self.subset))
        low, high = wilson(self.in_subset, fewer)
        return low * self.whole / more, high * self.whole / more


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Give Wilson's 95 % interval of a share (Wilson 1927)."""
    share, square = hits / of, _Z95**2
    middle = share + square / (2 * of)
    half = _Z95 * math.sqrt(share * (1 - share) / of + square / (4 * of**2))
    low, high = (middle - half) / (1 + square / of), (middle + half) / (1 + square / of)
    return (max(0.0, low) if hits else 0.0), (min(1.0, high) if hits < of else 1.0)


def enrich(subset: str, config: EnrichConfig) -> None:
    """Audit the whole once, find the subset's rows in it, and print each rule's shares and their ratio.

    Args:
        subset: a file of rows, or of row numbers: a JSON array of whole numbers, or one a line.
    """
    if not config.of:
        raise UserError("no whole given", fix=f"alpaca-lora data enrich {subset} --of FILE")
    rules = choose_rules(with_own_rules(config.rules), config.only, config.skip)
    table = read_rows(config.of, config.data_shape)
    chosen = find_subset(subset, table, config.data_shape)
    report = run_rules(table, rules, show_progress=sys.stderr.isatty())
    _print(subset, chosen, report, Console())


def find_subset(path: str, table: Table, shape: str = "auto") -> Subset:
    """Find the rows of a file of rows, by their content, or of a file of row numbers; raise `UserError` for none."""
    numbers = _row_numbers(path)
    if numbers is None:
        return _by_content(path, table, shape)
    outside = [number for number in numbers if not 0 <= number < len(table.raw)]
    if outside or not numbers:
        what = f"row {outside[0]} is not in {table.name}" if outside else "it holds no row number"
        raise UserError(what, where=path, fix=f"row numbers run from 0 to {len(table.raw) - 1}")
    return Subset(frozenset(numbers), repeated=len(numbers) - len(set(numbers)))


def _row_numbers(path: str) -> list[int] | None:
    """Read a JSON array of whole numbers, or one a line; None for a file of anything else."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            if not set(file.read(200)) <= set("[]0123456789-, \t\r\n"):
                return None
            file.seek(0)
            text = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None  # a Hub id, `sample`, or a file that reading rows will complain about
    try:
        return [int(word) for word in (json.loads(text) if text.startswith("[") else text.split())]
    except (ValueError, TypeError):
        return None


def _by_content(path: str, table: Table, shape: str) -> Subset:
    places: dict[object, list[int]] = defaultdict(list)
    for view in reversed(table.views):
        places[_content(view)].append(view.row)
    known = frozenset(places)
    rows: set[int] = set()
    unknown = repeated = 0
    for view in read_rows(path, shape).views:
        content = _content(view)
        if places.get(content):
            rows.add(places[content].pop())
        elif content in known:
            repeated += 1
        else:
            unknown += 1
    if not rows:
        raise UserError(
            f"no row of {path} is in {table.name}",
            why="rows are found by their content: instruction, input, output, turns and system text",
            fix="give --of the file that the subset was chosen from, or row numbers instead of rows",
        )
    return Subset(frozenset(rows), unknown, repeated)


def _content(view: RowView) -> object:
    turns = tuple((turn.instruction.strip(), turn.input.strip(), turn.output.strip()) for turn in view.turns)
    return view.system.strip(), turns


def count_shares(report: Report, subset: Subset) -> list[Share]:
    """Count each rule's rows in the whole and in the subset; the most enriched first, any defect last.

    Rules that hit nothing in the whole are left out.
    """
    hit = {(finding.rule, finding.row) for finding in report.findings}
    hit |= {(ANY_DEFECT, row) for row in report.defects}
    whole = Counter(rule for rule, _ in hit)
    inside = Counter(rule for rule, row in hit if row in subset.rows)
    shares = [
        Share(rule, count, len(report.table.raw), inside[rule], len(subset.rows)) for rule, count in whole.items()
    ]
    return sorted(shares, key=lambda share: (share.rule == ANY_DEFECT, -share.ratio, share.rule))


def _print(name: str, subset: Subset, report: Report, console: Console) -> None:
    title = f"{name}: {len(subset.rows):,} of the {len(report.table.raw):,} rows of {report.table.name}"
    grid = Grid(title=title, title_justify="left")
    for column in ("rule", "whole", "share", "subset", "share", "ratio", "95 %"):
        grid.add_column(column, justify="left" if column == "rule" else "right", no_wrap=True)
    shares = count_shares(report, subset)
    for share in shares:
        low, high = share.interval
        style = "red" if low > 1 else "green" if high < 1 else ""
        grid.add_row(
            share.rule,
            f"{share.in_whole:,}",
            f"{100 * share.in_whole / share.whole:.2f} %",
            f"{share.in_subset:,}",
            f"{100 * share.in_subset / share.subset:.2f} %",
            f"{share.ratio:.2f}",
            f"{low:.2f}-{high:.2f}",
            style=style,
        )
    console.print(grid)
    lines = ["ratio   share in the subset over share in the whole; 95 %: the range that it is sure to within"]
    silent = [rule.id for rule in report.rules if rule.id not in {share.rule for share in shares}]
    lines += [f"none    no row of the whole: {', '.join(silent)}"] if silent else []
    lines += (
        [f"unknown {subset.unknown:,} rows of the subset are not in the whole and left out"] if subset.unknown else []
    )
    lines += [f"again   {subset.repeated:,} rows are repeated and counted once"] if subset.repeated else []
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
