"""What keeps the measuring for a plan from being the longest part of a tiny run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

import pytest

from alpaca_lora.training import probe


@pytest.fixture(scope="module", autouse=True)
def _time_one_call() -> Generator[None]:
    """Time one call where a user's run takes the median of up to fifteen: no test here asks how long a run lasts."""

    def seconds(run: Callable[[], Any], device: Any) -> float:
        began = perf_counter()
        run()
        return perf_counter() - began

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe, "_seconds", seconds)
        yield
