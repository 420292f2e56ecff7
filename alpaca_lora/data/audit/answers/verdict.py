"""What a checker knows to be true, and what is said of an output in the end."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Number = Fraction | float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Say whether an output gives the right answer, and how it would read if it did.

    Attributes:
        kind: What was asked: "mean", "unit", "sort" ...
        expected: The right value as a person would write it.
        found: What the output says.
        right: Whether the two agree.
        corrected: The output with the right value in the place of the wrong one; the output itself where it is right.
    """

    kind: str
    expected: str
    found: str
    right: bool
    corrected: str


@dataclass(frozen=True, slots=True)
class NumberTruth:
    """Hold the number that answers a question.

    Attributes:
        kind: What was asked.
        value: The answer; a `Fraction` is exact, a float is as good as a float is.
        others: Further values that are right in some reading (such as a difference the other way round).
        loose: Whether an answer within 1 % is left alone, because factors such as pi are rounded in many ways.
        percent: Whether the value is in percent, so that 0.25 may stand for 25.
        asked: Numbers of the question: an output repeats them without claiming them.
        unit: Words or signs that must stand after the number where the output names a unit; "" when any will do.
    """

    kind: str
    value: Number
    others: tuple[Number, ...] = ()
    loose: bool = False
    percent: bool = False
    asked: tuple[Number, ...] = ()
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ListTruth:
    """Hold the items that answer a question, in their order; `others` are orders that are right as well."""

    kind: str
    items: tuple[str, ...]
    others: tuple[tuple[str, ...], ...] = ()
    any_order: bool = False


@dataclass(frozen=True, slots=True)
class TextTruth:
    """Hold the spelling that answers a question.

    Attributes:
        kind: What was asked.
        value: The answer as a person would write it.
        others: Other spellings that are right.
        pattern: A regular expression for what an answer of this sort looks like; an output must hold exactly one such.
        exact: Whether upper and lower case differ.
        asked: Spellings that the question holds: an output repeats them without claiming them.
        whole: What stands for a wrong output, where putting `value` in its place would not read.
    """

    kind: str
    value: str
    pattern: str
    others: tuple[str, ...] = ()
    exact: bool = False
    asked: tuple[str, ...] = ()
    whole: str = ""


Truth = NumberTruth | ListTruth | TextTruth
