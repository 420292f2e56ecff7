"""The words on the map's page: clusters' names that hide nothing, cuts at words, a flaw's place in a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from map_pages import Drawn, Reader, draw, make_rows

LABELS = """() => {
  const drawn = [];
  labelContext.fillText = (text, x, y) => drawn.push([x, y, labelContext.measureText(text).width / 2]);
  drawLabels();
  delete labelContext.fillText;
  return drawn;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


def opened(browser: Any, drawn: Drawn, hash_: str = "", **window: Any) -> Reader:
    reader = Reader(browser, **window)
    reader.open(drawn.path.as_uri() + hash_)
    return reader


def boxes_of_labels(reader: Reader) -> list[list[float]]:
    """Give left, top, right and bottom of the clusters' names, of letters 10 pixels high, in the window."""
    stage = reader.page.locator("#stage").bounding_box()
    at = [(x + stage["x"], y + stage["y"], half) for x, y, half in reader.page.evaluate(LABELS)]
    return [[x - half, y - 5, x + half, y + 5] for x, y, half in at]


@pytest.mark.parametrize(
    ("n", "window"), [(1, {}), (17, {"viewport": {"width": 390, "height": 844}, "is_mobile": True})]
)
def test_names_of_clusters_hide_no_point_of_a_small_map(
    n: int, browser: Any, tmp_path: Path, window: dict[str, Any]
) -> None:
    drawn = draw(make_rows(17)[:n], tmp_path)
    reader = opened(browser, drawn, **window)
    places = np.array([reader.place_of(drawn, point) for point in range(len(drawn.map.positions))])
    labels = boxes_of_labels(reader)
    assert len(labels) == len(drawn.map.clusters) == 1
    for left, top, right, bottom in labels:
        inside = (places > [left, top]).all(1) & (places < [right, bottom]).all(1)
        assert not inside.any()


def test_names_of_clusters_keep_clear_of_buttons_and_legend(browser: Any, tmp_path: Path) -> None:
    drawn = draw(make_rows(90), tmp_path)
    reader = opened(browser, drawn)
    first, seen = drawn.meta["clusters"][0], 0
    for thing in ("#tools", "#legend", "#fold"):
        if thing == "#fold":
            reader.page.click(thing)
        box = reader.page.locator(thing).bounding_box()
        x, y = reader.on_screen(first["x"], first["y"])
        away = [box["x"] + box["width"] / 2 - x, box["y"] + box["height"] / 2 - y]
        reader.page.evaluate("([dx, dy]) => { view.left += dx; view.top += dy; }", away)
        labels = boxes_of_labels(reader)
        seen += len(labels)
        for left, top, right, bottom in labels:
            beside = right <= box["x"] or left >= box["x"] + box["width"]
            assert beside or bottom <= box["y"] or top >= box["y"] + box["height"], thing
    assert seen


def test_what_a_search_found_begins_and_ends_at_words(browser: Any, tmp_path: Path) -> None:
    words = ["meadow", "lantern,", "copper.", "whisper", "saddle", "(pebble)", "thunder", "willow", "ember", "cactus"]
    chance = np.random.default_rng(0)
    long = [" ".join([*chance.choice(words, 20 + n), "zebra", *chance.choice(words, 40)]) for n in range(6)]
    rows = [{"instruction": "Write on.", "input": "", "output": text} for text in long]
    reader = opened(browser, draw(rows, tmp_path))
    reader.search("zebra", 6)
    for number, text in enumerate(reader.page.locator("#found .snippet").all_text_contents()):
        assert text.startswith("… ")
        assert text.endswith(" …")
        shown = text.strip("… ")
        assert "zebra" in shown
        assert shown in long[number]
        assert {word.strip(",.()") for word in shown.split()} <= {word.strip(",.()") for word in [*words, "zebra"]}


def test_a_flaw_of_a_conversation_says_which_turn(browser: Any, tmp_path: Path) -> None:
    said = [("user", "Hello?"), ("assistant", "Hello!"), ("user", "A river?"), ("assistant", "")]
    messages = [{"role": role, "content": text} for role, text in said]
    rows = [{"messages": messages}, {"messages": [{"role": "system", "content": "Be kind."}, *messages]}]
    reader = opened(browser, draw(rows, tmp_path), "#row=0")
    shown = [reader.text("#row .flaws li:first-child span")]
    reader.press("j")
    reader.sees_row(1)
    shown.append(reader.text("#row .flaws li:first-child span"))
    assert shown == [f"defect empty-output in answer 2 messages.{number}.content" for number in (3, 4)]
