"""Two points in the plane: slope, distance, and how far apart numbers on a line are."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.averages import root
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth

_POINT = re.compile(r"\(\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)")
_KNOWN = vocabulary(
    """slope gradient line distance euclidean points passing through passes segment connecting coordinates joining
    a b p q x y theorem pythagorean formula units coordinate plane goes"""
)


def check_points(question: Question) -> NumberTruth | None:
    """Answer the slope of the line through two points, or their distance."""
    text = question.text.replace("\n", " ; ")
    points = list(dict.fromkeys(_POINT.findall(text)))
    around = _POINT.sub(" ", text)
    if (
        len(points) != 2
        or unknown_words(around, _KNOWN)
        or re.search(r"\d\.|[=]", re.sub(r"\b(?:point|[abp])\s*\d?\s*=", " ", around))
    ):
        return None
    (x1, y1), (x2, y2) = [(Fraction(x), Fraction(y)) for x, y in points]
    asked = (x1, y1, x2, y2)
    if re.search(r"\bslope\b|\bgradient\b", around) and "distance" not in around and x1 != x2:
        return NumberTruth("slope", (y2 - y1) / (x2 - x1), asked=asked)
    if "distance" in around and "slope" not in around:
        return NumberTruth("distance", root((x2 - x1) ** 2 + (y2 - y1) ** 2), asked=asked)
    return None
