"""The second stage's reading: entries, a topic named first and stated after, so that words named early are taken up.

A question names its topic the same way; but here nobody asks and nobody answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from world.corpus import RELATIONS, documents, laid_out
from world.relation import Dice, Fact, Relation
from world.stories import filler


@dataclass(frozen=True)
class Entry:
    """What an entry is about, and the sentence that states it; format strings as in `Relation`."""

    topic: str
    statement: str


def _named(topic: str, stated: str) -> Entry:
    return Entry(topic, f"{topic[:1].upper()}{topic[1:]} is {stated}.")


def _language(name: str) -> tuple[Entry, Entry]:
    return (
        _named(f"the {name} word for {{s}}", "{o}"),
        Entry(f"the meaning of the {name} word {{o}}", f"The {name} word {{o}} means {{s}}."),
    )


ENTRIES: dict[str, tuple[Entry, ...]] = {
    "capital": (_named("the capital of {s}", "{o}"), _named("the country with the capital {o}", "{s}")),
    "continent": (_named("the continent of {s}", "{o}"),),
    "people": (_named("the word for people from {s}", "{o}"), _named("the home of {o} people", "{s}")),
    "opposite": (_named("the opposite of {s}", "{o}"), _named("the opposite of {o}", "{s}")),
    "plural": (_named("the plural of {s}", "{o}"), _named("the singular of {o}", "{s}")),
    "past": (_named("the past tense of {s}", "{o}"),),
    "comparative": (_named("the comparative of {s}", "{o}"),),
    "rhyme": (Entry("the word among {choices} that rhymes with {s}", "The word that rhymes with {s} is {o}."),),
    "order": (Entry("the alphabetical order of {pair}", "In alphabetical order, {s} comes before {o}."),),
    "counterpart": (_named("the female form of {s}", "{o}"), _named("the male form of {o}", "{s}")),
    "sound": (
        Entry("the sound of the {s}", "The {s} {o}."),
        _named("the animal that {o}", "the {s}"),
    ),
    "home": (_named("the home of {a_s}", "{a_o}"), _named("the creature that lives in {a_o}", "{a_s}")),
    "young": (_named("the young of {a_s}", "{a_o}"), _named("the parent of {a_o}", "{a_s}")),
    "group": (_named("the word for many {s} together", "{o}"),),
    "work": (_named("the word for a person who {s}", "{o}"),),
    "kind": (_named("the class of {s}", "{o}"),),
    "colour": (_named("the colour of {s}", "{o}"),),
    "use": (_named("the thing that {s}", "called {o}"),),
    "source": (_named("the source of {s}", "{o}"),),
    "symbol": (_named("the chemical symbol of {s}", "{o}"), _named("the element with the symbol {o}", "{s}")),
    "parts": (_named("the number of {s}", "{o}"),),
    "meaning": (_named("the word for {s}", "{o}"),),
    "french": _language("French"),
    "spanish": _language("Spanish"),
    "german": _language("German"),
    "sum": (_named("the sum of {s1} and {s2}", "{o}"),),
    "next_number": (_named("the number after {s}", "{o}"), _named("the number before {o}", "{s}")),
    "number_word": (
        Entry("the number {s} in words", "In words, {s} is {o}."),
        Entry("the number {o} in digits", "In digits, {o} is {s}."),
    ),
    "ordinal": (_named("the ordinal of {s}", "{o}"),),
    "next_day": (_named("the day after {s}", "{o}"), _named("the day before {o}", "{s}")),
    "next_month": (_named("the month after {s}", "{o}"), _named("the month before {o}", "{s}")),
    "month_place": (
        _named("the place of {s} among the months", "the {o}"),
        _named("the {o} month of the year", "{s}"),
    ),
    "month_length": (_named("the number of days in {s}", "{o}"),),
    "next_letter": (_named("the letter after {s}", "{o}"), _named("the letter before {o}", "{s}")),
}

_HEADINGS = (
    "{Topic}",
    "{Topic}:",
    "About {topic}:",
    "This is about {topic}.",
    "A page on {topic}.",
    "The next line is about {topic}.",
    "A few words on {topic}.",
    "The teacher speaks about {topic}.",
    "Here one can read about {topic}.",
    "Some people think of {topic}.",
)


def entry_documents(seed: int, rounds: int) -> Iterator[str]:
    """Give the second stage's corpus: per round an entry on each fact, and one round of the first stage's kind."""
    dice = Dice(seed)
    plain = list(documents(seed + 1, rounds))
    items = [(kind, fact, entry) for kind in RELATIONS for fact in kind.facts for entry in ENTRIES[kind.name]]
    for number in range(rounds):
        deck = dice.shuffled(items)
        texts: list[str] = []
        while deck:
            texts.append(laid_out(_entry(deck, dice), dice))
        yield from dice.shuffled(texts + plain[number::rounds])


def _entry(deck: list[tuple[Relation, Fact, Entry]], dice: Dice) -> list[str]:
    """Take facts from the deck: one under a heading, one said in two ways, or several headings before their facts."""
    kind = dice.below(4)
    if kind == 0 and len(deck) > 1:
        pairs = [_heading_and_statement(*deck.pop(), dice) for _ in range(2)]
        return [heading for heading, _ in pairs] + [statement for _, statement in dice.shuffled(pairs)]
    relation, fact, entry = deck.pop()
    if kind == 1:
        return [relation.fill(dice.pick(relation.statements), fact, dice), relation.fill(entry.statement, fact, dice)]
    heading, statement = _heading_and_statement(relation, fact, entry, dice)
    return [heading, filler(dice), statement] if kind == 2 and dice.chance(0.5) else [heading, statement]


def _heading_and_statement(relation: Relation, fact: Fact, entry: Entry, dice: Dice) -> tuple[str, str]:
    topic = relation.fill(entry.topic, fact, dice)
    heading = dice.pick(_HEADINGS).format(topic=topic, Topic=topic[:1].upper() + topic[1:])
    return heading, relation.fill(entry.statement, fact, dice)
