"""Files of results: what is refused before the work, and that files appear whole, all of them or none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cleaning import ROWS, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.atlas import run as map_run
from alpaca_lora.data.audit import check, clean, diff, rank, writing
from alpaca_lora.data.audit.writing import check_output, write_whole
from alpaca_lora.errors import UserError

VERBS = {
    "clean": ("clean", "{rows}", "--output"),
    "undo": ("clean", "--undo", "{rows}", "--output"),
    "map": ("map", "{rows}", "--output"),
    "check": ("check", "{rows}", "--json"),
    "rank": ("rank", "{rows}", "--json"),
    "diff": ("diff", "{rows}", "{rows}", "--json"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Rows, beside things that no file can be written over."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "log.json.changes.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "astray").symlink_to(tmp_path / "no" / "file")
    return write_rows(tmp_path, ROWS)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".", "it is a folder"),
        ("/", "it is a folder"),
        ("{here}/folder", "it is a folder"),
        ("{here}/new/", "it is a folder"),
        ("{here}/no/file.json", "there is no folder"),
        ("{here}/rows.json/file.json", "there is no folder"),
        ("{here}/pipe", "it is no plain file"),
        ("{here}/" + 300 * "a", "File name too long"),
        ("{here}/astray", "No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_work(
    verb: str, place: str, message: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, work in ((clean, "read_rows"), (check, "read_rows"), (rank, "read_rows"), (diff, "open_rows")):
        monkeypatch.setattr(module, work, lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(clean, "undo_cleaning", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(map_run, "read_rows", lambda *_: pytest.fail("work was done"))
    before = sorted(file.parent.rglob("*"))
    words = [word.format(rows=file, here=file.parent) for word in (*VERBS[verb], place)]
    with pytest.raises(UserError) as caught:
        dispatch(["data", *words])
    assert caught.value.what.startswith(f"{words[-2]} {words[-1]} cannot be written: ")
    assert message in caught.value.what
    assert caught.value.fix == f"give {words[-2]} another place"
    assert sorted(file.parent.rglob("*")) == before


@pytest.mark.parametrize("verb", ["clean", "map", "check", "rank", "diff"])
def test_the_data_is_no_place_for_results(verb: str, file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(UserError, match=f"would overwrite {file}"):
        dispatch(["data", *(word.format(rows=file) for word in VERBS[verb]), str(file)])
    assert file.read_bytes() == before


def test_the_log_of_a_cleaning_needs_a_place_too(file: Path) -> None:
    with pytest.raises(UserError, match=r"log\.json\.changes\.jsonl cannot be written: it is a folder"):
        dispatch(["data", "clean", str(file), "--output", str(file.with_name("log.json"))])
    assert not file.with_name("log.json").exists()


def test_a_disk_that_takes_no_file_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(writing, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"--json .* cannot be written: Read-only file system"):
        check_output(str(file.with_name("new.json")), "--json", str(file))


def test_a_circle_of_links_becomes_a_file(file: Path) -> None:
    circle = check_output(str(file.with_name("circle")), "--output", str(file))
    write_whole({circle: b"new"})
    assert circle.read_bytes() == b"new"


def test_a_file_is_as_readable_as_before_and_a_new_one_as_any(tmp_path: Path) -> None:
    for name in ("like", "old", "new"):
        if name != "new":
            (tmp_path / name).write_bytes(b"")
    (tmp_path / "old").chmod(0o600)
    (tmp_path / "link").symlink_to("old")
    write_whole({tmp_path / "link": b"a", tmp_path / "new": b"b"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "old").read_bytes() == b"a"
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("like", "old", "new")}
    assert modes == {"like": modes["new"], "old": 0o600, "new": modes["new"]}


def _full_at(time: int) -> Callable[[int], None]:
    calls: list[int] = []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == time:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync


@pytest.mark.parametrize("time", [1, 2])
def test_a_full_disk_leaves_all_files_as_they_were(time: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", _full_at(time))
    with pytest.raises(UserError, match=r"[ab] cannot be written: No space left") as caught:
        write_whole({tmp_path / "a": b"new", tmp_path / "b": b"new"}, "--json")
    assert caught.value.fix == "give --json another place"
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("b", b"old")]


def test_writers_at_one_time_leave_the_file_of_one(tmp_path: Path) -> None:
    contents = [bytes([65 + number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_whole({tmp_path / "a": content}), 4 * contents))
    assert (tmp_path / "a").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
