"""`data diff`: rows added, removed and changed between two files, aligned by what they say, not by where they stand."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.text import Text

from alpaca_lora.data.audit.rules import counted
from alpaca_lora.data.audit.settings import DiffConfig
from alpaca_lora.data.audit.writing import as_json, check_output, write_whole
from alpaca_lora.data.files import BrokenRow, RowFile, open_rows
from alpaca_lora.inference.differences import mark_differences

_WORD = re.compile(r"\w+|[^\w\s]")
_ROLE_KEYS = frozenset(("role", "from"))
_LEAST_ALIKE = 0.5
"""Rows less alike are one removed and one added; alike is the mean over fields of the share of common words."""
_RARE_WORDS = 6
"""A row is compared with those that have one of its rarest words in common."""
_LONGEST_LIST = 40
"""A text or word that more rows share tells none of them from the others."""
_CONTEXT = 40

Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One text that differs, by its path in the row; None where a row lacks it."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row of the old file that stands changed in the new one: 0-based rows in each."""

    old: int
    new: int
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True)
class Difference:
    """What two lists of rows have in common, and what not; rows are 0-based, in the order of their files."""

    same: int
    changed: list[RowChange]
    removed: list[int]
    added: list[int]


def diff(old: str, new: str, config: DiffConfig) -> None:
    """Print how two files differ, with the first changed rows word by word; write all of it where asked."""
    if config.json:
        check_output(config.json, "--json", old, new)
    before, after = open_rows(old), open_rows(new)
    found = compare(before.rows, after.rows)
    console = Console()
    _print_difference(before, after, found, config.show, console)
    if config.json:
        record = {
            "old": {"file": before.name, "sha256": before.fingerprint, "rows": len(before.rows)},
            "new": {"file": after.name, "sha256": after.fingerprint, "rows": len(after.rows)},
            **asdict(found),
        }
        write_whole({Path(config.json).expanduser(): as_json(record, indent=1)}, "--json")


