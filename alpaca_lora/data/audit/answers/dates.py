"""Days of the week, days between two dates, and leap years, of the calendar in use."""

from __future__ import annotations

import re
from datetime import date
from fractions import Fraction

from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth, TextTruth, Truth

_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTH = "|".join(f"{name}|{name[:3]}\\.?" for name in _MONTHS)
_DATE = re.compile(
    rf"\b(?P<month>{_MONTH}) (?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?(?: (?P<year>\d{{4}}))?\b"
    rf"|\b(?P<day2>\d{{1,2}})(?:st|nd|rd|th)? (?:of )?(?P<month2>{_MONTH}),?(?: (?P<year2>\d{{4}}))?\b"
)
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_KNOWN = vocabulary(
    """day days week weekday date dates between calendar start end from number difference how many there started
    ended elapsed falls fall occurred fell leap year years whether or not check was is passed ending beginning"""
)


def check_dates(question: Question) -> Truth | None:
    """Answer one question on one or two dates, with their years."""
    text = question.text.replace("\n", " ; ")
    if len(text) > 160 or not re.search(r"\bday|\bleap\b|\bweeks\b", question.ask):
        return None
    found = [_date(match) for match in _DATE.finditer(text)]
    around = _DATE.sub(" ", text)
    if unknown_words(around, _KNOWN) or None in found:
        return None
    dates = [day for day in found if day]
    if "leap" in around:
        return _leap(text, around) if not found else None
    if re.search(r"\d", around):
        return None
    if (
        len(dates) == 1
        and re.search(r"day of (?:the )?week|what day|which day|weekday", around)
        and "number of" not in around
    ):
        return TextTruth("date", _DAYS[dates[0].weekday()], rf"\b(?:{'|'.join(_DAYS)})\b")
    if len(dates) == 2 and re.search(r"\bdays\b", around) and re.search(r"\bbetween\b|\bfrom\b|\bdifference\b", around):
        gap = abs((dates[1] - dates[0]).days)
        return NumberTruth("date", Fraction(gap), (Fraction(gap + 1), Fraction(gap - 1)))
    return None


def _date(match: re.Match[str]) -> date | None:
    name, day, year = (
        (match["month"] or match["month2"]),
        (match["day"] or match["day2"]),
        (match["year"] or match["year2"]),
    )
    if not year:
        return None
    month = next(number for number, full in enumerate(_MONTHS, 1) if full.startswith(name.rstrip(".")[:3]))
    try:
        return date(int(year), month, int(day))
    except ValueError:
        return None


def _leap(text: str, around: str) -> TextTruth | None:
    years = set(re.findall(r"(?<![\w.])\d{4}(?![\w.]*\d)", text))
    if (
        len(years) != 1
        or len(re.findall(r"\d+", text)) > 2
        or not re.search(r"\bis\b|\bif\b|\bwhether\b|\bwas\b", around)
    ):
        return None
    year = int(years.pop())
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    yes, no = ("is a leap year", "was a leap year", "yes", "true", "leap year"), ("not a leap year", "no", "false")
    pattern = r"\bnot a leap year\b|\b(?:is|was) a leap year\b|^(?:yes|no|true|false|leap year)\b(?=[\s.]*$)"
    right = yes if leap else no
    return TextTruth("leap year", right[0], pattern, right[1:], whole=f"{year} is {'' if leap else 'not '}a leap year.")
