"""`data map`: draw all rows of a data file into one HTML page."""

from __future__ import annotations

import time

from alpaca_lora.data.atlas.build import Map, build_map
from alpaca_lora.data.atlas.page import page_html
from alpaca_lora.data.atlas.settings import MapConfig
from alpaca_lora.data.audit.marks import load_marks
from alpaca_lora.data.audit.rows import read_rows
from alpaca_lora.data.audit.writing import check_output, write_whole
from alpaca_lora.errors import UserError

_WORST_SHOWN = 5
_WORDS_SHOWN = 4


def draw_map(path: str, config: MapConfig) -> None:
    """Read a file, build its map, write the page and say what is on it."""
    if path and config.data_path and path != config.data_path:
        raise UserError(f"two files to draw, {path} and {config.data_path}", fix="give one of them")
    data_path = path or config.data_path
    output = check_output(config.output, "--output", data_path, config.marks, config.picture.rules)
    began = time.perf_counter()
    table = read_rows(data_path, config.data_shape)
    marks = {row: mark.mark for row, mark in load_marks(config.marks, table).items()} if config.marks else None
    map_ = build_map(table, config.picture, marks)
    content = page_html(map_).encode()
    write_whole({output: content})
    print("\n".join(summary_lines(map_)))
    print(
        f"wrote   {output}, {len(content) / 1e6:.1f} MB, in {time.perf_counter() - began:.0f} s; open it in a browser"
    )


def summary_lines(map_: Map) -> list[str]:
    """Say how many rows and clusters there are, and which clusters hold the largest shares of rows with a defect."""
    table, n_clusters = map_.report.table, len(map_.clusters)
    unread = f", {len(table.bad):,} more cannot be read" if table.bad else ""
    lines = [f"map     {_counted(len(table.views), 'row')}{unread}; {_counted(n_clusters, 'cluster')}"]
    for place, number in enumerate(map_.worst_clusters()[:_WORST_SHOWN]):
        cluster = map_.clusters[number]
        share = 100 * cluster.defects / cluster.rows
        words = ", ".join(cluster.words[:_WORDS_SHOWN]) or "no words"
        rows = f"{_counted(cluster.rows, 'row')} {'has' if cluster.rows == 1 else 'have'}"
        lines.append(f"{'' if place else 'worst':<7} {share:5.1f} % of {rows} a defect: {words}")
    return lines


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
