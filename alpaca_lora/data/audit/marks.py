"""A person's marks on the rows of a file: JSON Lines that only grow, and what they are to the cleaner.

A line is {"row", "row_sha256", "mark", "edit", "before", "at"}: the 0-based row, the sha256 of it as canonical JSON, a
verdict or null, which takes the mark back, the new and the old texts by path where the verdict is "edit", and the time.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from bisect import bisect_left
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from filelock import FileLock, Timeout

from alpaca_lora.data.audit.rows import RowView, Table
from alpaca_lora.data.audit.rules import Finding, Rule, Severity
from alpaca_lora.data.audit.writing import as_json, check_output, write_whole
from alpaca_lora.errors import UserError

Verdict = Literal["defect", "low value", "fine", "edit"]
SUFFIX = ".marks.jsonl"
BY_HAND = Rule("marked-by-hand", "defect", "a person's mark, which comes before all other rules", find=lambda _: ())
_LONGEST_WAIT = 10.0
_TURN = threading.Lock()


@dataclass(frozen=True, slots=True)
class Mark:
    """What a person said of a row; `edit` has the new texts by their paths in it, and is empty for other verdicts."""

    mark: Verdict
    edit: Mapping[str, str]


def marks_path(data_path: str) -> Path:
    """Give the place of a data set's marks: beside a file, or in this folder for what is no file of the user's."""
    file = Path(data_path).expanduser()
    return file.with_name(file.name + SUFFIX) if file.is_file() else Path(data_path.replace("/", "--") + SUFFIX)


def load_marks(path: Path | str, table: Table) -> dict[int, Mark]:
    """Read what was said of the rows of a table, in their order; the last line of a row counts.

    Raises `UserError` where the file cannot be read, a line is damaged or cut off, or a marked row is another by now.
    """
    path = Path(path).expanduser()
    last = {line["row"]: (number, line) for number, line in _lines(path)}
    held = {row: (number, line) for row, (number, line) in sorted(last.items()) if line["mark"]}
    others = [row for row, (_, line) in held.items() if _digest(table, row) != line["row_sha256"]]
    if others:
        more = f", nor are {len(others) - 1:,} more of {len(held):,}" if len(others) > 1 else ""
        raise UserError(
            f"row {others[0]} of {table.name} is not the row that was marked{more}",
            where=f"{path}:{held[others[0]][0]}",
            why="the data has changed since, or is other data",
            fix="give the data as it was marked, or take the lines of such rows out of the marks",
        )
    for row, (number, line) in held.items():
        if line["mark"] == "edit":
            try:
                _check_edit(table, view_of(table, row), line["edit"])
            except UserError as error:
                raise UserError(error.what, where=f"{path}:{number}", fix="mend that line, or take it out") from error
    return {row: Mark(line["mark"], line.get("edit", {})) for row, (_, line) in held.items()}


def verdicts_of(marks: Mapping[int, Mark]) -> dict[int, Verdict]:
    """Give the verdict alone of each row marked, as the ranker learns from it."""
    return {row: mark.mark for row, mark in marks.items()}


@contextmanager
def keep_marks(path: Path, wait: float = 0) -> Generator[None]:
    """Keep all other processes from adding marks.

    Raises `UserError` where one of them keeps them for `wait` seconds, and where none can be written.
    """
    file = Path(os.path.realpath(check_output(str(path), "--marks")))
    guard = file.with_name(f".{file.name}.lock")
    lock = FileLock(guard, is_singleton=True, thread_local=False, poll_interval=0.01)
    try:
        lock.acquire(timeout=wait)
    except Timeout as error:
        fix = "end it, or give --marks another file"
        raise UserError("another review keeps marks here", where=str(path), fix=fix) from error
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}", fix="give --marks another place") from error
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # none is left behind; who waits for it sees that it is gone, and makes another
            with suppress(OSError):
                guard.unlink()
        lock.release()


def add_mark(
    path: Path, table: Table, row: int, mark: Verdict | None, edit: Mapping[str, str] | None = None
) -> dict[int, Mark]:
    """Add a line to the marks, None takes the row's mark back; give all that hold then.

    Threads and processes take turns. The file under its name is whole at any time, and on the disk when this returns.
    Texts of `edit` are named by their path, those of the last turn by instruction, input or output as well; a text that
    stays the same is left out.

    Raises `UserError` for a row or an edit that cannot be, and where the file cannot be read or written.
    """
    view = view_of(table, row)
    line: dict[str, Any] = {"row": row, "row_sha256": _digest(table, row), "mark": mark}
    new = _by_path(view, edit or {})
    if mark == "edit":
        _check_edit(table, view, new)
        line |= {"edit": new, "before": {place: _texts(view)[place] for place in new}}
    elif edit:
        raise UserError("only the mark 'edit' comes with texts")
    line["at"] = datetime.now(UTC).isoformat(timespec="seconds")
    content, marks = b"", dict[int, Mark]()
    with _TURN, keep_marks(path, _LONGEST_WAIT):
        if path.exists():
            marks = load_marks(path, table)
            content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            content += b"\n"
        write_whole({path: content + as_json(line) + b"\n"}, "--marks")
    marks.pop(row, None)
    return {**marks, row: Mark(mark, new)} if mark else marks


def view_of(table: Table, row: int) -> RowView:
    """Give a row that could be read; raise `UserError` for any other number."""
    place = bisect_left(table.views, row, key=lambda view: view.row)
    if place == len(table.views) or table.views[place].row != row:
        raise UserError(f"{table.name} has no row {row} that can be read")
    return table.views[place]


def hand_findings(marks: Mapping[int, Mark], *, drop_low_value: bool) -> list[Finding]:
    """Give a person's marks as the cleaner takes findings; the fix "keep" tells it to leave a row alone."""

    def finding(row: int, severity: Severity, fix: dict[str, str] | None, field: str = "") -> Finding:
        return Finding(row, BY_HAND.id, severity, field, f"marked as {marks[row].mark}", 1.0, fix)

    found: list[Finding] = []
    for row, mark in marks.items():
        if mark.mark == "defect" or (mark.mark == "low value" and drop_low_value):
            found.append(finding(row, "defect", {"action": "drop"}))
        elif mark.mark == "edit":
            edits = mark.edit.items()
            found += [finding(row, "defect", {"action": "set", "value": text}, path) for path, text in edits]
        else:
            found.append(finding(row, "tag", {"action": "keep"} if mark.mark == "fine" else None))
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give each line with its 1-based number."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the marks {path} cannot be read: {error.strerror}") from error
    if content.strip() and b'"mark":' not in content:
        raise UserError(f"{path} is no file of marks", fix="give --marks what `data review` writes: FILE.marks.jsonl")
    texts = content.split(b"\n")
    for number, text in enumerate(texts, start=1):
        try:
            line = json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            line = {}
        if line is None:
            continue
        if not _is_mark(line):
            cut = 1 < number == len(texts)  # a single line is rather another kind of file
            raise UserError(
                "the last line of the marks is cut off" if cut else f"line {number} is no mark",
                where=f"{path}:{number}",
                why="the file was damaged: what a person said there is not known any more",
                fix="take that line out, and mark its row anew",
            )
        yield number, line


