"""`data map`: draw all rows of a data file into one HTML page."""

from __future__ import annotations

import time
from pathlib import Path

from alpaca_lora.data.atlas.build import Map, build_map
from alpaca_lora.data.atlas.page import page_html
from alpaca_lora.data.atlas.settings import MapConfig
from alpaca_lora.data.audit.changes import same_file, write_whole
from alpaca_lora.data.audit.marks import load_marks
from alpaca_lora.data.audit.rows import read_rows
from alpaca_lora.errors import UserError

_WORST_SHOWN = 5
_WORDS_SHOWN = 4


def draw_map(path: str, config: MapConfig) -> None:
    """Read a file, build its map, write the page and say what is on it."""
    if path and config.data_path and path != config.data_path:
        raise UserError(f"two files to draw, {path} and {config.data_path}", fix="give one of them")
    data_path, output = path or config.data_path, Path(config.output).expanduser()
    if not output.parent.is_dir():
        raise UserError(f"the folder of --output {config.output} does not exist", fix="make it, or give another place")
    if same_file(output, Path(data_path).expanduser()):
        raise UserError(f"--output {config.output} would overwrite the data", fix="give --output another file")
    began = time.perf_counter()
    table = read_rows(data_path, config.data_shape)
    marks = {row: mark.mark for row, mark in load_marks(config.marks, table).items()} if config.marks else None
    map_ = build_map(table, config.picture, marks)
    content = page_html(map_).encode()
    write_whole(output, content)
    print("\n".join(summary_lines(map_)))
    print(
        f"wrote   {output}, {len(content) / 1e6:.1f} MB, in {time.perf_counter() - began:.0f} s; open it in a browser"
    )


def summary_lines(map_: Map) -> list[str]:
    """Say how many rows and clusters there are, and which clusters hold the largest shares of rows with a defect."""
    table, n_clusters = map_.report.table, len(map_.clusters)
    unread = f", {len(table.bad):,} more cannot be read" if table.bad else ""
    lines = [f"map     {len(table.views):,} rows{unread}; {n_clusters} cluster{'' if n_clusters == 1 else 's'}"]
    for place, number in enumerate(map_.worst_clusters()[:_WORST_SHOWN]):
        cluster = map_.clusters[number]
        share = 100 * cluster.defects / cluster.rows
        words = ", ".join(cluster.words[:_WORDS_SHOWN]) or "no words"
        lines.append(f"{'' if place else 'worst':<7} {share:5.1f} % of {cluster.rows:,} rows have a defect: {words}")
    return lines
