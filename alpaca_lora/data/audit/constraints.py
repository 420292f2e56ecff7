"""What the task asks of the answer, where a machine can decide it: words, items, JSON and Python, a known bug."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Hit, Rule

_WORD_LIMIT = re.compile(
    r"\b(?:in|under|within|less than|fewer than|no more than|not more than|at most|max(?:imum)?(?: of)?|up to"
    r"|using) (\d{1,4}) ?words?\b(?!:)"
    r"|\b(\d{1,4}) words? or (?:less|fewer)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w'’-]+")
_TOLERATED = 1.1
"""A limit is a round number; up to a tenth more is no flaw."""
_WORDS_FOR_NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {name: value for value, name in enumerate(_WORDS_FOR_NUMBERS, start=2)}
_ITEMS = re.compile(
    r"\b(?:list|name|give|suggest|provide|write|generate|create|identify|come up with|brainstorm|find|describe"
    r"|state|tell me) "
    r"(?:(?:me|a list of|the|of|an?|some|us|out|exactly|(?P<least>at least)) ){0,3}(?P<number>two|three|four"
    r"|five|six|seven|eight|nine|ten|\d{1,2}) "
    r"(?!(?:words?|sentences?|minutes?|days?|hours?|years?|lines?|pages?|paragraphs?|percent|people|persons?"
    r"|steps?|characters?|weeks?|months?|items?|parts?"
    r"|points?|course|stanzas?|syllables?|star|digits?|bed|stor(?:y|ies)|rooms?|or|to|by|letters?|questions?"
    r"|different (?:words|sentences))\b|[-%x])",
    re.IGNORECASE,
)
_ITEM = re.compile(r"^\s*(\d{1,2})[.)]\s", re.MULTILINE)
_FENCE = re.compile(r"\A```\w*\n|\n?```\Z")
_ASKS_GREATEST = re.compile(
    r"\A(?!.*\b(?:positive|natural|non-negative|prices?)\b).*\b(?:max|maximum|largest|biggest|highest|greatest)\b"
    r".*\b(?:list|array|numbers|integers|values|elements|sequence)\b",
    re.IGNORECASE | re.DOTALL,
)
_FROM_ZERO = re.compile(
    r"\b(?P<best>\w*(?:max|largest|biggest|highest|greatest)\w*)\s*=\s*0(?:\.0)?\s*(?:[;\n#,]|//)"
    r"[\s\S]*?\bif\b[^\n]{0,30}>\s*(?P=best)\b",
    re.IGNORECASE,
)
_PYTHON_START = re.compile(r"(?:def|import|from|class|for|while|if|print|#|@|\w+ ?= ?)\b|#")


def _word_limit(turn: TurnView) -> Iterator[Hit]:
    if "word" not in turn.instruction or not (found := _WORD_LIMIT.search(turn.instruction)):
        return
    limit, words = int(found[1] or found[2]), len(_WORD.findall(turn.output))
    if words > limit * _TOLERATED + 1:
        yield Hit("output", f"asked for {found[0].strip()}, the output has {words}", 0.95)


def _item_count(turn: TurnView) -> Iterator[Hit]:
    if "2." not in turn.output and "2)" not in turn.output:
        return
    items = [int(number) for number in _ITEM.findall(turn.output)]
    if len(items) < 2 or items != list(range(1, len(items) + 1)) or not (found := _ITEMS.search(turn.instruction)):
        return
    word = found["number"].lower()
    asked = _NUMBERS[word] if word in _NUMBERS else int(word)
    if len(items) < asked or (len(items) > asked and not found["least"]):
        yield Hit("output", f"asked for {asked} items, the output numbers {len(items)}", 0.95)


def _json(turn: TurnView) -> Iterator[Hit]:
    if "json" not in turn.instruction.lower():
        return
    text = _FENCE.sub("", turn.output.strip()).strip()
    if text[:1] in ("{", "[") and text[-1:] in ("}", "]"):
        try:
            json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Hit("output", f"the JSON does not parse: {error}", 0.95)


def _python(turn: TurnView) -> Iterator[Hit]:
    text = turn.output.strip()
    if "def " not in text and "print" not in text and "import " not in text:
        return
    text = _FENCE.sub("", text)
    if not _PYTHON_START.match(text) or "python" not in turn.instruction.lower():
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings, which are no error
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        yield Hit("output", f"the Python does not parse: {error}", 0.9)


def _greatest(turn: TurnView) -> Iterator[Hit]:
    if "0" in turn.output and _ASKS_GREATEST.match(turn.instruction) and (found := _FROM_ZERO.search(turn.output)):
        yield Hit("output", f"the search starts from {found['best']} = 0, which is wrong where all are negative", 0.9)


WORD_LIMIT = Rule(
    "over-word-limit",
    "tag",
    "the output has more words than the task allows",
    find=_word_limit,
    english_only=True,
    precision=1.0,
    read="30 of 44",
)
ITEM_COUNT = Rule(
    "item-count",
    "tag",
    "the output numbers more or fewer items than the task asks for",
    find=_item_count,
    english_only=True,
    precision=29 / 30,
    read="30 of 42",
)
BROKEN_JSON = Rule(
    "broken-json",
    "tag",
    "asked for JSON, the output looks like JSON and does not parse",
    find=_json,
    precision=1.0,
    read="all 1",
)
BROKEN_PYTHON = Rule(
    "broken-python",
    "tag",
    "asked for Python, the output looks like Python and does not parse",
    find=_python,
    precision=1.0,
    read="all 4",
)
MAXIMUM_FROM_ZERO = Rule(
    "maximum-from-zero",
    "defect",
    "the code looks for the greatest number from 0 on, and so finds none among negative ones",
    find=_greatest,
    english_only=True,
    precision=1.0,
    read="all 7",
)