def _is_mark(line: Any) -> bool:
    return (
        isinstance(line, dict)
        and type(line.get("row")) is int
        and isinstance(line.get("row_sha256"), str)
        and line.get("mark", "") in (*get_args(Verdict), None)
        and isinstance(line.get("edit", {}), dict)
        and (line["mark"] == "edit") == ("edit" in line)
    )


def _digest(table: Table, row: int) -> str:
    """Give the sha256 of a raw row as canonical JSON; empty for a number beyond the rows."""
    if not 0 <= row < len(table.raw):
        return ""
    text = json.dumps(table.raw[row], sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _texts(view: RowView) -> dict[str, str]:
    """Give the texts of a row by their paths."""
    return {path: getattr(turn, name) for turn in view.turns for name, path in turn.places.items()}


def _by_path(view: RowView, edit: Mapping[str, str]) -> dict[str, str]:
    """Name the texts of an edit by their paths, and leave out those that stay the same."""
    last, old = view.turns[-1].places, _texts(view)
    named = {last.get(name, name): text for name, text in edit.items()}
    return {path: text for path, text in named.items() if text != old.get(path, "")}


def _check_edit(table: Table, view: RowView, edit: Mapping[str, Any]) -> None:
    """Raise `UserError` for an edit that no row can take: of no text, to half a character, or to an empty question."""
    if not edit:
        raise UserError(f"the edit of row {view.row} changes no text", fix="mark a row that is right as fine")
    for path, text in edit.items():
        if path not in _texts(view) or not isinstance(_raw_text(table.raw[view.row], path), str):
            raise UserError(f"row {view.row} has no text {path!r}", fix=f"its texts are {', '.join(_texts(view))}")
        if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"the new {path} is no text, or holds half a character (a lone surrogate)")
    for turn in view.turns:
        new = {name: edit[path] for name, path in turn.places.items() if path in edit}
        turn = replace(turn, **new)
        if not (turn.instruction + turn.input).strip():
            raise UserError(f"the edit of row {view.row} leaves no question", fix="mark the row as a defect to drop it")


def _raw_text(raw: Any, path: str) -> Any:
    """Give what stands at a path of a raw row, None where nothing does."""
    for step in path.split("."):
        raw = raw[int(step)] if isinstance(raw, list) else raw.get(step)
    return raw
