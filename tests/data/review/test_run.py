"""The verb: what it refuses before it builds a map, and a review from its first line to Ctrl-C."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

import pytest
from cleaning import ROWS, read_back, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.marks import add_mark, load_marks
from alpaca_lora.data.audit.rows import read_rows
from alpaca_lora.data.review import run
from alpaca_lora.data.review.app import Review
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
    assert "cannot be written: there is no folder" in _refused(file, "--marks", tmp_path / "none" / "marks.jsonl")
    assert "is no file of marks" in _refused(file, "--marks", file)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot listen on 127.0.0.1" in _refused(file, "--port", str(taken.getsockname()[1]))


def test_one_review_at_a_time_keeps_marks(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under whatever name the file goes; and one that was killed keeps none."""
    marks, table = tmp_path / "rows.json.marks.jsonl", read_rows(str(file))
    code = (
        "import sys; from pathlib import Path; from alpaca_lora.data.audit.marks import keep_marks\n"
        "with keep_marks(Path(sys.argv[1])):\n    print(flush=True); input()"
    )
    words = [sys.executable, "-c", code, str(marks)]
    (tmp_path / "link").symlink_to(marks)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        for name in (marks, tmp_path / "link"):
            assert "another review keeps marks here" in _refused(file, "--marks", name)
        monkeypatch.setattr("alpaca_lora.data.audit.marks._LONGEST_WAIT", 0.1)
        with pytest.raises(UserError, match="another review keeps marks here"):
            add_mark(marks, table, 4, "fine")
        other.kill()
    add_mark(marks, table, 4, "fine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "rows.json", marks.name]


def test_scripts_that_mark_at_one_time_take_turns(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "output": f"Blue {number}."} for number in range(60)]
    file, marks = write_rows(tmp_path, rows), tmp_path / "all.marks.jsonl"
    code = (
        "import sys; from pathlib import Path; from alpaca_lora.data.audit.rows import read_rows\n"
        "from alpaca_lora.data.audit.marks import add_mark\ntable = read_rows(sys.argv[1])\n"
        "for row in range(int(sys.argv[3]), 60, 2): add_mark(Path(sys.argv[2]), table, row, 'fine')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, file, marks, first]) for first in ("0", "1")]
    assert [process.wait() for process in both] == [0, 0]
    assert list(load_marks(marks, read_rows(str(file)))) == list(range(60))
    assert sorted(path.name for path in tmp_path.iterdir()) == [marks.name, "rows.json"]


@pytest.mark.parametrize("name", ["fastapi", "uvicorn"])
def test_missing_packages_are_named(name: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    assert "alpaca-lora[serve]" in _refused(file)


def _post(address: str, body: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), headers)) as answer:
        return json.load(answer)


def test_marks_on_a_table_are_heeded_in_its_rows_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("herbs.csv").write_text("instruction,output\nName a herb.,Dill.\nName two.,Oak.\n", encoding="utf-8")
    table, marks = read_rows("herbs.csv"), Path("herbs.csv.marks.jsonl")
    add_mark(marks, table, 1, "defect")
    run._last_words(Review(table, marks, lambda _: ""), "herbs.csv")
    marked, save, following = capsys.readouterr().out.splitlines()
    assert marked == "marks   1 row is marked, in herbs.csv.marks.jsonl"
    assert "ROWS.json" in save
    Path("ROWS.json").write_text(json.dumps(table.raw), encoding="utf-8")
    dispatch(following.split("alpaca-lora ")[1].split())
    assert read_back(Path("CLEANED.json")) == table.raw[:1]


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
