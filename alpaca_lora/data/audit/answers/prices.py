"""Short sums of daily life: n at a price each, discount, tax, interest, percent of change, speed."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.numerals import DIGITS, NUMBER_WORD, read_number, word_value
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import NumberTruth

_NUMBER = re.compile(rf"(?P<money>[$€£]\s?)?(?<![\w.])(?P<number>{DIGITS})(?![\w.]*\d)(?P<percent>\s?%|\spercent)?")
_CHANGE = re.compile(
    r"\bpercent(?:age)? (?:of )?(?:increase|decrease|change)|\bpercent(?:age)? (?:it|the number|the price) "
)
_EACH = re.compile(
    r"\beach\b|\bper (?:unit|item|piece|apple|bottle|ticket|box)\b|\bapiece\b|\bitem price\b|"
    r"\bprice per\b|\bunit (?:price|cost)\b"
)
_OTHER = re.compile(
    r"\btax|\bdiscount|%|percent|\bprofit|\bchange\b|\bweek|\bmonth|\byear|\bhour|\bday|"
    r"\bship|\bfee|\btip\b|\bfree\b|\bhalf|\bdozen|\bremain|"
    r"\bleft\b|\bbudget|\bdifference|\bsell|\bmore\b|\bother\b|\bfunction|\bsaved?\b|\bboth\b|"
    r"\bper (?:day|person)|\bdeposit|\baverage"
)
_CHANGE_KNOWN = vocabulary(
    """percent percentage increase increased decrease decreased change changed original initial final old new
    starting ending value values price amount quantity quantities number first second previous current up down
    rate before after was rise"""
)
_PRICE_KNOWN = vocabulary(
    """price prices cost costs discount discounted discounts tax rate sales amount original regular final total net
    after before applying applied application including included product products purchase purchased off full
    sale item's calculated added new pay marked retail worth bill vat compute percent based resulting"""
)


def check_prices(question: Question) -> NumberTruth | None:
    """Answer one short sum with money, percent or speed; None where a further number or condition is in it."""
    text = question.text.replace("\n", " ; ")
    if len(text) > 220:
        return None
    numbers = list(_NUMBER.finditer(text))
    if "interest" in text:
        return _interest(text, numbers)
    if re.search(r"\bspeed\b", question.ask):
        return _speed(text, numbers)
    if _CHANGE.search(question.ask) or re.search(r"\bwhat percent|\bpercentage of\b", text):
        return _percentage(text, numbers)
    if re.search(r"\bdiscount|\btax\b|\bvat\b", text):
        return _rate(text, numbers)
    return _each(question.ask, text, numbers)


def _values(numbers: list[re.Match[str]]) -> list[Fraction]:
    return [read_number(number["number"]) for number in numbers]


def _percentage(text: str, numbers: list[re.Match[str]]) -> NumberTruth | None:
    values = _values(numbers)
    if len(values) != 2 or not all(values) or any(number["percent"] for number in numbers):
        return None
    if _CHANGE.search(text):
        if unknown_words(re.sub(r"\bvalue \d\b", " ", text), _CHANGE_KNOWN):
            return None
        change = (values[1] - values[0]) / values[0] * 100
        if ("increase" in text and change < 0) or ("decrease" in text and change > 0):
            return None
        return NumberTruth("percentage", change, (-change,), percent=True, asked=tuple(values))
    share = re.search(rf"({DIGITS}) is what percent(?:age)? of ({DIGITS})", text)
    turned = re.search(rf"what percent(?:age)? of ({DIGITS}) is ({DIGITS})", text) or re.search(
        rf"what percent(?:age)? is ({DIGITS}) of ({DIGITS})", text
    )
    if share:
        part, whole = values
    elif turned:
        whole, part = values if "percentage of" in turned.group() or "percent of" in turned.group() else values[::-1]
    else:
        return None
    return (
        None
        if unknown_words(text, vocabulary("percent percentage"))
        else NumberTruth("percentage", part / whole * 100, percent=True, asked=tuple(values))
    )


