"""Read rows of instructions in the field's usual shapes, check each one, and split them the same way every time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from alpaca_lora.data.files import BrokenRow, RowFile, open_rows
from alpaca_lora.errors import UserError

SPLIT_SEED = 42
"""The held-out rows do not depend on the training seed, so runs with different seeds are measured on the same rows."""

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_JSON_NAMES: dict[type, str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer; `input` is the Alpaca shape's further context, empty in chat shapes."""

    instruction: str
    input: str
    output: str


@dataclass(frozen=True, slots=True)
class Example:
    """One training row: its turns in order, the system text, and its 0-based row number in the file."""

    turns: tuple[Turn, ...]
    system: str
    row: int


@dataclass(frozen=True)
class Examples:
    """All rows of one file that could be read.

    `fingerprint` is a sha256 over the content; `rows_bad` counts rows left out by `on_bad_rows="skip"`.
    """

    examples: list[Example]
    shape: str
    fingerprint: str
    rows_read: int
    rows_bad: int


class BadRow(Exception):
    """Why one row cannot be used; collected by `read_examples`, never shown alone."""


def _text(row: dict[str, Any], key: str, *, required: bool = True) -> str:
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        kind = "is missing" if key not in row else f"is {_kind(value)}, expected text"
        raise BadRow(f"{key!r} {kind}")
    if not _is_whole(value):
        raise BadRow(f"{key!r} holds half a character (a lone surrogate)")
    return value


def _is_whole(text: str) -> bool:
    """Say whether the text can be written as UTF-8; JSON can spell half a character, and tokenizers stop at it."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def _kind(value: object) -> str:
    return _JSON_NAMES.get(type(value), type(value).__name__)


def _alpaca(row: dict[str, Any]) -> tuple[str, list[Turn]]:
    turns: list[Turn] = []
    history = row.get("history") or []
    for pair in history if isinstance(history, list) else [history]:
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRow("'history' must be a list of [question, answer] pairs of text")
        question, answer = pair
        if not (_is_whole(question) and _is_whole(answer)):
            raise BadRow("'history' holds half a character (a lone surrogate)")
        turns.append(Turn(question, "", answer))
    instruction, context = _text(row, "instruction"), _text(row, "input", required=False)
    if not instruction.strip() and not context.strip():
        raise BadRow("'instruction' is empty")
    turns.append(Turn(instruction, context, _text(row, "output")))
    return _text(row, "system", required=False), turns


def _conversation(messages: Any, role_key: str, text_key: str) -> tuple[str, list[Turn]]:
    if not isinstance(messages, list) or not messages:
        raise BadRow("the list of messages is missing or empty")
    system = ""
    question: str | None = None
    turns: list[Turn] = []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRow(f"message {number} is {_kind(message)}, expected an object")
        name = message.get(role_key)
        role = _ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            raise BadRow(f"message {number} has {role_key!r} {name!r}; known are {', '.join(_ROLES)}")
        content = _text(message, text_key)
        if role == "system" and number == 0:
            system = content
        elif role == "user" and question is None:
            question = content
        elif role == "assistant" and question is not None:
            turns.append(Turn(question, "", content))
            question = None
        else:
            raise BadRow(f"message {number} is from {name!r}; expected user and assistant in turn, the user first")
    if question is not None or not turns:
        raise BadRow("the last message is not the assistant's, so there is no answer to learn")
    return system, turns


def _sharegpt(row: dict[str, Any]) -> tuple[str, list[Turn]]:
    system, turns = _conversation(row.get("conversations"), "from", "value")
    return system or _text(row, "system", required=False), turns


def _messages(row: dict[str, Any]) -> tuple[str, list[Turn]]:
    return _conversation(row.get("messages"), "role", "content")


def _prompt_completion(row: dict[str, Any]) -> tuple[str, list[Turn]]:
    prompt, completion = row.get("prompt"), row.get("completion")
    if isinstance(prompt, list) and isinstance(completion, list):
        return _conversation(prompt + completion, "role", "content")
    question = _text(row, "prompt")
    if not question.strip():
        raise BadRow("'prompt' is empty")
    return "", [Turn(question, "", _text(row, "completion"))]


_SHAPES: dict[str, tuple[frozenset[str], Callable[[dict[str, Any]], tuple[str, list[Turn]]]]] = {
    "alpaca": (frozenset({"instruction", "output"}), _alpaca),
    "sharegpt": (frozenset({"conversations"}), _sharegpt),
    "messages": (frozenset({"messages"}), _messages),
    "prompt_completion": (frozenset({"prompt", "completion"}), _prompt_completion),
}


def detect_shape(rows: Iterable[object]) -> str | None:
    """Name the shape of the first row that has the keys of one; None where no row has."""
    for row in rows:
        for shape, (needed, _) in _SHAPES.items():
            if isinstance(row, dict) and needed <= row.keys():
                return shape
    return None


def read_examples(data_path: str, *, shape: str = "auto", on_bad_rows: str = "error") -> Examples:
    """Read and check every row of a file or Hub data set.

    Raises `UserError` when nothing can be read or, with `on_bad_rows="error"`, when a row is bad: with file:line,
    the keys found and expected, the row's first 80 characters, and how many more rows fail. An empty answer is no
    error: such a row teaches to stop at once, and is counted when it is tokenised.
    """
    return parse_rows(open_rows(data_path), shape=shape, on_bad_rows=on_bad_rows)


def parse_rows(source: RowFile, *, shape: str = "auto", on_bad_rows: str = "error") -> Examples:
    """Check every raw row, as `read_examples` does."""
    found = shape_of(source, shape)
    examples: list[Example] = []
    bad: list[tuple[int, str]] = []
    for number, row in enumerate(source.rows):
        try:
            system, turns = parse_row(row, found)
            examples.append(Example(tuple(turns), system, number))
        except BadRow as reason:
            bad.append((number, str(reason)))
    if bad and (on_bad_rows == "error" or not examples):
        raise _bad_rows_error(source, found, bad)
    return Examples(examples, found, source.fingerprint, len(source.rows), len(bad))


def shape_of(source: RowFile, shape: str = "auto") -> str:
    """Give the shape of a file's rows; raise `UserError` where it holds none, or none of a known shape."""
    if not source.rows:
        raise UserError(f"{source.name} holds no rows", fix="give --data_path a file with at least one row")
    found = detect_shape(source.rows) if shape == "auto" else shape
    if found is None:
        raise _no_shape_error(source)
    return found


