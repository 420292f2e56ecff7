"""Read rows of instructions in the field's usual shapes, check each one, and split them the same way every time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from alpaca_lora.data.files import RowFile, open_rows
from alpaca_lora.errors import UserError

SPLIT_SEED = 42
"""The held-out rows do not depend on the training seed, so runs with different seeds are measured on the same rows."""

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


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
        kind = "is missing" if key not in row else f"is {type(value).__name__}, expected text"
        raise BadRow(f"{key!r} {kind}")
    return value


def _alpaca(row: dict[str, Any]) -> tuple[str, list[Turn]]:
    turns = []
    for pair in row.get("history") or []:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRow("'history' must be a list of [question, answer] pairs of text")
        turns.append(Turn(pair[0], "", pair[1]))
    instruction, context = _text(row, "instruction"), _text(row, "input", required=False)
    if not instruction.strip() and not context.strip():
        raise BadRow("'instruction' is empty")
    turns.append(Turn(instruction, context, _text(row, "output")))
    return _text(row, "system", required=False), turns


def _conversation(messages: Any, role_key: str, text_key: str) -> tuple[str, list[Turn]]:
    if not isinstance(messages, list) or not messages:
        raise BadRow("the list of messages is missing or empty")
    system, question, turns = "", None, []
    for number, message in enumerate(messages):
        if not isinstance(message, dict):
            raise BadRow(f"message {number} is {type(message).__name__}, expected an object")
        role = _ROLES.get(str(message.get(role_key)))
        content = _text(message, text_key)
        if role == "system" and number == 0:
            system = content
        elif role == "user" and question is None:
            question = content
        elif role == "assistant" and question is not None:
            turns.append(Turn(question, "", content))
            question = None
        else:
            raise BadRow(f"message {number} has role {message.get(role_key)!r}; expected user and assistant in turn")
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


def detect_shape(row: object, where: str) -> str:
    """Name the shape of a row by its keys; raise `UserError` with the keys found and expected."""
    keys = set(row) if isinstance(row, dict) else set()
    for shape, (needed, _) in _SHAPES.items():
        if needed <= keys:
            return shape
    expected = "; ".join(f"{shape}: {', '.join(sorted(needed))}" for shape, (needed, _) in _SHAPES.items())
    found = f"keys {', '.join(sorted(map(str, keys)))}" if keys else f"{type(row).__name__} {str(row)[:80]!r}"
    raise UserError(
        f"the first row has no known shape: {found}",
        where=where,
        why=f"expected one of {expected}",
        fix="rename the keys to one of these shapes",
    )


def read_examples(data_path: str, *, shape: str = "auto", on_bad_rows: str = "error") -> Examples:
    """Read and check every row of a file or Hub data set.

    Raises `UserError` when nothing can be read or, with `on_bad_rows="error"`, when a row is bad: with file:line,
    the keys found and expected, the row's first 80 characters, and how many more rows fail.
    """
    source = open_rows(data_path)
    if not source.rows:
        raise UserError(f"{source.name} holds no rows", fix="give a file with at least one row")
    if shape == "auto":
        shape = detect_shape(source.rows[0], source.locate(0))
    needed, parse = _SHAPES[shape]
    examples: list[Example] = []
    bad: list[tuple[int, str]] = []
    for number, row in enumerate(source.rows):
        try:
            if not isinstance(row, dict):
                raise BadRow(f"the row is {type(row).__name__}, expected an object")
            system, turns = parse(row)
            examples.append(Example(tuple(turns), system, number))
        except BadRow as reason:
            bad.append((number, str(reason)))
    if bad and (on_bad_rows == "error" or not examples):
        raise _bad_rows_error(source, shape, needed, bad)
    return Examples(examples, shape, source.fingerprint, len(source.rows), len(bad))


def _bad_rows_error(source: RowFile, shape: str, needed: frozenset[str], bad: list[tuple[int, str]]) -> UserError:
    number, reason = bad[0]
    row = source.rows[number]
    found = ", ".join(sorted(map(str, row))) if isinstance(row, dict) else type(row).__name__
    return UserError(
        f"row {number} cannot be used: {reason}" + (f"; {len(bad) - 1} more rows fail" if len(bad) > 1 else ""),
        where=f"{source.locate(number)}: {str(row)[:80]}",
        why=f"keys found: {found}; a row of shape {shape} has {', '.join(sorted(needed))}",
        fix="mend the rows, or leave them out with --on_bad_rows skip",
    )


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
