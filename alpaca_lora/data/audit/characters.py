"""Characters that no reader sees, or that are there by mistake: controls, zero widths, heaps of marks, backslashes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from alpaca_lora.data.audit.markers import is_no_input
from alpaca_lora.data.audit.rows import Field, TurnView
from alpaca_lora.data.audit.rules import Fix, Hit, Rule, quote

_FIELDS: tuple[Field, ...] = ("instruction", "input", "output")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u2060\ufeff\ufffc\ufffd]")
_WORTH_A_SPACE = re.compile("(?<=\\S)[\x0b\x0c](?=\\S)")
_SPACES_LEFT = re.compile(r"(?:[ \t]+)(?=\n|\Z)")
_HEAP_OF_MARKS = re.compile(r"\s*(?:[\u0300-\u036f]{3,}\s*)+")
_STRAY_BACKSLASH = re.compile(r"\\(?=[\"<>\-])")
_MEANS_BACKSLASH = re.compile(
    r"\\[a-zA-Z\\dws({\[.+]|code|regex|latex|python|\bpath\b|escap\w+|string|json|script|print|html|morse"
    r"|email|tree|shape",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[a-z]{3,} [a-z]{2,}")


def _control(turn: TurnView) -> Iterator[Hit]:
    for field in _FIELDS:
        text: str = getattr(turn, field)
        if text.isprintable() and text.isascii():
            continue
        found = _CONTROL.findall(text)
        if not found:
            continue
        names = sorted({unicodedata.name(character, f"U+{ord(character):04X}") for character in found})
        clean = _CONTROL.sub("", _WORTH_A_SPACE.sub("\n", text))
        if len(found) > 1:
            clean = _SPACES_LEFT.sub("", clean)
        yield Hit(field, f"{len(found)} invisible: {', '.join(names[:4])}", 1.0, Fix("set", clean))


def _marks(turn: TurnView) -> Iterator[Hit]:
    for field in _FIELDS:
        text: str = getattr(turn, field)
        if text.isascii():
            continue
        if found := _HEAP_OF_MARKS.search(text):
            marks = sum(unicodedata.combining(character) > 0 for character in text)
            yield Hit(
                field,
                f"{marks} combining marks in a heap after {quote(text[: found.start()])}",
                1.0,
                Fix("set", _HEAP_OF_MARKS.sub("", text)),
            )


def _backslash(turn: TurnView) -> Iterator[Hit]:
    for field in _FIELDS:
        text: str = getattr(turn, field)
        if "\\" not in text or not _STRAY_BACKSLASH.search(text):
            continue
        if field == "input" and is_no_input(text):
            yield Hit(field, f"a backslash strayed into {quote(text)}", 1.0, Fix("set", ""))
        elif not _MEANS_BACKSLASH.search(turn.instruction + turn.input + turn.output) and _SENTENCE.search(text):
            yield Hit(field, f"a backslash strayed into {quote(text)}", 0.8, Fix("set", _STRAY_BACKSLASH.sub("", text)))


CONTROL = Rule(
    "control-characters",
    "normalise",
    "control characters, soft hyphens, zero widths or byte order marks stand in the text",
    find=_control,
    precision=1.0,
    read="all 11",
)
MARKS = Rule(
    "heaped-marks",
    "normalise",
    "combining marks are heaped up, which no language does",
    find=_marks,
    precision=1.0,
    read="all 3",
)
BACKSLASH = Rule(
    "stray-backslash",
    "normalise",
    "a backslash escapes what needs no escape",
    find=_backslash,
    precision=1.0,
    read="all 6",
)
