"""What a question asks, whatever words it asks with: rows whose keys agree ask the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from alpaca_lora.data.audit.rows import RowView, TurnView

_WORD = re.compile(r"[^\W_]+")
_SIGNS = frozenset("+*/=<>%^$€£#@&|~\\_")
_MINUS = re.compile(r"(?<![^\W\d])-|-(?![^\W\d])")
_QUOTED = re.compile(r"\"([^\"]+)\"|[“”]([^”]+)”|(?<!\w)['‘]([^'’]+)['’](?!\w)")
_TARGET = re.compile(r"\b(?:convert|translat|chang|turn|transform)\w*\b.*\b(?:in)?to\W+(?:an?\W+|the\W+)?(\w+)")
_AMERICA = re.compile(r"\bU\.?S\.?(?:A\b)?(?!\w)|\bUnited States(?: of America)?\b")
_ONE = re.compile(
    r"\b(?:name|give|provide|list|suggest|identify|find|offer|state|recommend|describe|tell|explain|about|example of"
    r"|examples of|types? of|write|create|generate|compose|construct|come up with|make up)(?: me| us)?(?: about)?"
    r" (?:an?|one) (?!list|few|couple|number of|variety|set of|bulleted)|\bwhat is an? \w+ (?:of|to|for)\b"
)
_MORE = re.compile(
    r"(?:\band|,) (what|how|why|when|where|who|which|explain|describe|discuss|provide|give|compare|identify)\b"
)
_SHAPES: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        " do": re.compile(r"\bdo(?:es)?\b.*\bdo\W*\Z|\bwhat [^.?]* does\W*\Z"),
        "use": re.compile(r"\buses? (?:of|for)\b|\bused (?:for|in|to)\b"),
        "name": re.compile(r"\b(?:names? for|an?(?: \w+)? name|new names?)\b"),
    }
)
"""Words that are mostly empty, and what stands around them where they are not."""
_QUOTES = frozenset("\"'“”‘")
# fmt: off
_EMPTY = frozenset(str.split(
    "the a an of and to in is that for it with as on are this be by or from given following please some any these "
    "those you me my its their can could would should will there has have at into using use uses used which what was "
    "were do does did i we our us he she they his about so such between within been being im want need your provided "
    "few several different various concept idea principle term type types kind kinds particular certain own"
))
_NUMBERS: Mapping[str, str] = MappingProxyType({word: str(number) for number, word in enumerate(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
)})
_ASKS: Mapping[str, str] = MappingProxyType({
    **dict.fromkeys(str.split(
        "explain describe define discuss describing explaining explains describes mean means meaning definition "
        "definitions"
    ), "explain"),
    **dict.fromkeys(str.split(
        "list lists name names identify give provide suggest tell offer state find recommend output show share "
        "example examples"
    ), "name"),
    **dict.fromkeys(str.split(
        "write compose create generate construct produce make develop craft come up design build creating writing form"
    ), "write"),
})
"""Verbs that ask, by what they ask for; a question without any of them asks `openly`."""
_SAME: Mapping[str, str] = MappingProxyType({other: first for first, *others in map(str.split, str.split(
    "benefit advantage pro upside; reduce decrease lower cut lessen minimize; improve enhance better boost; "
    "difference differ distinguish differentiate distinction; characteristic quality trait attribute feature property; "
    "effect impact influence affect consequence; way method strategy tip technique tactic; important importance; "
    "big large huge; disadvantage drawback con downside; story tale; sum add; poem poetry; job career profession; "
    "website site; problem issue challenge; use application; happy happiness; child kid children; cause reason factor; "
    "function code program; compute calculate determine; begin start; short brief; process procedure step; "
    "role purpose",
    ";",
)) for other in others})
# fmt: on
_MAY_MEET: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "explain": ("explain", "openly"),
        "name": ("name", "openly", "write"),
        "write": ("write", "name"),
        "openly": ("openly", "explain", "name"),
    }
)


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    """Cut an English word to what its forms share."""
    word = _SAME.get(word) or _SAME.get(word.removesuffix("s")) or word
    if not word.endswith("ss"):
        for end in ("ies", "es", "s", "ing", "ed", "e", "y"):
            if word.endswith(end) and len(word) - len(end) >= 3:
                return word.removesuffix(end)
    return word


def question_keys(row: RowView, *, english: bool) -> tuple[tuple[object, ...], ...]:
    """Give keys of what a row asks: the first is its own; rows ask the same where one's first is among another's.

    In English the content words must agree, whatever their order and form, and so must the numbers, the quoted phrases,
    the signs, the sort of answer asked for and the input; in other languages all words. A row of several turns has all
    their questions in its key. There are no keys for a row that asks nothing.
    """
    if english and len(row.turns) == 1:
        words, ask = _english(row.turns[0])
        content = (row.system, words, row.turns[0].input and plain(row.turns[0].input))
        return tuple((*content, may) for may in _MAY_MEET[ask]) if words[0] or content[-1] else ()
    texts = tuple((plain(turn.instruction), plain(turn.input)) for turn in row.turns)
    return ((row.system, *texts),) if any(any(pair) for pair in texts) else ()


def plain(text: str) -> str:
    """Give a text without case, white space and the signs around it, to compare it with another."""
    return " ".join(text.casefold().split()).strip(" .?!,;:\"'“”‘’。？！，；：、")


def _english(turn: TurnView) -> tuple[tuple[object, ...], str]:
    """Give what a question's wording does not change, and what sort of answer it asks for."""
    text = turn.instruction
    if "U" in text:
        text = _AMERICA.sub("usa", text)
    low = text.lower().replace("’", "'").replace("'s ", " ")
    letters = set(low)
    content: set[str] = set()
    numbers: list[str] = []
    asks: set[str] = set()
    for word in _WORD.findall(low):
        if word in _ASKS:
            asks.add(_ASKS[word])
        elif word in _EMPTY:
            continue
        elif word in _NUMBERS or word[0].isdigit():
            numbers.append(_NUMBERS.get(word, word))
        else:
            content.add(_stem(word))
    if not numbers and (" a " in low or " an " in low or " one " in low) and _ONE.search(low):
        numbers.append("1")
    if " and " in low or ", " in low:
        content.update(f"and {more}" for more in _MORE.findall(low))
    content.update(name for name, shape in _SHAPES.items() if name in low and shape.search(low))
    phrases: list[str] = []
    if _QUOTES & letters:
        for groups in _QUOTED.findall(low):
            words = _WORD.findall("".join(groups))
            content.update(map(_stem, words))
            phrases += [" ".join(words)] if len(words) > 2 else []
    target = _TARGET.search(low) if "to " in low else None
    signs = sorted(letters & _SIGNS) + (["-"] if "-" in letters and _MINUS.search(low) else [])
    ask = next((name for name in ("explain", "name", "write") if name in asks), "openly")
    return (" ".join(sorted(content)), " ".join(numbers), " ".join(signs), target and target[1], tuple(phrases)), ask
