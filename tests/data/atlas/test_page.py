"""The map in a browser, opened from the disk: what it shows, finds, selects and exports, compared with the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from chromium import chromium, wait_until
from map_pages import HOSTILE, Drawn, Reader, draw, make_rows

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw(make_rows(), tmp_path_factory.mktemp("map"))


@pytest.fixture
def reads(browser: Any) -> Iterator[Callable[..., Reader]]:
    """Open a map; the page may ask for nothing else and complain about nothing."""
    readers: list[tuple[Reader, str]] = []

    def read(drawn: Drawn, hash_: str = "", **window: Any) -> Reader:
        reader, address = Reader(browser, **window), drawn.path.as_uri()
        readers.append((reader, address))
        reader.open(address + hash_)
        return reader

    yield read
    for reader, address in readers:
        asked, complaints = {url.partition("#")[0] for url in reader.requests}, reader.complaints
        reader.context.close()
        assert asked == {address}
        assert complaints == []


def pixel(reader: Reader, x: float, y: float) -> tuple[int, ...]:
    """Give the colour of the points' picture at a place of the window."""
    box = reader.page.locator("#stage").bounding_box()
    read = "([x, y]) => Array.from(pictureContext.getImageData(x, y, 1, 1).data)"
    return tuple(reader.page.evaluate(read, [round(x - box["x"]), round(y - box["y"])]))


@pytest.mark.parametrize(
    ("scheme", "ground", "defect"),
    [("light", "rgb(255, 255, 255)", (0xD5, 0x5E, 0, 255)), ("dark", "rgb(20, 24, 29)", (0xFF, 0x7F, 0x2E, 255))],
)
def test_page_opens_and_draws(
    drawn: Drawn, reads: Callable[..., Reader], scheme: str, ground: str, defect: tuple[int, ...]
) -> None:
    reader = reads(drawn, color_scheme=scheme)
    worst = drawn.columns["worst"]
    assert reader.text("#file") == "rows.json"
    assert reader.text("#summary") == f"160 rows · {(worst == 3).sum()} with a defect · 1 row could not be read"
    assert reader.page.evaluate("getComputedStyle(stage).backgroundColor") == ground
    assert pixel(reader, *reader.place_of(drawn, drawn.lonely(worst == 3))) == defect
    assert pixel(reader, *reader.on_screen(-1000, -1000)) == (0, 0, 0, 0)


