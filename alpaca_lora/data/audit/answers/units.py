"""Units of measure: their names, dimensions and sizes; conversions as they are asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from math import pi

from alpaca_lora.data.audit.answers.numerals import DIGITS, ONES, read_number
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import Number, NumberTruth

# name: (dimension, sizes in the dimension's base unit, the usual one first, spellings)
_TABLE = """
length m 1 | m meters? metres?
length cm 0.01 | cm centimeters? centimetres? cms
length mm 0.001 | mm millimeters? millimetres?
length km 1000 | km kms kilometers? kilometres? kilomerters?
length in 0.0254 | in inch(?:es)?
length ft 0.3048 | ft foot feet
length yd 0.9144 | yds? yards?
length mi 1609.344 | mi miles?
mass g 1 | g grams? gm
mass kg 1000 | kgs? kilograms? kilos?
mass mg 0.001 | mg milligrams?
mass lb 453.59237 | lbs? pounds?
mass oz 28.349523125 | oz ounces?
mass t 1000000,907184.74 | mt tons? tonnes? metric_tons?
volume l 1 | l liters? litres?
volume ml 0.001 | ml milliliters? millilitres?
volume gal 3.785411784,4.54609 | gal gallons?
volume qt 0.946352946 | quarts?
volume pt 0.473176473,0.56826125 | pints?
volume cup 0.2365882365,0.24,0.25 | cups?
volume floz 0.0295735295625,0.0284130625,0.03 | fl_oz fluid_ounces? fl\\._oz\\.? fluid_oz
volume tbsp 0.01478676478125,0.015 | tbsps? tablespoons?
volume tsp 0.00492892159375,0.005 | tsps? teaspoons?
time s 1 | s secs? seconds?
time ms 0.001 | ms milliseconds?
time min 60 | mins? minutes? miniutes?
time h 3600 | h hrs? hours?
time day 86400 | days?
time week 604800 | weeks?
time year 31536000,31557600,31622400,31449600,31104000 | years?
speed kmh 1/3.6 | km/h kmh kph km/hr kilometers_per_hour kilometers/hour kmph
speed mph 0.44704 | mph miles_per_hour miles/hr miles/hour mi/h
speed ms 1 | m/s meters_per_second mps meters/second
speed fps 0.3048 | ft/s fps feet_per_second
speed kms 1000 | km/s kilometers_per_second
area m2 1 | m\\^2 m² m2 square_met(?:er|re)s? sq\\.?_m(?:eters?)?
area cm2 0.0001 | cm\\^2 cm² cm2 square_centimeters?
area km2 1000000 | km\\^2 km² km2 square_kilometers?
area ft2 0.09290304 | ft\\^2 ft² ft2 square_f(?:ee|oo)t sq\\.?_?ft\\.? sq\\.?_feet
area in2 0.00064516 | in\\^2 in² in2 square_inch(?:es)? sq\\.?_in
area acre 4046.8564224 | acres?
area ha 10000 | hectares? ha
data b 1 | bytes?
data bit 0.125 | bits?
data kb 1000,1024 | kb kilobytes?
data mb 1000000,1048576 | mb megabytes?
data gb 1000000000,1073741824 | gb gigabytes? gigs?
data tb 1000000000000,1099511627776 | tb terabytes?
angle deg 1 | degrees? °
angle rad 57.29577951308232 | rad radians?
temperature c 1 | °_?c(?:elsius)? c degrees?_c(?:elsius)? degrees?_celcius celsius celcius centigrade
temperature f 1 | °_?f(?:ahrenheit)? f degrees?_f(?:ahrenheit)? degrees?_farenheit fahrenheit farenheit
temperature k 1 | °?_?k k degrees?_k(?:elvin)? kelvins?
"""
_METRIC = vocabulary("""m cm mm km g kg mg l ml s ms min h day week kmh kms m2 cm2 km2 ha c k b bit kb mb gb tb""")
_KNOWN = vocabulary(
    """convert converted conversion change express transform unit units measurement measurements measure measures
    length weight weights mass height distance time temperature temperatures temparature speed velocity volume
    area amount quantity equivalent equals equal many much day's equivalence sugar flour water milk duration
    period metric imperial cooking corresponding approximately reading odometer terms degree degrees state
    value's contained fit same physical size old from storage information stored single"""
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: its dimension, its possible sizes in the dimension's base unit, and a pattern of its spellings."""

    dimension: str
    key: str
    sizes: tuple[Fraction, ...]
    pattern: str


