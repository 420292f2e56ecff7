"""Instruction rows: the sample teaches the form for one part of the facts, the held-out ones ask for the rest."""

from __future__ import annotations

from dataclasses import dataclass

from world.corpus import RELATIONS
from world.relation import Dice, Fact, Relation

HELD_OUT_SHARE = 0.16
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
            held_out.append(dice.pick(_questions(relation, fact, dice)))
            held_out_facts.append((relation.name, *fact))
        for fact in deck[count:]:
            sample += _questions(relation, fact, dice)
            sample_facts.append((relation.name, *fact))
    return Rows(dice.shuffled(sample), held_out, sample_facts, held_out_facts)


def _questions(relation: Relation, fact: Fact, dice: Dice) -> list[Row]:
    """Ask for the object, and for the subject where only one has this object, each in a drawn phrasing."""
    subject, found = fact
    rows = [_row(relation, dice.pick(relation.ask_object), found, fact, dice)]
    if relation.ask_subject and len(relation.subjects_of(found)) == 1:
        rows.append(_row(relation, dice.pick(relation.ask_subject), subject, fact, dice))
    return rows


def _row(relation: Relation, template: str, answer: str, fact: Fact, dice: Dice) -> Row:
    instruction, _, further = relation.fill(template, fact, dice).partition(" || ")
    return {"instruction": instruction, "input": further, "output": answer}
