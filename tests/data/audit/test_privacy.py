"""Addresses, telephone numbers, cards, accounts and keys are found, never shown whole; placeholders are left."""

from __future__ import annotations

import pytest

from alpaca_lora.data.audit.privacy import CARD, EMAIL, IBAN, PHONE, SECRET
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Hit, Rule

KEY = "AKIA" + "Q7ZB4M2XK9WD3TNP"
TOKEN = "ghp_" + "a8Kd93mZpQ2rT6vXw1Yb5Nc7Le0Jh4Gf2SuRi"
PRIVATE = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEowIBAAKCAQEA0v3Xk9\n"


def _hits(rule: Rule, text: str) -> list[Hit]:
    assert rule.find
    return list(rule.find(TurnView("Keep this.", text, "Done.", {})))


@pytest.mark.parametrize(
    ("rule", "text", "shown"),
    [
        (EMAIL, "Write to olga.maier@posteo.example-host.de, please.", "o***@posteo.example-host.de"),
        (EMAIL, "<olga+list@uni-ulm.de>", "o***@uni-ulm.de"),
        (PHONE, "Call (732) 246-9063 now", "(***) ***-**63"),
        (PHONE, "Call +1 732-246-9063 now", "+* ***-***-**63"),
        (PHONE, "Tel. +49 731 5094 2718.", "+** *** **** **18"),
        (PHONE, "+33 1 42 68 53 07", "+** * ** ** ** 07"),
        # Luhn's own check: 4 and the doubled digits add up to a multiple of ten.
        (CARD, "card 4539 1488 0343 6467, please", "**** **** **** **67"),
        (CARD, "371449635398431", "*************31"),
        (IBAN, "to GB29 NWBK 6016 1331 9268 19", "**** **** **** **** **** 19"),
        (IBAN, "FR1420041010050500013M02606", "*************************06"),
        (SECRET, f"key = {KEY}", "AKIA***"),
        (SECRET, f"export TOKEN={TOKEN}", "ghp_***"),
        (SECRET, PRIVATE, "a private key"),
    ],
)
def test_what_is_real_is_found_and_masked(rule: Rule, text: str, shown: str) -> None:
    (hit,) = _hits(rule, text)
    assert hit.field == "input"
    assert hit.reason == f"{shown} stands in the text"
    assert hit.fix is None


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (EMAIL, "olga@example.com, olga@mail.example.org, olga@somewhere.test"),
        (EMAIL, "your.name@gmail.com john.doe@gmail.com user12@gmail.com olga@company.com"),
        (EMAIL, "support@uni-ulm.de"),
        (EMAIL, "@olga writes a @ b"),
        (PHONE, "(732) 555-0142, 555-246-9063"),
        (PHONE, "123-456-7890, 987-654-3210, 234-567-8901, 222-222-2222, 000-000-0000"),
        (PHONE, "143-246-9063 and 732-146-9063"),
        (PHONE, "(800) 246-9063"),
        (PHONE, "2019-10-24 1000 2000 3000, 12.345.678.9012, +3 + 4 = 7"),
        (CARD, "4539 1488 0343 6468"),
        (CARD, "4242 4242 4242 4242, 4444 4444 4444 4444"),
        (CARD, "9780306406157 and 01110101 01100001"),
        (IBAN, "GB28 NWBK 6016 1331 9268 19"),
        (IBAN, "AB12 CDEF"),
        (SECRET, "AKIAIOSFODNN7" + "EXAMPLE, sk-xxxxxxxxxxxxxxxxxxxxxxxx, task-of-the-day-is-long-enough"),
        (SECRET, "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----"),
    ],
)
def test_placeholders_and_wrong_check_digits_are_left(rule: Rule, text: str) -> None:
    assert _hits(rule, text) == []


def test_every_text_of_a_turn_is_looked_at() -> None:
    text = "olga@uni-ulm.de and ida@uni-ulm.de"
    assert EMAIL.find
    hits = list(EMAIL.find(TurnView(text, text, text, {})))
    assert [hit.field for hit in hits] == ["instruction", "input", "output"]
