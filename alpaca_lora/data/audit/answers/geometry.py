"""Areas, perimeters, volumes and sides of plain shapes with all their sizes given."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from math import pi, sqrt

from alpaca_lora.data.audit.answers.averages import root
from alpaca_lora.data.audit.answers.numerals import DIGITS, read_number
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import Number, NumberTruth

Sizes = list[Fraction]
_KNOWN = vocabulary(
    """area perimeter circumference volume surface hypotenuse hypotenuese diagonal diameter size total square
    squares rectangle rectangular triangle triangular right angled right-angled circle sphere cube cuboid prism
    box cylinder cylindrical cone pyramid trapezoid parallelogram rhombus equilateral side sides sided length
    lengths lenght width height base bases radius diagonals long wide high tall side's measuring measures
    measure whose which respectively corresponding legs leg edge edges shape dimensions dimension pythagorean
    theorem abc cm m km mm ft feet foot inch inches meter meters centimeter centimeters metres yards yard unit
    units squared cubic sq its other room field dm approximate approximately regular figure opposite adjacent
    triangle's circle's square's rectangle's find answer closest container object space garden wall lot plot
    pool floor l w h a b c r d s bottom top short longer shorter out sum distance around degree degrees"""
)
_UNIT = re.compile(
    r"\b(?:cm|mm|km|m|ft|in|inch|inches|feet|foot|meters?|metres?|centimeters?|centimetres?|yards?|miles?|dm|units?)\b"
)
_NAMES = (("cm", "centi"), ("mm", "milli"), ("km", "kilo"), ("m", "met"), ("ft", "f"), ("in", "inch"), ("yd", "yard"))
_SIZE = re.compile(
    rf"(?<![\w.])(?:{DIGITS})(?=\s*(?:-?(?:cm|mm|km|m|ft|in|inch|inches|feet|foot|meters?|"
    rf"metres?|centimeters?|centimetres?|yards?|miles?|dm|units?)(?:\b|(?=x)))?(?:\b|[x*]))"
)


def _heron(sides: Sizes) -> Number | None:
    a, b, c = sorted(sides)
    if a + b <= c:
        return None
    half = (a + b + c) / 2
    return root(half * (half - a) * (half - b) * (half - c))


def _times_pi(value: Number) -> float:
    return float(value) * pi


# shape and quantity to the number of sizes and the formula; the sizes stand in the order of the text
_ALIKE: tuple[tuple[str, str, int, Callable[[Sizes], Number | None]], ...] = (
    ("square", "area", 1, lambda s: s[0] ** 2),
    ("square", "perimeter", 1, lambda s: 4 * s[0]),
    ("square", "diagonal", 1, lambda s: root(2 * s[0] ** 2)),
    ("rectangle", "area", 2, lambda s: s[0] * s[1]),
    ("rectangle", "perimeter", 2, lambda s: 2 * (s[0] + s[1])),
    ("rectangle", "diagonal", 2, lambda s: root(s[0] ** 2 + s[1] ** 2)),
    ("triangle", "perimeter", 3, lambda s: s[0] + s[1] + s[2] if _heron(s) else None),
    ("triangle", "area", 3, _heron),
    ("equilateral", "area", 1, lambda s: float(s[0]) ** 2 * sqrt(3) / 4),
    ("equilateral", "perimeter", 1, lambda s: 3 * s[0]),
    ("cube", "volume", 1, lambda s: s[0] ** 3),
    ("cube", "surface", 1, lambda s: 6 * s[0] ** 2),
    ("box", "volume", 3, lambda s: s[0] * s[1] * s[2]),
    ("box", "surface", 3, lambda s: 2 * (s[0] * s[1] + s[0] * s[2] + s[1] * s[2])),
    ("pyramid", "volume", 2, lambda s: s[0] ** 2 * s[1] / 3),
    ("pyramid", "surface", 2, lambda s: float(s[0] ** 2) + 2 * float(s[0]) * sqrt(s[0] ** 2 / 4 + s[1] ** 2)),
    ("parallelogram", "area", 2, lambda s: s[0] * s[1]),
    ("rhombus", "area", 2, lambda s: s[0] * s[1] / 2),
    ("right", "hypotenuse", 2, lambda s: root(s[0] ** 2 + s[1] ** 2)),
)
# shape and quantity to the formula of radius and height
_ROUND: tuple[tuple[str, str, bool, Callable[[Fraction, Fraction], Number]], ...] = (
    ("circle", "area", False, lambda r, _: _times_pi(r * r)),
    ("circle", "circumference", False, lambda r, _: _times_pi(2 * r)),
    ("circle", "perimeter", False, lambda r, _: _times_pi(2 * r)),
    ("sphere", "volume", False, lambda r, _: _times_pi(r**3 * 4 / 3)),
    ("sphere", "surface", False, lambda r, _: _times_pi(4 * r * r)),
    ("cylinder", "volume", True, lambda r, h: _times_pi(r * r * h)),
    ("cylinder", "surface", True, lambda r, h: _times_pi(2 * r * (r + h))),
    ("cone", "volume", True, lambda r, h: _times_pi(r * r * h / 3)),
    ("cone", "surface", True, lambda r, h: pi * float(r) * (float(r) + sqrt(r * r + h * h))),
)
_SHAPES = (
    ("equilateral", r"\bequilateral\b"),
    ("box", r"\brectangular (?:prism|box)|\bcuboid\b|\bbox\b"),
    (
        "square",
        r"\bsquare\b(?! ?(?:unit|inch|f(?:ee|oo)?t|met(?:er|re)|cm|centi|m\b|based|root|prism|pyramid|km|mile|yard))",
    ),
    ("rectangle", r"\brectang(?:le|ular (?:room|field|garden|shape|pool|lot|plot|wall|floor))\b"),
    ("circle", r"\bcircle\b"),
    ("sphere", r"\bsphere\b"),
    ("cylinder", r"\bcylind(?:er|rical)\b"),
    ("cone", r"\bcone\b"),
    ("cube", r"\bcube\b"),
    ("pyramid", r"\bpyramid\b"),
    ("parallelogram", r"\bparallelogram\b"),
    ("rhombus", r"\brhombus\b"),
    ("trapezoid", r"\btrapezoid\b"),
    ("triangle", r"\btriang(?:le|ular)\b"),
)
_COMPILED_SHAPES = tuple((name, re.compile(pattern)) for name, pattern in _SHAPES)
_QUANTITY = re.compile(r"\b(?:surface area|area|perimeter|circumference|volume|diagonal|hypotenuse|hypotenuese)\b")


def check_geometry(question: Question) -> NumberTruth | None:
    """Answer one quantity of one shape; None where sizes are missing, of several units, or of unclear roles."""
    text = question.text.replace("\n", " ; ")
    if len(text) > 260 or re.search(
        r"\bsquare (?:root|footage)|lateral(?! *;)(?<!equilateral)|\bangle\b(?!d)|vertices|"
        r"points?\b|coordinates|\d\s*°|inscribed|maximum|given (?:the|its|"
        r"an?) (?:surface )?(?:area|volume|perimeter|circumference)",
        text,
    ):
        return None
    spaced = re.sub(r"(?<=\d)(?=(?:cm|mm|km|m|ft|in|inch|feet|meters?)\b)", " ", text)
    quantities = {
        match.group().replace("surface area", "surface").replace("hypotenuese", "hypotenuse")
        for match in _QUANTITY.finditer(question.ask)
    }
    shapes = [name for name, pattern in _COMPILED_SHAPES if pattern.search(text)]
    if quantities == {"hypotenuse"}:
        shapes = ["right"]
    if "equilateral" in shapes:
        shapes = ["equilateral"]
    if len(quantities) != 1 or len(shapes) != 1 or unknown_words(re.sub(r"[²³^]", " ", spaced), _KNOWN):
        return None
    quantity, shape = quantities.pop(), shapes[0]
    units = {
        _family(unit)
        for unit in _UNIT.findall(re.sub(r"\b(?:square|cubic|sq\.?) \w+", " ", spaced).replace(" in ", "  "))
    } - {""}
    sizes = [
        read_number(match.group())
        for match in _SIZE.finditer(
            re.sub(r"(?<=[a-z])\s?\d(?=\s*[:=])|\b(?:side|diagonal|base|length)_?\w*?\d(?=\s*[=:])", " ", spaced)
        )
    ]
    if len(units) > 1 or not sizes:
        return None
    value = _round(shape, quantity, spaced, sizes) or _alike(shape, quantity, spaced, sizes)
    if value is None:
        return None
    loose = not isinstance(value, Fraction)
    return NumberTruth("geometry", value, loose=loose, asked=tuple(sizes), unit=_unit_pattern(units))


def _family(unit: str) -> str:
    for short, begin in _NAMES:
        if unit == short or unit.startswith(begin):
            return short
    return "" if unit.startswith("unit") else unit


def _unit_pattern(units: set[str]) -> str:
    if not units:
        return ""
    unit = next(iter(units))
    names = {
        "cm": "cm|centi",
        "mm": "mm|milli",
        "km": "km|kilo",
        "m": "m(?![mi])|met",
        "ft": "ft|feet|foot",
        "in": "in",
        "yd": "yd|yard",
    }
    return rf"(?:square|sq\.?|cubic|cu\.?)?\s*(?:(?:{names.get(unit, unit)})[a-z]*|units?)"


def _distinct(sizes: Sizes, count: int) -> Sizes | None:
    """Give the sizes, once where instruction and input both name them."""
    if len(sizes) == 2 * count and sizes[:count] in (sizes[count:], sizes[count:][::-1]):
        return sizes[:count]
    return sizes if len(sizes) == count else None


def _alike(shape: str, quantity: str, text: str, sizes: Sizes) -> Number | None:
    if shape == "triangle" and quantity == "area" and len(sizes) in (2, 4):
        if not (re.search(r"\bbase\b", text) and re.search(r"\bheight\b", text)) and not re.search(
            r"\bright\b.*\b(?:legs|sides)\b", text
        ):
            return None
        pair = _distinct(sizes, 2)
        return pair[0] * pair[1] / 2 if pair else None
    if shape == "trapezoid":
        return _trapezoid(quantity, text, sizes)
    if shape == "parallelogram" and not ("base" in text and "height" in text):
        return None
    if shape == "pyramid" and not re.search(r"\bbase (?:edge|side)s?\b.*\bheight\b", text):
        return None
    if shape == "rhombus" and "diagonal" not in text:
        return None
    for name, asked, count, formula in _ALIKE:
        if name == shape and asked == quantity:
            given = _distinct(sizes, count)
            return formula(given) if given else None
    return None


def _trapezoid(quantity: str, text: str, sizes: Sizes) -> Number | None:
    match = re.search(rf"height\D{{0,12}}({DIGITS})", text)
    if quantity != "area" or len(sizes) != 3 or not match or "base" not in text:
        return None
    height = read_number(match[1])
    rest = list(sizes)
    if height not in rest:
        return None
    rest.remove(height)
    return (rest[0] + rest[1]) / 2 * height


def _named(text: str, name: str) -> re.Match[str] | None:
    """Find the number that a text gives for "radius", "diameter" or "height"."""
    return (
        re.search(rf"({DIGITS})\s*-?\s*[a-z]* in {name}", text)
        or re.search(rf"\b{name}\b(?:(?!height|radius|\band\b)\D){{0,24}}?({DIGITS})", text)
        or re.search(rf"({DIGITS})\s*-?\s*[a-z]* {name}", text)
    )


def _round(shape: str, quantity: str, text: str, sizes: Sizes) -> Number | None:
    width, across = _named(text, "radius"), _named(text, "diameter")
    if bool(width) == bool(across):
        return None
    match = width or across
    radius = read_number(match[1]) / (1 if width else 2) if match else Fraction(0)
    tall = _named(text, "height") or re.search(rf"({DIGITS})\s*[a-z]* (?:high|tall)\b", text)
    for name, asked, needs_height, formula in _ROUND:
        if name == shape and asked == quantity:
            given = _distinct(sizes, 2 if needs_height else 1)
            if not given or (needs_height and not tall):
                return None
            return formula(radius, read_number(tall[1]) if tall and needs_height else Fraction(0))
    return None
