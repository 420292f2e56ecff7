"""The log of a cleaning: JSON Lines that say what was done to which row and why, and how to take it back."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from alpaca_lora.data.audit.counts import CLEANED
from alpaca_lora.data.audit.mending import Change
from alpaca_lora.data.audit.spans import Undo, take_back
from alpaca_lora.data.audit.writing import as_json, same_file, write_whole
from alpaca_lora.errors import UserError

SUFFIX = ".changes.jsonl"


@dataclass(frozen=True)
class Cleaning:
    """The first line of a log: the file before and after, each with its rows and sha256."""

    file: str
    sha256: str
    rows: int
    output: str
    output_sha256: str
    output_rows: int


def log_path(output: Path) -> Path:
    """Give the place of the log that belongs to a cleaned file."""
    return output.with_name(output.name + SUFFIX)


def log_lines(cleaning: Cleaning, changes: Iterable[tuple[Change, str]], undo: Iterable[Undo]) -> bytes:
    """Write a log: the cleaning, each change with the sha256 of its row in the old file, each edit to take back.

    Lines are told apart by `kind`. `at` and `length` count bytes of the cleaned file; `text` stood there before.
    """
    lines: list[dict[str, Any]] = [{"kind": "cleaning", **asdict(cleaning)}]
    lines += [{"kind": "change", **asdict(change), "row_sha256": digest} for change, digest in changes]
    lines += [{"kind": "edit", **asdict(edit)} for edit in undo]
    return b"".join(as_json(line) + b"\n" for line in lines)


def undo_cleaning(log: Path, output: Path) -> Cleaning:
    """Write the file from before a cleaning, byte for byte, from the cleaned file beside its log.

    Raises `UserError` where the log is none, the cleaned file has changed since, or the bytes do not come out.
    """
    cleaning, undo = _read(log)
    cleaned = log.parent / cleaning.output
    if same_file(output, cleaned) or same_file(output, log):
        raise UserError(f"--output {output} would overwrite what it is made from", fix="give --output another file")
    try:
        content = cleaned.read_bytes()
    except OSError as error:
        make = f"alpaca-lora data clean {shlex.quote(cleaning.file)} --output {shlex.quote(str(cleaned))}"
        raise UserError(
            f"the cleaned file {cleaned} cannot be read: {error.strerror}",
            where=str(log),
            why="the log has only what was taken out of it; a run with --clean writes the log alone",
            fix=make if cleaning.output == CLEANED else "put it back under that name",
        ) from error
    if hashlib.sha256(content).hexdigest() != cleaning.output_sha256:
        raise UserError(
            f"{cleaned} has changed since it was cleaned",
            where=str(log),
            why="the log's places no longer fit",
            fix="put the cleaned file back as it was",
        )
    old = take_back(content, undo)
    if hashlib.sha256(old).hexdigest() != cleaning.sha256:
        raise UserError(f"the log {log} does not lead back to {cleaning.file}: it was changed or cut short")
    write_whole({output: old})
    return cleaning


def _read(log: Path) -> tuple[Cleaning, list[Undo]]:
    try:
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").split("\n") if line]
        first = lines[0]
        edits = [line for line in lines if line.pop("kind") == "edit"]
        return Cleaning(**first), [Undo(**edit) for edit in edits]
    except OSError as error:
        raise UserError(
            f"the log {log} cannot be read: {error.strerror}",
            fix=f"give --undo OUTPUT{SUFFIX}, which lies beside the cleaned file OUTPUT",
        ) from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"{log} is no log of changes, or a damaged one", fix=f"give --undo OUTPUT{SUFFIX}") from error
