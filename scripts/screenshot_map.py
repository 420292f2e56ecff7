"""Take the guide's pictures of the map.

    python scripts/screenshot_map.py ALPACA_DATA.json

writes into docs/guides/: map-whole.png and map-bad-cluster.png, which show counts and the words of clusters but no row,
and map-row.png and map-phone-dark.png, of the rows that this project wrote for the ranker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from alpaca_lora.data.audit.ranker import BUNDLED

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
OPEN_ROW = 19
"""One with a flaw that the reason and the texts show."""


def draw(data: Path, folder: Path) -> Path:
    """Make the map of a file."""
    page = folder / f"{data.stem}.html"
    subprocess.run([sys.executable, "-m", "alpaca_lora", "data", "map", str(data), "--output", str(page)], check=True)
    return page


def shown(browser: Browser, page: Path, *, phone_dark: bool = False, row: int | None = None) -> Page:
    """Open a map and wait for its texts."""
    size = {"width": 390, "height": 844} if phone_dark else {"width": 1400, "height": 900}
    tab = browser.new_page(
        viewport={"width": size["width"], "height": size["height"]}, color_scheme="dark" if phone_dark else "light"
    )
    tab.goto(page.as_uri() + (f"#row={row}" if row is not None else ""))
    tab.wait_for_selector("html[data-texts]", state="attached")
    tab.wait_for_timeout(700)
    return tab


def main(data: Path) -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        ours = folder / "rows.json"
        rows = json.loads(BUNDLED.read_text(encoding="utf-8"))
        kept = [{key: row[key] for key in ("instruction", "input", "output")} for row in rows]
        ours.write_text(json.dumps(kept), encoding="utf-8")
        whole, small = draw(data, folder), draw(ours, folder)
        browser = driver.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox"]
        )
        tab = shown(browser, whole)
        tab.screenshot(path=GUIDES / "map-whole.png")
        tab.locator("#cluster-list .item").first.click()
        tab.wait_for_timeout(700)
        tab.screenshot(path=GUIDES / "map-bad-cluster.png")
        shown(browser, small, row=OPEN_ROW).screenshot(path=GUIDES / "map-row.png")
        shown(browser, small, phone_dark=True).screenshot(path=GUIDES / "map-phone-dark.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
