"""Arithmetic in signs or in words: "8 + 4 * 9", "12 plus 7", "5 % of 80", "the square root of 64"."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.averages import root
from alpaca_lora.data.audit.answers.expressions import NotAnExpression, value_of
from alpaca_lora.data.audit.answers.numerals import DIGITS, NUMBER_WORD, read_number, word_value
from alpaca_lora.data.audit.answers.question import Question, drop_counts, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import Number, NumberTruth

_N = rf"(?<![\w.])-?(?:{DIGITS})(?![\w.]*\d)"
_WORDS = (
    (r"\bplus\b|\badded to\b", "+"),
    (r"\bminus\b", "-"),
    (r"\bmultiplied (?:by|with)\b|\btimes\b|(?<=[\d) ])[x×](?= ?[\d(])(?! ?\d*[x])", "*"),
    (r"\bdivided by\b", "/"),
    (r"\b(?:raised )?to the (?:power of|power)\b|\braised to\b", "^"),
    (r"\bsquared\b", "^2"),
    (r"\bcubed\b", "^3"),
)  # fmt: skip
_TEMPLATES = (
    (rf"multiply (?:the number )?({_N})(?: times| by| and| with|,) (?:the number )?({_N})", r"(\1) * (\2)"),
    (rf"(?:multiplication of|multiplying|product of) ({_N}) (?:by|and|with) ({_N})", r"(\1) * (\2)"),
    (rf"(?:divide|dividing|division of) (?:the number )?({_N}) (?:by|and|with) (?:the number )?({_N})", r"(\1) / (\2)"),
    (rf"quotient (?:of|when|for) ({_N}) (?:and|by|/) ({_N})", r"(\1) / (\2)"),
    (rf"subtract \"?({_N})\"? from \"?({_N})\"?", r"(\2) - (\1)"),
    (rf"({_N}) (?:is )?subtracted from ({_N})", r"(\2) - (\1)"),
    (rf"(?:add|adding) (?:the number )?({_N})(?: to| and| plus|,) (?:the number )?({_N})", r"(\1) + (\2)"),
    (rf"sum of ({_N}) and ({_N})", r"(\1) + (\2)"),
    (rf"({_N})(?:st|nd|rd|th) power of ({_N})", r"(\2)^(\1)"),
    (rf"({_N}) to the ({_N})(?:st|nd|rd|th)(?: power)?", r"(\1)^(\2)"),
    (rf"(?:factorial of|factorial for) (?:the number )?({_N})", r"(\1)!"),
    (rf"({_N}) factorial", r"(\1)!"),
    (rf"({_N}) ?(?:%|percent) (?:of|out of) ({_N})", r"((\1) / 100 * (\2))"),
    (rf"square of (?:the number )?({_N})", r"(\1)^2"),
    (rf"cube of (?:the number )?({_N})", r"(\1)^3"),
    (rf"reciprocal (?:of )?(?:the number )?({_N})", r"1 / (\1)"),
    (rf"absolute value of -?({DIGITS})", r"\1 * 1"),
    (rf"half of ({_N})", r"(\1) / 2"),
    (rf"double of ({_N})", r"(\1) * 2"),
)  # fmt: skip
_COMPILED_WORDS = tuple((re.compile(pattern), sign) for pattern, sign in _WORDS)
_COMPILED = tuple((re.compile(pattern), form) for pattern, form in _TEMPLATES)
_KNOWN = vocabulary(
    """add adding added sum difference product quotient multiply multiplication divide division subtract
    subtraction arithmetic expression equation integer integers dividing numbers math mathematics simplify
    decimal exact fully completely hand statement mathematical final quantity correct value line power fraction
    fractions"""
)
_ALL_KNOWN = _KNOWN | vocabulary(
    """plus minus times multiplied divided raised power squared cubed multiplying subtracting subtracted of percent
    st nd rd th factorial square cube cubic fourth fifth root roots reciprocal absolute half double mod modulo
    modulus remainder positive x twenty thirty forty fifty sixty seventy eighty ninety eleven twelve thirteen
    fourteen fifteen sixteen seventeen eighteen nineteen zero hundred out"""
)
_ROOT = re.compile(
    rf"\b(square|cube|cubic|fourth|fifth)[ -]roots? (?:of|for) (?:the |this |given |number |following |:)*\"?({_N})"
)
_ROOT_APART = re.compile(rf"\b(square|cube|cubic)[ -]root\b[^\d]*?({_N})")
_REMAINDER = re.compile(
    rf"({_N}) (?:is )?(?:divided by|mod|modulo|modulus|%|/) ({_N})|(?:dividing|divide) ({_N}) by ({_N})"
)
_DIFFERENCE = re.compile(rf"difference\b[a-z ,.:;]*? \"?({_N})\"?,? (?:and|to|-) \"?({_N})\"?")


def check_arithmetic(question: Question) -> NumberTruth | None:
    """Answer one sum; None where anything but the sum is asked, or people read it in two ways."""
    if len(question.text) > 300 or unknown_words(question.text, _ALL_KNOWN):
        return None
    text = _prepared(question)
    if not re.search(r"\d", text) or len(text) > 220:
        return None
    asked = tuple(read_number(number) for number in re.findall(DIGITS, text))
    found = _roots(text) or _remainder(text) or _difference(text)
    if found is None:
        found = _plain(text)
    if found is None:
        return None
    kind, value, *others = found
    return NumberTruth(kind, value, tuple(others), asked=asked)


def _prepared(question: Question) -> str:
    text, _ = drop_counts(question.text)
    if "factorial" in text and "!" in text:
        text = text.replace("!", "@")
    text = re.sub(r"[$€£](?=\s?\d)", "", text)
    text = re.sub(r"(?<=\d)\s*(?:\?|=\s*[_?]*\s*)?\s*[.?!]*\s*$", "", text.strip())
    text = NUMBER_WORD.sub(lambda match: str(word_value(match.group())), text) if not re.search(r"\d", text) else text
    return re.sub(r"\s+", " ", text.replace("**", "^"))


def _roots(text: str) -> tuple[str, Number] | None:
    match = _ROOT.search(text) or _ROOT_APART.search(text)
    if not match or unknown_words(text, vocabulary("square cube cubic fourth fifth root roots positive decimal")):
        return None
    rest = text[: match.start()] + text[match.end() :]
    if re.search(r"[\d+*/^]", rest):
        return None
    number = read_number(match[2])
    if number < 0:
        return None
    if match[1] == "square":
        return "root", root(number)
    degree = {"cube": 3, "cubic": 3, "fourth": 4, "fifth": 5}[match[1]]
    guess = round(float(number) ** (1 / degree))
    return "root", Fraction(guess) if Fraction(guess) ** degree == number else float(number) ** (1 / degree)


def _remainder(text: str) -> tuple[str, Number] | None:
    if not re.search(r"\bremainder|\bmod(?:ulo|ulus)?\b", text):
        return None
    match = _REMAINDER.search(text)
    rest = text[: match.start()] + text[match.end() :] if match else "1"
    if not match or re.search(r"\d", rest) or unknown_words(rest, vocabulary("remainder modulo modulus mod")):
        return None
    left, right = (read_number(part) for part in match.groups() if part)
    if left.denominator != 1 or right.denominator != 1 or left < 0 or right <= 0:
        return None
    return "remainder", Fraction(left % right)


def _difference(text: str) -> tuple[str, Number, Number] | None:
    match = _DIFFERENCE.search(text)
    if not match:
        return None
    rest = text[: match.start()] + text[match.end() :]
    if re.search(r"\d", rest) or unknown_words(rest):
        return None
    left, right = read_number(match[1]), read_number(match[2])
    return "arithmetic", abs(left - right), -abs(left - right)


def _plain(text: str) -> tuple[str, Number, *tuple[Number, ...]] | None:
    percent = bool(re.search(r"\d ?(?:%|percent) (?:of|out of)", text))
    formed: list[str] = []
    for pattern, form in _COMPILED:
        if match := pattern.search(text):
            formed.append(match.expand(form))
            text = text[: match.start()] + formed[-1] + text[match.end() :]
    signs = text
    for pattern, sign in _COMPILED_WORDS:
        text = pattern.sub(f" {sign} ", text)
    bare = _expression_in(text)
    if bare is None or (formed and bare != formed[0]):  # words beside a form: "half of 3 squared"
        return None
    try:
        spoken = _from_left(bare) if text != signs else bare  # "5 plus 10 times 4" is said in both orders
        return "percentage" if percent else "arithmetic", value_of(bare), value_of(spoken)
    except NotAnExpression:
        return None


def _from_left(expression: str) -> str:
    """Put brackets round each step of an expression that has none, as one works it out while listening."""
    if "(" in expression:
        return expression
    steps = re.split(r"(?<=[\d!])\s*([-+*/])\s*", expression)
    result = steps[0]
    for sign, operand in zip(steps[1::2], steps[2::2], strict=True):
        result = f"({result} {sign} {operand})"
    return result


def _expression_in(text: str) -> str | None:
    """Give the one stretch of signs and digits, where all around it is filler; it must hold an operation."""
    if (
        unknown_words(text, _KNOWN)
        or "%" in text
        or re.search(r"\b(?:without using the|order|round|nearest|estimate)\b", text)
    ):
        return None
    stretches = [match.group().strip() for match in re.finditer(r"(?:[\d(]|\.\d)[\d\s+*/^().,!-]*", text)]
    stretches = [stretch.rstrip(" .,") for stretch in stretches if re.search(r"\d", stretch)]
    sign = re.search(r"(?<![\d)] )(?<![\d)])-\s*$", text[: text.find(stretches[0])]) if stretches else None
    if len(stretches) != 1 or not re.search(r"\d\)*\s*[-+*/^!(]", stretches[0]):
        return None
    if re.search(r"\d\s+\d", stretches[0]) or re.search(r"\d-\d{2,}-|,\s", stretches[0]):
        return None
    return ("-" if sign else "") + stretches[0]
