"""What is written into the page, decoded again, is the rows with all that was found in them."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from alpaca_lora.data.atlas.build import SEVERITIES, Map
from alpaca_lora.data.atlas.page import SCRIPTS, page_html

COLUMNS = (
    ("row", "<u4"), ("x", "<u2"), ("y", "<u2"), ("cluster", "<u2"), ("length", "<u4"), ("source", "u1"),
    ("worst", "u1"), ("suspicion", "u1"),
)  # fmt: skip


def block(page: str, name: str) -> str:
    """Give what a browser finds in one of the page's scripts: all up to the first closing tag."""
    found = re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script', page, re.DOTALL)
    assert found
    return found[1]


def decode(page: str) -> tuple[dict[str, Any], dict[str, list[int]], dict[str, Any]]:
    meta = json.loads(block(page, "meta"))
    content, columns = base64.b64decode(block(page, "points")), {}
    for name, kind in COLUMNS:
        size = meta["points"] * np.dtype(kind).itemsize
        columns[name], content = np.frombuffer(content[:size], kind).tolist(), content[size:]
    assert content == b""
    return meta, columns, json.loads(gzip.decompress(base64.b64decode(block(page, "texts"))))


def test_the_texts_are_those_of_the_rows_whatever_they_hold(topics: Map) -> None:
    _, columns, texts = decode(page_html(topics))
    table = topics.report.table
    assert [row for row, _ in table.bad] == [364]  # the half character, which no row may hold
    assert columns["row"] == [row for row in range(len(table.raw)) if row != 364]
    raw = [table.raw[row] for row in columns["row"]]
    for name in ("instruction", "input", "output"):
        assert texts[name] == [row[name] for row in raw]
    assert columns["length"] == [sum(map(len, row.values())) for row in raw]


def test_no_text_can_end_or_begin_a_script(topics: Map) -> None:
    page = page_html(topics)
    template_scripts = 4
    assert page.count("<script") == page.count("</script>") == template_scripts
    assert "alert(1)" not in page
    assert not re.search(r"\{\{(title|style|script|meta|points|texts)\}\}", page)


def test_findings_and_the_worst_of_each_row(topics: Map) -> None:
    meta, columns, texts = decode(page_html(topics))
    rules = meta["rules"]
    found = [
        (columns["row"][point], rules[rule]["id"], field, reason) for point, rule, field, reason in texts["findings"]
    ]
    assert found == [(hit.row, hit.rule, hit.field, hit.reason) for hit in topics.report.findings if hit.row != 364]
    ranks = [SEVERITIES.index(rule["severity"]) for rule in rules]
    assert ranks == sorted(ranks, reverse=True)
    worst = [0] * meta["points"]
    for point, rule, _, _ in texts["findings"]:
        worst[point] = max(worst[point], ranks[rule] + 1)
    assert columns["worst"] == worst
    empty = next(rule for rule in rules if rule["id"] == "empty-output")
    assert empty["rows"] == 15  # 360 / 24


def test_clusters_are_described_by_their_rows(topics: Map) -> None:
    meta, columns, _ = decode(page_html(topics))
    for number, cluster in enumerate(meta["clusters"]):
        inside = [point for point, name in enumerate(columns["cluster"]) if name == number]
        assert cluster["rows"] == len(inside)
        assert cluster["defects"] == sum(columns["worst"][point] == 3 for point in inside)
        assert cluster["suspicion"] == pytest.approx(np.mean([columns["suspicion"][p] / 255 for p in inside]), abs=4e-3)
        for axis in ("x", "y"):
            assert cluster[axis] == int(np.median([columns[axis][point] for point in inside]))
    assert sum(cluster["rows"] for cluster in meta["clusters"]) == meta["points"]


def test_earlier_turns_system_and_sources(map_of: Callable[..., Map]) -> None:
    said = [("system", "Be brief."), ("user", "Who?"), ("assistant", "Me."), ("user", "Why?"), ("assistant", "So.")]
    long = {"messages": [{"role": role, "content": text} for role, text in said], "source": "b"}
    short = {"messages": [{"role": role, "content": text} for role, text in said[3:]], "source": "a"}
    meta, columns, texts = decode(page_html(map_of([short, {"messages": 3}, long, {**short, "source": ""}, long])))
    assert (meta["rows"], meta["points"], columns["row"]) == (5, 4, [0, 2, 3, 4])
    assert texts["instruction"] == ["Why?"] * 4
    assert texts["before"] == {number: [list(turn) for turn in said[:3]] for number in ("1", "3")}
    assert columns["length"][:2] == [7, 23]
    assert meta["sources"] == ["b", "a", "not named"]
    assert columns["source"] == [1, 0, 2, 0]


def test_more_sources_than_a_byte_can_tell(map_of: Callable[..., Map]) -> None:
    rows = [{"instruction": "Say a.", "input": "", "output": "a", "category": f"c{n}"} for n in (0, 0, *range(300))]
    meta, columns, _ = decode(page_html(map_of(rows, only=("empty-output",))))
    assert len(meta["sources"]) == 256
    assert (meta["sources"][0], meta["sources"][-1]) == ("c0", "others")
    assert [columns["source"][row] for row in (0, 255, 256, 257, 301)] == [0, 253, 254, 255, 255]


def test_a_served_page_has_the_marks(topics: Map) -> None:
    marks = {"3": {"mark": "edit", "edit": {"output": "</script>"}}}
    meta, _, _ = decode(page_html(topics, served=True, marks=marks))
    assert (meta["served"], meta["marks"]) == (True, marks)
    alone, _, _ = decode(page_html(topics))
    assert alone["served"] is False
    assert "marks" not in alone


def test_every_script_of_the_page_is_in_it(topics: Map) -> None:
    from importlib import resources

    folder = resources.files("alpaca_lora") / "assets" / "map"
    scripts = {file.name for file in folder.iterdir() if file.name.endswith(".js")}
    assert scripts == {f"{name}.js" for name in SCRIPTS}
    page = page_html(topics)
    assert all((folder / name).read_text(encoding="utf-8") in page for name in scripts)


def test_the_worst_finding_of_a_row_counts_whichever_comes_last(map_of: Callable[..., Map]) -> None:
    found = map_of([{"instruction": "Write to anna.berg@bergwerk-mail.de about it.", "input": "", "output": " "}])
    severities = [finding.severity for finding in found.report.findings]
    assert severities[0] == "defect"
    assert severities[-1] == "tag"
    assert found.worst.tolist() == [3]
