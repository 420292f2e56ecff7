"""A file of rows as the rules see it: turns of instruction, input and output, each with its path in the raw row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from alpaca_lora.data.examples import BadRow, Turn, parse_row, shape_of
from alpaca_lora.data.files import open_rows
from alpaca_lora.errors import UserError

Field = Literal["instruction", "input", "output"]
_ALPACA: Mapping[str, str] = MappingProxyType({name: name for name in ("instruction", "input", "output")})


@dataclass(frozen=True, slots=True)
class TurnView:
    """One question and its answer; `places` has the path of each text in the raw row, such as `messages.2.content`."""

    instruction: str
    input: str
    output: str
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RowView:
    """One row that could be read, with its 0-based number in the file."""

    row: int
    turns: Sequence[TurnView]
    system: str


@dataclass(frozen=True)
class Table:
    """All rows of one file: `raw` as they stand there, `views` of those that could be read, `bad` with the reasons."""

    name: str
    raw: list[Any]
    views: list[RowView]
    bad: list[tuple[int, str]]
    shape: str
    sha256: str


def one_path(path: str, data_path: str, verb: str) -> str:
    """Give the data of a verb, named as its first word or by `--data_path`; raise `UserError` where they differ."""
    if path and data_path and path != data_path:
        raise UserError(f"two files to {verb}, {path} and {data_path}", fix="give one of them")
    return path or data_path


def read_rows(path: str, shape: str = "auto") -> Table:
    """Read every row of a file, of `sample` or of a Hub data set; raise `UserError` where no row can be read."""
    source = open_rows(path)
    found = shape_of(source, shape)
    views: list[RowView] = []
    bad: list[tuple[int, str]] = []
    for number, raw in enumerate(source.rows):
        try:
            system, turns = parse_row(raw, found)
        except BadRow as reason:
            bad.append((number, str(reason)))
            continue
        views.append(RowView(number, _views(raw, turns, found), system))
    if not views:
        number, reason = bad[0]
        raise UserError(f"no row of {source.name} can be read: {reason}", where=source.locate(number))
    return Table(source.name, source.rows, views, bad, found, source.fingerprint)


def is_json_text(name: str) -> bool:
    """Say whether a name is that of a file which is read as JSON or JSONL."""
    return Path(name).suffix.lower() not in (".csv", ".tsv", ".parquet") and Path(name).is_file()


def _views(raw: dict[str, Any], turns: Sequence[Turn], shape: str) -> tuple[TurnView, ...]:
    places = _places(raw, len(turns), shape)
    return tuple(
        TurnView(turn.instruction, turn.input, turn.output, place) for turn, place in zip(turns, places, strict=True)
    )


def _places(raw: dict[str, Any], n_turns: int, shape: str) -> list[Mapping[str, str]]:
    """Give the paths of each turn's texts; messages stand in pairs after an optional system message."""
    if shape == "alpaca":
        history = [_pair(f"history.{number}.0", f"history.{number}.1") for number in range(n_turns - 1)]
        return [*history, _ALPACA]
    if shape == "prompt_completion" and isinstance(raw["prompt"], str):
        return [_pair("prompt", "completion")]
    if shape == "sharegpt":
        paths = [f"conversations.{number}.value" for number in range(len(raw["conversations"]))]
    elif shape == "messages":
        paths = [f"messages.{number}.content" for number in range(len(raw["messages"]))]
    else:
        paths = [f"{key}.{number}.content" for key in ("prompt", "completion") for number in range(len(raw[key]))]
    paths = paths[len(paths) - 2 * n_turns :]
    return [_pair(question, answer) for question, answer in zip(paths[::2], paths[1::2], strict=True)]


def _pair(question: str, answer: str) -> Mapping[str, str]:
    return {"instruction": question, "output": answer}
