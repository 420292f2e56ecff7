"""A relation of the small world: its facts, the sentences that state them, the questions that ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TypeVar

T = TypeVar("T")
Fact = tuple[str, str]


class Dice:
    """Seeded draws that are the same on every platform and Python: only `random.Random.random` is used.

    Its sequence is guaranteed never to change, that of `shuffle`, `choice` and `sample` is not.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed).random

    def below(self, limit: int) -> int:
        """Draw an integer from 0 to below `limit`."""
        return int(self._random() * limit)

    def chance(self, share: float) -> bool:
        """Be true in `share` of the draws."""
        return self._random() < share

    def pick(self, items: tuple[T, ...] | list[T]) -> T:
        """Draw one item."""
        return items[self.below(len(items))]

    def shuffled(self, items: tuple[T, ...] | list[T]) -> list[T]:
        """Give the items in a drawn order."""
        deck = list(items)
        for last in range(len(deck) - 1, 0, -1):
            other = self.below(last + 1)
            deck[last], deck[other] = deck[other], deck[last]
        return deck


@dataclass(frozen=True)
class Relation:
    """Facts of one kind.

    `statements` and questions are format strings over {s} and {o} (subject and object), {S} and {O} (with a capital),
    {a_s}, {A_s}, {a_o}, {A_o} (with a or an), {s1} and {s2} (the words of a two-word subject), {choices} (the object
    among two other facts' objects) and {pair} (subject and object in a drawn order). ` || ` parts a question's
    instruction from its input.
    """

    name: str
    facts: tuple[Fact, ...]
    statements: tuple[str, ...]
    ask_object: tuple[str, ...] = ()
    ask_subject: tuple[str, ...] = ()

    def subjects_of(self, wanted: str) -> list[str]:
        """List the subjects that share an object."""
        return [subject for subject, found in self.facts if found == wanted]

    def fill(self, template: str, fact: Fact, dice: Dice) -> str:
        """Write a fact into a format string."""
        subject, found = fact
        words = subject.split(" ", 1)
        values = {
            **_forms("s", subject),
            **_forms("o", found),
            "s1": words[0],
            "s2": words[-1],
        }
        if "{choices}" in template:
            others = [other for _, other in self.facts if other != found]
            first = dice.pick(others)
            second = dice.pick([other for other in others if other != first])
            values["choices"] = ", ".join(dice.shuffled([found, first, second]))
        if "{pair}" in template:
            values["pair"] = ", ".join(dice.shuffled([subject, found]))
        return template.format_map(values)


def _forms(letter: str, word: str) -> dict[str, str]:
    noun = f"{'an' if word[:1] in 'aeiou' else 'a'} {word}"
    return {
        letter: word,
        letter.upper(): word[:1].upper() + word[1:],
        f"a_{letter}": noun,
        f"A_{letter}": noun[:1].upper() + noun[1:],
    }


def facts(text: str) -> tuple[Fact, ...]:
    """Read `subject=object` entries parted by semicolons or line ends."""
    entries = [entry.strip() for entry in text.replace("\n", ";").split(";")]
    pairs = [entry.split("=") for entry in entries if entry]
    return tuple((subject.strip(), found.strip()) for subject, found in pairs)


def lines(text: str) -> tuple[str, ...]:
    """Read one format string a line."""
    return tuple(line.strip() for line in text.strip().splitlines())


def word_list(text: str) -> list[str]:
    """Read words parted by white space."""
    return text.split()
