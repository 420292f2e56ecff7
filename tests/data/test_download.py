"""`data download` against a server on the loopback interface: cuts, wrong bytes, no ranges, a file that changed."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from file_server import Source, serving_file

from alpaca_lora.data import download as module
from alpaca_lora.data.download import download
from alpaca_lora.data.files import open_rows
from alpaca_lora.data.registry import KnownSet
from alpaca_lora.data.settings import DownloadConfig
from alpaca_lora.errors import UserError

ROWS = [{"instruction": f"Name number {n}.", "input": "", "output": f"It is {n}."} for n in range(2000)]
BODY = json.dumps(ROWS).encode()


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Generator[Source]:
    """A server with a data set that is known by its bytes, under the name `rows`."""
    with serving_file(BODY) as held:
        _know(monkeypatch, held.url, sha256=hashlib.sha256(BODY).hexdigest(), size=len(BODY))
        yield held


def _know(monkeypatch: pytest.MonkeyPatch, url: str, **more: Any) -> None:
    known = KnownSet("rows", "numbers", url, "rows.json", "2,000", "CC BY-NC 4.0", non_commercial=True)
    monkeypatch.setattr(module, "find_set", lambda _: replace(known, **more))


def fetch(folder: Path, waits: list[float] | None = None, **settings: Any) -> list[float]:
    """Download; give the waits between attempts."""
    waits = [] if waits is None else waits
    download("rows", DownloadConfig(output=str(folder), **settings), pause=waits.append)
    return waits


def refused(folder: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        fetch(folder, **settings)
    assert not (folder / "rows.json").exists()
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_file_its_licence_first(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch(tmp_path) == []
    assert (tmp_path / "rows.json").read_bytes() == BODY
    assert names(tmp_path) == ["rows.json"]
    printed = capsys.readouterr().out
    assert "licence CC BY-NC 4.0. Not for commercial use" in printed
    assert "2,000 rows; its sha256 is the known one" in printed
    assert printed.index("licence") < printed.index("saved")
    assert fetch(tmp_path) == []  # it is here already
    assert len(source.asked) == 1


def test_a_cut_connection_goes_on_where_it_broke(source: Source, tmp_path: Path) -> None:
    source.cuts = [1000, 70_000, "reset"]
    fetch(tmp_path)
    assert (tmp_path / "rows.json").read_bytes() == BODY
    assert source.asked[:3] == ["", "bytes=1000-", "bytes=71000-"]
    assert int(source.asked[3][6:-1]) >= 71_000


def test_after_too_many_cuts_the_next_run_goes_on(source: Source, tmp_path: Path) -> None:
    source.cuts = [1000, 0, 0]
    said = refused(tmp_path, attempts=2)
    assert "failed 2 times in a row: the connection broke after 1,000 of" in said
    assert "1,000 bytes are here and kept" in said
    source.cuts = []
    source.asked.clear()
    fetch(tmp_path)
    assert source.asked == ["bytes=1000-"]
    assert (tmp_path / "rows.json").read_bytes() == BODY
    assert names(tmp_path) == ["rows.json"]


def test_waits_grow_until_bytes_come(source: Source, tmp_path: Path) -> None:
    source.statuses = [503, 429, 500]
    source.cuts = [1000]
    assert fetch(tmp_path, attempts=4) == [1, 2, 4, 1]


def test_a_server_without_ranges_begins_anew(source: Source, tmp_path: Path) -> None:
    source.heeds = frozenset({"length"})
    source.cuts = [5000, 3000]
    fetch(tmp_path)
    assert (tmp_path / "rows.json").read_bytes() == BODY
    source.cuts = [5000] * 9
    (tmp_path / "rows.json").unlink()
    assert "failed 3 times in a row" in refused(tmp_path, attempts=3)


@pytest.mark.parametrize("heeds", [{"range", "if_range", "length"}, {"range", "length"}])
def test_a_file_that_changed_is_not_glued_to_the_old_part(source: Source, tmp_path: Path, heeds: set[str]) -> None:
    """The second server does not look at If-Range, and sends a part of the new file."""
    new = json.dumps([{**row, "output": "Other."} for row in ROWS]).encode()
    source.cuts, source.heeds = [4000], frozenset(heeds)
    refused(tmp_path, attempts=1)
    source.body, source.etag = new, '"two"'
    said = refused(tmp_path)
    assert "bytes instead of" in said
    assert (tmp_path / "rows.json.refused").read_bytes() == new


@pytest.mark.parametrize("etag", ["", 'W/"weak"'])
def test_without_a_strong_etag_it_begins_anew(source: Source, tmp_path: Path, etag: str) -> None:
    source.etag, source.cuts = etag, [4000]
    fetch(tmp_path)
    assert source.asked == ["", ""]


def test_a_part_of_another_address_is_not_gone_on_with(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.cuts = [4000]
    refused(tmp_path, attempts=1)
    source.asked.clear()
    fetch(tmp_path, url=source.url + "?mirror")
    assert source.asked == [""]
    assert f"from    {source.url}?mirror" in capsys.readouterr().out


def test_a_part_that_is_whole_is_taken(source: Source, tmp_path: Path) -> None:
    (tmp_path / ".rows.json.partial").write_bytes(BODY)
    (tmp_path / ".rows.json.partial.json").write_text(json.dumps({"url": source.url, "etag": source.etag}))
    fetch(tmp_path)
    assert source.asked == [f"bytes={len(BODY)}-"]
    assert (tmp_path / "rows.json").read_bytes() == BODY


def test_a_part_that_is_too_long_or_has_no_origin_is_dropped(source: Source, tmp_path: Path) -> None:
    part, origin = tmp_path / ".rows.json.partial", tmp_path / ".rows.json.partial.json"
    for text in (json.dumps({"url": source.url, "etag": source.etag}), "{", "[]"):
        part.write_bytes(BODY + b"more")
        origin.write_text(text)
        fetch(tmp_path)
        assert (tmp_path / "rows.json").read_bytes() == BODY
        (tmp_path / "rows.json").unlink()


def test_wrong_bytes_are_refused_and_kept_aside(source: Source, tmp_path: Path) -> None:
    source.body = BODY.replace(b"It is 7.", b"It is 8.")
    said = refused(tmp_path)
    assert hashlib.sha256(source.body).hexdigest() in said
    assert hashlib.sha256(BODY).hexdigest() in said
    assert names(tmp_path) == ["rows.json.refused"]
    assert (tmp_path / "rows.json.refused").read_bytes() == source.body
    source.body = BODY
    source.asked.clear()
    fetch(tmp_path)
    assert source.asked == [""]


def test_a_wrong_size_is_told(source: Source, tmp_path: Path) -> None:
    source.body = BODY + b"\n"
    assert f"it has {len(BODY) + 1:,} bytes instead of {len(BODY):,}" in refused(tmp_path)


def test_a_cut_that_no_length_tells_is_found_by_the_size(source: Source, tmp_path: Path) -> None:
    source.heeds, source.cuts = frozenset({"range", "if_range"}), [4000]
    assert "it has 4,000 bytes instead of" in refused(tmp_path)


def test_a_page_instead_of_rows_is_refused_though_no_checksum_is_known(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _know(monkeypatch, source.url)
    for body in (b"<html>Log in</html>", b'["not", "rows"]'):
        source.body = body
        assert "cannot be read" in refused(tmp_path)
        assert names(tmp_path) == ["rows.json.refused"]
    source.body = BODY
    fetch(tmp_path)


def test_an_unknown_checksum_is_told(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _know(monkeypatch, source.url)
    fetch(tmp_path)
    printed = capsys.readouterr().out
    assert "not known, so the bytes cannot be checked" in printed
    assert f"not checked; sha256 {hashlib.sha256(BODY).hexdigest()}" in printed
    with pytest.raises(UserError, match="exists already"):
        fetch(tmp_path)


def test_other_columns_get_alpacas_names(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = MappingProxyType({"context": "input", "response": "output"})
    _know(monkeypatch, source.url.replace("data.json", "data.jsonl"), columns=columns)
    lines = [{"instruction": "Say é.", "context": "c", "response": "r", "category": "k"}] * 3
    source.body = "\n".join(json.dumps(line) for line in lines).encode()
    fetch(tmp_path)
    assert (
        open_rows(str(tmp_path / "rows.json")).rows
        == [{"instruction": "Say é.", "input": "c", "output": "r", "category": "k"}] * 3
    )
    assert names(tmp_path) == ["rows.json"]


def test_redirects_are_followed_with_the_range(source: Source, tmp_path: Path) -> None:
    source.cuts = [4000]
    fetch(tmp_path, url=source.url.replace("data.json", "moved"))
    assert source.asked == ["", "", "bytes=4000-", "bytes=4000-"]


def test_a_missing_page_is_told_at_once(source: Source, tmp_path: Path) -> None:
    source.statuses = [404]
    assert "the server answers 404" in refused(tmp_path)
    assert len(source.asked) == 1


def test_offline_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/data.json"
    _know(monkeypatch, url)
    waits: list[float] = []
    said = refused(tmp_path, waits=waits)
    assert waits == []
    assert "the server cannot be reached" in said
    for label in ("where: " + url, "why: this machine is offline", "fix: try again when it is online"):
        assert label in said
    assert names(tmp_path) == []


def test_places_that_cannot_be_written_are_told(source: Source, tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "no" / "such")
    assert "is no web address" in refused(tmp_path, url="file:///etc/passwd")
    (tmp_path / ".rows.json.partial").mkdir()
    assert "the file cannot be written" in refused(tmp_path)