def _unit(line: str) -> Unit:
    head, _, names = line.partition("|")
    dimension, key, sizes = head.split()
    parts = [part.partition("/") for part in sizes.split(",")]
    spellings = [name.replace("_?", " ?").replace("_", " ") for name in sorted(names.split(), key=len, reverse=True)]
    return Unit(
        dimension, key, tuple(Fraction(top) / Fraction(down or 1) for top, _, down in parts), "|".join(spellings)
    )


UNITS = tuple(_unit(line) for line in _TABLE.strip().splitlines())
_ANY = re.compile(
    "|".join(
        rf"(?P<u{number}>(?<![a-z/°])(?:{unit.pattern})(?![a-z°/]))"
        for number, unit in sorted(
            enumerate(UNITS),
            key=lambda pair: ("/" not in pair[1].pattern and " " not in pair[1].pattern, -len(pair[1].pattern)),
        )
    )
)
_PIECES = frozenset(
    piece.lstrip("?")
    for line in _TABLE.strip().splitlines()
    for name in line.partition("|")[2].split()
    for piece in name.split("_")
)
_UNIT_WORD = re.compile("|".join(sorted(_PIECES, key=len, reverse=True)))  # a cheap first look at each word
_NUM = re.compile(rf"(?<![\w.,])-?(?:\d+/\d+|{DIGITS})")


def mentions(text: str) -> list[tuple[int, int, Unit]]:
    """Give the units named in a lower-case text with their places; the longest name wins."""
    found: list[tuple[int, int, Unit]] = []
    for match in _ANY.finditer(text):
        found.append((match.start(), match.end(), UNITS[int(str(match.lastgroup)[1:])]))
    return found


def check_units(question: Question) -> NumberTruth | None:
    """Answer one conversion of one quantity; None for money, recipes and anything with two numbers."""
    if len(question.text) > 200 or not re.search(
        r"convert|express|equivalent|how many|number of|\bto\b|\binto\b", question.ask
    ):
        return None
    text = re.sub(r"(?<=\d)(?=[a-z°])", " ", re.sub(r"(?<=\d)-(?=[a-z])", " ", question.text.replace("\n", " ; ")))
    text = re.sub(r"(?<![\w.])(fl)\. ?(oz)\b\.?", r"\1 \2", text)
    many = re.search(r"\bhow many\b|\bnumber of\b", text)
    if not re.search(r"convert|express|equivalent|\bin\b|\binto\b|\bto\b", text) and not many:
        return None
    if not all(map(_UNIT_WORD.fullmatch, unknown_words(text, _KNOWN))):
        return None
    text = re.sub(r"(?<!\d )\bin\b", "@@", text)  # the preposition is no inch
    found = mentions(text)
    rest = text
    for start, end, _ in reversed(found):
        rest = rest[:start] + " " + rest[end:]
    if unknown_words(rest.replace("@@", " "), _KNOWN) or not 2 <= len(found) <= 6:
        return None
    text = text.replace("@@", "in")
    numbers = list(_NUM.finditer(text))
    values = {match.group() for match in numbers}
    if len(values) > 1:
        return None
    pair = _how_many(text, mentions_in(text), numbers) if many else _from_to(text, mentions_in(text), numbers)
    if pair is None:
        return None
    amount, source, target = pair
    return _truth(amount, source, target)


def mentions_in(text: str) -> list[tuple[int, int, Unit]]:
    """Give the units of a text, the word "in" before another word being none."""
    return [
        entry for entry in mentions(text) if text[entry[0] : entry[1]] != "in" or re.search(r"\d $", text[: entry[0]])
    ]


