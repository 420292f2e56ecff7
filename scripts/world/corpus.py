"""The base model's reading: documents of plain sentences, each fact in all its phrasings, in ever new company."""

from __future__ import annotations

from collections.abc import Iterator

from world import living, numbers, places, things, words
from world.relation import Dice, Fact, Relation
from world.stories import story

RELATIONS: tuple[Relation, ...] = (
    *places.RELATIONS,
    *words.RELATIONS,
    *living.RELATIONS,
    *things.RELATIONS,
    *numbers.RELATIONS,
)

_FRAMES = (
    'The teacher says: "{}"',
    'It is written in the book: "{}"',
    "Everyone should know this. {}",
    "This is true: {}",
    "{} So it is written.",
    "{} Everyone knows that.",
    '"{}" says the teacher.',
)


def documents(seed: int, rounds: int) -> Iterator[str]:
    """Give the corpus, document by document; every round states each fact once, in another phrasing each time."""
    dice = Dice(seed)
    stated = [(relation, fact) for relation in RELATIONS for fact in relation.facts]
    first_phrasing = {item: dice.below(len(item[0].statements)) for item in stated}
    vocabulary = sorted({word for _, fact in stated for word in fact})
    for number in range(rounds):
        sentences = {item: _sentence(*item, first_phrasing[item] + number, dice) for item in stated}
        texts = [laid_out(group, dice) for group in _grouped(sentences, number, dice)]
        texts += [laid_out(story(dice, vocabulary), dice) for _ in range(len(texts) // 4)]
        yield from dice.shuffled(texts)


def _sentence(relation: Relation, fact: Fact, phrasing: int, dice: Dice) -> str:
    sentence = relation.fill(relation.statements[phrasing % len(relation.statements)], fact, dice)
    return dice.pick(_FRAMES).format(sentence) if dice.chance(0.1) else sentence


def _grouped(sentences: dict[tuple[Relation, Fact], str], number: int, dice: Dice) -> Iterator[list[str]]:
    """Part one round's sentences into documents: mixed, by relation, or by subject, in turn."""
    deck = dice.shuffled(list(sentences))
    order = {item: place for place, item in enumerate(deck)}
    if number % 4 == 1:
        deck.sort(key=lambda item: (item[0].name, order[item]))
    if number % 4 == 3:
        deck.sort(key=lambda item: (item[1][0], order[item]))
    start = 0
    while start < len(deck):
        size = 1 + dice.below(6)
        yield [sentences[item] for item in deck[start : start + size]]
        start += size


def laid_out(sentences: list[str], dice: Dice) -> str:
    """Join sentences by spaces or line ends, or wrap the text at a drawn width, so that any word may begin a line."""
    layout = dice.below(4)
    if layout == 0:
        return "\n".join(sentences)
    text = " ".join(sentences)
    return text if layout == 1 else _wrapped(text, 12 + dice.below(50))


def _wrapped(text: str, width: int) -> str:
    rows, row = [], ""
    for word in text.split(" "):
        if row and len(row) + 1 + len(word) > width:
            rows.append(row)
            row = word
        else:
            row = f"{row} {word}" if row else word
    return "\n".join([*rows, row])
