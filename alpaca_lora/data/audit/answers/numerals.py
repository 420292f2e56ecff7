"""Numbers in English text: read with their place, written as a person would."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from alpaca_lora.data.audit.answers.verdict import Number

DIGITS = r"\d+(?:,\d{3})+(?![\d])(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\w)\.\d+"
ONES = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ONE = "|".join(ONES[1:10])
_WORD = rf"(?:(?:{'|'.join(TENS)})(?:[ -](?:{_ONE}))?|{'|'.join(sorted(ONES, key=len, reverse=True))})"
NUMBER_WORD = re.compile(rf"\b{_WORD}\b(?![ -]?(?:hundred|thousand|million|half|third|quarter))", re.IGNORECASE)
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![\w)\]%^'-])-\ ?|(?<=\s-)-)?
    (?P<body>
        (?P<whole>\d+)[ ](?P<top>\d+)/(?P<bottom>\d+)(?![\d/.])
      | (?P<up>(?:{DIGITS}))\ ?[/⁄]\ ?(?P<down>(?:{DIGITS}))(?![\d/])
      | (?P<plain>{DIGITS})(?P<exp>\ ?(?:e[+-]?\d+\b|[x×*]\ ?10\ ?(?:\^\ ?\(?[+-]?\d+\)?|[⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)))?
    )
    (?P<pct>\ ?%|\ percent\b)?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_UNIT_POWER = re.compile(r"(?<=[a-zA-Z])(?<!\d[eE])(?:<sup>|\\?\(?\^\{?)?[23²³](?:\}|</sup>)?(?!\d|\.\d)")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")


@dataclass(frozen=True, slots=True)
class Numeral:
    """One number in a text: its value, where it stands, decimals shown, and how it was written."""

    value: Number
    start: int
    end: int
    text: str
    decimals: int
    percent: bool = False
    fraction: bool = False
    word: bool = False
    scientific: bool = False


def read_number(text: str) -> Fraction:
    """Give the value of plain digits, with or without thousands separators."""
    return Fraction(text.replace(",", "").strip())


def mask_powers(text: str) -> str:
    """Blank the powers of units (cm2, m^3), keeping every place."""
    return _UNIT_POWER.sub(lambda match: " " * len(match.group()), text)


def numerals(text: str, words: bool = True) -> list[Numeral]:
    """Give the numbers of `text` in their order; powers of units (cm2, m^3) are none."""
    masked = mask_powers(text)
    found: list[Numeral] = []
    for match in _NUMBER.finditer(masked):
        before = masked[match.start() - 1] if match.start() else " "
        if (
            before.isalpha()
            or (before in "_:" and match.start() > 1 and masked[match.start() - 2].isalnum())
            or (match.end() < len(masked) and _joined(masked, match.end()))
        ):
            continue
        numeral = _numeral(match)
        if numeral is not None:
            found.append(numeral)
    if words:
        for match in NUMBER_WORD.finditer(masked):
            found.append(
                Numeral(Fraction(word_value(match.group())), match.start(), match.end(), match.group(), 0, word=True)
            )
        found.sort(key=lambda numeral: numeral.start)
    return found


def _joined(text: str, end: int) -> bool:
    return bool(re.match(r"(?:st|nd|rd|th)\b|[a-z]\d|:\d|[xX]\b|-(?:bit|digit|sided|year|day)", text[end : end + 7]))


def _numeral(match: re.Match[str]) -> Numeral | None:
    sign = -1 if match["sign"] else 1
    decimals = 0
    fraction = scientific = False
    if match["whole"]:
        if not int(match["bottom"]):
            return None
        value = int(match["whole"]) + Fraction(int(match["top"]), int(match["bottom"]))
        fraction = True
    elif match["up"]:
        down = read_number(match["down"])
        if not down:
            return None
        value = read_number(match["up"]) / down
        fraction = True
    else:
        value = read_number(match["plain"])
        decimals = len(match["plain"].partition(".")[2])
        if match["exp"]:
            digits = re.sub(r"^ ?(?:e|[x×*] ?10 ?\^? ?)", "", match["exp"].lower()).strip("() ").translate(_SUPERSCRIPT)
            power = int(digits)
            if abs(power) > 60:
                return None
            value *= Fraction(10) ** power
            decimals = decimals - power
            scientific = True
    return Numeral(
        sign * value,
        match.start(),
        match.end(),
        match.group(),
        decimals,
        bool(match["pct"]),
        fraction,
        False,
        scientific,
    )


def word_value(text: str) -> int:
    """Give the value of a number word below one hundred, such as "forty-two"."""
    value = 0
    for part in re.split(r"[ -]", text.lower()):
        value += ONES.index(part) if part in ONES else 10 * (TENS.index(part) + 2)
    return value


def spell(number: int) -> str:
    """Write a whole number from 0 to 999,999,999 in words, without "and"."""
    for size, name in ((1_000_000, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{spell(number // size)} {name}" + (f" {spell(rest)}" if rest else "")
    if number < 20:
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def write_number(value: Number, decimals: int = 2, grouped: bool = False) -> str:
    """Write `value` with all its decimals where they end within six, else rounded to `decimals`."""
    separator = "," if grouped else ""
    for digits in range(7):
        scaled = value * 10**digits
        if abs(scaled - round(scaled)) <= (0 if isinstance(value, Fraction) else 1e-12 * max(1.0, abs(scaled))):
            return f"{round(scaled) / 10**digits if digits else round(scaled):{separator}.{digits}f}"
    decimals = max(decimals, 2)
    while abs(value) * 10**decimals < 100 and decimals < 12:
        decimals += 1
    return f"{float(value):{separator}.{decimals}f}"
