"""What is typed: lines that go on, what the arrow and tab keys bring, the history's file."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_sessions import Terminal

from alpaca_lora.inference.chat_input import History, LineReader, history_file

PROGRAM = """
from alpaca_lora.inference.chat_input import LineReader
words = ["/adapter ", "/compare "]
reader = LineReader(lambda line: [word for word in words if word.startswith(line)])
while (line := reader.read()) is not None:
    print("read", repr(line))
"""
UP = "\x1b[A"


@pytest.fixture
def terminals(tmp_path: Path) -> Iterator[list[Terminal]]:
    """Two readers on terminals of their own, one after the other; the second is started by `_again`."""
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def _open(terminals: list[Terminal], state: Path) -> Terminal:
    terminals.append(Terminal("-c", PROGRAM, state=state))
    terminals[-1].wait_for("> ")
    return terminals[-1]


def _type(terminal: Terminal, keys: str, line: str) -> None:
    """Press keys; wait until this line was read and the next one is asked for."""
    terminal.type(keys)
    terminal.wait_for(f"read {line!r}")
    terminal.wait_for("> ")


def test_the_arrow_key_brings_back_what_was_typed_before_and_in_sessions_before(
    terminals: list[Terminal], tmp_path: Path
) -> None:
    first = _open(terminals, tmp_path)
    _type(first, "what is two\n", "what is two")
    _type(first, "  line one\\\nline two\n", "line one\nline two")
    _type(first, "\n", "")
    _type(first, "now\n", "now")
    _type(first, "now\n", "now")  # kept once
    _type(first, f"{UP}{UP}\n", "line one\nline two")
    assert first.leave() == 0
    second = _open(terminals, tmp_path)
    _type(second, f"{UP}\n", "line one\nline two")
    _type(second, f"{UP}{UP}\n", "now")
    _type(second, f"{UP * 5}\n", "what is two")
    assert second.leave() == 0
    file = tmp_path / "alpaca-lora" / "chat_history"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_tab_completes(terminals: list[Terminal], tmp_path: Path) -> None:
    terminal = _open(terminals, tmp_path)
    _type(terminal, "/ad\tone\n", "/adapter one")
    assert terminal.leave() == 0


def test_a_history_that_cannot_be_written_is_noted_once(terminals: list[Terminal], tmp_path: Path) -> None:
    (tmp_path / "alpaca-lora").write_text("in the way")
    terminals.append(Terminal("-c", PROGRAM, state=tmp_path))
    before = terminals[0].wait_for("> ")
    assert before.count("note: the history is not kept: Not a directory") == 1
    for line in ("what is two", "now"):
        terminals[0].type(f"{line}\n")
        assert "note" not in terminals[0].wait_for(f"read {line!r}")
    terminals[0].wait_for("> ")
    _type(terminals[0], f"{UP}\n", "now")


def test_without_a_terminal_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO("what is\\\n two \\\nthree\nnow\n\\"))
    reader = LineReader(lambda line: [])
    assert [reader.read() for _ in range(3)] == ["what is\n two \nthree", "now", None]
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("\n>     \n> \n>   \n", "")


def test_half_a_character_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("c\udce4t\nnow\n"))  # as Python reads Latin-1 in the C locale
    assert LineReader(lambda line: []).read() == "now"
    assert "that line cannot be read" in capsys.readouterr().out


# --- the file ----------------------------------------------------------------------------------------------------


def test_the_history_lies_in_the_state_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert history_file() == tmp_path / ".local" / "state" / "alpaca-lora" / "chat_history"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert history_file() == tmp_path / "state" / "alpaca-lora" / "chat_history"


def test_every_entry_comes_back_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "history"
    typed = ["now", "一\n二\n\n三", "a\\\nb", "tail"]
    assert [History(file).add(entry) for entry in typed] == [True] * 4
    assert History(file).entries == typed
    assert not History(file).add("")


def test_a_file_of_another_encoding_or_none_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_bytes(b"caf\xe9\nnow\n")
    assert History(file).entries == ["caf�", "now"]
    file.write_bytes(b"")
    assert History(file).entries == []


def test_the_file_does_not_grow_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "history"
    file.write_text("".join(f"entry {number}\n" for number in range(2001)))
    latest = [f"entry {number}" for number in range(1001, 2001)]
    assert History(file).entries == latest
    assert file.read_text().splitlines() == latest
