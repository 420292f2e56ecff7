"""Scripts, such as Latin and Han: which a text is written in, and answers in one that nothing called for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from unicodedata import name

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Hit, Rule, quote

_NOT_LETTERS = bytes(code for code in range(256) if not chr(code).isalpha() or code > 127)
_FEWEST_LETTERS = 20
"""Letters that an answer needs before it is held to be in another script."""
_FEWEST_ASKED = 4
_GREATEST_REST = 0.05
"""Share of an answer's letters that may still be in the script of its question."""
_FEWEST_SEEN = 3
"""Letters of the answer's script that explain it when they stand in the question."""
_ASKS_FOR_LANGUAGE = re.compile(
    r"translat|translit|language|script|alphabet|symbol|notation|emoji|code|regex|letter|romani[sz]"
    r"|\b(?:Chinese|Mandarin|Cantonese|Japanese|Korean|Russian|Arabic|Hebrew|Greek|Hindi|Thai|Ukrainian|Bulgarian|Persian"
    r"|Urdu|Bengali|Tamil|English|French|Spanish|German|kanji|pinyin)\b"
    r"|[译翻语文字码]|英|编程|程序|函数|网址|邮箱|公式|缩写|拼音|перев|англ|язык|код",
    re.IGNORECASE,
)
_CODE = re.compile(r"```|[{}=;<>]|\bdef |://")
_NAMES: Mapping[str, str] = MappingProxyType(
    {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "FULLWIDTH": "Latin", "MODIFIER": "Latin"}
)


@lru_cache(maxsize=1 << 16)
def script_of(letter: str) -> str:
    """Give the script of a character as Unicode's name for it begins, "" where it is no letter."""
    if not letter.isalpha():
        return ""
    first = name(letter, "OTHER").split(" ")[0]
    return _NAMES.get(first, first.capitalize())


def ascii_letters(text: str) -> int:
    """Count the letters of an ASCII text, fast."""
    return len(text.encode().translate(None, _NOT_LETTERS))


def letters_by_script(text: str) -> Counter[str]:
    """Count a text's letters by their script."""
    if text.isascii():
        letters = ascii_letters(text)
        return Counter({"Latin": letters} if letters else {})
    counts: Counter[str] = Counter()
    for letter, count in Counter(text).items():
        if script := script_of(letter):
            counts[script] += count
    return counts


def _unasked(turn: TurnView) -> Iterator[Hit]:
    """Look for an answer without the question's script, in one that neither the question nor its input has."""
    if turn.instruction.isascii() and turn.output.isascii():
        return
    asked, answered = letters_by_script(turn.instruction), letters_by_script(turn.output)
    if not asked or not answered:
        return
    ours, theirs = asked.most_common(1)[0][0], answered.most_common(1)[0][0]
    seen = asked[theirs] + letters_by_script(turn.input)[theirs]
    if (
        ours != theirs
        and {ours, theirs} != {"Han", "Kana"}
        and asked[ours] >= _FEWEST_ASKED
        and answered[theirs] >= _FEWEST_LETTERS
        and answered[ours] <= _GREATEST_REST * answered.total()
        and seen < _FEWEST_SEEN
        and not _ASKS_FOR_LANGUAGE.search(turn.instruction)
        and not _CODE.search(turn.output)
    ):
        yield Hit("output", f"asked in {ours}, answered in {theirs}: {quote(turn.output)}", 0.9)


UNASKED_SCRIPT = Rule(
    "unasked-script",
    "tag",
    "the answer is in another script than the question, which asks for no other language",
    find=_unasked,
    precision=1.0,
    read="all 7 of a Chinese file",
)
