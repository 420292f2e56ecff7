"""One unknown: linear and quadratic equations, and the value of an expression at given letters."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.averages import root
from alpaca_lora.data.audit.answers.expressions import NotAnExpression, Polynomial, polynomial, value_of
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import ListTruth, NumberTruth

_EQUATION = re.compile(
    r"(?<![\w.=])((?:[-+*/^().,\d\s]|(?<![a-z])[a-z](?![a-z]))+)=((?:[-+*/^().,\d\s]|"
    r"(?<![a-z])[a-z](?![a-z]))+)(?![=\w])"
)
_KNOWN = vocabulary(
    """solve solving unknown variable root roots linear algebraic quadratic algebra equation equations value values
    equality zero find true satisfies math statement numerical substitute plug or"""
)
_GIVEN = re.compile(
    r"(?<![a-z])([a-z])\s*(?:=|is equal to|equals|equal to|"
    r"is)\s*(-?\d+(?:\.\d+)?)(?![\w.]*[\d*/^+(a-z])(?!\s*[-+*/^]\s*[\da-z(])"
)


def _tidy(question: Question) -> str:
    text = question.text.replace("\n", " ; ").replace('"', " ").replace("$", " ")
    text = text.replace("²", "^2").replace("³", "^3").replace("**", "^")
    if re.search(r"\dx\s*[-+=)^]|[-+=(]\s*x|\sx\s*[-+=]", text):
        return text  # the x is a letter
    return re.sub(r"(?<=\d)\s*[x×]\s*(?=\d)", "*", text)


def check_equation(question: Question) -> NumberTruth | None:
    """Answer "solve 2x + 3 = 7"; None for two letters, no or many solutions, or a letter with a digit behind it."""
    text = _tidy(question)
    if "=" not in text or len(text) > 180 or re.search(r"[a-z]\d|[<>≤≥|]", text) or text.count("=") > 1:
        return None
    match = _EQUATION.search(text)
    if not match:
        return None
    left, right = (part.strip(" .,?;") for part in match.groups())
    rest = text[: match.start()] + " " + text[match.end() :]
    left = re.sub(r"^(?:a|i)\s+(?=\S)|^[.,:;\s]+", "", left)
    letters = set(re.findall(r"[a-z]", left + right))
    if len(letters) != 1 or re.search(r"\d", rest) or unknown_words(rest, _KNOWN | letters | frozenset("xyzn")):
        return None
    if re.search(r"graph|slope|intercept|check|validate|whether|form\b|both|two solutions|steps|explain", rest):
        return None
    try:
        letter = letters.pop()
        sides = [polynomial(side, letter) for side in (left, right)]
    except NotAnExpression:
        return None
    powers = sides[0].keys() | sides[1].keys()
    return _solution({power: sides[0].get(power, Fraction(0)) - sides[1].get(power, Fraction(0)) for power in powers})


def _solution(equation: Polynomial) -> NumberTruth | None:
    degree = max((power for power, number in equation.items() if number), default=0)
    if degree != 1:
        return None
    return NumberTruth("algebra", -equation.get(0, Fraction(0)) / equation[1])


def check_roots(question: Question) -> ListTruth | None:
    """Answer "solve x^2 - 5x + 6 = 0", where both roots are rational."""
    text = _tidy(question)
    match = _EQUATION.search(text) if text.count("=") == 1 and len(text) < 180 else None
    if not match or re.search(r"[a-z]\d", text):
        return None
    rest = text[: match.start()] + " " + text[match.end() :]
    letters = set(re.findall(r"(?<![a-z])[a-z](?![a-z])", match.group()))
    if (
        len(letters) != 1
        or re.search(r"\d", rest)
        or unknown_words(rest, _KNOWN | letters | vocabulary("real polynomial"))
    ):
        return None
    try:
        letter = letters.pop()
        left, right = (polynomial(side.strip(" .,?;"), letter) for side in match.groups())
    except NotAnExpression:
        return None
    terms = [left.get(power, Fraction(0)) - right.get(power, Fraction(0)) for power in range(13)]
    c, b, a = terms[:3]
    inside = b * b - 4 * a * c
    if any(terms[3:]) or not a or inside < 0:
        return None
    spread = root(inside)
    if not isinstance(spread, Fraction):
        return None
    roots = sorted({(-b - spread) / (2 * a), (-b + spread) / (2 * a)})
    return ListTruth("roots", tuple(map(str, roots)), any_order=True) if len(roots) == 2 else None


def check_substitution(question: Question) -> NumberTruth | None:
    """Answer "3x + 2y where x = 5 and y = 3"; None where a letter has no value."""
    text = _tidy(question)
    if len(text) > 160 or re.search(r"[<>]|[a-z]\d", text):
        return None
    given = {match[1]: match[2] for match in _GIVEN.finditer(text)}
    if not 1 <= len(given) <= 3:
        return None
    rest = _GIVEN.sub(" ; ", text)
    rest = re.sub(r"(?<![a-z])(?:[fygz]\s*\([a-z\d-]+\)|[yz])\s*=", " ; ", rest) if rest.count("=") == 1 else rest
    parts = [part.strip(" .,?") for part in re.findall(r"(?:[-+*/^().\d\s]|(?<![a-z])[a-z](?![a-z]))+", rest)]
    parts = [re.sub(r"^a\s+(?=[\da-z(])", "", part).strip(" .,?") for part in parts]
    parts = [part for part in parts if re.search(r"[-+*/^]|\d\s*[a-z]|[a-z]{2}", part) and re.search(r"[a-z]", part)]
    if len(set(parts)) != 1 or "=" in rest:
        return None
    around = rest.replace(parts[0], " ")
    if re.search(r"\d", around) or unknown_words(around, _KNOWN | vocabulary("function equal y f x when if at for")):
        return None
    letters = set(re.findall(r"[a-z]", parts[0]))
    if not letters <= set(given):
        return None
    if re.search(r"\d/\d+[a-z(]|/\s*\d*\s*[a-z]{2}|/\d+\s*\(", parts[0]):
        return None
    try:
        filled = re.sub(r"[a-z]", lambda match: f"({given[match.group()]})", parts[0])
        return NumberTruth("substitution", value_of(filled), asked=tuple(Fraction(value) for value in given.values()))
    except NotAnExpression:
        return None
