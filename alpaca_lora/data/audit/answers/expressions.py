"""Exact values of written expressions: numbers, + - * / ^ ! %, brackets, roots, and polynomials in one letter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import factorial

Polynomial = dict[int, Fraction]
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)|(?P<name>[a-z])|(?P<sign>\*\*|[-+*/^()!]))"
)


class NotAnExpression(Exception):
    """The text is no expression, or one that people read in two ways."""


def polynomial(text: str, letter: str = "") -> Polynomial:
    """Give the coefficients by exponent of an expression in `letter` ("" for a plain number).

    Raises:
        NotAnExpression: For anything else, for 1/2x, 8/2(4), -3^2 and 2^3^2, and for numbers of
            more than 40 digits.
    """
    tokens: list[str] = []
    place = 0
    text = text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if not match or (match["name"] and match["name"] != letter):
            raise NotAnExpression(text)
        tokens.append((match["number"] or match["name"] or match["sign"]).replace(",", "").replace("**", "^"))
        place = match.end()
    reader = _Reader(tokens)
    value = reader.sum()
    if reader.place != len(tokens):
        raise NotAnExpression(text)
    return value


def value_of(text: str) -> Fraction:
    """Give the exact value of an expression without letters.

    Raises:
        NotAnExpression: As `polynomial`.
    """
    return polynomial(text).get(0, Fraction(0))


@dataclass(slots=True)
class _Reader:
    tokens: list[str]
    place: int = 0

    def next(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def sum(self) -> Polynomial:
        negative = self.next() == "-"
        if self.next() in {"-", "+"}:
            self.place += 1
        value = self.product(signed=negative)
        value = _scaled(value, -1) if negative else value
        while self.next() in {"+", "-"}:
            sign = 1 if self.next() == "+" else -1
            self.place += 1
            value = _added(value, _scaled(self.product(), sign))
        return value

    def product(self, signed: bool = False) -> Polynomial:
        value = self.power(signed)
        divided = False
        while True:
            if self.next() == "*":
                self.place += 1
                value = _multiplied(value, self.power())
            elif self.next() == "/":
                self.place += 1
                value = _divided(value, self.power())
                divided = True
            elif self.next() == "(" or self.next().isalpha():
                if divided:
                    raise NotAnExpression("1/2x")
                value = _multiplied(value, self.power())
            else:
                return value

    def power(self, signed: bool = False, exponent: bool = False) -> Polynomial:
        if self.next() == "-":
            self.place += 1
            return _scaled(self.power(signed=True), -1)
        base = self.atom()
        if self.next() == "!":
            self.place += 1
            number = _constant(base)
            if number.denominator != 1 or not 0 <= number <= 40:
                raise NotAnExpression("factorial")
            base = {0: Fraction(factorial(int(number)))}
        if self.next() != "^":
            return base
        if exponent:
            raise NotAnExpression("2^3^2")
        self.place += 1
        height = _constant(self.power(exponent=True))
        if signed and set(base) <= {0}:
            raise NotAnExpression("-3^2")
        if height.denominator != 1 or not -12 <= height <= 60:
            raise NotAnExpression("exponent")
        if height < 0:
            return _divided({0: Fraction(1)}, _raised(base, -int(height)))
        return _raised(base, int(height))

    def atom(self) -> Polynomial:
        token = self.next()
        self.place += 1
        if token == "(":
            value = self.sum()
            if self.next() != ")":
                raise NotAnExpression("bracket")
            self.place += 1
            return value
        if token.isalpha():
            return {1: Fraction(1)}
        if not token or not (token[0].isdigit() or token[0] == "."):
            raise NotAnExpression(token)
        return {0: Fraction(token)}


def _constant(value: Polynomial) -> Fraction:
    if any(power and number for power, number in value.items()):
        raise NotAnExpression("a letter where a number must stand")
    return value.get(0, Fraction(0))


def _scaled(value: Polynomial, factor: Fraction | int) -> Polynomial:
    return {power: number * factor for power, number in value.items()}


def _added(left: Polynomial, right: Polynomial) -> Polynomial:
    powers = left.keys() | right.keys()
    return {power: left.get(power, Fraction(0)) + right.get(power, Fraction(0)) for power in powers}


def _multiplied(left: Polynomial, right: Polynomial) -> Polynomial:
    result: Polynomial = {}
    for one, first in left.items():
        for two, second in right.items():
            result[one + two] = result.get(one + two, Fraction(0)) + first * second
    if max(result, default=0) > 12 or any(max(abs(n.numerator), n.denominator) > 10**40 for n in result.values()):
        raise NotAnExpression("too large")
    return result


def _divided(left: Polynomial, right: Polynomial) -> Polynomial:
    divisor = _constant(right)
    if not divisor:
        raise NotAnExpression("division by zero")
    return _scaled(left, 1 / divisor)


def _raised(base: Polynomial, exponent: int) -> Polynomial:
    result: Polynomial = {0: Fraction(1)}
    for _ in range(exponent):
        result = _multiplied(result, base)
    return result
