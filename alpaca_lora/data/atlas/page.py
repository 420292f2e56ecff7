"""The page of a map: one HTML file with the picture, the texts and the program that shows them."""

from __future__ import annotations

import base64
import gzip
import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from alpaca_lora.data.atlas.build import SEVERITIES, Map
from alpaca_lora.data.atlas.embedding import embedder_name
from alpaca_lora.data.audit.rows import RowView
from alpaca_lora.data.audit.rules import Rule
from alpaca_lora.data.audit.writing import as_json

SCRIPTS = (
    "data", "view", "colours", "draw", "state", "search", "selection", "clusters", "row", "marks", "gestures", "keys",
    "main",
)  # fmt: skip
"""The page's scripts, in the order in which they use each other."""
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def page_html(map_: Map, served: bool = False, marks: Mapping[str, Any] | None = None) -> str:
    """Give the page; served for a review it has buttons, and the marks so far: {"row": {"mark", "edit"}}."""
    rules = _rules(map_)
    described = _describe(map_, rules) | {"served": served} | ({"marks": dict(marks or {})} if served else {})
    fill = {
        "title": html.escape(f"Map of {described['file']}").encode("utf-8", "replace").decode(),
        "style": _template("style.css"),
        "script": '"use strict";\n' + "\n".join(_template(f"{name}.js") for name in SCRIPTS),
        "meta": as_json(described).decode().replace("<", "\\u003c"),
        "points": _base64(_points(map_)),
        "texts": _base64(gzip.compress(as_json(_texts(map_, rules)), 9, mtime=0)),
    }
    return _PLACEHOLDER.sub(lambda place: fill[place[1]], _template("page.html"))


def _template(name: str) -> str:
    return (resources.files("alpaca_lora") / "assets" / "map" / name).read_text(encoding="utf-8")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _describe(map_: Map, rules: Sequence[Rule]) -> dict[str, Any]:
    table, config = map_.report.table, map_.config
    found = Counter(rule for _, rule in {(finding.row, finding.rule) for finding in map_.report.findings})
    return {
        "file": Path(table.name).name if Path(table.name).is_file() else table.name,
        "sha256": table.sha256,
        "rows": len(table.raw),
        "points": len(table.views),
        "of": config.of,
        "embedder": embedder_name(config.embedder),
        "seed": config.seed,
        "rules": [
            {"id": rule.id, "severity": rule.severity, "description": rule.description, "rows": found[rule.id]}
            for rule in rules
        ],
        "clusters": [asdict(cluster) for cluster in map_.clusters],
        "sources": list(map_.sources),
        "length_unit": "characters",
        "has_suspicion": True,
    }


def _rules(map_: Map) -> list[Rule]:
    """Give the rules that hit a point, defects first; a row that cannot be read is no point."""
    shown = {view.row for view in map_.report.table.views}
    hit = {finding.rule for finding in map_.report.findings if finding.row in shown}
    rules = [rule for rule in map_.report.rules if rule.id in hit]
    return sorted(rules, key=lambda rule: -SEVERITIES.index(rule.severity))


def _points(map_: Map) -> bytes:
    """Write the columns of the points, little-endian, one after the other."""
    columns = (
        (np.array([view.row for view in map_.report.table.views]), "<u4"),
        (map_.positions[:, 0], "<u2"),
        (map_.positions[:, 1], "<u2"),
        (map_.cluster, "<u2"),
        (map_.length, "<u4"),
        (map_.source, "u1"),
        (map_.worst, "u1"),
        (np.rint(255 * map_.suspicion), "u1"),
    )
    return b"".join(column.astype(kind).tobytes() for column, kind in columns)


def _texts(map_: Map, rules: Sequence[Rule]) -> dict[str, Any]:
    views = map_.report.table.views
    point_of = {view.row: point for point, view in enumerate(views)}
    number_of = {rule.id: number for number, rule in enumerate(rules)}
    last = [view.turns[-1] for view in views]
    return {
        "instruction": [turn.instruction for turn in last],
        "input": [turn.input for turn in last],
        "output": [turn.output for turn in last],
        "before": {point: before for point, view in enumerate(views) if (before := _before(view))},
        "findings": [
            [point_of[finding.row], number_of[finding.rule], finding.field, finding.reason]
            for finding in map_.report.findings
            if finding.row in point_of
        ],
    }


def _before(view: RowView) -> list[tuple[str, str]]:
    """Give the system message and the turns before the last, each with who says it."""
    said = [("system", view.system)] if view.system else []
    for turn in view.turns[:-1]:
        question = f"{turn.instruction}\n\n{turn.input}" if turn.input else turn.instruction
        said += [("user", question), ("assistant", turn.output)]
    return said
