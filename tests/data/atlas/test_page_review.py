"""The map as `data review` serves it: marks made in a browser reach the file, and only what is in it is shown."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from map_pages import Drawn, Reader, draw, make_rows

from alpaca_lora.data.atlas.page import page_html
from alpaca_lora.data.audit.marks import load_marks
from alpaca_lora.data.review.app import Review
from alpaca_lora.data.review.run import server
from alpaca_lora.inference.serve.run import listen

ROW = 12
"""Its output is empty, which is a defect."""


@dataclass
class Reviewed:
    """A map that is served, somebody at it, and the marks as the file has them."""

    drawn: Drawn
    reader: Reader
    review: Review
    stop: Callable[[], None]

    def marks(self) -> dict[int, Any]:
        return {
            row: (mark.mark, dict(mark.edit)) for row, mark in load_marks(self.review.path, self.drawn.table).items()
        }

    def press(self, key: str, says: str) -> None:
        self.reader.press(key)
        self.reader.sees("#message", says)

    def pressed(self) -> list[str]:
        return self.reader.page.locator('#row .marks [aria-pressed="true"]').all_inner_texts()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw(make_rows(), tmp_path_factory.mktemp("map"))


@pytest.fixture
def reviewed(browser: Any, drawn: Drawn, tmp_path: Path) -> Iterator[Reviewed]:
    """Serve the map, and open row 12 of it."""
    review = Review(drawn.table, tmp_path / "marks.jsonl", lambda held: page_html(drawn.map, served=True, marks=held))
    with listen("127.0.0.1", 0) as listener:
        running = server(review)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()

        def stop() -> None:
            running.should_exit = True
            thread.join()
            listener.close()

        reader = Reader(browser)
        try:
            reader.open(f"http://127.0.0.1:{listener.getsockname()[1]}/#row={ROW}")
            reader.sees_row(ROW)
            yield Reviewed(drawn, reader, review, stop)
        finally:
            reader.context.close()
            stop()


def test_keys_and_buttons_mark_the_open_row(reviewed: Reviewed) -> None:
    reader = reviewed.reader
    for key, verdict, button in (("d", "defect", "Defect"), ("l", "low value", "Low value"), ("f", "fine", "Fine")):
        reviewed.press(key, f"Row {ROW}: {verdict}")
        assert reviewed.marks() == {ROW: (verdict, {})}
        assert reviewed.pressed() == [button]
    reader.page.reload()
    reader.sees("#summary", "1 marked")
    assert reviewed.pressed() == ["Fine"]
    reader.page.select_option("#colour", "mark")
    counts = dict(text.split("\n") for text in reader.page.locator("#legend-list button").all_inner_texts())
    assert counts == {"defect": "0", "edited": "0", "low value": "0", "fine": "1", "unmarked": "158"}
    reviewed.press("u", "mark taken back")
    assert (reviewed.marks(), reviewed.pressed()) == ({}, [])
    reader.page.click("#row .marks >> text=Defect")
    reader.sees("#message", f"Row {ROW}: defect")
    assert reviewed.marks() == {ROW: ("defect", {})}
    assert reader.complaints == []


def test_an_edit_sends_only_what_was_changed(reviewed: Reviewed) -> None:
    reader, page = reviewed.reader, reviewed.reader.page
    reader.press("e")
    page.click("#edit .main")
    reader.sees("#message", "Nothing differs")
    page.fill("#edit [name=output]", "The harbour.\n</script>")
    page.evaluate("step(1)")
    reader.sees("#message", "Save the edit or cancel it first")
    page.click("#edit .main")
    reader.sees("#row h3", "Output (edited)")
    assert reviewed.marks() == {ROW: ("edit", {"output": "The harbour.\n</script>"})}
    assert page.locator("#row .output .text").text_content() == "The harbour.\n</script>"
    page.reload()
    reader.sees("#row h3", "Output (edited)")
    reader.press("e")
    assert page.input_value("#edit [name=output]") == "The harbour.\n</script>"
    page.fill("#edit [name=output]", "other")
    reader.press("Escape")
    assert page.locator("#row .output .text").text_content() == "The harbour.\n</script>"


def test_a_mark_that_is_not_kept_is_not_shown(reviewed: Reviewed) -> None:
    reviewed.press("f", f"Row {ROW}: fine")
    kept = reviewed.review.path.read_bytes()
    reviewed.review.path.write_bytes(kept + b"damaged\n")
    reviewed.press("d", f"The mark of row {ROW} was not kept: ")
    assert "the server" not in reviewed.reader.text("#message")
    assert reviewed.pressed() == ["Fine"]
    reviewed.review.path.write_bytes(kept)
    reviewed.stop()
    reviewed.press("d", "the server does not answer")
    assert reviewed.pressed() == ["Fine"]
    assert reviewed.marks() == {ROW: ("fine", {})}


def test_next_suspicious_goes_through_the_unmarked_rows(reviewed: Reviewed) -> None:
    columns, reader = reviewed.drawn.columns, reviewed.reader
    order = np.lexsort((np.arange(159), -columns["worst"].astype(int), -columns["suspicion"].astype(int)))
    first, second, third = [row for row in columns["row"][order].tolist() if row != ROW][:3]
    reviewed.press("l", "low value")
    reader.press("n")
    reader.sees_row(first)
    reviewed.press("d", f"Row {first}: defect")
    reader.page.click("#next-suspicious")
    reader.sees_row(second)
    reader.page.check("#unmarked-only")
    reader.sees("#count", f"{159 - len(reviewed.marks())} rows")
    reviewed.press("f", f"Row {second}: fine")
    reader.sees("#count", f"{159 - len(reviewed.marks())} rows")
    reader.page.reload()
    reader.sees("#summary", f"{len(reviewed.marks())} marked")
    reader.press("n")
    reader.sees_row(third)
    assert {first, second} <= reviewed.marks().keys()
