"""Rows with known flaws, their map as a page, and somebody who reads it in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alpaca_lora.data.atlas import build
from alpaca_lora.data.atlas.page import page_html
from alpaca_lora.data.atlas.settings import PictureConfig
from alpaca_lora.data.audit.rows import Table, read_rows

TOPICS = {
    "rivers": ("river", "boat", "bridge", "bank", "ferry", "water", "harbour"),
    "baking": ("bread", "oven", "flour", "butter", "cake", "sugar", "dough"),
    "music": ("violin", "song", "choir", "melody", "piano", "concert", "drum"),
    "stars": ("planet", "comet", "orbit", "telescope", "galaxy", "moon", "rocket"),
}
HOSTILE = "<img src=x onerror=\"document.title='taken'\"></script><script>document.title='taken'</script>{{meta}}"
COLUMNS = (
    ("row", "<u4"), ("x", "<u2"), ("y", "<u2"), ("cluster", "<u2"), ("length", "<u4"), ("source", "u1"),
    ("worst", "u1"), ("suspicion", "u1"),
)  # fmt: skip


def make_rows(n: int = 160) -> list[Any]:
    """Make rows on four topics; every 13th has no answer, every 17th a spelling of "no input", row 5 no known shape."""
    draw = np.random.default_rng(0)
    rows: list[Any] = []
    for number in range(n):
        topic = list(TOPICS)[number % len(TOPICS)]
        words = list(draw.choice(TOPICS[topic], 6))
        row = {
            "instruction": f"Write about the {words[0]} and the {words[1]}, number {number}.",
            "input": "N/A" if number % 17 == 16 else "",
            "output": "" if number % 13 == 12 else f"The {' '.join(words)} of Zürich.",
            "source": topic,
        }
        rows.append(row)
    rows[5] = {"text": 3}
    rows[8] = {
        "instruction": HOSTILE,
        "input": HOSTILE,
        "output": f"{HOSTILE}\x00 😀 你好\n  two\tblanks",
        "source": "rivers",
    }
    return rows


@dataclass(frozen=True)
class Drawn:
    """A map: its rows, and its page as a file."""

    table: Table
    map: build.Map
    path: Path

    @cached_property
    def html(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def meta(self) -> Any:
        return json.loads(self._script("meta"))

    @cached_property
    def texts(self) -> Any:
        return json.loads(gzip.decompress(base64.b64decode(self._script("texts"))))

    @cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """The points' columns, read as the contract between Python and the page says."""
        data, at, found = base64.b64decode(self._script("points")), 0, {}
        for name, kind in COLUMNS:
            found[name] = np.frombuffer(data, kind, self.meta["points"], at)
            at += found[name].nbytes
        assert at == len(data)
        return found

    def _script(self, name: str) -> str:
        match = re.search(rf'<script type="[^"]+" id="{name}">([^<]*)</script>', self.html)
        assert match
        return match[1]

    def point(self, row: int) -> int:
        return int(np.flatnonzero(self.columns["row"] == row)[0])

    def rows_where(self, chosen: NDArray[np.bool_]) -> list[int]:
        return self.columns["row"][chosen].tolist()

    def found(self, words: Sequence[str]) -> list[int]:
        """Search in Python: the rows in whose texts every word occurs, in whatever case."""
        fields = zip(*(self.texts[name] for name in ("instruction", "input", "output")), strict=True)
        texts = ["\n".join(row).lower() for row in fields]
        return self.rows_where(np.array([all(word.lower() in text for word in words) for text in texts]))

    def lonely(self, among: NDArray[np.bool_]) -> int:
        """Give the point, of some, that lies farthest from its nearest neighbour."""
        places = np.stack([self.columns["x"], self.columns["y"]], 1).astype(float)
        apart = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(len(places)) * 1e9
        return int(np.argmax(np.where(among, apart.min(1), -1)))


def draw(rows: list[Any], folder: Path) -> Drawn:
    """Draw rows, those of a topic about one corner: arranging them truly takes seconds, and has its own tests."""
    data = folder / "rows.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    table = read_rows(str(data))
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])[[view.row % 4 for view in table.views]]
    places = corners + np.random.default_rng(0).normal(scale=0.3, size=corners.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "project", lambda *_: places)
        map_ = build.build_map(table, PictureConfig())
    path = folder / "map.html"
    path.write_text(page_html(map_), encoding="utf-8")
    return Drawn(table, map_, path)


class Reader:
    """Somebody who reads a map in a window; keeps what the page asked for and complained about."""

    def __init__(self, browser: Any, **window: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, **window})
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)

    def open(self, address: str) -> None:
        self.page.goto("about:blank")  # a new address that differs in its #row only would not load the page
        self.requests.clear()
        self.page.goto(address)
        self.page.wait_for_selector("html[data-drawn][data-texts]", state="attached")

    def text(self, place: str) -> str:
        return str(self.page.locator(place).inner_text())

    def sees(self, place: str, text: str) -> None:
        self.page.locator(place, has_text=text).first.wait_for()

    def sees_row(self, row: int) -> None:
        """Wait until a row is open."""
        self.page.get_by_role("heading", name=f"Row {row}", exact=True).wait_for()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def search(self, words: str, rows: int) -> None:
        """Search, and wait until so many rows are said to be found."""
        self.page.fill("#search", words)
        self.sees("#found h2", f"{rows:,} row{'' if rows == 1 else 's'} found")

    def view(self) -> dict[str, float]:
        return self.page.evaluate("view")

    def on_screen(self, x: float, y: float) -> tuple[float, float]:
        """Give where a place of the map is in the window."""
        stage, view = self.page.locator("#stage").bounding_box(), self.view()
        return stage["x"] + x * view["scale"] + view["left"], stage["y"] + y * view["scale"] + view["top"]

    def place_of(self, drawn: Drawn, point: int) -> tuple[float, float]:
        return self.on_screen(float(drawn.columns["x"][point]), float(drawn.columns["y"][point]))

    def listed(self, place: str) -> list[int]:
        """Give the rows that a list shows."""
        return [int(text.removeprefix("Row ")) for text in self.page.locator(f"{place} .rows b").all_inner_texts()]

    def export(self) -> list[int]:
        """Export the selection; give what the file holds."""
        with self.page.expect_download() as download:
            self.page.click("#export")
        assert download.value.suggested_filename == "rows.json.selection.json"
        return json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
