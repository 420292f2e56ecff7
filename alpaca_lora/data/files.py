"""Open a file or Hub data set as a list of raw rows, and find the line a row stands on."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from alpaca_lora.errors import UserError

_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class BrokenRow:
    """A place in a file where a row should be and cannot be read; the rest of the file can."""

    reason: str
    text: str


@dataclass(frozen=True)
class RowFile:
    """Raw rows with their origin.

    Attributes:
        rows: what the file holds, whatever its type; `BrokenRow` where one row alone cannot be read.
        fingerprint: sha256 of the file's bytes, or of a Hub data set's rows.
        lines: 1-based line at which each row begins, None where the format has no lines.
    """

    name: str
    rows: list[Any]
    fingerprint: str
    lines: list[int] | None

    def locate(self, row: int) -> str:
        """Give `file:line` of a row, or `file row N` (0-based) where the format has no lines."""
        return f"{self.name}:{self.lines[row]}" if self.lines else f"{self.name} row {row}"


def open_rows(data_path: str) -> RowFile:
    """Read all rows of a local file, of the bundled `sample`, or of the train split of a Hub data set."""
    path = _local_path(data_path)
    if path is not None:
        return parse_file(_read(path), path)
    from alpaca_lora.hub import read_hub_rows

    rows = read_hub_rows(data_path)
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode())
    return RowFile(data_path, rows, digest.hexdigest(), None)


def content_fingerprint(data_path: str) -> str:
    """Give the sha256 that `open_rows` would give, without parsing; "" for a Hub id, known only by its rows."""
    path = _local_path(data_path)
    return "" if path is None else hashlib.sha256(_read(path)).hexdigest()


def _local_path(data_path: str) -> Path | None:
    """Resolve `--data_path` to an existing file, or to None for a Hub id."""
    if not data_path:
        raise UserError(
            "no data given",
            why="there are no rows of instructions and answers to read",
            fix="--data_path FILE.json, a Hub id, or --data_path sample for the bundled rows",
        )
    if data_path == "sample":
        return sample_path("sample.json")
    path = Path(data_path).expanduser()
    if path.is_file():
        return path
    if path.is_dir() or path.suffix in _SUFFIXES or data_path.count("/") > 1 or data_path.startswith((".", "/", "~")):
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"the data file {data_path} {kind}", fix="give --data_path an existing file or a Hub id")
    return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"the data file {path} cannot be read: {error.strerror}") from error


def sample_path(name: str) -> Path:
    """Give the path of a bundled data file: `sample.json` or `held_out.json`."""
    return Path(str(resources.files("alpaca_lora") / "assets" / "sample" / name))


def parse_file(content: bytes, path: Path) -> RowFile:
    """Read all rows of a file's content; the file's suffix says how."""
    fingerprint = hashlib.sha256(content).hexdigest()
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return RowFile(str(path), _parquet_rows(content, path), fingerprint, None)
    text = _decode(content, path)
    del content  # as large as the text; the rows are a third copy
    if suffix in (".csv", ".tsv"):
        rows, lines = _csv_rows(text, path, "\t" if suffix == ".tsv" else ",")
    elif _is_one_per_line(text):
        rows, lines = _jsonl_rows(text)
    elif text.lstrip().startswith("["):
        rows, lines = _array_rows(text, path)
    elif suffix in (".jsonl", ".ndjson"):
        rows, lines = _jsonl_rows(text)
    else:
        rows, lines = _one_value(text, path)
    return RowFile(str(path), rows, fingerprint, lines)


_WIDE = (
    *((mark, "UTF-32") for mark in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)),  # first: one begins as UTF-16 does
    *((mark, "UTF-16") for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)),
)


def _decode(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        wide = next((name for mark, name in _WIDE if content.startswith(mark)), "")
        raise UserError(
            f"{path} is {wide} text, not UTF-8" if wide else f"{path} is not UTF-8 text",
            where=f"{path}:{line}: byte {error.start} is 0x{content[error.start]:02x}",
            fix=f"iconv -f {wide or 'WINDOWS-1252'} -t UTF-8 {path} > NEW_FILE"
            + ("" if wide else " (or another old encoding); unpack a packed file"),
        ) from error


def _array_rows(text: str, path: Path) -> tuple[list[Any], list[int]]:
    """Decode a JSON array row by row, so that each row's line is known; nearly as fast as one `json.loads`."""
    rows: list[Any] = []
    lines: list[int] = []
    position, line, counted = text.index("[") + 1, 1, 0
    try:
        while True:
            position = _after_space(text, position)
            if text.startswith("]", position):
                if rows:
                    raise json.JSONDecodeError("a comma with no row after it", text, position)
                break
            line += text.count("\n", counted, position)
            counted = position
            row, position = _decode_row(text, position)
            rows.append(row)
            lines.append(line)
            position = _after_space(text, position)
            if text.startswith("]", position):
                break
            if not text.startswith(",", position):
                raise json.JSONDecodeError("expected ',' or ']' after a row", text, position)
            position += 1
        end = _after_space(text, position + 1)
        if end != len(text):
            raise json.JSONDecodeError("more text after the closing ']'", text, end)
    except (ValueError, RecursionError) as error:
        raise _broken_json(error, path, line) from error
    return rows, lines


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _jsonl_rows(text: str) -> tuple[list[Any], list[int]]:
    rows: list[Any] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        start = _after_space(line, 0)
        if start == len(line):
            continue
        try:
            row, end = _decode_row(line, start)
            if _after_space(line, end) != len(line):
                row = BrokenRow("more text after the object; JSONL holds one object per line", line)
        except (ValueError, RecursionError) as error:
            row = BrokenRow(f"the line is not JSON: {_reason(error)}", line)
        rows.append(row)
        lines.append(number)
    return rows, lines


