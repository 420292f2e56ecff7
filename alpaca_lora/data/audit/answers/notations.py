"""One number in another notation: binary, hexadecimal, octal, Roman, words, percent, fraction, decimal, scientific."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from alpaca_lora.data.audit.answers.numerals import NUMBER_WORD, ONES, TENS, numerals, spell
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth, TextTruth, Truth

_BASES: Mapping[str, int] = MappingProxyType(
    {"binary": 2, "octal": 8, "decimal": 10, "hexadecimal": 16, "hex": 16, "hexidecimal": 16}
)
_BASE = re.compile(
    r"\b(?:(binary|octal|decimal|hexadecimal|hexidecimal|hex)\b|base[- ]?(2|8|10|16|two|eight|ten|sixteen)\b)"
)
_KNOWN = vocabulary(
    """convert converted binary octal decimal hexadecimal hexidecimal hex base representation equivalent numeral
    numerals roman system notation format code string percent percentage fraction fractions decimals words word
    change translate express numbering its two's corresponding fractional scientific standard whole lowest
    simplest simplified terms value transform rational worded word-form digit representing conversion written
    numbers as equal mixed improper form integer positive"""
)
_TEENS: Mapping[str, str] = MappingProxyType({"two": "2", "eight": "8", "ten": "10", "sixteen": "16"})
_ROMAN = (
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
)
_WORDS = r"(?:zero|(?:{w})(?:[\s,-]+(?:and\s+)?(?:{w}))*)".format(
    w="|".join([*ONES[1:], *TENS, "fourty", "hundred", "thousand", "million"][::-1])
)


def roman(number: int) -> str:
    """Write 1 to 3999 in Roman numerals."""
    text = ""
    for value, sign in _ROMAN:
        text += sign * (number // value)
        number %= value
    return text


def in_base(number: int, base: int) -> str:
    """Write a whole number in base 2, 8, 10 or 16, in capitals, without a prefix."""
    return {2: f"{number:b}", 8: f"{number:o}", 10: str(number), 16: f"{number:X}"}[base]


def check_notation(question: Question) -> Truth | None:
    """Answer one request to write one number otherwise; None for two numbers or an unclear direction."""
    text = question.text.replace("\n", " ; ")
    if len(text) > 160 or unknown_words(
        re.sub(r"\b0x[0-9a-f]+|\b[0-9a-f]*\d[0-9a-f]*\b", " ", text), _KNOWN | frozenset(NUMBER_WORD.findall(text))
    ):
        return None
    if re.search(r"\d\s?e[+-]?\d|percentage of|percent of", text):
        return _to_part(text) if "percent" not in text else None
    bases = list(_BASE.finditer(text))
    if re.search(r"\broman\b", text):
        return _to_roman(text)
    if re.search(r"\b(?:binary|octal|hex|hexadecimal|hexidecimal|base)\b", text):
        return _to_base(text, bases)
    if re.search(
        r"\bto (?:words|a word form|word form|its word)|\binto words|\bin words|\bto (?:its|"
        r"the) (?:word|worded) |word (?:form|notation)|worded form|word representation",
        text,
    ):
        return _to_words(text)
    return _to_part(text)


def _single(text: str) -> str | None:
    tokens = set(re.findall(r"(?<![\w.,-])(?:0x)?[0-9a-f]*\d[0-9a-f,]*(?:\.\d+)?(?![\w]|\.\d)", text))
    return tokens.pop().rstrip(",") if len(tokens) == 1 else None


def _to_roman(text: str) -> Truth | None:
    token = _single(text)
    if token is None or not token.isdigit() or not 1 <= int(token) <= 3999 or not re.search(r"numeral|roman", text):
        return None
    return TextTruth("roman", roman(int(token)), r"(?<![\w'])[MDCLXVI]+(?![\w'])", exact=True)


def _to_base(text: str, bases: list[re.Match[str]]) -> Truth | None:
    named = [
        (match.start(), _BASES.get(match[1] or "") or int(_TEENS.get(match[2] or "", match[2] or "0")))
        for match in bases
    ]
    rest = re.sub(r"\bbase[- ]?\d+", " ", text)
    token = _single(rest)
    kinds = list(dict.fromkeys(base for _, base in named))
    if token is None or not kinds or len(kinds) > 2 or "," in token:
        return None
    before = re.compile(
        r"\b(?:to|into|as|in|(?:what is|give|find) the)\s+(?:an? |the |its |equivalent |corresponding |decimal )*$"
    )
    target = [base for start, base in named if before.search(text[:start])]
    source = 16 if token.startswith("0x") else 0
    if len(kinds) == 1:
        if re.search(r"\b(?:to|into) (?:an? |its |the )?(?:integer|number)\b", text) or source == 16:
            source, goal = kinds[0], 10
        elif target:
            source, goal = (
                (2 if kinds[0] == 10 and set(token) <= {"0", "1"} and len(token) > 3 and "base ten" in text else 10),
                kinds[0],
            )
            if kinds[0] == 10:
                return None
        else:
            return None
    else:
        goals = set(target)
        if len(goals) != 1:
            return None
        goal = goals.pop()
        source = next(base for base in kinds if base != goal)
    return _base_truth(token.removeprefix("0x"), source, goal)


def _base_truth(token: str, source: int, goal: int) -> Truth | None:
    try:
        number = int(token, source)
    except ValueError:
        return None
    if goal == 10:
        asked = (Fraction(int(token)),) if token.isdigit() else ()
        return NumberTruth(
            "base", Fraction(number), asked=(*asked, Fraction(2), Fraction(8), Fraction(10), Fraction(16))
        )
    pattern = {
        2: r"(?<![\w.])(?:0b)?[01]{2,}(?![\w.]\d|\w)",
        8: r"(?<![\w.])(?:0o)?[0-7]{2,}(?!\w|\.\d)",
        16: r"(?<![\w.#])(?:0[xX])?(?=[A-Fa-f]*\d|[A-F]{2,}\b)[0-9A-Fa-f]+(?!\w|\.\d)",
    }[goal]
    value = in_base(number, goal)
    prefix = {2: "0b", 8: "0o", 16: "0x"}[goal]
    padded = tuple(value.zfill(width) for width in (4, 6, 8, 16) if width > len(value))
    others = (prefix + value, *padded, *(prefix + item for item in padded))
    return TextTruth(
        {2: "binary", 8: "octal", 16: "hexadecimal"}[goal], value, pattern, others, asked=(token, "2", "8", "10", "16")
    )


def _to_words(text: str) -> Truth | None:
    token = _single(text)
    if token is None or not re.fullmatch(r"\d+|\d{1,3}(?:,\d{3})+", token) or len(token.replace(",", "")) > 9:
        return None
    words = spell(int(token.replace(",", "")))
    bare = words.replace("-", " ")
    with_and = re.sub(r"hundred (?=\w)", "hundred and ", words)
    late_and = re.sub(r"(thousand|million) (?!.*hundred)(?=\w)", r"\1 and ", with_and)
    comma = [item.replace("thousand ", "thousand, ").replace("million ", "million, ") for item in (words, with_and)]
    forms = [words, with_and, late_and, *comma]
    others = tuple(dict.fromkeys([*forms, *(form.replace("-", " ") for form in forms), bare]))
    return TextTruth("words", words, rf"\b{_WORDS}\b", others)


def _to_part(text: str) -> Truth | None:
    goal = re.search(
        r"\b(?:to|into|as|in|equivalent|the)\s+(?:an? |the |its |equivalent |corresponding |"
        r"simplest |simplified |mixed |improper )*(percent(?:age)?|fraction(?:al)?|decimals?|"
        r"scientific notation|standard number|decimal notation)\b",
        text,
    )
    found = numerals(text.replace(";", " "), words=False)
    values = {number.value for number in found}
    if not goal or len(values) != 1:
        return None
    number = found[0]
    value = Fraction(number.value) / (100 if number.percent else 1)
    kind = goal[1]
    if kind.startswith("percent"):
        return (
            NumberTruth("percentage", value * 100, percent=True, asked=(number.value,)) if not number.percent else None
        )
    if "scientific" in kind:
        return NumberTruth("scientific notation", value)
    if (kind.startswith("fraction") and number.fraction) or (kind.startswith("decimal") and "," in number.text):
        return None
    return NumberTruth("fraction" if kind.startswith("fraction") else "decimal", value, asked=(number.value,))