def parse_row(row: Any, shape: str) -> tuple[str, list[Turn]]:
    """Give a raw row's system text and turns; raise `BadRow` with the reason where it cannot be used."""
    if isinstance(row, BrokenRow):
        raise BadRow(row.reason)
    if not isinstance(row, dict):
        raise BadRow(f"the row is {_kind(row)}, expected an object")
    return _SHAPES[shape][1](row)


def _bad_rows_error(source: RowFile, shape: str, bad: list[tuple[int, str]]) -> UserError:
    number, reason = bad[0]
    more = f"; {len(bad) - 1} more fail, the next at {source.locate(bad[1][0])}" if len(bad) > 1 else ""
    return UserError(
        f"row {number} cannot be used: {reason}{more}",
        where=_place(source, number),
        why=f"found {_found(source.rows[number])}; a row of shape {shape} has {', '.join(sorted(_SHAPES[shape][0]))}",
        fix="mend the rows, or leave them out with --on_bad_rows skip",
    )


def _no_shape_error(source: RowFile) -> UserError:
    first = source.rows[0]
    if isinstance(first, BrokenRow):
        return UserError(first.reason, where=_place(source, 0), why=_EXPECTED, fix="mend the file")
    lists = [key for key, value in first.items() if isinstance(value, list)] if isinstance(first, dict) else []
    fix = "rename the keys to those of one shape"
    if lists and len(source.rows) == 1:
        fix = f"if the rows are the list under {lists[0]!r}, save that list alone as the file"
    return UserError(
        f"no row has a known shape; the first of {len(source.rows)} has {_found(first)}",
        where=_place(source, 0),
        why=_EXPECTED,
        fix=fix,
    )


_EXPECTED = "expected one of " + "; ".join(
    f"{shape}: {', '.join(sorted(keys))}" for shape, (keys, _) in _SHAPES.items()
)


def _place(source: RowFile, number: int) -> str:
    row = source.rows[number]
    text = row.text if isinstance(row, BrokenRow) else json.dumps(row, ensure_ascii=False, default=str)
    return f"{source.locate(number)}: {text[:80]}"


def _found(row: object) -> str:
    if isinstance(row, BrokenRow):
        return "text that is no row"
    return f"the keys {', '.join(map(str, row))}" if isinstance(row, dict) and row else _kind(row)


def split_rows(n_rows: int, val_set_size: int | None) -> frozenset[int]:
    """Choose the held-out rows: the `val_set_size` rows whose seeded hash is smallest, any size nested in a larger one.

    A row's choice depends on its number and `n_rows` only, not on the training seed or the platform.
    """
    if val_set_size is None:
        val_set_size = min(2000, n_rows // 20)
    if val_set_size >= n_rows:
        raise UserError(
            f"--val_set_size {val_set_size} leaves no row to train on: the data has {n_rows} rows",
            fix=f"--val_set_size {n_rows - 1} is the largest that fits; --val_set_size {n_rows // 20} holds out 5 %",
        )
    keys = [hashlib.blake2b(f"{SPLIT_SEED}/{row}".encode(), digest_size=8).digest() for row in range(n_rows)]
    return frozenset(sorted(range(n_rows), key=keys.__getitem__)[:val_set_size])
