"""Whole numbers: common divisors and multiples, primes, factors, sums of series, rounding, parity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from math import floor, gcd, lcm
from types import MappingProxyType

from alpaca_lora.data.audit.answers.numerals import DIGITS, read_number
from alpaca_lora.data.audit.answers.question import Question, drop_counts, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import ListTruth, NumberTruth, TextTruth, Truth

_DIVISOR = re.compile(r"greatest common (?:divisor|factor|denominator)|highest common factor|\b(?:gcd|gcf|hcf)\b")
_MULTIPLE = re.compile(r"(?:least|lowest|smallest) common (?:multiple|denominator)|\b(?:lcm|lcd)\b")
_COMMON = vocabulary(
    """greatest common divisor factor denominator highest least lowest smallest multiple gcd gcf hcf lcm lcd x y z
    pair them"""
)
_PLACES: Mapping[str, int] = MappingProxyType({
    "integer": 0, "whole": 0, "whole number": 0, "tenth": 1, "one decimal": 1, "1 decimal": 1, "hundredth": 2,
    "two decimal": 2, "2 decimal": 2, "thousandth": 3, "three decimal": 3, "3 decimal": 3, "ten": -1, "hundred": -2,
    "thousand": -3,
})  # fmt: skip
_ROUND = re.compile(
    r"\b(?:nearest|to) (whole number|integer|whole|tenth|hundredth|thousandth|ten|hundred|"
    r"thousand|(?:one|two|three|[123]) decimal)s?(?: places?| points?| number)?\b"
)


def is_prime(number: int) -> bool:
    """Say whether a whole number is a prime."""
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def check_whole_numbers(question: Question) -> Truth | None:
    """Answer one question on whole numbers."""
    text, _ = drop_counts(question.text.replace("\n", " ; "))
    if len(text) > 170:
        return None
    if _DIVISOR.search(text) or _MULTIPLE.search(text):
        return _common(text)
    if "prime" in text or "factor" in text:
        return _primes(text)
    if "round" in text:
        return _rounded(text)
    return _parity(text)


def integers_in(text: str) -> list[int] | None:
    """Give the numbers of a text, or None where one is not whole."""
    found = [read_number(number) for number in re.findall(rf"(?<![\w.])(?:{DIGITS})(?![\w.]*\d)", text)]
    return [int(number) for number in found] if all(number.denominator == 1 for number in found) else None


def _common(text: str) -> Truth | None:
    numbers = integers_in(text)
    if not numbers or len(numbers) < 2 or 0 in numbers or unknown_words(text, _COMMON | {"fractions"}) or "-" in text:
        return None
    half = len(numbers) // 2
    if len(numbers) % 2 == 0 and numbers[:half] == numbers[half:] and half > 1:
        numbers = numbers[:half]
    asked = tuple(Fraction(number) for number in numbers)
    if re.search(r"\d\s*/\s*\d", text):
        bottoms = [int(bottom) for bottom in re.findall(r"\d\s*/\s*(\d+)", text)]
        if "denominator" not in text or len(bottoms) * 2 != len(numbers):
            return None
        return NumberTruth("lcm", Fraction(lcm(*bottoms)), asked=asked)
    if _DIVISOR.search(text):
        return NumberTruth("gcd", Fraction(gcd(*numbers)), asked=asked)
    return NumberTruth("lcm", Fraction(lcm(*numbers)), asked=asked)


def _primes(text: str) -> Truth | None:
    numbers = integers_in(text)
    if numbers is None or max(numbers, default=0) > 10**7:
        return None
    known = vocabulary(
        """prime primes is whether not or it composite check classify decide if number factor factors factorization
    factorisation between first"""
    )
    if unknown_words(text, known):
        return None
    single = set(numbers)
    if (
        re.search(r"\bprime factor(?:s|i[sz]ation)?\b", text)
        and len(single) == 1
        and not re.search(r"number of|how many|largest|greatest|two", text)
    ):
        return _factored(numbers[0])
    if (
        re.search(r"\bfactors? of\b|\bfactors for\b", text)
        and "prime" not in text
        and len(single) == 1
        and not re.search(r"number of|how many|common|two", text)
    ):
        divisors = (
            [str(number) for number in range(1, numbers[0] + 1) if numbers[0] % number == 0]
            if numbers[0] < 10**4
            else []
        )
        return ListTruth("factors", tuple(divisors), any_order=True) if len(divisors) > 1 else None
    if (
        re.search(r"\bbetween (\d+) and (\d+)", text)
        and len(numbers) == 2
        and "primes" in text.replace("prime numbers", "primes")
        and not re.search(r"first|two|three|four|five|any|sum|product|how many|number of|count", text)
    ):
        low, high = sorted(numbers)
        inside = [str(number) for number in range(low, min(high, low + 2000) + 1) if is_prime(number)]
        return (
            ListTruth("primes", tuple(inside))
            if len(inside) > 1 and not is_prime(low) and not is_prime(high) and high - low < 2000
            else None
        )
    match = re.search(r"first (\d+) prime numbers|first (\d+) primes", text)
    if match and len(numbers) == 1 and "sum" not in text and 2 < numbers[0] <= 100:
        found = [str(number) for number in range(2, 600) if is_prime(number)][: numbers[0]]
        return ListTruth("primes", tuple(found))
    if (
        len(single) == 1
        and "factor" not in text
        and re.search(r"\b(?:is|whether|if|check|determine)\b", text)
        and re.search(r"\bprime\b", text)
        and "primes" not in text
    ):
        return _yes_no_prime(numbers[0])
    return None


def _factored(number: int) -> ListTruth | None:
    parts: list[int] = []
    rest, divisor = number, 2
    while rest > 1 and divisor <= 10**4:
        while rest % divisor == 0:
            parts.append(divisor)
            rest //= divisor
        divisor += 1
    if rest > 1 or len(parts) < 2:
        return None
    unique = tuple(str(part) for part in sorted(set(parts)))
    return ListTruth("prime factors", tuple(str(part) for part in parts), (unique,), any_order=True)


def _yes_no_prime(number: int) -> TextTruth | None:
    if number < 2:
        return None
    pattern = (
        r"\bnot an? prime\b|\bnot prime\b|\bisn't a prime\b|\bis a prime\b|\bis prime\b|^(?:yes|"
        r"no|true|false|prime|not prime|composite)\b(?=[\s.]*$)|\bcomposite\b(?=[\s.]*$)"
    )
    yes, no = (
        ("is a prime", "is prime", "yes", "true", "prime"),
        ("not a prime", "not prime", "isn't a prime", "no", "false", "composite"),
    )
    right = is_prime(number)
    answer = f"{number} is {'a' if right else 'not a'} prime number."
    return TextTruth("prime", (yes if right else no)[0], pattern, (yes if right else no)[1:], whole=answer)


def _rounded(text: str) -> Truth | None:
    match = _ROUND.search(text)
    if not match:
        return None
    rest = text[: match.start()] + text[match.end() :]
    numbers = re.findall(rf"(?<![\w.])-?(?:{DIGITS})(?![\w.]*\d)", rest)
    known = vocabulary("""round rounded rounding off decimal place places nearest whole point""")
    if len(set(numbers)) != 1 or unknown_words(rest, known) or re.search(r"[*/+^]", rest) or "down" in rest:
        return None
    value, places = read_number(numbers[0]), _PLACES[match[1]]
    scale = Fraction(10) ** places
    rounded = Fraction(floor(abs(value) * scale + Fraction(1, 2))) / scale * (-1 if value < 0 else 1)
    others = (rounded - (1 if value > 0 else -1) / scale,) if (abs(value) * scale) % 1 == Fraction(1, 2) else ()
    return NumberTruth("rounding", rounded, others, asked=(value,))


def _parity(text: str) -> Truth | None:
    numbers = integers_in(text)
    if (
        not numbers
        or len(set(numbers)) != 1
        or not re.search(r"\bodd or even\b|\beven or odd\b|\bis even\b|\bis odd\b", text)
    ):
        return None
    if unknown_words(text, vocabulary("odd even or whether is not check classify it as")):
        return None
    if not re.search(r"\bodd or (?:an )?even|\beven or (?:an )?odd", text):
        return None
    return TextTruth("parity", "even" if numbers[0] % 2 == 0 else "odd", r"\b(?:odd|even)\b")
