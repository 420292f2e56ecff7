"""`data map`: draw all rows of a data file into one HTML page."""

from __future__ import annotations

import time

from alpaca_lora.data.atlas.build import Map, build_map
from alpaca_lora.data.atlas.page import page_html
from alpaca_lora.data.atlas.settings import MapConfig
from alpaca_lora.data.audit.marks import load_marks, verdicts_of
from alpaca_lora.data.audit.rows import one_path, read_rows
from alpaca_lora.data.audit.rules import counted
from alpaca_lora.data.audit.writing import check_output, write_whole

_WORST_SHOWN = 5
_WORDS_SHOWN = 4


def draw_map(path: str, config: MapConfig) -> None:
    """Read a file, build its map, write the page and say what is on it."""
    data_path = one_path(path, config.data_path, "draw")
    output = check_output(config.output, "--output", data_path, config.marks, config.picture.rules)
    began = time.perf_counter()
    table = read_rows(data_path, config.data_shape)
    marks = verdicts_of(load_marks(config.marks, table)) if config.marks else None
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
    lines = [f"map     {counted(len(table.views), 'row')}{unread}; {counted(n_clusters, 'cluster')}"]
    for place, number in enumerate(map_.worst_clusters()[:_WORST_SHOWN]):
        cluster = map_.clusters[number]
        share = 100 * cluster.defects / cluster.rows
        words = ", ".join(cluster.words[:_WORDS_SHOWN]) or "no words"
        rows = f"{counted(cluster.rows, 'row')} {'has' if cluster.rows == 1 else 'have'}"
        lines.append(f"{'' if place else 'worst':<7} {share:5.1f} % of {rows} a defect: {words}")
    return lines
