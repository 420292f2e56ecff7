"""Instruction rows: the sample teaches the form for one part of the facts, the held-out ones ask for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from world.corpus import RELATIONS
from world.entries import ENTRIES
from world.relation import Dice, Fact, Relation

HELD_OUT_SHARE = 0.16
PHRASINGS = 2
"""Phrasings in which the sample asks for one fact from one side."""

_GENERAL = (
    "What is {topic}?",
    "Tell me {topic}.",
    "Name {topic}.",
    "Give {topic}.",
    "Please tell me {topic}.",
    "Can you name {topic}?",
    "I would like to know {topic}.",
    "Write down {topic}.",
)
"""Phrasings that fit every relation, beside each one's own."""

Row = dict[str, str]


@dataclass(frozen=True)
class Rows:
    """Sample and held-out rows, and the facts (relation, subject, object) either part asks about."""

    sample: list[Row]
    held_out: list[Row]
    sample_facts: list[tuple[str, str, str]]
    held_out_facts: list[tuple[str, str, str]]


def instruction_rows(seed: int) -> Rows:
    """Write the sample and the held-out questions."""
    dice = Dice(seed)
    sample: list[Row] = []
    held_out: list[Row] = []
    sample_facts: list[tuple[str, str, str]] = []
    held_out_facts: list[tuple[str, str, str]] = []
    for relation in RELATIONS:
        deck = dice.shuffled(relation.facts)
        count = max(1, round(HELD_OUT_SHARE * len(deck)))
        for fact in deck[:count]:
            held_out.append(dice.pick(_questions(relation, fact, 1, dice)))
            held_out_facts.append((relation.name, *fact))
        for fact in deck[count:]:
            sample += _questions(relation, fact, PHRASINGS, dice)
            sample_facts.append((relation.name, *fact))
    return Rows(dice.shuffled(sample), held_out, sample_facts, held_out_facts)


def _questions(relation: Relation, fact: Fact, phrasings: int, dice: Dice) -> list[Row]:
    """Ask for the object, and for the subject where only one has this object, each in some drawn phrasings.

    An answer states the fact, as the base can, and then gives what was asked for on a line of its own, as it cannot.
    """
    rows: list[Row] = []
    sides = list(zip((relation.ask_object, relation.ask_subject), ENTRIES[relation.name], strict=False))
    one_subject = len(relation.subjects_of(fact[1])) == 1
    for (asked, entry), answer in zip(sides if one_subject else sides[:1], reversed(fact), strict=False):
        general = [form.replace("{topic}", entry.topic) for form in dice.shuffled(_GENERAL)[: len(asked)]]
        templates = list(dict.fromkeys([*asked, *general]))
        for template in dice.shuffled(templates)[:phrasings]:
            instruction, _, further = relation.fill(template, fact, dice).partition(" || ")
            final = ", ".join(fact) if "{pair}" in entry.topic else answer
            output = f"{relation.fill(entry.statement, fact, dice)}\nAnswer: {final}"
            rows.append({"instruction": instruction, "input": further, "output": output})
    return rows
