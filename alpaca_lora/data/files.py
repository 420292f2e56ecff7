"""Open a file or Hub data set as a list of raw rows, and find the line a row stands on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from alpaca_lora.errors import UserError

_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class RowFile:
    """Raw rows with their origin. `lines[i]` is the 1-based line of row i where the format has lines."""

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
        return _open_file(path)
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
            why="fine-tuning needs rows of instructions and answers",
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


def _open_file(path: Path) -> RowFile:
    content = _read(path)
    fingerprint = hashlib.sha256(content).hexdigest()
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return RowFile(str(path), _parquet_rows(content, path), fingerprint, None)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start})", fix="convert it: iconv -f OLD_ENCODING -t utf-8"
        ) from error
    if suffix in (".csv", ".tsv"):
        rows, lines = _csv_rows(text, path, "\t" if suffix == ".tsv" else ",")
    elif suffix in (".jsonl", ".ndjson") or not text.lstrip().startswith("["):
        rows, lines = _jsonl_rows(text, path)
    else:
        rows, lines = _json_rows(text, path)
    return RowFile(str(path), rows, fingerprint, lines)


def _json_rows(text: str, path: Path) -> tuple[list[Any], list[int]]:
    """Decode an array element by element, so that each row's line is known; as fast as one `json.loads`."""
    decode, rows, lines = json.JSONDecoder().raw_decode, [], []
    position, line, counted = text.index("[") + 1, 1, 0
    try:
        while True:
            position = _skip_space(text, position)
            if text.startswith("]", position) and not rows:
                break
            line += text.count("\n", counted, position)
            counted = position
            row, position = decode(text, position)
            rows.append(row)
            lines.append(line)
            position = _skip_space(text, position)
            if text.startswith("]", position):
                break
            if not text.startswith(",", position):
                raise json.JSONDecodeError("expected ',' or ']' after a row", text, position)
            position += 1
        end = _skip_space(text, position + 1)
        if end != len(text):
            raise json.JSONDecodeError("more text after the closing ']'", text, end)
    except json.JSONDecodeError as error:
        raise _broken_json(error, path, error.lineno) from error
    return rows, lines


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _jsonl_rows(text: str, path: Path) -> tuple[list[Any], list[int]]:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise _broken_json(error, path, number) from error
            lines.append(number)
    return rows, lines


def _broken_json(error: json.JSONDecodeError, path: Path, line: int) -> UserError:
    return UserError(
        f"the JSON is broken: {error.msg}",
        where=f"{path}:{line}: {error.doc[max(0, error.pos - 40) : error.pos + 40]!r}",
        why="expected a JSON array of objects, or one object per line",
        fix="mend the text at that place",
    )


def _csv_rows(text: str, path: Path, delimiter: str) -> tuple[list[Any], list[int]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, lines, line = [], [], 2
    try:
        for row in reader:
            if None in row:
                raise csv.Error("the row has more cells than the header")
            rows.append(row)
            lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"the CSV is broken: {error}", where=f"{path}:{reader.line_num}") from error
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
