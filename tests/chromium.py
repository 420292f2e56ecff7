"""Debian's Chromium for tests that look at a page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from waiting import until


@contextmanager
def chromium() -> Generator[Any]:
    """Open Debian's Chromium, or skip."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def wait_until(page: Any, holds: Callable[[], bool]) -> None:
    """Let a page work until something holds."""
    until(holds, lambda seconds: page.wait_for_timeout(1000 * seconds))
