"""What is known of published data sets, and how it is listed."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.data.registry import KNOWN_SETS, describe_set, find_set
from alpaca_lora.errors import UserError

STANFORD = Path(__file__).parents[3] / "shared" / "data" / "alpaca_data.json"


def test_the_list_and_names(capsys: pytest.CaptureFixture[str]) -> None:
    dispatch(["data", "download"])
    printed = capsys.readouterr().out
    assert all(known.name in printed for known in KNOWN_SETS)
    assert "52,002" in printed
    with pytest.raises(UserError, match="did you mean 'alpaca-cleaned'"):
        dispatch(["data", "download", "alpaca_cleaned"])


def test_every_known_set_says_what_it_is() -> None:
    assert len({known.name for known in KNOWN_SETS}) == len(KNOWN_SETS)
    for known in KNOWN_SETS:
        assert known.url.startswith("https://")
        assert known.licence
        assert re.fullmatch(r"([0-9a-f]{64})?", known.sha256)
        assert ("Not for commercial use" in "\n".join(describe_set(known))) == known.non_commercial
        assert known.non_commercial or "NC" not in known.licence


def test_the_original_is_known_by_its_bytes() -> None:
    if not STANFORD.is_file():
        pytest.skip("../shared is not here")
    content, known = STANFORD.read_bytes(), find_set("alpaca")
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (known.sha256, known.size)
    assert f"{len(json.loads(content)):,}" == known.rows
