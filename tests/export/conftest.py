"""What makes verification take a second in tests that do not look at its questions."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from alpaca_lora.export import probes

_NAMES = ("no input", "emoji", "special tokens")


@pytest.fixture(scope="module")
def few_questions() -> Generator[None]:
    """Ask three questions for six tokens each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "QUESTIONS", {name: probes.QUESTIONS[name] for name in _NAMES})
        patch.setattr(probes, "FOLLOWED", 6)
        yield