def compare(old: Sequence[Any], new: Sequence[Any]) -> Difference:
    """Align rows: equal ones first, then each with the most alike of those left."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for row in range(len(old) - 1, -1, -1):
        waiting[_key(old[row])].append(row)
    unmatched: list[int] = []
    for row, raw in enumerate(new):
        if places := waiting.get(_key(raw)):
            places.pop()
        else:
            unmatched.append(row)
    left = sorted(row for places in waiting.values() for row in places)
    olds, news = {row: _fields(old[row]) for row in left}, {row: _fields(new[row]) for row in unmatched}
    pairs = _most_alike(olds, news)
    changed = [RowChange(a, b, _changes(olds[a], news[b])) for a, b in sorted(pairs.items())]
    added = sorted(news.keys() - set(pairs.values()))
    return Difference(len(new) - len(unmatched), changed, sorted(olds.keys() - pairs.keys()), added)


def _key(row: Any) -> str:
    return row.text if isinstance(row, BrokenRow) else json.dumps(row, sort_keys=True, default=str)


def _fields(value: Any, path: str = "") -> dict[str, str]:
    """Give every plain value in a row as text, by its path."""
    if isinstance(value, BrokenRow):
        return {"": value.text}
    if not isinstance(value, (dict, list)):
        return {path: value if isinstance(value, str) else json.dumps(value, default=str)}
    items = cast("dict[str, Any]", value).items() if isinstance(value, dict) else enumerate(cast("list[Any]", value))
    fields: dict[str, str] = {}
    for key, inner in items:
        fields.update(_fields(inner, f"{path}.{key}" if path else str(key)))
    return fields


def _changes(old: Fields, new: Fields) -> tuple[FieldChange, ...]:
    names = [*old, *(name for name in new if name not in old)]
    return tuple(FieldChange(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def _most_alike(olds: Mapping[int, Fields], news: Mapping[int, Fields]) -> dict[int, int]:
    """Pair rows: those that alone begin with the same text, whatever follows; those that alone share some text; then
    the most alike first, of equals those at the nearest places.
    """
    begins = _alone([{row: _first(fields) for row, fields in rows.items()} for rows in (olds, news)])
    pairs = dict(begins)
    taken = set(pairs.values())
    old_words = {row: _words(fields) for row, fields in olds.items() if row not in pairs}
    new_words = {row: _words(fields) for row, fields in news.items() if row not in taken}
    scored: list[tuple[float, int, int, int]] = []
    for old, new in _alone(
        [{row: list(words.items()) for row, words in rows.items()} for rows in (old_words, new_words)]
    ):
        if old not in pairs and new not in taken and _alike(old_words[old], new_words[new]) >= _LEAST_ALIKE:
            pairs[old] = new
            taken.add(new)
    old_words = {row: words for row, words in old_words.items() if row not in pairs}
    new_words = {row: words for row, words in new_words.items() if row not in taken}
    for new, old in _candidates(old_words, new_words):
        alike = _alike(old_words[old], new_words[new])
        if alike >= _LEAST_ALIKE:
            scored.append((-alike, abs(old - new), old, new))
    for _, _, old, new in sorted(scored):
        if old not in pairs and new not in taken:
            pairs[old] = new
            taken.add(new)
    return pairs


def _alone(sides: Sequence[Mapping[int, Iterable[Any]]]) -> list[tuple[int, int]]:
    """Give the pairs of an old and a new row that have something which no other row of either side has."""
    places: list[dict[Any, list[int]]] = []
    for rows in sides:
        having: dict[Any, list[int]] = defaultdict(list)
        for row, things in rows.items():
            for thing in things:
                having[thing].append(row)
        places.append(having)
    old, new = places
    return [(rows[0], new[thing][0]) for thing, rows in old.items() if len(rows) == len(new.get(thing, ())) == 1]


def _first(fields: Fields) -> list[tuple[str, str]]:
    """Give the first text of a row, mostly its question or an id."""
    return next(([item] for item in fields.items() if _says_something(*item)), [])


def _says_something(name: str, text: str) -> bool:
    """Say whether a text tells rows apart; who speaks does not."""
    return bool(text.strip()) and name.rpartition(".")[2] not in _ROLE_KEYS


def _words(fields: Fields) -> dict[str, frozenset[str]]:
    """Give the words of each text that says something."""
    return {
        name: frozenset(_WORD.findall(text) or [text]) for name, text in fields.items() if _says_something(name, text)
    }


def _alike(old: Mapping[str, frozenset[str]], new: Mapping[str, frozenset[str]]) -> float:
    shares = [
        len(old[name] & new[name]) / len(old[name] | new[name]) if name in old and name in new else 0.0
        for name in old.keys() | new.keys()
    ]
    return sum(shares) / len(shares) if shares else 1.0


def _candidates(
    olds: Mapping[int, Mapping[str, frozenset[str]]], news: Mapping[int, Mapping[str, frozenset[str]]]
) -> Iterator[tuple[int, int]]:
    """Give the pairs (new, old) worth a comparison: they share a whole text, or a rare word."""
    with_text: dict[tuple[str, frozenset[str]], list[int]] = defaultdict(list)
    with_word: dict[str, list[int]] = defaultdict(list)
    for row, fields in olds.items():
        for name, words in fields.items():
            with_text[name, words].append(row)
        for word in frozenset[str]().union(*fields.values()):
            with_word[word].append(row)
    often = Counter({word: len(rows) for word, rows in with_word.items()})
    for new, fields in news.items():
        found = {row for name, words in fields.items() for row in _nearest(with_text.get((name, words), ()), new)}
        known = [word for word in frozenset[str]().union(*fields.values()) if word in often]
        for word in sorted(known, key=lambda word: (often[word], word))[:_RARE_WORDS]:
            found.update(_nearest(with_word[word], new))
        for old in found:
            yield new, old


def _nearest(rows: Sequence[int], place: int) -> Sequence[int]:
    """Of many rows keep those that stand nearest to a place."""
    return rows if len(rows) <= _LONGEST_LIST else sorted(rows, key=lambda row: abs(row - place))[:_LONGEST_LIST]


def _print_difference(old: RowFile, new: RowFile, found: Difference, show: int, console: Console) -> None:
    def line(text: str | Text) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    line(f"old     {old.name}: {counted(len(old.rows), 'row')}")
    line(f"new     {new.name}: {counted(len(new.rows), 'row')}")
    line(f"same    {found.same:,}")
    fields = Counter(change.field for row in found.changed for change in row.fields)
    names = ", ".join(f"{name} {count:,}" for name, count in fields.most_common())
    line(f"changed {len(found.changed):,}" + (f": {names}" if names else ""))
    for name, rows in (("removed", found.removed), ("added", found.added)):
        line(f"{name:<7} {len(rows):,}" + (f": rows {_numbers(rows)}" if rows else ""))
    for row in found.changed[:show]:
        line("")
        line(f"row {row.old} -> {row.new}")
        for change in row.fields:
            before, after = change.before, change.after
            if before is not None:
                line(_marked(f"  - {change.field}: ", before, after or "", ("[-", "-]", "red")))
            if after is not None:
                line(_marked(f"  + {change.field}: ", after, before or "", ("{+", "+}", "green")))
    if show and len(found.changed) > show:
        line(f"\n{len(found.changed) - show:,} more; --show prints more of them, --json FILE writes all")


def _numbers(rows: Sequence[int]) -> str:
    return ", ".join(map(str, rows[:8])) + (", …" if len(rows) > 8 else "")


def _marked(label: str, text: str, other: str, signs: tuple[str, str, str]) -> Text:
    """Write a text on one line, what the other lacks between signs and coloured, what is far from it left out."""
    begin, end, colour = signs
    line = Text(label)
    pieces = list(mark_differences(text, other)) if other else [(text, True)]
    for number, (piece, differs) in enumerate(pieces):
        piece = _visible(piece)
        if differs:
            line.append(f"{begin}{_shortened(piece, 4, 4)}{end}", style=colour)
        else:
            line.append(_shortened(piece, int(number > 0), int(number < len(pieces) - 1)))
    return line


def _visible(text: str) -> str:
    """Write what does not show, such as control characters, as JSON would; line ends as an arrow."""
    if text.isprintable():
        return text
    signs = ("↵" if sign == "\n" else sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)
    return "".join(signs)


def _shortened(piece: str, before: int, after: int) -> str:
    """Keep so many times the context at each end of a long piece."""
    head, tail = before * _CONTEXT, after * _CONTEXT
    if len(piece) <= max(head + tail, _CONTEXT) + 1:
        return piece
    return f"{piece[:head]}…{piece[len(piece) - tail :]}"