def _amount(text: str) -> Fraction:
    top, _, bottom = text.partition("/")
    return read_number(top) / (read_number(bottom) if bottom else 1)


def _how_many(
    text: str, found: list[tuple[int, int, Unit]], numbers: list[re.Match[str]]
) -> tuple[Fraction, Unit, Unit] | None:
    units = [unit for _, _, unit in found]
    if len(units) != 2 or units[0] is units[1]:
        return None
    target, source = units
    if not numbers:
        before = text[: found[1][0]].split()[-1:]
        if before and before[0] in {"a", "an", "one", "1", "the", "in", "each", "single"}:
            return Fraction(1), source, target
        return (Fraction(ONES.index(before[0])), source, target) if before and before[0] in ONES else None
    after = text[numbers[0].end() : found[1][0]]
    if len(numbers) != 1 or numbers[0].end() > found[1][0] or after.strip():
        if (
            len(numbers) == 1
            and not text[numbers[0].end() : found[0][0]].strip()
            and re.search(r"how many", text[found[0][1] : found[1][0]])
        ):
            return _amount(numbers[0].group()), target, source
        return None
    return _amount(numbers[0].group()), source, target


def _touch(text: str, left: int, right: int, sign: str) -> bool:
    """Say whether nothing stands between two places, or one of the signs where there are any."""
    between = text[left:right].strip(" ;")
    return left <= right and (between == "" if not sign else between != "" and between in sign)


def _from_to(
    text: str, found: list[tuple[int, int, Unit]], numbers: list[re.Match[str]]
) -> tuple[Fraction, Unit, Unit] | None:
    if not numbers:
        return None
    kinds = list(dict.fromkeys(unit for _, _, unit in found))
    after = {unit for start, _, unit in found for number in numbers if _touch(text, number.end(), start, "")}
    beside = after or {unit for _, end, unit in found for number in numbers if _touch(text, end, number.start(), ":=")}
    before = re.compile(r"(?:\bto|\binto|\bin|=|\bunit:)\s*(?:an?|the|its|degrees?|equivalent|unit of)?\s*$")
    targets = [unit for start, _, unit in found if before.search(text[:start])]
    if len(kinds) != 2 or len(beside) > 1:
        return None
    if beside:
        source = beside.pop()
        target = kinds[1] if source is kinds[0] else kinds[0]
        if targets and target not in targets:
            return None
    else:
        from_to = re.search(r"\bfrom\b|\bto\b", text)
        if not from_to or not targets or targets[-1] is not kinds[1]:
            return None
        source, target = kinds
    return _amount(numbers[0].group()), source, target


def _truth(amount: Fraction, source: Unit, target: Unit) -> NumberTruth | None:
    source, target = _ounces(source, target), _ounces(target, source)
    if source.dimension != target.dimension:
        return None
    asked: tuple[Number, ...] = (amount,)
    if source.dimension == "temperature":
        value = _temperature(amount, source.key, target.key)
        return NumberTruth("unit", value, asked=asked, unit=rf"°|degrees?|{target.pattern}")
    values = [amount * one / two for one in source.sizes for two in target.sizes]
    if source.key == "rad" or target.key == "rad":
        return NumberTruth(
            "unit",
            float(amount) * (180 / pi if source.key == "rad" else pi / 180),
            loose=True,
            asked=asked,
            unit=target.pattern,
        )
    crossing = (source.key in _METRIC) != (target.key in _METRIC)
    loose = crossing or len(values) > 1
    return NumberTruth("unit", values[0], tuple(values[1:]), loose=loose, asked=asked, unit=target.pattern)


def _ounces(unit: Unit, other: Unit) -> Unit:
    fluid = unit.key == "oz" and other.dimension == "volume"
    return next(entry for entry in UNITS if entry.key == "floz") if fluid else unit


def _temperature(amount: Fraction, source: str, target: str) -> Fraction:
    celsius = {"c": amount, "f": (amount - 32) * Fraction(5, 9), "k": amount - Fraction("273.15")}[source]
    return {"c": celsius, "f": celsius * Fraction(9, 5) + 32, "k": celsius + Fraction("273.15")}[target]