def test_search_finds_what_python_finds(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    for words in ("river", "RIVER boat", "boat river", '"the bread and"', "zürich", "</SCRIPT>", "(x+[", "#17"):
        asked = [words.strip('"')] if words.startswith('"') else words.split()
        expected = [17] if words == "#17" else drawn.found(asked)
        reader.search(words, len(expected))
        assert reader.listed("#found") == expected[:100], words
        marked = reader.page.locator("#found mark").all_inner_texts()
        assert {text.lower() for text in marked} <= {word.lower() for word in asked}, words
        assert bool(marked) == (bool(expected) and words != "#17"), words


def test_lasso_selects_and_exports_what_lies_inside(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    """Around a concave polygon; inside or not is asked of matplotlib."""
    from matplotlib.path import Path as Polygon

    reader = reads(drawn)
    corners = [
        reader.on_screen(*place)
        for place in ((-999, -999), (50_000, 9_000), (30_000, 30_000), (52_000, 66_000), (9_000, 66_000))
    ]
    corners = [(round(x), round(y)) for x, y in corners]
    reader.page.click("#lasso")
    reader.page.mouse.move(*corners[0])
    reader.page.mouse.down()
    for corner in corners[1:]:
        reader.page.mouse.move(*corner)
    reader.page.mouse.up()
    reader.sees("#selection h2", "selected")
    stage, view = reader.page.locator("#stage").bounding_box(), reader.view()
    shape = (np.array(corners) - [stage["x"] + view["left"], stage["y"] + view["top"]]) / view["scale"]
    inside = Polygon(shape).contains_points(np.stack([drawn.columns["x"], drawn.columns["y"]], 1))
    assert 10 < inside.sum() < 150
    assert reader.export() == drawn.rows_where(inside)
    assert reader.text("#selection h2") == f"{inside.sum()} rows selected"
    reader.page.click("#copy")
    reader.sees("#message", "copied")
    reader.press("/", "Control+v")
    assert reader.page.input_value("#search") == str(drawn.rows_where(inside)).replace(" ", "")


def test_shift_drag_takes_only_what_the_search_found(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    found = drawn.found(["harbour", "ferry"])
    reader.search("harbour ferry", len(found))
    reader.page.keyboard.down("Shift")
    reader.page.mouse.move(*reader.on_screen(-900, -900))
    reader.page.mouse.down()
    for corner in ((66_500, -900), (66_500, 66_500), (-900, 66_500)):
        reader.page.mouse.move(*reader.on_screen(*corner))
    reader.page.mouse.up()
    reader.page.keyboard.up("Shift")
    reader.sees("#selection h2", f"{len(found)} rows selected")
    assert reader.export() == found


def test_click_opens_a_row_with_its_flaws(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    point = drawn.lonely(drawn.columns["worst"] == 3)
    row, raw = int(drawn.columns["row"][point]), drawn.table.raw[int(drawn.columns["row"][point])]
    reader = reads(drawn)
    x, y = reader.place_of(drawn, point)
    reader.page.mouse.move(x, y)
    assert reader.text("#tip").split() == f"Row {row} {raw['instruction']}".split()
    reader.page.mouse.click(x, y)
    reader.sees_row(row)
    assert reader.page.url.endswith(f"#row={row}")
    flaws = [(f.severity, f.rule, f.field, f.reason) for f in drawn.map.report.findings if f.row == row]
    shown = reader.page.locator("#row .flaws li").all_inner_texts()
    assert sorted(shown) == sorted(
        f"{severity} {rule} in {field}\n\n{reason}" for severity, rule, field, reason in flaws
    )
    assert shown
    assert reader.text("#row .instruction .text") == raw["instruction"]
    assert reader.text("#row .output .text") == (raw["output"] or "empty")
    assert reader.text("#row .facts").split("\n")[1::2][1:3] == [
        f"{drawn.columns['length'][point]} characters",
        raw["source"],
    ]
    reader.press("j")
    reader.sees_row(drawn.columns["row"][point + 1])
    reader.press("Escape")
    reader.page.wait_for_selector("#row", state="hidden")


def test_address_opens_a_row_and_untrusted_text_stays_text(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn, "#row=8")
    reader.sees_row(8)
    for field in ("instruction", "input", "output"):
        shown = reader.page.locator(f"#row .{field} .text").text_content()
        assert shown == drawn.table.raw[8][field]
    assert reader.page.locator("img").count() == 0
    reader.search("onerror", 1)
    reader.page.hover("#found .item")
    assert HOSTILE[:40] in reader.text("#found .item")
    assert reader.page.title() == "Map of rows.json"
    reader.page.evaluate("location.hash = '#row=5'")
    reader.sees("#message", "Row 5 could not be read")


def test_bad_clusters_come_first_and_select_their_rows(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    shown = [
        int(number)
        for number in reader.page.locator("#cluster-list .item").evaluate_all("all => all.map(i => i.dataset.cluster)")
    ]
    worst = drawn.map.worst_clusters()
    assert worst
    assert shown[: len(worst)] == worst
    assert sorted(shown) == list(range(len(drawn.map.clusters)))
    reader.page.click("#cluster-list .item")
    reader.page.click("#tab-selection")
    assert reader.export() == drawn.rows_where(drawn.columns["cluster"] == worst[0])


def test_colour_by_a_rule_counts_and_selects_its_rows(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    named = {rule["id"]: number for number, rule in enumerate(drawn.meta["rules"])}
    rows = sorted({finding.row for finding in drawn.map.report.findings if finding.rule == "no-input"})
    reader.page.select_option("#colour", f"rule {named['no-input']}")
    assert reader.text("#legend-list li:first-child").split() == ["no-input", str(len(rows))]
    reader.page.click("#legend-list button")
    assert reader.export() == rows
    for choice in ("cluster", "length", "source", "suspicion", "flaw"):
        reader.page.select_option("#colour", choice)
        counts = [int(re.sub(r"\D", "", text)) for text in reader.page.locator("#legend-list .quiet").all_inner_texts()]
        assert sum(counts) == (0 if choice == "cluster" else 159), choice


def test_keys_move_zoom_and_end_a_search(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    start = reader.view()
    reader.page.focus("#stage")
    reader.press("ArrowRight", "ArrowDown")
    moved = reader.view()
    assert (moved["left"], moved["top"]) == (start["left"] - 60, start["top"] - 60)
    reader.press("+")
    assert reader.view()["scale"] == pytest.approx(start["scale"] * 1.6)
    reader.search("bread", len(drawn.found(["bread"])))
    reader.press("Escape")
    assert reader.page.input_value("#search") == ""
    assert reader.text("#found h2") == "Nothing is searched for"


def test_wheel_zooms_about_the_pointer_and_a_drag_pans(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn)
    point = drawn.lonely(drawn.columns["worst"] >= 0)
    x, y = (round(at) for at in reader.place_of(drawn, point))
    before = reader.view()["scale"]
    reader.page.mouse.move(x, y)
    reader.page.mouse.wheel(0, -300)
    wait_until(reader.page, lambda: reader.view()["scale"] > before * 1.5)
    assert reader.place_of(drawn, point) == pytest.approx((x, y), abs=1)
    reader.page.mouse.down()
    reader.page.mouse.move(x + 50, y - 20)
    reader.page.mouse.up()
    assert reader.place_of(drawn, point) == pytest.approx((x + 50, y - 20), abs=1)
    assert not reader.page.is_visible("#row")


def test_phone_reads_by_touch_and_never_scrolls_sideways(drawn: Drawn, reads: Callable[..., Reader]) -> None:
    reader = reads(drawn, **PHONE)
    point = drawn.lonely(drawn.columns["worst"] >= 0)
    reader.page.touchscreen.tap(*reader.place_of(drawn, point))
    reader.sees_row(drawn.columns["row"][point])
    for tab in ("clusters", "found", "selection", "row"):
        reader.page.tap(f"#tab-{tab}")
        assert reader.page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    before, hands = reader.view()["scale"], reader.context.new_cdp_session(reader.page)
    for kind, spread in (("touchStart", 20), ("touchMove", 60), ("touchEnd", None)):
        fingers = [] if spread is None else [{"x": 195 + side * spread, "y": 300, "id": side} for side in (-1, 1)]
        hands.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    assert reader.view()["scale"] == pytest.approx(before * 3, rel=0.01)


def test_few_rows_with_earlier_turns(tmp_path: Any, reads: Callable[..., Reader]) -> None:
    turns = [
        ("system", "Be kind."),
        ("user", "Hello?"),
        ("assistant", "Hello!"),
        ("user", "A river?"),
        ("assistant", "The Elbe."),
    ]
    row = {"messages": [{"role": role, "content": text} for role, text in turns]}
    reader = reads(draw([row], tmp_path), "#row=0")
    shown = reader.page.locator("#row .turn").all_inner_texts()
    titles = ("System", "User", "Assistant", "Instruction", "Output")
    assert shown == [f"{title}\n{text}" for title, (_, text) in zip(titles, turns, strict=True)]
