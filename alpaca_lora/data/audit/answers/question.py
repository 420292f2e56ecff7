"""A question as the checkers see it: plain characters, its data apart, its words known or not.

A question counts as understood only when every word of it is known: to the checker that reads it, or as filler that
changes no answer. One unknown word ("excluding", "weighted", "second") and nothing is said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from alpaca_lora.data.audit.answers.numerals import DIGITS, ONES, read_number

_PLAIN = str.maketrans({
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'",
    "`": '"', "×": "*", "÷": "/", "\u2212": "-", "\u2013": "-", "\u2014": "-", "⁄": "/", "·": "*", "\t": " ",
})  # fmt: skip
NO_INPUT = re.compile(r"\W*(?:no ?-?input|none|n/?a|nil|not applicable)\W*", re.IGNORECASE)


def vocabulary(text: str) -> frozenset[str]:
    """Give the words of a text as a set."""
    return frozenset(text.split())


FILLER = vocabulary(
    """a an the this that these those it its of for to from in on into with by and as at be is are was were i we
    you your me my us our let let's has have had if then when where which who what what's how do does did can
    could would should will given give gives giving find finding calculate calculating compute computing
    determine determining evaluate evaluating solve solving work out tell get obtain output outputs return print
    show state report write name identify provide produce generate answer result results solution value values
    number numbers integer integers digits set sets list lists array arrays sequence series data dataset group
    collection vector tuple element elements entries entry input inputs following below above there here please
    using use used directly only just straight simple simplest basic math mathematical maths arithmetic numeric
    numerical equation equations expression expressions problem problems calculation calculations question
    operation operations mathematically take consider point points all each every both one two three four five
    six seven eight nine ten some any up together exactly equal equals real item items figures figure variable
    term terms form way about don't no need enter come between among without calculator perform help based
    information"""
)
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_COUNT = r"(?:{}|\d+)".format("|".join(ONES[1:]))
_COUNTED = re.compile(
    rf"\b({_COUNT})(?= (?:given |different |whole )?(?:numbers|integers|values|elements|items|fractions|scores|"
    r"students?|people|products|words|things|sets|persons)\b)"
)
_SEPARATOR = r"\s*(?:,\s*and\b|,|;|\n|\band\b|&)\s*"
_RUN = re.compile(
    rf"(?<![\w.^*/+=-])[\[({{]?\s*-?(?:{DIGITS})(?:(?:{_SEPARATOR}|\s+)-?(?:{DIGITS}))+\s*[\])}}]?(?![\w^*/+=-])"
)
_LABEL = re.compile(r"^[a-z ]*?[a-z]\s*[:=]\s*", re.IGNORECASE)
_PIECE = re.compile(
    rf"(?P<money>[$€£]\s?)?(?P<number>-?(?:{DIGITS}))\s?(?P<unit>%|°\s?[cf]?|[a-z]{{1,14}}(?: old)?|years old)?",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"(?P<label>[a-z][a-z][a-z .'()-]*?(?: \d+| [a-z])?)\s*(?:\(|[:=,-]|\s[-–]\s|"
    rf"\s)\s*(?:age[d:]?\s*)?(?P<piece>{_PIECE.pattern.replace('P<', 'P<_')})\)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Question:
    """Hold the instruction and its input in lower case and plain signs, and both as they were.

    Attributes:
        ask: The instruction.
        data: The input; "" where there is none, or where the instruction already says the same.
        raw_ask: The instruction, its signs plain but its letters as they were.
        raw_data: The input, likewise.
    """

    ask: str
    data: str
    raw_ask: str
    raw_data: str

    @property
    def text(self) -> str:
        """Give the instruction and the input as one line of thought."""
        return f"{self.ask}\n{self.data}" if self.data else self.ask


def plain(text: str) -> str:
    """Give `text` with typographic signs replaced by plain ones, as long as before."""
    if text.isascii() and "`" not in text and "\t" not in text:
        return text
    return text.translate(_PLAIN)


def ask(instruction: str, given: str) -> Question:
    """Read a question; an input that only says "no input", or repeats the instruction, is left out."""
    raw_ask, raw_data = plain(instruction).strip(), plain(given).strip()
    if NO_INPUT.fullmatch(raw_data):
        raw_data = ""
    compact = re.sub(r"\W", "", raw_data)
    if compact and compact.lower() in re.sub(r"\W", "", raw_ask).lower() and len(compact) > 1:
        raw_data = "" if _same_signs(raw_ask, raw_data) else raw_data
    return Question(raw_ask.lower(), raw_data.lower(), raw_ask, raw_data)


def _same_signs(text: str, part: str) -> bool:
    bare = re.sub(r"[\s.\"']", "", part)
    return bare.lower() in re.sub(r"[\s\"']", "", text).lower()


def unknown_words(text: str, known: frozenset[str] = frozenset()) -> set[str]:
    """Give the words of `text` that are neither filler nor in `known`."""
    return set(_WORD.findall(text)) - FILLER - known


def drop_counts(text: str) -> tuple[str, int | None]:
    """Take "these 3 numbers" to "these numbers", and give the count that was named, if exactly one was."""
    counts = _COUNTED.findall(text)
    values = {int(count) if count.isdigit() else ONES.index(count) for count in counts}
    return _COUNTED.sub("", text), values.pop() if len(values) == 1 else None


def list_in(question: Question) -> tuple[list[Fraction], str] | None:
    """Find the one list of numbers of a question, and the words that stand around it.

    Returns:
        The numbers and the instruction without them, or None where there is no list, or more than one, or a number
        beside it whose meaning is unknown.
    """
    text, count = drop_counts(question.ask)
    if question.data:
        values = parse_list(question.data)
        if values is None:
            return None
        runs = [parse_list(run.strip("[](){} ")) for run in _RUN.findall(text)]
        text = _RUN.sub(" ", text)
        if any(run != values for run in runs):
            return None
    else:
        runs = list(_RUN.finditer(text))
        if len(runs) != 1:
            return None
        values = parse_list(runs[0].group().strip("[](){} \n"))
        text = text[: runs[0].start()] + " " + text[runs[0].end() :]
    if values is None or len(values) < 2 or re.search(r"\d", text):
        return None
    if count is not None and count != len(values):
        return None
    return values, text


def parse_list(text: str) -> list[Fraction] | None:
    """Read a text that is nothing but a list of numbers, plain ("3, 5 and 8"), with one unit, or labelled."""
    text = text.strip().rstrip(".").strip()
    label = _LABEL.match(text)
    if label and not unknown_words(label.group(), _LIST_NAMES):
        text = text[label.end() :]
    text = text.strip("[](){}<>\"' \n")
    if re.search(r"[\[\](){}]", text) and not re.search(r"[a-z]", text):
        return None
    if re.search(r"\d,\d{3}(?!\d)", text) and not re.search(r"\d[,;]?\s", text):
        return None  # "100,200,300": thousands or a list
    pieces = [piece for piece in re.split(_SEPARATOR if re.search(_SEPARATOR, text) else r"\s+", text) if piece.strip()]
    if re.search(r"\d,\d{3}(?!\d)", text):
        pieces = [piece for piece in re.split(r",?\s+(?:and )?|;|\n|,(?!\d)", text) if piece.strip()]
    plain_pieces = [_PIECE.fullmatch(piece.strip(" \"'")) for piece in pieces]
    matched = [piece for piece in plain_pieces if piece]
    if len(matched) == len(pieces) and len(pieces) > 1:
        units = {(piece["unit"] or "").strip() for piece in matched}
        if len({bool(piece["money"]) for piece in matched}) == 1 and (
            len(units) == 1 or units == {"", matched[-1]["unit"]}
        ):
            return [read_number(piece["number"]) for piece in matched]
        return None
    return labelled_numbers(text)


_LIST_NAMES = vocabulary(
    """arr nums lst temperature temperatures ages age scores grades prices x a temps temp ratings"""
)


def labelled_numbers(text: str) -> list[Fraction] | None:
    """Read lines or comma-separated entries of one label and one number each, all of one unit."""
    rows = [
        row.strip(" \"'.-")
        for row in re.split(
            r"\n|;|,(?=\s*[a-z])" if re.search(r"[\n;]|,\s*[a-z]", text, re.I) else r"$^", text, flags=re.I
        )
    ]
    values: list[Fraction] = []
    units: set[tuple[bool, str]] = set()
    for row in filter(None, rows):
        match = _LABELLED.fullmatch(row)
        if not match:
            return None
        values.append(read_number(match["_number"]))
        units.add((bool(match["_money"]), (match["_unit"] or "").lower()))
    return values if len(values) > 1 and len(units) == 1 else None
