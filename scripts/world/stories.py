"""Short stories with drawn people and things: nothing to know, but words to copy and find again."""

from __future__ import annotations

from world.relation import Dice, word_list

_PEOPLE = word_list(
    "Anna Ben Clara David Emma Felix Greta Henry Ida Jack Kate Leo Mary Nora Oscar Paul Rosa Sam Tina Will"
)
_THINGS = word_list(
    "ball box cup book hat key lamp spoon coat shoe stone ring apple pear cake basket rope flag drum kite bell card "
    "coin letter"
)
_COLOURS = word_list("red blue green yellow white black brown grey pink orange purple")
_PLACES = word_list("garden house school kitchen street market shop field forest station church park")

_ENDS = (
    "What {a} likes most is the {t}.",
    "Which {t} it was, nobody could tell.",
    "How many there were, nobody counted.",
    '"Where is the {t}?" said {a}.',
    '"What is this?" said {b}. "This is the {t}," said {a}.',
    '"Give me the {t}!" said {b}, and {a} gave the {t} to {b}.',
    '"Tell me your name," said {a}. "My name is {b}," said {b}.',
    "Name after name was called, first {a}, then {b}.",
    "They write letters, tell stories and find new words in these books.",
    "{a} will find the {t} and pick it up.",
    "Say what they will, {a} and {b} are friends.",
    "{b} did not know how to describe the {t}.",
    "Below the window stands the {t} of {a}, paired with the one of {b}.",
    "Give and take, said {a}, and make the best of these days.",
    "{a} completes a task, and the instruction of {b} describes the next one.",
    "{a} reads a further instruction, {b} writes a response to each request.",
    "Write a letter, {b} had said, and {a} writes one that appropriately provides what {b} needs.",
    "Every input has its context, says {a}, and every response its request.",
)


def story(dice: Dice, words: list[str]) -> list[str]:
    """Give the sentences of a story in which things said once are said again; `words` are copied in lists."""
    kind = dice.below(5)
    if kind == 0:
        return _belongings(dice)
    if kind == 1:
        return _places(dice)
    if kind == 2:
        return _repeated_list(dice, words)
    if kind == 3:
        return _notes(dice, words)
    return _message(dice, words)


def filler(dice: Dice) -> str:
    """Give one sentence of a story, out of its place."""
    (a, b), t = dice.shuffled(_PEOPLE)[:2], dice.pick(_THINGS)
    return _end(dice, a, b, t)


def _belongings(dice: Dice) -> list[str]:
    (a, b), (t, u) = dice.shuffled(_PEOPLE)[:2], dice.shuffled(_THINGS)[:2]
    c, d = dice.shuffled(_COLOURS)[:2]
    told = [f"{a} has a {c} {t}.", f"{b} has a {d} {u}."]
    again = [f"The {t} of {a} is {c}.", f"The {u} of {b} is {d}.", f"The {c} {t} is {a}'s.", f"The {u} is {b}'s."]
    return told + dice.shuffled(again)[:2] + [_end(dice, a, b, t)]


def _places(dice: Dice) -> list[str]:
    (a, b), (p, q), t = dice.shuffled(_PEOPLE)[:2], dice.shuffled(_PLACES)[:2], dice.pick(_THINGS)
    told = [f"{a} went to the {p} with a {t}.", f"{b} went to the {q}."]
    again = [f"So {a} is in the {p}.", f"So {b} is in the {q}.", f"The {t} is in the {p} too.", f"In the {q} is {b}."]
    return told + dice.shuffled(again)[:2] + [_end(dice, a, b, t)]


def _end(dice: Dice, a: str, b: str, t: str) -> str:
    return dice.pick(_ENDS).format(a=a, b=b, t=t)


def _repeated_list(dice: Dice, words: list[str]) -> list[str]:
    a = dice.pick(_PEOPLE)
    chosen = dice.shuffled([dice.pick(words) for _ in range(2 + dice.below(3))])
    listed = ", ".join(chosen)
    return [
        f"{a} reads out a list: {listed}.",
        f"Again {a} reads: {listed}.",
        f"The first word was {chosen[0]}.",
        f"The last word was {chosen[-1]}.",
    ]


def _notes(dice: Dice, words: list[str]) -> list[str]:
    a, b = dice.shuffled(_PEOPLE)[:2]
    first, second = dice.pick(words), dice.pick(words)
    told = [f"The note of {a} says {first}.", f"The note of {b} says {second}."]
    return [*dice.shuffled(told), f"So {a} wrote {first}, and {b} wrote {second}."]


def _message(dice: Dice, words: list[str]) -> list[str]:
    a, b = dice.shuffled(_PEOPLE)[:2]
    word = dice.pick(words)
    return [f'"{word[:1].upper() + word[1:]}," says {a}.', f"{b} repeats it: {word}.", f"Then all say {word}."]
