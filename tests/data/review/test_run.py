"""The verb: what it refuses before it builds a map, and a review from its first line to Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import sys
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from cleaning import ROWS, read_back, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.review import run
from alpaca_lora.errors import UserError


def _refused(*words: str | Path) -> str:
    with pytest.raises(UserError) as caught:
        dispatch(["data", "review", *map(str, words)])
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows whose map nobody may build."""
    monkeypatch.setattr(run, "_page", lambda *_: pytest.fail("the map was built"))
    return write_rows(tmp_path, ROWS)


def test_what_cannot_be_reviewed_is_told_before_the_map_is_built(file: Path, tmp_path: Path) -> None:
    assert "two files to review" in _refused(file, "--data_path", "other.json")
    assert "no data given" in _refused()
    assert "does not exist" in _refused(tmp_path / "none.json")
    assert "--port is 70000" in _refused(file, "--port", "70000")
    assert '"192.168.0.1" for --host' in _refused(file, "--host", "192.168.0.1")
    assert "no marks can be kept in" in _refused(file, "--marks", tmp_path / "none" / "marks.jsonl")
    assert "line 1 is no mark" in _refused(file, "--marks", file)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen on 127.0.0.1" in _refused(file, "--port", str(taken.getsockname()[1]))


@pytest.mark.parametrize("name", ["fastapi", "uvicorn"])
def test_missing_packages_are_named(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert "alpaca-lora[serve]" in _refused(file)


def _post(address: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as answer:
        return json.load(answer)


def test_a_review_from_its_first_line_to_the_cleaned_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The browser that is opened marks two rows, sees a mark on a page loaded after it, and Ctrl-C is pressed."""
    file = write_rows(tmp_path, ROWS)
    metas: list[Any] = []

    def browser(address: str) -> bool:
        try:
            for mark in ("fine", "defect"):
                assert _post(f"{address}marks", {"row": 4, "mark": mark}) == {"marks": 1}
            assert _post(f"{address}marks", {"row": 0, "mark": "edit", "edit": {"output": "Blue."}}) == {"marks": 2}
            with urllib.request.urlopen(address) as answer:
                page = answer.read().decode()
            metas.append(json.loads(page.split('id="meta">')[1].split("</script>")[0]))
        finally:
            os.kill(os.getpid(), signal.SIGINT)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    dispatch(["data", "review", str(file), "--port", "0", "--open_browser"])
    (meta,) = metas
    assert meta["served"] is True
    assert meta["marks"] == {"0": {"mark": "edit", "edit": {"output": "Blue."}}, "4": {"mark": "defect"}}
    assert (meta["rows"], meta["sha256"]) == (6, hashlib.sha256(file.read_bytes()).hexdigest())
    *_, marked, following = capsys.readouterr().out.splitlines()
    assert marked == f"marks   2 rows are marked, in {file}.marks.jsonl"
    command = following.split("alpaca-lora ")[1].replace("CLEANED.json", str(tmp_path / "cleaned.json"))
    dispatch(command.split())
    assert read_back(tmp_path / "cleaned.json")[0] == {**ROWS[0], "output": "Blue."}
    assert ROWS[4] not in read_back(tmp_path / "cleaned.json")
