"""Places in the text of a JSON or JSONL file: of each row, and of each text in a row; so that a file is edited, not
written anew, and what no edit names stays as it is, byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SPACE = " \t\r\n"
_SPACES = re.compile(r"[ \t\r\n]*")
_BYTE_ORDER_MARK = "\ufeff"
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Span:
    """Characters from `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A new text in the place of a span of the old file."""

    span: Span
    new: str


@dataclass(frozen=True, slots=True)
class Undo:
    """What takes an edit back: `length` bytes from byte `at` of the new file stood as `text` in the old one."""

    at: int
    length: int
    text: str


@dataclass(frozen=True)
class RowSpans:
    """Where each row of a file stands; `is_array` tells a JSON array from rows of their own."""

    rows: list[Span]
    is_array: bool


def row_spans(text: str, rows: int) -> RowSpans:
    """Find the rows of a file that was read before and has so many: an array, one row a line, or a single row."""
    start = _after_space(text, len(_BYTE_ORDER_MARK) if text.startswith(_BYTE_ORDER_MARK) else 0)
    if text.startswith("[", start) and (spans := _in_array(text, start)):
        return RowSpans(spans, is_array=True)
    if rows == 1:
        return RowSpans([Span(start, len(text.rstrip(_SPACE)))], is_array=False)
    spans: list[Span] = []
    for line in text[start:].split("\n"):
        if row := line.strip(_SPACE):
            begin = start + line.index(row)
            spans.append(Span(begin, begin + len(row)))
        start += len(line) + 1
    return RowSpans(spans, is_array=False)


def _in_array(text: str, start: int) -> list[Span]:
    """Give the places of an array's elements; none where the text is no array from its start to its end."""
    spans: list[Span] = []
    position = _after_space(text, start + 1)
    try:
        while not text.startswith("]", position):
            end = _end_of_value(text, position)
            spans.append(Span(position, end))
            position = _after_space(text, end)
            if text.startswith(",", position):
                position = _after_space(text, position + 1)
            elif not text.startswith("]", position):
                return []
    except ValueError:
        return []
    return spans if _after_space(text, position + 1) == len(text) else []


def text_span(text: str, start: int, path: str) -> Span:
    """Find the string at a path such as `messages.2.content` of the value that begins at `start`.

    Raises `KeyError` where there is none; what the span holds is JSON, quotation marks included.
    """
    for step in path.split("."):
        start = _step(text, start, step)
    if text[start] != '"':
        raise KeyError(path)
    return Span(start, _end_of_value(text, start))


def _step(text: str, start: int, step: str) -> int:
    """Give where the value under a key of an object, or a number of a list, begins."""
    is_object, count = text[start] == "{", 0
    position = _after_space(text, start + 1)
    while text[start] in "{[" and text[position] not in "]}":
        key: str = str(count)
        if is_object:
            key, position = _DECODER.raw_decode(text, position)
            position = _after_space(text, _after_space(text, position) + 1)
        if key == step:
            return position
        position = _after_space(text, _end_of_value(text, position))
        if text[position] == ",":
            position = _after_space(text, position + 1)
        count += 1
    raise KeyError(step)


def apply(text: str, edits: Iterable[Edit]) -> tuple[bytes, list[Undo]]:
    """Make the edits, which do not overlap; give the new file's bytes and what takes the edits back."""
    content, undo, position = bytearray(), list[Undo](), 0
    for edit in sorted(edits, key=lambda edit: (edit.span.start, edit.span.end)):
        content += text[position : edit.span.start].encode()
        new = edit.new.encode()
        undo.append(Undo(len(content), len(new), text[edit.span.start : edit.span.end]))
        content += new
        position = edit.span.end
    content += text[position:].encode()
    return bytes(content), undo


def take_back(content: bytes, undo: Iterable[Undo]) -> bytes:
    """Give the bytes of the old file."""
    old, position = bytearray(), 0
    for edit in undo:
        old += content[position : edit.at] + edit.text.encode()
        position = edit.at + edit.length
    return bytes(old + content[position:])


def _end_of_value(text: str, start: int) -> int:
    return _DECODER.raw_decode(text, start)[1]


def _after_space(text: str, position: int) -> int:
    match = _SPACES.match(text, position)
    return match.end() if match else position
