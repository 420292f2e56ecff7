"""Find what an output claims, and hold it against what is true."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.numerals import Numeral, mask_powers, numerals, spell, write_number
from alpaca_lora.data.audit.answers.question import plain
from alpaca_lora.data.audit.answers.verdict import Number, NumberTruth, Verdict

_CODE = re.compile(
    r"\bdef |print\(|```|\bimport |\bSELECT\b|\breturn\b|console\.|</?\w+>|#include|\bfunction\b|\\(?:frac|text|begin)"
)
_MARK = re.compile(
    r"(?:\bis|\bare|\bwas|=|≈|\bequals?(?: to)?|:|->|→|⇒|\bhas|\bhave|\bcontains?|"
    r"\bevaluates to|\bcosts?|\bwould be|\bwill be|"
    r"\bto be|\bappears?|(?:creased|dropped|grew|rose) by|\bbecomes|\bgives|\btotal of)\s*"
    r"(?:(?:equal to|equivalent to|approximately|approx\.?|about|exactly|around|roughly|"
    r"a total of|(?:the |decimal )*numbers?|the|simply|also|therefore|only|thus|x|y|=|≈|"
    r"~)\s*)*"
    r"[$€£\"'(*~]*\s*$",
    re.IGNORECASE,
)
_TAIL = re.compile(
    r"[\s\"')*]*(?:(?:times|degrees?|square|sq\.?|cubic|cu\.?|units?|years?(?: old)?|dollars?|"
    r"US|USD|of the|in the|in|per|of|or|and|a|an|to|"
    r"cm|mm|km|m|ft|kg|g|lbs?|l|ml|mph|[°'\"/^²³%)$€£.²*]|squared|cubed|[cfk]\b|"
    r"[a-z]{2,14})[\s.,;!]*){0,9}[\s.\"')*!]*",
    re.IGNORECASE,
)
_HEDGE = re.compile(
    r"\b(?:or|not|either|between|if|depend\w*|assum\w*|unless|cannot|can't|unknown|impossible|and)\b", re.IGNORECASE
)
_CUT = re.compile(r"(?:[$€£=:]|\b(?:is|to|are|the|of|by))\s*$")
_SENTENCE = re.compile(
    r"(?<=[.!?])\s+(?=[A-Z(])|\n+|(?<=\d)\. (?=[A-Z])|(?<=[\w.%°²³])\s+\((?=[^)]*[\d=][^)]*\)+\s*\.?\s*(?:$|\n|[A-Z]))"
)


def looks_like_code(text: str) -> bool:
    """Say whether a text is a program or markup, whose numbers are no claims."""
    return bool(_CODE.search(text))


def judge_number(output: str, truth: NumberTruth) -> Verdict | None:
    """Compare the number that `output` gives as its answer with the truth.

    Returns:
        None where the output gives no number, or it is unclear which, or the two differ by rounding only.
    """
    text = mask_powers(plain(output))
    if not text.strip() or len(text) > 700 or looks_like_code(text) or _CUT.search(text):
        return None
    located = _conclusion(text, truth)
    if located is None:
        return None
    found, begin, end = located
    agrees = _agrees(found, truth)
    expected = _expected(truth, found, text)
    if truth.unit and _other_unit(text[found.end :].lower(), truth.unit):
        return None
    if agrees:
        return Verdict(truth.kind, expected, found.text, True, output)
    others = [n for n in numerals(text) if n.start != found.start and not _repeats(n, truth)]
    others = [n for n in others if not text[n.end :].lstrip().startswith("=")]  # "100 / 3 =" is the question
    if agrees is None or any(_agrees(other, truth) is not False for other in others):
        return None
    return Verdict(
        truth.kind, expected, found.text, False, _correct(output, text, found, (begin, end), expected, truth.kind)
    )


def _other_unit(after: str, unit: str) -> bool:
    """Say whether a number is followed by a word that is not the unit asked for, nor the rest of a sentence."""
    word = re.match(r"\s*[a-z°²³/^]+", after)
    if not word or re.match(rf"\s*(?:{unit})(?![a-z])", after):
        return False
    return not re.match(r"\s*(?:in|of|is|are|per|when|and|or)\b", after)


def _conclusion(text: str, truth: NumberTruth) -> tuple[Numeral, int, int] | None:
    everything = numerals(text)
    if not everything:
        return None
    begin, end = 0, len(text)
    first = _SENTENCE.search(text.strip())
    lead = len(text) - len(text.lstrip())
    if first and any(n.end <= first.start() + lead for n in everything):
        end = first.start() + lead
    inside = [n for n in everything if n.end <= end]
    fresh = [n for n in inside if not _repeats(n, truth) or (not n.word and len(inside) == 1)]
    marked = [n for n in inside if _MARK.search(text[max(0, n.start - 60) : n.start].replace("**", ""))]
    marked = [n for n in marked if _TAIL.fullmatch(text[n.end : end])]
    if _HEDGE.search(text[inside[-1].end : end]):
        return None
    if len(inside) == 1 and _repeats(inside[0], truth) and not marked and text[: inside[0].start].strip(" $€£"):
        return None
    if len(inside) == 1 and (len(everything) == 1 or text[: inside[0].start].strip(" $€£") == "" or marked):
        return inside[0], begin, end
    if marked and not any(n.start > marked[-1].start for n in fresh):
        return marked[-1], begin, end
    if (
        len(fresh) == 1
        and len(everything) == len(inside)
        and text[: fresh[0].start].strip(" $€£") in {"", "There are", "There is"}
    ):
        return fresh[0], begin, end
    return None


def _repeats(number: Numeral, truth: NumberTruth) -> bool:
    return any(abs(number.value) == abs(asked) for asked in truth.asked)


def _agrees(found: Numeral, truth: NumberTruth) -> bool | None:
    """Say whether a number is the truth; None where the two differ by a rounding that nobody asked for."""
    unclear = False
    for value in (truth.value, *truth.others):
        for shown, decimals in _readings(found, truth.percent):
            close = _close(shown, decimals, value, found, truth)
            if close:
                return True
            unclear |= close is None
    return None if unclear else False


def _readings(found: Numeral, percent: bool) -> list[tuple[Number, int]]:
    if percent:
        return (
            [(found.value, found.decimals)]
            if found.percent
            else [(found.value, found.decimals), (found.value * 100, found.decimals - 2)]
        )
    return [(found.value, found.decimals)] + ([(found.value / 100, found.decimals + 2)] if found.percent else [])


def _close(shown: Number, decimals: int, value: Number, found: Numeral, truth: NumberTruth) -> bool | None:
    if shown == value or (not isinstance(value, Fraction) and abs(shown - value) <= 1e-9 * max(1.0, abs(value))):
        return True
    gap = abs(float(shown) - float(value))
    size = max(abs(float(value)), 1e-300)
    if found.fraction:
        return None if gap < 0.01 * size else False
    step = 10.0 ** -min(decimals, 15)
    rounded = gap <= step * 0.5 + 1e-12 * size
    cut = gap < step and abs(float(shown)) <= abs(float(value))
    if gap <= 1e-9 * size or (decimals > 0 and (rounded or cut)):
        return True
    if truth.loose:
        return True if rounded or gap <= 1e-3 * size else (None if gap <= 0.012 * size else False)
    if truth.kind in {"median", "count", "sum"}:
        return False
    return None if decimals <= 0 and (rounded or (cut and truth.kind == "arithmetic")) else False


def _expected(truth: NumberTruth, found: Numeral, text: str) -> str:
    best = truth.value
    if truth.kind in {"interest", "standard deviation", "variance"}:  # two meanings: take the one that was meant
        best = min((truth.value, *truth.others), key=lambda value: abs(float(value) - float(found.value)))
    if found.word and isinstance(truth.value, Fraction) and truth.value.denominator == 1 and 0 <= truth.value < 100:
        word = spell(int(truth.value))
        return word.capitalize() if found.text[0].isupper() else word
    if found.fraction and isinstance(truth.value, Fraction):
        top, bottom = truth.value.numerator, truth.value.denominator
        return str(top) if bottom == 1 else f"{top}/{bottom}"
    if truth.kind in {"algebra", "slope"} and isinstance(truth.value, Fraction) and 10**6 % truth.value.denominator:
        return str(truth.value)
    money = bool(re.search(r"[$€£]\s?$", text[: found.start])) and found.decimals in (0, 2)
    places = 2 if money else max(found.decimals, 0)
    written = write_number(best, min(places, 6), "," in found.text or (abs(best) >= 1e5 and not found.text.isdigit()))
    if money and ("." in written or found.decimals == 2):
        written = f"{float(best):{',' if ',' in found.text else ''}.2f}"
    return written + ("%" if found.percent and truth.percent else "")


def _correct(output: str, text: str, found: Numeral, span: tuple[int, int], expected: str, truth_kind: str) -> str:
    """Write the right value in the place of the wrong one, without the working that led to the wrong one."""
    begin, end = span
    start = found.start
    head, tail = output[begin:start], output[found.end : end]
    rest = output[end:]
    if expected.startswith("-") and found.text.startswith("-"):
        head = output[begin : found.start]
    if truth_kind == "count" and ":" in tail:
        tail, rest = tail.partition(":")[0], ""  # what was counted, wrongly
    if re.search(r"\d|=", rest):
        rest = ""  # the working, wrong as well
        if tail.count("(") < tail.count(")"):
            tail = tail.replace(")", "")
    works = head.count("=") >= 2 or re.search(r"=[^=]*\d[^=]*[-+*/x]\s*\(?\d[^=]*=", text[begin:start])
    if works and not re.search(r"\bequation\b[^.]*\bis [a-z] = $", head):
        unit = re.match(r"\s*[a-zA-Z°%$€£²³^0-9]*", tail)
        money = re.search(r"[$€£]\s?$", head)
        return (money.group() if money else "") + expected + (unit.group().rstrip() if unit else "")
    return (
        (head + expected + tail).rstrip()
        + (
            "."
            if rest == ""
            and (end < len(output) or len(tail) + found.end < end)
            and not tail.rstrip().endswith((".", "!"))
            else ""
        )
        + rest
    )
