"""Wait until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable

WAIT_SECONDS = 30


def until(holds: Callable[[], object], rest: Callable[[float], object] = time.sleep) -> None:
    """Ask again and again, with short rests of some seconds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        rest(0.01)
