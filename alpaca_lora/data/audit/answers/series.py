"""Series and sequences: sums from 1 to n, and the next term where one step fits all terms."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from alpaca_lora.data.audit.answers.numerals import DIGITS, read_number
from alpaca_lora.data.audit.answers.question import Question, drop_counts, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth
from alpaca_lora.data.audit.answers.whole_numbers import integers_in


def check_series(question: Question) -> NumberTruth | None:
    """Answer the sum of a run of whole numbers, or the next term of a sequence of one step or one ratio."""
    text, _ = drop_counts(question.text.replace("\n", " ; "))
    if len(text) > 170:
        return None
    if re.search(r"\bnext (?:number|term|value|element|item)\b(?!s)", text):
        return _next_term(text)
    return _series(text) if re.search(r"\bsum of\b|\badd\b", text) else None


def _next_term(text: str) -> NumberTruth | None:
    terms = [read_number(number) for number in re.findall(rf"(?<![\w.])-?(?:{DIGITS})(?![\w.]*\d)", text)]
    known = vocabulary("""next predict pattern term continue complete missing come comes follow follows should would""")
    if len(terms) < 4 or unknown_words(text, known) or "_" in text or re.search(r"\d\s*/\s*\d", text):
        return None
    steps = {two - one for one, two in pairwise(terms)}
    ratios = {two / one for one, two in pairwise(terms)} if all(terms) else set()
    if len(steps) == 1:
        return NumberTruth("sequence", terms[-1] + steps.pop(), asked=tuple(terms))
    return NumberTruth("sequence", terms[-1] * ratios.pop(), asked=tuple(terms)) if len(ratios) == 1 else None


def _series(text: str) -> NumberTruth | None:
    numbers = integers_in(text)
    known = vocabulary(
        """sum add total first natural positive odd even consecutive inclusive including starting through up whole"""
    )
    if not numbers or unknown_words(text, known) or "between" in text or re.search(r"[+*=]|\.\.", text):
        return None
    through = re.search(
        r"from (\d+) (?:to|through|up to) (\d+)|numbers (\d+) (?:to|through) (\d+)|integers (\d+) (?:to|through) (\d+)",
        text,
    )
    first = re.search(r"first (\d+) (natural|positive|whole|odd|even|consecutive)?[ a-z]*(?:numbers|integers)", text)
    if through and len(numbers) == 2:
        low, high = numbers
        step = 2 if re.search(r"\bodd\b|\beven\b", text) else 1
        start = low + (low % 2 == 0) if re.search(r"\bodd\b", text) else low + (low % 2) if step == 2 else low
        if high - low > 10**6:
            return None
        return NumberTruth(
            "sum of a series", Fraction(sum(range(start, high + 1, step))), asked=(Fraction(low), Fraction(high))
        )
    if first and len(numbers) == 1 and first[2] and not re.search("prime|square", text):
        count = numbers[0]
        both = {"odd", "even"} & set(text.split())
        value = (
            count * count if both == {"odd"} else count * (count + 1) if both == {"even"} else count * (count + 1) // 2
        )
        others = (Fraction(count * (count - 1)),) if both == {"even"} else ()
        if "whole" in text:
            others = (Fraction(count * (count - 1) // 2),)
        return (
            NumberTruth("sum of a series", Fraction(value), others, asked=(Fraction(count),)) if len(both) < 2 else None
        )
    return None