def _one_value(text: str, path: Path) -> tuple[list[Any], list[int]]:
    """Take a file that is neither an array nor one object per line as a single row."""
    start = _after_space(text, 0)
    if start == len(text):
        return [], []
    try:
        row, end = _decode_row(text, start)
        if _after_space(text, end) != len(text):
            raise json.JSONDecodeError("more text after the object", text, _after_space(text, end))
    except (ValueError, RecursionError) as error:
        raise _broken_json(error, path, 1) from error
    return [row], [text.count("\n", 0, start) + 1]


def _decode_row(text: str, position: int) -> tuple[Any, int]:
    """Decode one JSON value; an object that names a key twice is a broken row, as one value would be lost."""
    try:
        return _STRICT.raw_decode(text, position)
    except _KeyTwice as error:
        _, end = _PLAIN.raw_decode(text, position)
        return BrokenRow(f"the key {error.args[0]!r} stands twice in one object", text[position:end]), end


class _KeyTwice(Exception):
    """A JSON object names a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _KeyTwice(next(key for key in keys if keys.count(key) > 1))
    return row


_PLAIN, _STRICT = json.JSONDecoder(), json.JSONDecoder(object_pairs_hook=_object)


def _is_one_per_line(text: str) -> bool:
    """Say whether the first line is a JSON value and more lines follow."""
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "too deeply nested" if isinstance(error, RecursionError) else str(error)


def _broken_json(error: Exception, path: Path, line: int) -> UserError:
    where = f"{path}:{line}"
    if isinstance(error, json.JSONDecodeError):
        where = f"{path}:{error.lineno}: {error.doc[max(0, error.pos - 40) : error.pos + 40]!r}"
    return UserError(
        f"the JSON is broken: {_reason(error)}",
        where=where,
        why="expected a JSON array of objects, or one object per line",
        fix="mend the text at that place",
    )


def _csv_rows(text: str, path: Path, delimiter: str) -> tuple[list[Any], list[int]]:
    rows: list[Any] = []
    lines: list[int] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    usual_limit = csv.field_size_limit(max(len(text), csv.field_size_limit()))
    line = 1
    try:
        header = next((cells for cells in reader if cells), [])
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise csv.Error(f"the header names the column {twice[0]!r} twice")
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
            elif cells:
                rows.append(BrokenRow(f"{len(cells)} cells under {len(header)} columns", delimiter.join(cells)))
            lines += [line] if cells else []
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"the CSV is broken: {error}", where=f"{path}:{line}", fix="mend the text at that place"
        ) from error
    finally:
        csv.field_size_limit(usual_limit)
    return rows, lines


def _parquet_rows(content: bytes, path: Path) -> list[Any]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UserError(
            "reading Parquet needs pyarrow", where=str(path), fix="pip install 'alpaca-lora[data]'"
        ) from error
    try:
        return parquet.read_table(io.BytesIO(content)).to_pylist()
    except Exception as error:  # pyarrow raises its own ArrowInvalid, OSError and more for broken files
        raise UserError(f"the Parquet file is broken: {error}", where=str(path)) from error
