"""Time the map of a data file: to build it, to open it in Chromium from the disk, to drag and to wheel over it.

    python benchmarks/data_map.py --data alpaca_data.json --output FILE.json

The map is built by `alpaca-lora data map` in a process of its own: seconds, processor seconds and peak memory of it are
measured. Then Chromium opens the file from `file://` in a window of 1400 x 900, without a card to draw with. Opening
runs from the call to the page's first picture (`data-drawn`); texts are decoded after it (`data-texts`). Frames are the
browser's animation frames over 3 s, in which the mouse drags, or wheels, without a pause. Prints one JSON line.
The bars: at most 120 s to build, 12 MB, 3 s to open, no request besides the file, 30 frames/s while dragging.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from math import cos, sin
from pathlib import Path
from typing import Any

from result_line import publish, result_head

WINDOW = {"width": 1400, "height": 900}
SECONDS = 3.0
_COUNT_FRAMES = """() => {
  window.frames_seen = [];
  const seen = (at) => { window.frames_seen.push(at); requestAnimationFrame(seen); };
  requestAnimationFrame(seen);
}"""


def build(data: Path, output: Path) -> dict[str, Any]:
    """Build the map in a process of its own."""
    command = [sys.executable, "-m", "alpaca_lora", "data", "map", str(data), "--output", str(output)]
    load, before, began = os.getloadavg()[0], resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor, 2),
        "peak_mib": round(after.ru_maxrss / 1024),
        "file_bytes": output.stat().st_size,
        "load_average": round(load, 2),
    }


def opened(page: Any, file: Path) -> dict[str, Any]:
    """Open the file; give the seconds to its first picture and to its texts, and the requests besides the file."""
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    began = time.perf_counter()
    page.goto(file.as_uri(), wait_until="commit")
    page.wait_for_selector("html[data-drawn='1']", state="attached")
    drawn = time.perf_counter() - began
    page.wait_for_selector("html[data-texts='1']", state="attached")
    others = [url for url in requests if url != file.as_uri() and not url.startswith("data:")]
    return {
        "open_seconds": round(drawn, 3),
        "texts_seconds": round(time.perf_counter() - began, 3),
        "requests": len(others),
    }


def drag(page: Any, step: int) -> None:
    """Move the mouse, which is down, along a circle around the middle."""
    page.mouse.move(700 + 150 * cos(step / 10), 450 + 150 * sin(step / 10))


def wheel(page: Any, step: int) -> None:
    """Zoom in for ten steps, then out for ten."""
    page.mouse.wheel(0, -60 if step // 10 % 2 == 0 else 60)


def frames_per_second(page: Any, act: Any) -> dict[str, float]:
    """Count animation frames while acting; give them a second, and the longest pause between two in ms."""
    page.evaluate("window.frames_seen = []")
    began, step = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        act(page, step)
        step += 1
    seen: list[float] = page.evaluate("window.frames_seen")
    pauses = [later - earlier for earlier, later in pairwise(seen)]
    return {"frames_per_second": round(1000 * len(pauses) / sum(pauses), 1), "longest_pause_ms": round(max(pauses), 1)}


def browse(file: Path) -> dict[str, Any]:
    """Measure the page in a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=WINDOW)
        found: dict[str, Any] = {"browser": browser.version, **opened(page, file)}
        page.evaluate(_COUNT_FRAMES)
        page.mouse.move(700, 450)
        page.mouse.down()
        found["drag"] = frames_per_second(page, drag)
        page.mouse.up()
        found["wheel"] = frames_per_second(page, wheel)
        browser.close()
    return found


def main() -> None:
    """Build, open, move, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the rows to draw")
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="data-map-") as folder:
        file = Path(folder) / "map.html"
        built = build(arguments.data, file)
        shown = browse(file)
    line = {
        **result_head("data_map", f"python benchmarks/data_map.py --data {arguments.data.name}", "cpu"),
        "file": arguments.data.name,
        "build": built,
        **shown,
        "bars": {
            "build_seconds": {"at_most": 120, "found": built["seconds"]},
            "file_megabytes": {"at_most": 12, "found": round(built["file_bytes"] / 1e6, 2)},
            "open_seconds": {"at_most": 3, "found": shown["open_seconds"]},
            "requests": {"at_most": 0, "found": shown["requests"]},
            "drag_frames_per_second": {"at_least": 30, "found": shown["drag"]["frames_per_second"]},
        },
    }
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
