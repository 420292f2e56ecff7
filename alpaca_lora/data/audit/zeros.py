"""Improbable zeros: strings that ought to occur in this much text and never do, as where a generator was stopped.

Two tests, both over numbers, which are alike enough to be compared with each other:
- a number and the sign after it, such as `20.`: the share of each number of as many digits that this sign follows is
  taken as a draw from one beta distribution, fitted to all of them; it says how improbable it is that none does;
- counted lists that all break off before one number, while almost none does at the numbers before.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lgamma, log

_NUMBER_AND_SIGN = re.compile(r"[0-9]+[^0-9]")
_ITEM = re.compile(r"(?:^|\s)([0-9]{1,3})[.):]\s")
_FEWEST = 30
"""Numbers seen less often say nothing about shares."""
_FEWEST_EXPECTED = 5.0
_FEWEST_MEMBERS = 5
IMPROBABLE = -7.0
"""Natural logarithm of the probability below which a zero is told: among some thousand tests one in ten by chance."""
_SHORTEST_LIST = 6


@dataclass(frozen=True, slots=True)
class Zero:
    """A string that never occurs: how often it was expected, and the logarithm of the probability of that."""

    text: str
    expected: float
    log_probability: float
    what: str


def improbable_zeros(texts: Iterable[str]) -> list[Zero]:
    """Give the strings that improbably never occur in the texts, the most improbable first."""
    texts = list(texts)
    pairs = Counter(_NUMBER_AND_SIGN.findall("\n".join(texts)))
    zeros = [zero for zero in (*_missing_signs(pairs), *_broken_lists(texts)) if zero.log_probability < IMPROBABLE]
    return sorted(zeros, key=lambda zero: zero.log_probability)


def _missing_signs(pairs: Mapping[str, int]) -> Iterator[Zero]:
    totals: Counter[str] = Counter()
    for pair, count in pairs.items():
        totals[pair[:-1]] += count
    families: dict[int, list[str]] = defaultdict(list)
    for number, total in totals.items():
        if total >= _FEWEST and (number[0] != "0" or number == "0"):
            families[len(number)].append(number)
    for numbers in families.values():
        if len(numbers) < _FEWEST_MEMBERS:
            continue
        members = set(numbers)
        for sign in {pair[-1] for pair in pairs if pair[:-1] in members and not pair[-1].isalnum()}:
            counts = [(pairs.get(number + sign, 0), totals[number]) for number in numbers]
            for number, (count, total) in zip(numbers, counts, strict=True):
                if count == 0 and (zero := _zero(number + sign, total, counts)):
                    yield zero


def _zero(text: str, total: int, counts: Sequence[tuple[int, int]]) -> Zero | None:
    """Compare a number that a sign never follows with the others of its family; None where few were expected."""
    others = list(counts)
    others.remove((0, total))
    followed, seen = sum(count for count, _ in others), sum(other for _, other in others)
    share = followed / seen
    if share * total < _FEWEST_EXPECTED or share >= 1:
        return None
    spread = _spread(others, share, seen)
    a, b = share * (1 / spread - 1), (1 - share) * (1 / spread - 1)
    probability = lgamma(b + total) - lgamma(b) - lgamma(a + b + total) + lgamma(a + b)
    return Zero(text, share * total, probability, f"{text!r} ({text[:-1]} occurs {total} times)")


def _spread(counts: Sequence[tuple[int, int]], share: float, seen: int) -> float:
    """Estimate by moments how much the shares differ beyond chance: 0 not at all, 1 each is all or nothing."""
    variance = share * (1 - share)
    deviation = sum(total * (count / total - share) ** 2 for count, total in counts)
    chance = variance * (len(counts) - 1)
    weight = seen - sum(total * total for _, total in counts) / seen - (len(counts) - 1)
    return min(max((deviation - chance) / (variance * weight), 1e-4), 0.999)


def _broken_lists(texts: Iterable[str]) -> Iterator[Zero]:
    """Look for an item that no counted list has although many lists have the one before.

    How many should go on is what went on over the three items before. A list that ends with five, seven, ten or twelve
    has a natural end, and says nothing.
    """
    lengths = Counter(length for text in texts if (length := list_length(text)) >= _SHORTEST_LIST)
    longest = max(lengths, default=0)
    if longest % 5 == 0 or longest in (7, 12):
        return
    reached, before = lengths[longest], sum(count for length, count in lengths.items() if length >= longest - 3)
    stopping = (before - reached + 1) / (before + 2)
    if reached * (1 - stopping) >= _FEWEST_EXPECTED:
        what = f"item {longest + 1} ({reached} lists break off before it)"
        yield Zero(str(longest + 1), reached * (1 - stopping), reached * log(stopping), what)


def list_length(text: str) -> int:
    """Give the last number of the list that a text counts from 1 upwards, 0 where it counts none."""
    if "3" not in text or "1" not in text:
        return 0
    expected = 1
    for number in _ITEM.findall(text):
        if int(number) == expected:
            expected += 1
        elif int(number) == 1:
            expected = 2
    return expected - 1
