"""Inputs that only say that there is no input, and that marker where it strayed into a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Fix, Hit, Rule, quote

_SPOKEN = r"no[\s_-]?inpute?s?(?:\s+(?:is\s+)?(?:required|needed|necessary|given|provided|available))?"
_ONLY_MARKER = re.compile(
    rf"[\W_]*(?:{_SPOKEN}|(?<=<)no?(?:in)?put(?=>)|n\s*/\s*a|none|nil|null|(?-i:NA))[\W_]*", re.IGNORECASE
)
_BRACKETED = re.compile(r"[\\`]*<\s?no[\s_-]?inpute?s?\s?\\?>`?", re.IGNORECASE)
_OWN_LINE = re.compile(
    rf"^[ \t]*(?:[\\`]*<\s?no[\s_-]?inputs?\s?\\?>`?|{_SPOKEN}\.?)[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_LAST_PARAGRAPH = re.compile(
    rf"(?<=[^\s:])[ \t\r]*\n\s*\n[ \t]*(?P<marker>[\\`]*<\s?no[\s_-]?inputs?\s?\\?>`?|{_SPOKEN}\.?)\s*\Z", re.IGNORECASE
)
"""Behind a colon it may be the text that the question is about; "none" and "N/A" may be so anywhere."""
_QUOTED = re.compile(r"[\"“'‘]$")
_NOTHING_LEFT = re.compile(r"\W*(?:\d{1,3}|the|an?)?\W*", re.IGNORECASE)
_LONGEST_MARKER = 60
GAP = "___"


def is_no_input(text: str) -> bool:
    """Say whether a text is only a spelling of "no input"."""
    return 0 < len(text) <= _LONGEST_MARKER and bool(_ONLY_MARKER.fullmatch(text))


def _no_input(turn: TurnView) -> Iterator[Hit]:
    if turn.input and is_no_input(turn.input):
        yield Hit("input", f"the input is only {quote(turn.input)}", 1.0, Fix("set", ""))
    if "input" not in turn.places:  # in a chat the input follows the question
        text = turn.instruction
        found = _LAST_PARAGRAPH.search(text, max(0, len(text) - 2 * _LONGEST_MARKER))
        if found:
            reason = f"the question ends with a paragraph that is only {quote(found['marker'])}"
            yield Hit("instruction", reason, 1.0, Fix("set", text[: found.start()]))


def _marker_in_input(turn: TurnView) -> Iterator[Hit]:
    text = turn.input
    if "nput" not in text and "NPUT" not in text:
        return
    if is_no_input(text):
        return
    found = _OWN_LINE.search(text) or _BRACKETED.search(text)
    if found and not _QUOTED.search(text[: found.start()]):
        rest = _without_marker(text)
        kept = f"; {quote(rest)} stays" if rest else "; nothing else is left"
        yield Hit("input", f"{quote(found[0].strip())} stands in the input{kept}", 1.0, Fix("set", rest))


def _without_marker(text: str) -> str:
    """Cut a marker that has a line of its own; within a line it stands for a gap, unless nothing is around it."""
    text = _OWN_LINE.sub("", text)
    rest = _BRACKETED.sub("", text)
    return "" if _NOTHING_LEFT.fullmatch(rest) else _BRACKETED.sub(GAP, text).strip()


NO_INPUT = Rule(
    "no-input",
    "normalise",
    "the input only says that there is none, as in <noinput>; blank is how templates expect it",
    find=_no_input,
    precision=1.0,
    read="44 spellings",
)
MARKER_IN_INPUT = Rule(
    "marker-in-input",
    "normalise",
    "a no-input marker stands beside real input; within a line it stands for a gap",
    find=_marker_in_input,
    precision=1.0,
    read="all 14",
)
