"""Outputs that a generator's stop sequence cut short, found from what improbably never occurs in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from alpaca_lora.data.audit.rows import RowView, TurnView
from alpaca_lora.data.audit.rules import DROP, Fix, Hit, Rule, quote_end
from alpaca_lora.data.audit.zeros import Zero, improbable_zeros, list_length

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_HALF_A_YEAR = re.compile(
    rf"(?:\b(?:in|of|to|from|until|since|by|between|and|{_MONTH}) |\b{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?, "
    r"|\d[-–]\d+, |\b[12]\d\d\d ?[-–] ?)"
    r"(1[5-9]|20)\s*\Z"
)
_BARE_CURRENCY = re.compile(r"(?:^|[\s(])[$€£]\s*\Z")
_SMALL_SUM = re.compile(r"\A[A-Z][^\n]*\b(?:is|are|was|costs?|works out to|total of|pay) [$€£]\d{1,2}\s*\Z")
_RANGE = re.compile(r"(?<![-–\d.,])[$€£]?(\d{1,4}) ?[-–] ?[$€£]?(\d{0,2})\s*\Z")
_FROM_ONE = re.compile(r"\b(?:from \d+ to|between \d+ and|\d, \d+, \d+,? and)\s*\Z")
_EXPECTS_A_NUMBER = re.compile(
    r"\A.{0,3}[A-Z\d].* (?:(?!(?:that|what|who|it|he|she|they|this|as|there|here|how)\b)\w+ (?:is|are|will be"
    r"|was)|is equal to|equals?|equal to|number of|approximately)\s*\Z",
    re.DOTALL,
)
_PICTURE = re.compile(
    r"\b(?:chart|illustrat\w+|poster|draw\w*|image|picture|diagram|graph|logo|sketch|paint\w*|photo\w*)\b",
    re.IGNORECASE,
)
_SHORT_OF = 6
"""A list shorter than this ends for reasons of its own."""


def _stop_cuts(rows: Sequence[RowView]) -> Iterator[tuple[int, int, Hit]]:
    zeros = improbable_zeros(turn.output for row in rows for turn in row.turns)
    stops: dict[str, Zero] = {}
    for zero in zeros:
        number = zero.text.rstrip(".)")
        if number.isdigit() and int(number) > _SHORT_OF and number not in stops:
            stops[number] = zero
    for place, row in enumerate(rows):
        for turn_number, turn in enumerate(row.turns):
            for number, zero in stops.items():
                if hit := _cut_before(turn, number, zero):
                    yield place, turn_number, hit
                    break


def _cut_before(turn: TurnView, number: str, zero: Zero) -> Hit | None:
    """Say whether the output breaks off where the number would have come."""
    text = turn.output
    why = f"; {zero.what} never occurs where {zero.expected:.0f} were expected"
    if not text.strip():
        asks_picture = _PICTURE.search(turn.instruction)
        return None if asks_picture else Hit("output", f"the output is empty{why}", 0.8, DROP)
    last = text.rstrip()[-1]
    if last.isdigit():
        if (found := _HALF_A_YEAR.search(text[-40:])) and 1500 <= int(found[1] + number) <= 2100:
            whole = Fix("set", text.rstrip() + number + ".")
            return Hit("output", f"{quote_end(text)} ends within a year{why}", 0.97, whole)
        if _SMALL_SUM.search(text) or _is_backward(text, number):
            return Hit("output", f"{quote_end(text)} ends within a number{why}", 0.9, DROP)
    elif last != "." and (
        _BARE_CURRENCY.search(text[-3:]) or _is_backward(text, number) or _FROM_ONE.search(text[-40:])
    ):
        return Hit("output", f"{quote_end(text)} ends before a number{why}", 0.95, DROP)
    elif last.isalpha() and _EXPECTS_A_NUMBER.search(text):
        return Hit("output", f"{quote_end(text)} ends where a number should follow{why}", 0.9, DROP)
    if str(int(number) - 1) in text and list_length(text) == int(number) - 1:
        return Hit("output", f"the list ends with {int(number) - 1}{why}", 0.93)
    return None


def _is_backward(text: str, number: str) -> bool:
    """Say whether the text ends with a range that goes up only when the number is put at its end."""
    found = _RANGE.search(text[-16:])
    return bool(found and int(found[1]) > int(found[2] or 0) and int(found[1]) < int(found[2] + number))


STOP_CUT = Rule(
    "stop-cut",
    "defect",
    "the output breaks off before a string that improbably never occurs: the generator's stop sequence",
    find_all=_stop_cuts,
    precision=142 / 144,
    read="all 144",
)
