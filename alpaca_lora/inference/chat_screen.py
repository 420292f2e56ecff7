"""Answers in the terminal: Markdown as it grows where the terminal can show it, else plain text as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from time import monotonic

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.segment import SegmentLines
from rich.text import Text

from alpaca_lora.inference.differences import mark_differences

Show = Callable[[str], None]

_LEAST_SECONDS = 0.1
_REST = 5  # seconds for the model to each second of drawing
_PICTURES = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
    | dict.fromkeys(range(0x7F, 0xA0), 0xFFFD)
    | {ord("\r"): None}
)
"""Control characters in an answer could move the cursor or worse; what is drawn are pictures of them."""


class Screen:
    """Standard output: drawn upon where it is a terminal that can be, else written to."""

    def __init__(self) -> None:
        self._console = Console()
        self._draws = sys.stdout.isatty() and not self._console.is_dumb_terminal

    @contextmanager
    def answering(self) -> Generator[Show]:
        """Give a function that shows the pieces of an answer as they come; end the line after the last, or Ctrl-C."""
        if self._draws:
            with self._growing(as_markdown) as show:
                yield show
            return
        pieces: list[str] = []

        def write(piece: str) -> None:
            pieces.append(piece)
            print(piece, end="", flush=True)

        try:
            yield write
        finally:
            if pieces:
                print()

    def compare(self, name: str, pieces: Iterable[str], first: str | None) -> str:
        """Show an answer under a name, with the words marked that the first one lacks at their place; give it."""
        if not self._draws:
            print(f"--- {name}", flush=True)
            text = "".join(pieces)
            print("".join(f"{{+{part}+}}" if is_new else part for part, is_new in _compared(text, first)))
            return text
        self._console.rule(name, align="left")
        text = ""
        with self._growing(lambda text: _coloured(text, first)) as show:
            for piece in pieces:
                text += piece
                show(piece)
        return text

    @contextmanager
    def _growing(self, shaped: Callable[[str], RenderableType]) -> Generator[Show]:
        """Redraw a text as it grows, and print it when it is over.

        What has scrolled out of the window cannot be redrawn: until then no more of its end is shown than fits.
        """
        console, text, due = self._console, "", 0.0

        def show(piece: str) -> None:
            nonlocal text, due
            text += piece.translate(_PICTURES)
            if (began := monotonic()) >= due:
                lines = console.render_lines(shaped(text), pad=False)
                live.update(SegmentLines(lines[-max(1, console.height - 2) :], new_lines=True), refresh=True)
                due = monotonic() + max(_LEAST_SECONDS, _REST * (monotonic() - began))

        try:
            with Live(console=console, auto_refresh=False, transient=True) as live:
                yield show
        finally:
            if text:
                console.print(shaped(text))


def as_markdown(text: str) -> Markdown:
    """Read an answer as Markdown, but with its line breaks and its HTML, which Markdown would not show."""
    page = Markdown(text, hyperlinks=False, code_theme="ansi_dark")
    for token in page.parsed:
        if token.type == "html_block":
            token.type, token.info = "fence", "html"
        for child in token.children or ():
            child.type = {"softbreak": "hardbreak", "html_inline": "text"}.get(child.type, child.type)
    return page


def _compared(text: str, first: str | None) -> Iterable[tuple[str, bool]]:
    if first is None:
        return [(text, False)]
    return mark_differences(text, first) if text != first else [("(the same answer)", False)]


def _coloured(text: str, first: str | None) -> Text:
    return Text.assemble(*((part, "bold green" if is_new else "") for part, is_new in _compared(text, first)))
