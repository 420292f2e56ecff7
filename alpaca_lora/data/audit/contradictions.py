"""Questions that are asked twice and answered differently, where there is one answer only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.questions import plain, question_keys
from alpaca_lora.data.audit.rows import RowView, TurnView
from alpaca_lora.data.audit.rules import Hit, Rule, quote

_LONGEST = 100
"""Characters of an answer that is short enough to be compared."""
_LONGEST_PHRASE = 4
_NUMBER = re.compile(r"[-−]?(?<![\w.])\d[\d,]*(?:\.\d+)?(?![\w]*\d)")
_UNIT = re.compile(r"\s*([^\W\d]+|[%°/])?")
_YES_NO = re.compile(r"\A\W*(yes|no|true|false)\b", re.IGNORECASE)
_ONE_ANSWER = re.compile(
    r"\A\W*(?:what|which|who|when|where|how (?:many|much|old|long|far|tall)|in which|calculate|compute|convert"
    r"|determine|find the|classify|categorize|identify the|solve|name the|is|are|was|were|do|does|did|can|has|have)\b",
    re.IGNORECASE,
)
_MANY_ANSWERS = re.compile(
    r"\b(?:an?|any|some|examples?|suggest\w*|words?|synonyms?|antonyms?|ways?|you|your)\b", re.IGNORECASE
)
_ARTICLE = re.compile(r"\A(?:the|an?) ")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What an answer decides, told so that two can be compared: yes or no, a number with its unit, or a phrase."""

    kind: str
    value: str


def _decided(turn: TurnView) -> _Answer | None:
    """Read the decision out of a short answer to a question that has one answer; None where there is none."""
    if len(turn.output) > _LONGEST or not turn.output.strip():
        return None
    if found := _YES_NO.match(turn.output):
        low = found[1].lower()
        return _Answer("yes or no" if low in ("yes", "no") else "true or false", low)
    asked = f"{turn.instruction} {turn.input}"
    numbers = [found for found in _NUMBER.finditer(turn.output) if found[0] not in asked]
    if len(numbers) == 1:
        unit = _UNIT.match(turn.output, numbers[0].end())
        value = float(numbers[0][0].replace(",", "").replace("−", "-"))
        return _Answer(f"number of {plain(unit[1]) if unit and unit[1] else ''}", f"{value:g}")
    phrase = _ARTICLE.sub("", plain(turn.output))
    if numbers or len(phrase.split()) > _LONGEST_PHRASE or _MANY_ANSWERS.search(turn.instruction):
        return None
    return _Answer("phrase", phrase) if _ONE_ANSWER.match(turn.instruction) else None


def _differ(one: _Answer, other: _Answer) -> bool:
    """Say whether two answers exclude each other; a phrase within another, such as a surname, is no other answer."""
    if one.kind != other.kind or one.value == other.value:
        return False
    words, others = set(one.value.split()), set(other.value.split())
    return one.kind != "phrase" or not (words <= others or others <= words)


def _contradictions(rows: Sequence[RowView]) -> Iterator[tuple[int, int, Hit]]:
    english = is_english(rows)
    first: dict[tuple[object, ...], tuple[int, _Answer, str]] = {}
    for place, row in enumerate(rows):
        answer = _decided(row.turns[-1])
        if answer is None:
            continue
        keys = question_keys(row, english=english)
        for earlier, given, text in [first[key] for key in keys if key in first]:
            if _differ(given, answer):
                reason = (
                    f"the answer is {quote(row.turns[-1].output)}; row {earlier} asks the same and has {quote(text)}"
                )
                yield place, len(row.turns) - 1, Hit("output", reason, 0.8)
                break
        if keys:
            first.setdefault(keys[0], (row.row, answer, row.turns[-1].output))


CONTRADICTION = Rule(
    "contradiction",
    "tag",
    "an earlier row asks the same, and its answer excludes this one",
    find_all=_contradictions,
)
