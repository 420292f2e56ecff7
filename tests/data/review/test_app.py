"""The server of a review over real HTTP: marks are kept whatever happens, and only its own page may send any."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cleaning import RIVER, ROWS, chat, write_rows

from alpaca_lora.data.audit.marks import Mark, load_marks, marks_path
from alpaca_lora.data.audit.rows import read_rows
from alpaca_lora.data.review.app import Review
from alpaca_lora.data.review.run import server
from alpaca_lora.inference.serve.run import listen


@contextmanager
def serving(rows: list[Any], folder: Path) -> Generator[tuple[int, Review]]:
    """Serve a page that is only the marks; give the port."""
    table = read_rows(str(write_rows(folder, rows)))
    review = Review(table, marks_path(table.name), json.dumps)
    with listen("127.0.0.1", 0) as listener:
        running = server(review)
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield listener.getsockname()[1], review
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[int, Review]]:
    with serving(ROWS, tmp_path_factory.mktemp("review")) as running:
        yield running


@pytest.fixture
def port(served: tuple[int, Review]) -> int:
    served[1].path.unlink(missing_ok=True)
    return served[0]


def ask(port: int, method: str = "GET", path: str = "/", body: Any = None, **headers: str) -> tuple[int, str]:
    """Ask as a browser does on the page itself, but for other headers given."""
    usual = {"Host": f"127.0.0.1:{port}", "Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    sent = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path, content, {name: value for name, value in sent.items() if value})
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode()
    assert answer.headers["Cache-Control"] == "no-store"
    return status, text


def mark(port: int, row: Any, mark: Any, **more: Any) -> tuple[int, Any]:
    """Send a mark as the page does."""
    status, text = ask(port, "POST", "/marks", {"row": row, "mark": mark, **more})
    return status, json.loads(text)


def test_a_mark_is_written_and_shown_by_every_page_opened_after(port: int, served: tuple[int, Review]) -> None:
    assert ask(port) == (200, "{}")
    assert mark(port, 4, "fine") == (200, {"marks": 1})
    assert mark(port, 1, "edit", edit={"input": "", "output": "Elbe"}) == (200, {"marks": 2})
    assert mark(port, 0, "low value") == (200, {"marks": 3})
    assert mark(port, 4, None) == (200, {"marks": 2})
    review = served[1]
    expected = {0: Mark("low value", {}), 1: Mark("edit", {"input": "", "output": "Elbe"})}
    assert load_marks(review.path, review.table) == expected
    shown = {"0": {"mark": "low value"}, "1": {"mark": "edit", "edit": {"input": "", "output": "Elbe"}}}
    assert json.loads(ask(port)[1]) == shown


def test_edits_of_a_conversation_are_shown_by_their_fields(tmp_path: Path) -> None:
    rows = [chat("messages", RIVER, "The Elbe.", "Is it long?", "It is.")]
    with serving(rows, tmp_path) as (port, review):
        assert mark(port, 0, "edit", edit={"output": "Yes."}) == (200, {"marks": 1})
        assert review.marks() == {0: Mark("edit", {"messages.4.content": "Yes."})}
        assert json.loads(ask(port)[1]) == {"0": {"mark": "edit", "edit": {"output": "Yes."}}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"row": 6, "mark": "fine"}, "has no row 6"),
        ({"row": 0, "mark": "edit", "edit": {"answer": "x"}}, "row 0 has no text 'answer'"),
        ({"row": 0, "mark": "edit"}, "changes no text"),
        ({"row": "0", "mark": "fine"}, "row: "),
        ({"row": 0, "mark": "good"}, "mark: "),
        ({"row": 0}, "mark: "),
        ({"row": 0, "mark": "fine", "path": "/etc"}, "path: "),
        ({"row": 0, "mark": "edit", "edit": {"output": 7}}, "edit: output: "),
        ([], "Input should be an object"),
        (b"{", "Invalid JSON"),
        (b"\xff", "Invalid JSON"),
        (b'{"row": 0, "mark": "edit", "edit": {"output": "\\ud83d"}}', "Invalid JSON"),
    ],
)
def test_what_is_no_mark_is_refused(body: Any, message: str, port: int, served: tuple[int, Review]) -> None:
    status, text = ask(port, "POST", "/marks", body)
    assert status == 400
    assert message in json.loads(text)["error"]
    assert not served[1].path.exists()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rows.example.org", "Origin": ""}, 403),
        ({"Host": "127.0.0.1.example.org", "Origin": ""}, 403),
        ({"Host": "192.168.0.1", "Origin": ""}, 403),
        ({"Host": "localhost.example.org:80", "Origin": "http://localhost.example.org:80"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "http://localhost:1", "Host": "localhost"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": ""}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_another_page_cannot_send_marks(
    headers: dict[str, str], status: int, port: int, served: tuple[int, Review]
) -> None:
    assert ask(port, "POST", "/marks", {"row": 0, "mark": "fine"}, **headers)[0] == status
    assert not served[1].path.exists()
    if "Content_Type" not in headers:
        assert ask(port, **headers)[0] == status  # nor read the page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": ""},
        {"Host": "localhost:9000", "Origin": "http://localhost:9000"},
        {"Host": "[::1]:9000", "Origin": "http://[::1]:9000"},
        {"Content_Type": "application/json; charset=utf-8"},
    ],
    ids=["no browser", "through a tunnel", "IPv6", "charset"],
)
def test_this_machine_can(headers: dict[str, str], port: int) -> None:
    assert ask(port, "POST", "/marks", {"row": 0, "mark": "fine"}, **headers) == (200, '{"marks":1}')


def test_there_is_nothing_else_to_ask_for(port: int) -> None:
    for path in ("/rows.json", "/../rows.json", "/rows.json.marks.jsonl", "/docs", "/static/x", "//"):
        assert ask(port, path=path)[0] == 404
    assert ask(port, "GET", "/marks")[0] == 405
    assert ask(port, "POST", "/")[0] == 405


def test_a_body_too_large_is_not_taken(port: int) -> None:
    large = {"row": 0, "mark": "edit", "edit": {"output": "x" * (1024 * 1024)}}
    status, text = ask(port, "POST", "/marks", large)
    assert (status, json.loads(text)) == (413, {"error": "a mark is at most 1024 KiB"})


def test_marks_sent_at_once_are_all_kept(port: int, served: tuple[int, Review]) -> None:
    sent = [(row, verdict) for verdict in ("defect", "fine", "low value") for row in range(6)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: mark(port, *one), sent))
    assert {status for status, _ in answers} == {200}
    lines = [json.loads(line) for line in served[1].path.read_text(encoding="utf-8").splitlines()]
    assert sorted((line["row"], line["mark"]) for line in lines) == sorted(sent)
    assert mark(port, 0, None) == (200, {"marks": 5})


def test_what_cannot_be_written_is_told(port: int, served: tuple[int, Review]) -> None:
    served[1].path.mkdir()
    try:
        status, answer = mark(port, 0, "fine")
    finally:
        served[1].path.rmdir()
    assert status == 500
    assert "cannot be" in answer["error"]


def test_marks_survive_a_server_that_is_killed(tmp_path: Path) -> None:
    """Marks are sent one after the other until the server is gone; every one it confirmed is in the file."""
    rows = [{**ROWS[0], "output": f"Blue {number}."} for number in range(400)]
    table = read_rows(str(write_rows(tmp_path, rows)))
    code = (
        "import sys; from alpaca_lora.data.audit.rows import read_rows\n"
        "from alpaca_lora.data.audit.marks import marks_path\n"
        "from alpaca_lora.data.review.app import Review; from alpaca_lora.data.review.run import server\n"
        "from alpaca_lora.inference.serve.run import listen\n"
        "table = read_rows(sys.argv[1])\n"
        "with listen('127.0.0.1', 0) as listener:\n"
        "    print(listener.getsockname()[1], flush=True)\n"
        "    server(Review(table, marks_path(table.name), str)).run([listener])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, table.name], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        confirmed: list[int] = []
        killer = threading.Timer(0.5, os.kill, (process.pid, signal.SIGKILL))
        for row in range(400):
            try:
                if mark(port, row, "edit", edit={"output": "x" * 20_000})[0] == 200:
                    confirmed.append(row)
            except (OSError, AssertionError, ValueError):
                break
            if row == 3:
                killer.start()
    finally:
        process.kill()
        process.communicate()
    assert len(confirmed) >= 4
    marks = load_marks(marks_path(table.name), table)
    assert set(confirmed) <= set(marks) <= {*confirmed, len(confirmed)}
