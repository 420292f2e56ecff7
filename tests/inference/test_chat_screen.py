"""What a person sees: Markdown on a terminal, however long the answer; plain text elsewhere."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from chat_sessions import chat_config, make_speaker, write_chat_models

from alpaca_lora.inference.chat import chat
from alpaca_lora.inference.chat_screen import Screen

WIDTH, HEIGHT = 40, 10
ANSWER = "some *soft* text\nnext <b>line</b>\n\n<div>\n\n" + "\n".join(f"1. point {number}" for number in range(30))
ANSWER += "\n\n```python\ndef cat():\n    return 2\n```\n\nthe [end](http://mat)"
Draw = Callable[[Callable[[], object]], str]


class Glass:
    """A terminal: what was written becomes lines; only those in the window can be written again."""

    def __init__(self) -> None:
        self.lines, self.row, self.column = [""], 0, 0

    def write(self, text: str) -> None:
        """Take text with the control sequences of Rich; others fail."""
        for part in re.findall(r"\x1b\[[?\d;]*[a-zA-Z]|[\r\n]|[^\x1b\r\n]+|\x1b", text):
            if part == "\n":
                self.row += 1
                self.lines += [""] * (self.row == len(self.lines))
            elif part == "\r":
                self.column = 0
            elif part == "\x1b[2K":
                self.lines[self.row] = ""
            elif part.startswith("\x1b") and part.endswith("A"):
                self.row -= int(part[2:-1])
                assert self.row > len(self.lines) - 1 - HEIGHT, "wrote to what has scrolled out of the window"
            elif part.startswith("\x1b"):
                assert part.endswith(("m", "h", "l")), repr(part)
            else:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + part + line[self.column + len(part) :]
                self.column += len(part)


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Iterator[Draw]:
    """Calls with standard output on a pseudo-terminal; gives all that came out."""
    mine, its = os.openpty()
    for name, value in (("TERM", "xterm-256color"), ("COLUMNS", str(WIDTH)), ("LINES", str(HEIGHT))):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    seen: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # Linux says so when the other side is closed
            while piece := os.read(mine, 4096):
                seen.append(piece)

    def run(call: Callable[[], object]) -> str:
        reader = threading.Thread(target=read)
        reader.start()
        with open(its, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            call()
        reader.join()
        return b"".join(seen).decode()

    yield run
    os.close(mine)


def _shown(written: str) -> list[str]:
    glass = Glass()
    glass.write(written)
    return [line.rstrip() for line in glass.lines]


def _answer(text: str) -> None:
    with Screen().answering() as show:
        for start in range(0, len(text), 5):
            show(text[start : start + 5])


def test_an_answer_longer_than_the_window_is_there_as_a_whole_once(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpaca_lora.inference.chat_screen._LEAST_SECONDS", 0)
    monkeypatch.setattr("alpaca_lora.inference.chat_screen._REST", 0)
    written = draw(lambda: _answer(ANSWER))
    lines = [line.strip() for line in _shown(written) if line]
    points = [f"{number} point {number - 1}" for number in range(1, 31)]
    assert lines == ["some soft text", "next <b>line</b>", "<div>", *points, "def cat():", "return 2",
                     "the end (http://mat)"]  # fmt: skip
    assert written.count("point 3\x1b") + written.count("point 3 ") + written.count("point 3\r") > 3  # it grew


def test_an_answer_is_drawn_now_and_then(draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100000))
    monkeypatch.setattr("alpaca_lora.inference.chat_screen.monotonic", lambda: next(clock) / 100)  # a piece in 0.01 s
    written = draw(lambda: _answer("cat " * 100))
    drawings = written.count("\x1b[2K")
    assert 3 < drawings < 60
    assert " ".join(_shown(written)).split() == ["cat"] * 100


def test_control_characters_of_an_answer_are_shown_not_done(draw: Draw) -> None:
    shown = _shown(draw(lambda: _answer("the\x1b[2Jcat\x07 \x9b2J sat\r\non a\tmat")))
    assert [line for line in shown if line] == ["the␛[2Jcat␇ �2J sat", "on a    mat"]


def test_what_came_before_ctrl_c_stays(draw: Draw) -> None:
    def stopped() -> None:
        with suppress(KeyboardInterrupt), Screen().answering() as show:
            show("the **cat**")
            raise KeyboardInterrupt

    written = draw(stopped)
    assert [line for line in _shown(written) if line] == ["the cat"]
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is there again


def test_what_differs_is_coloured(draw: Draw) -> None:
    def compare() -> None:
        screen = Screen()
        first = screen.compare("base", iter(["the ", "cat"]), None)
        screen.compare("one", iter(["the ", "dog"]), first)
        screen.compare("two", iter(["the ", "cat"]), first)

    written = draw(compare)
    lines = [line for line in _shown(written) if line]
    assert [line.rstrip("─ ") for line in lines] == ["base", "the cat", "one", "the dog", "two", "(the same answer)"]
    assert "the \x1b[1;32mdog\x1b[0m" in written
    assert written.count("\x1b[1;32m") == written.count("\x1b[1;32mdog") + written.count("\x1b[1;32mthe")


@pytest.mark.parametrize("term", ["dumb", None])
def test_elsewhere_an_answer_is_written_as_it_is(
    draw: Draw, term: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # is for those who read colours from a pipe; answers there are data
    if term:
        monkeypatch.setenv("TERM", term)
        assert draw(lambda: _answer(ANSWER)) == ANSWER.replace("\n", "\r\n") + "\r\n"
    else:
        _answer(ANSWER)
        assert capsys.readouterr().out == ANSWER + "\n"


def test_a_chat_on_a_terminal_draws_its_answers(draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = write_chat_models(tmp_path)
    make_speaker(models / "speaker", "- the cat")
    monkeypatch.setattr(sys, "stdin", io.StringIO("now\n/prompt\n"))
    shown = _shown(draw(lambda: chat(chat_config(models / "speaker"))))
    assert [line for line in shown if "the cat" in line] == [" • the cat"]
    assert any(one == "### Instruction:" and two == "now" for one, two in pairwise(shown))
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def test_one_prompt_is_answered_plainly_on_a_terminal_too(draw: Draw, tmp_path: Path) -> None:
    models = write_chat_models(tmp_path)
    make_speaker(models / "speaker", "- the cat")
    assert draw(lambda: chat(chat_config(models / "speaker", prompt="now"))) == "- the cat\r\n"
