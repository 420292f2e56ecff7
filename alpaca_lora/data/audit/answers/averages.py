"""Numbers that sum up a list: mean, median, mode, range, spread, sum, product, largest, smallest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import isqrt, prod, sqrt

from alpaca_lora.data.audit.answers.question import Question, list_in, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import Number, NumberTruth

_NOUNS = vocabulary(
    """age ages grade grades score scores test price prices cost costs salary salaries temperature temperatures
    height heights weight weights rating ratings people person students student members group class population
    amount amounts sales marks readings values items meal celsius fahrenheit degrees overall numerical math year
    years old attendance row column dataset random positive provided sample current statistical particular
    observations"""
)
_MONTHLY = vocabulary("monthly annual daily weekly")


def _median(values: Sequence[Fraction]) -> Fraction:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _mode(values: Sequence[Fraction]) -> Fraction | None:
    ranked = Counter(values).most_common(2)
    return ranked[0][0] if len(ranked) == 1 or ranked[0][1] > ranked[1][1] else None


def _variance(values: Sequence[Fraction]) -> tuple[Fraction, Fraction]:
    middle = _mean(values)
    squares = sum(((value - middle) ** 2 for value in values), Fraction(0))
    return squares / len(values), squares / (len(values) - 1)


def root(value: Fraction) -> Number:
    """Give the square root, exact where it is rational."""
    top, bottom = isqrt(value.numerator), isqrt(value.denominator)
    exact = top * top == value.numerator and bottom * bottom == value.denominator
    return Fraction(top, bottom) if exact else sqrt(value)


_OPERATIONS: tuple[tuple[str, str, frozenset[str], Callable[[list[Fraction]], Number | None]], ...] = (
    ("mean", r"\b(?:mean|average)s?\b", vocabulary("mean average averages arithmetic"), _mean),
    ("median", r"\bmedian\b", vocabulary("median middle"), _median),
    ("mode", r"\bmode\b", vocabulary("mode"), _mode),
    ("range", r"\brange\b", vocabulary("range"), lambda values: max(values) - min(values)),
    ("sum", r"\b(?:sum|total|add|addition)\b", vocabulary("sum total add addition adding them"), sum),
    ("product", r"\b(?:product|multiply)\b", vocabulary("product multiply multiplying them"), prod),
    (
        "extreme",
        r"\b(?:largest|greatest|biggest|highest|maximum|max)\b",
        vocabulary("largest greatest biggest highest maximum max among"),
        max,
    ),
    (
        "extreme",
        r"\b(?:smallest|lowest|least|minimum|min)\b",
        vocabulary("smallest lowest least minimum min among"),
        min,
    ),
)


def check_averages(question: Question) -> NumberTruth | None:
    """Answer one question on one list of numbers; None for two operations at once."""
    text = question.text
    hits = [entry for entry in _OPERATIONS if re.search(entry[1], text)]
    if re.search(r"standard deviation|variance", question.ask):
        return _spread(question)
    if len(hits) != 1 and [entry[0] for entry in hits] != ["sum"]:
        return None
    kind, _, words, operation = hits[0]
    listed = list_in(question)
    if listed is None:
        return None
    values, around = listed
    known = words | _NOUNS | (_MONTHLY if kind == "mean" else frozenset())
    if unknown_words(around, known) or re.search(r"\bdifference|\bround", around):
        return None
    if kind == "sum" and re.search(r"\bbetween\b|\bfrom\b.*\bto\b|number of|square|cube", around):
        return None
    if kind == "range" and re.search(r"\bin the range|range from", around):
        return None
    if kind == "extreme" and re.search(r"number of|\b(?:two|three)\b|common|index|position", around):
        return None
    value = operation(values)
    return None if value is None else NumberTruth(kind, value, asked=tuple(values))


def _spread(question: Question) -> NumberTruth | None:
    listed = list_in(question)
    known = vocabulary("standard deviation variance sample population")
    if listed is None or unknown_words(listed[1], known) or ("variance" in question.ask and "standard" in question.ask):
        return None
    population, sample = _variance(listed[0])
    choice = (sample,) if "sample" in question.ask else (population, sample)
    if "population" in question.ask:
        choice = (population,)
    if "standard" not in question.ask:
        return NumberTruth("variance", choice[0], choice[1:], asked=tuple(listed[0]))
    roots = [root(value) for value in choice]
    return NumberTruth("standard deviation", roots[0], tuple(roots[1:]), asked=tuple(listed[0]))