def _rate(text: str, numbers: list[re.Match[str]]) -> NumberTruth | None:
    if len(numbers) != 2 or unknown_words(text, _PRICE_KNOWN):
        return None
    rates = [read_number(number["number"]) for number in numbers if number["percent"]]
    prices = [read_number(number["number"]) for number in numbers if number["money"] or not number["percent"]]
    if len(rates) != 1 or len(prices) != 1 or rates[0] >= 100:
        return None
    share = prices[0] * rates[0] / 100
    asked = (rates[0], prices[0])
    if "discount" in text:
        if re.search(r"\btax\b|before|original price of", text) or not re.search(
            r"\b(?:final|after|discounted|net|sale|total|new|discounted) ?(?:price|cost|amount)?", text
        ):
            return None
        return NumberTruth("discount", prices[0] - share, asked=asked)
    if re.search(r"\b(?:final|total|after|including|with|net)\b", text) and not re.search(
        r"total tax|net|before", text
    ):
        return NumberTruth("tax", prices[0] + share, asked=asked)
    return None


def _interest(text: str, numbers: list[re.Match[str]]) -> NumberTruth | None:
    rates = [read_number(number["number"]) for number in numbers if number["percent"]]
    money = [
        number for number in numbers if number["money"] or re.match(r"\s*(?:dollars|usd|euros)", text[number.end() :])
    ]
    money = money or [
        number
        for number in numbers
        if re.search(r"princip(?:al|le) *(?:amount)? *(?:=|:|of|is)? *$", text[: number.start()])
    ]
    years = re.search(
        rf"(?<![\w.])({DIGITS})[ -]years?\b|\btime\s*[=:]\s*({DIGITS})\s*(?:years?|;|$)|\byears\s*[=:]\s*({DIGITS})",
        text,
    )
    if len(numbers) != 3 or len(rates) != 1 or len(money) != 1 or not years:
        return None
    if re.search(
        r"\bmonth|\bquarter|\bweek|\bdaily|\bdays?\b|\bloan|\bpayment|\bcontinuous|"
        r"\brate of interest if|\bsemi|\bwrite|\binvest",
        text,
    ):
        return None
    principal, rate = read_number(money[0]["number"]), rates[0] / 100
    time = read_number(next(part for part in years.groups() if part))
    asked = (principal, rates[0], time)
    if "compound" in text:
        if time.denominator != 1 or time > 60:
            return None
        total = principal * (1 + rate) ** int(time)
        return NumberTruth("interest", total - principal, (total,), loose=True, asked=asked)
    if "simple" in text and not re.search(r"total (?:amount|value)|final", text):
        return NumberTruth("interest", principal * rate * time, asked=asked)
    return None


def _speed(text: str, numbers: list[re.Match[str]]) -> NumberTruth | None:
    known = vocabulary(
        """average speed distance time taken traveled travelled travels traveling travelling car train vehicle bus
    plane km kilometers kilometres miles mile meters hours hour hrs h elapsed moves moving object covers covered
    bike cyclist truck person"""
    )
    way = re.findall(rf"({DIGITS})\s*(?:km|kilomet(?:er|re)s|miles)\b", text)
    time = re.findall(rf"({DIGITS})\s*(?:hours?|hrs?|h)\b", text)
    if (
        len(set(way)) != 1
        or len(set(time)) != 1
        or len({number["number"] for number in numbers}) > 2
        or unknown_words(re.sub(r"(?<=\d)(?=[a-z])", " ", text), known)
    ):
        return None
    distance, hours = read_number(way[0]), read_number(time[0])
    unit = "k" if re.search(r"\bkm|kilom|\dkm", text) else "mi|mph"
    return (
        NumberTruth("speed", distance / hours, asked=(distance, hours), unit=rf"(?:{unit})[a-z/ ]*") if hours else None
    )


def _each(ask: str, text: str, numbers: list[re.Match[str]]) -> NumberTruth | None:
    """Multiply a count by a price, where exactly these two numbers are there."""
    if not re.search(
        r"^(?:calculate|compute|find|determine|what is|what's|work out|how much|get|"
        r"given)\b.*\b(?:cost|price|total|amount|pay|paid)\b",
        ask.strip(),
    ):
        return None
    if _OTHER.search(text) or not (
        _EACH.search(text) or re.search(r"\d [a-z ]+ at [$€£]\s?[\d.]+\s*(?:a|per)\b", text)
    ):
        return None
    counts = [read_number(number["number"]) for number in numbers if not number["money"]]
    prices = [read_number(number["number"]) for number in numbers if number["money"]]
    if len(numbers) == 1 and len(prices) == 1:
        words = NUMBER_WORD.findall(text)
        counts = [Fraction(word_value(word)) for word in words] if len(words) == 1 else []
    elif NUMBER_WORD.search(text):
        return None
    if len(counts) != 1 or len(prices) != 1 or counts[0].denominator != 1:
        return None
    return NumberTruth("price", counts[0] * prices[0], asked=(counts[0], prices[0]))
