"""Points in the plane: slope and distance of two, and the area of the triangle that three span."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.averages import root
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth

_POINT = re.compile(r"\(\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*\)")
_KNOWN = vocabulary(
    """slope gradient line distance euclidean points passing through passes segment connecting coordinates joining
    a b c p q x y theorem pythagorean formula units coordinate plane goes area triangle abc vertices vertex
    corners"""
)


def check_points(question: Question) -> NumberTruth | None:
    """Answer the slope of the line through two points, their distance, or the area of a triangle by its corners."""
    text = question.text.replace("\n", " ; ")
    points = list(dict.fromkeys(_POINT.findall(text)))
    around = _POINT.sub(" ", text)
    if (
        len(points) not in (2, 3)
        or unknown_words(around, _KNOWN)
        or re.search(r"\d\.|[=]", re.sub(r"\b(?:point|[abcp])\s*\d?\s*=", " ", around))
    ):
        return None
    (x1, y1), (x2, y2), *third = [(Fraction(x), Fraction(y)) for x, y in points]
    asked = (x1, y1, x2, y2)
    if third:
        ((x3, y3),) = third
        twice = (x2 - x1) * (y3 - y1) - (x3 - x1) * (y2 - y1)
        is_area = re.search(r"\barea\b", around) and re.search(r"\btriangle\b", around)
        return NumberTruth("geometry", abs(twice) / 2, asked=(*asked, x3, y3)) if is_area else None
    if re.search(r"\bslope\b|\bgradient\b", around) and "distance" not in around and x1 != x2:
        return NumberTruth("slope", (y2 - y1) / (x2 - x1), asked=asked)
    if "distance" in around and "slope" not in around:
        return NumberTruth("distance", root((x2 - x1) ** 2 + (y2 - y1) ** 2), asked=asked)
    return None
