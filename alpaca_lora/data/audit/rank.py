"""`data rank`: the rows of a file in the order in which a person should look at them, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.marks import load_marks, verdicts_of
from alpaca_lora.data.audit.ranker import FEWEST, Ranking, rank
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import one_path, read_rows
from alpaca_lora.data.audit.rules import quote
from alpaca_lora.data.audit.settings import RankConfig
from alpaca_lora.data.audit.writing import as_json, check_output, write_whole


def rank_file(path: str, config: RankConfig) -> None:
    """Rank a file's rows, print the most suspicious ones with their reasons, write all where asked."""
    data_path = one_path(path, config.data_path, "rank")
    if config.json:
        check_output(config.json, "--json", data_path, config.marks, config.rules)
    rules = choose_rules(with_own_rules(config.rules), config.only, config.skip)
    table = read_rows(data_path, config.data_shape)
    marks = verdicts_of(load_marks(config.marks, table)) if config.marks else None
    report = run_rules(table, rules, show_progress=sys.stderr.isatty())
    ranking = rank(table, report, marks)
    order = np.argsort(-ranking.defect, kind="stable").tolist()
    _print(report, ranking, order[: config.top], Console())
    if config.json:
        rows = [_record(report, ranking, place) for place in order]
        head: dict[str, Any] = {"file": table.name, "sha256": table.sha256, "learnt_from": _sources(ranking)}
        write_whole({Path(config.json).expanduser(): as_json({**head, "rows": rows}, indent=1)}, "--json")


def _record(report: Report, ranking: Ranking, place: int) -> dict[str, Any]:
    return {
        "row": report.table.views[place].row,
        "defect": round(float(ranking.defect[place]), 4),
        "low_value": round(float(ranking.low_value[place]), 4),
        "why": ranking.reasons(place),
        "why_low_value": ranking.reasons(place, kind="low value"),
    }


def _sources(ranking: Ranking) -> dict[str, str]:
    return {
        kind: f"{'your' if head.own else 'the bundled'} marks: {head.yes:,} of {head.marks:,} rows"
        for kind, head in ranking.heads.items()
    }


def _print(report: Report, ranking: Ranking, places: list[int], console: Console) -> None:
    table = report.table
    title = f"{table.name}: the {len(places):,} most suspicious of {len(table.views):,} rows"
    grid = Grid(title=title, title_justify="left")
    for name in ("row", "defect", "low value"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("asks", overflow="fold")
    grid.add_column("what speaks for a defect", overflow="fold")
    for place in places:
        view = table.views[place]
        grid.add_row(
            str(view.row),
            f"{ranking.defect[place]:.2f}",
            f"{ranking.low_value[place]:.2f}",
            Text(quote(view.turns[-1].instruction, 40)),  # a row's text is no markup
            Text("; ".join(ranking.reasons(place))),
        )
    console.print(grid)
    lines = [f"{kind:<9} learnt from {source}" for kind, source in _sources(ranking).items()]
    if not all(head.own for head in ranking.heads.values()):
        lines.append(
            f"          a kind is learnt from your own marks (--marks) with {FEWEST} of it and {FEWEST} others"
        )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
