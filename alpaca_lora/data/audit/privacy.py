"""What may identify a person or open a door: addresses, numbers and keys; a reason never shows the whole of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache

from alpaca_lora.data.audit.rows import Field, TurnView
from alpaca_lora.data.audit.rules import Hit, Rule

_ADDRESS = re.compile(r"(?<![\w.+%-])([\w.+%-]+)@((?:[\w-]+\.)+[a-z]{2,})(?![\w-])", re.IGNORECASE)
_PLACEHOLDER_DOMAIN = re.compile(
    r"(?:\A|\.)(?:\w|\w*example\w*|e?mail|test\w*|domain|mydomain|yourdomain|\w*company|website|server|host|provider"
    r"|acme|xyz|abc|foo|bar)\.[\w.]+\Z|\.(?:test|invalid|example|localhost)\Z",
    re.IGNORECASE,
)
_PLACEHOLDER_NAME = re.compile(
    r"\A(?:(?:your|my|the)\b.*|(?:your|my)[_.-].*|.*(?:example|user|name|sender|receiver|recipient).*|\w|abc|xyz|test\d*"
    r"|j(?:ohn|ane)?[._]?(?:doe|smith)?\d*)\Z",
    re.IGNORECASE,
)
_ROLE = re.compile(
    r"\A(?:info|support|contact|sales|admin|help\w*|service\w*|customer\w*|no-?reply|alerts?|offers?|promotions?|news\w*"
    r"|office|jobs|careers|hr|billing|press|marketing|webmaster|postmaster)\Z",
    re.IGNORECASE,
)
_PHONE = re.compile(
    r"(?<![\w.,/+$€£=-])(?:\+ ?\d{1,3}[ .-]?)?(?:\(\d{3}\)[ .-]{0,2}|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-]|\.\d)"
    r"|(?<!\w)\+\d[\d ().-]{7,17}\d(?!\w)"
)
_TOLL_FREE = ("800", "833", "844", "855", "866", "877", "888")
_CARD = re.compile(r"(?<![\w.:/@=-])[3-6]\d{3}([ -]?)(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5}|\d{9,15})(?![\w@-]| \d)")
_FEWEST_DIGITS = 4
"""Cards and telephones with fewer different digits are made up, such as 4242 4242 4242 4242."""
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{36,}|\bxox[abps]-[\w-]{20,}"
    r"|\bAIza[\w-]{35}\b|\bhf_[A-Za-z0-9]{30,}|\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
    r"|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s+[A-Za-z0-9+/]{16}"
)
_SECRET_STARTS = (
    "AKIA",
    "ASIA",
    "sk-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "xox",
    "AIza",
    "hf_",
    "eyJ",
    "-----BEGIN",
)
_LONG_NUMBER = re.compile(r"[0-9]{4}")


@lru_cache(maxsize=4)
def _has_long_number(text: str) -> bool:
    """Say whether digits stand four in a row; kept for the rules that ask it of the same text one after another."""
    return _LONG_NUMBER.search(text) is not None


def _may_have_phone(text: str) -> bool:
    return _has_long_number(text) or "+" in text


def _may_have_address(text: str) -> bool:
    return "@" in text


def _may_have_secret(text: str) -> bool:
    for start in _SECRET_STARTS:  # noqa: SIM110 - half the time of any() over a generator
        if start in text:
            return True
    return False


def _is_email(found: re.Match[str]) -> bool:
    name, domain = found.groups()
    return not (_PLACEHOLDER_DOMAIN.search(domain) or _PLACEHOLDER_NAME.match(name) or _ROLE.match(name))


def _is_phone(found: re.Match[str]) -> bool:
    """Leave out 555 numbers, toll-free ones, runs such as 123-456-7890, and what the North American plan rules out."""
    digits = "".join(filter(str.isdigit, found[0]))
    if "+" in found[0] and not digits.startswith("1"):
        return 9 <= len(digits) <= 15 and _is_varied(digits)
    area, exchange = digits[-10:-7], digits[-7:-4]
    return (
        len(digits) in (10, 11)
        and area[0] > "1"
        and exchange[0] > "1"
        and "555" not in (area, exchange)
        and area not in _TOLL_FREE
        and _is_varied(digits)
    )


def _is_varied(digits: str) -> bool:
    """Say whether the digits are neither few nor counted up or down one by one."""
    steps = {(int(after) - int(before)) % 10 for before, after in zip(digits[-8:], digits[-7:], strict=False)}
    return len(set(digits)) >= _FEWEST_DIGITS and not steps <= {1} and not steps <= {9}


def _is_card(found: re.Match[str]) -> bool:
    """Check the last digit as ISO/IEC 7812 has it."""
    digits = [int(digit) for digit in found[0] if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return len(set(digits)) >= _FEWEST_DIGITS and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(found: re.Match[str]) -> bool:
    """Check the two digits after the country as ISO 13616 has it."""
    text = found[0].replace(" ", "")
    return 15 <= len(text) <= 34 and int("".join(str(int(sign, 36)) for sign in text[4:] + text[:4])) % 97 == 1


def _is_secret(found: re.Match[str]) -> bool:
    return "EXAMPLE" not in found[0] and "xxxx" not in found[0].lower() and len(set(found[0][8:])) > 6


def _mask_address(found: re.Match[str]) -> str:
    return f"{found[1][0]}***@{found[2]}"


def _mask_start(found: re.Match[str]) -> str:
    """Keep the last two signs only."""
    return re.sub(r"\w", "*", found[0][:-2]) + found[0][-2:]


def _mask_end(found: re.Match[str]) -> str:
    """Keep the first signs only, which tell the sort of key."""
    return "a private key" if found[0].startswith("-") else f"{found[0][:4]}***"


def _hits(
    turn: TurnView,
    shape: re.Pattern[str],
    holds: Callable[[re.Match[str]], bool],
    mask: Callable[[re.Match[str]], str],
) -> Iterator[Hit]:
    """Give one hit for each text that has the shape."""
    texts: tuple[tuple[Field, str], ...] = (
        ("instruction", turn.instruction),
        ("input", turn.input),
        ("output", turn.output),
    )
    for field, text in texts:
        if found := next(filter(holds, shape.finditer(text)), None):
            yield Hit(field, f"{mask(found)} stands in the text", 0.9)


def _finder(
    may_have: Callable[[str], bool],
    shape: re.Pattern[str],
    holds: Callable[[re.Match[str]], bool],
    mask: Callable[[re.Match[str]], str],
) -> Callable[[TurnView], Iterable[Hit]]:
    """Make the function that looks for a shape in all texts of a turn, where a cheap test says it may be."""

    def find(turn: TurnView) -> Iterable[Hit]:
        if may_have(turn.output) or may_have(turn.instruction) or may_have(turn.input):
            return _hits(turn, shape, holds, mask)
        return ()

    return find


EMAIL = Rule(
    "email-address",
    "tag",
    "an e-mail address of a person, no placeholder",
    find=_finder(_may_have_address, _ADDRESS, _is_email, _mask_address),
    precision=1.0,
    read="all 3",
)
PHONE = Rule(
    "phone-number",
    "tag",
    "a telephone number, no placeholder",
    find=_finder(_may_have_phone, _PHONE, _is_phone, _mask_start),
    precision=1.0,
    read="all 7",
)
CARD = Rule(
    "payment-card",
    "tag",
    "a payment card's number with a right check digit",
    find=_finder(_has_long_number, _CARD, _is_card, _mask_start),
)
IBAN = Rule(
    "iban",
    "tag",
    "a bank account's number (IBAN) with right check digits",
    find=_finder(_has_long_number, _IBAN, _is_iban, _mask_start),
)
SECRET = Rule(
    "secret-key",
    "tag",
    "a key or token that opens an account",
    find=_finder(_may_have_secret, _SECRET, _is_secret, _mask_end),
)
