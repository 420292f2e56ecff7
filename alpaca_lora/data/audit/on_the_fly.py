"""`--clean`: the rows that `data clean` would write, for a run that has no use for the file."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from alpaca_lora.config import DataConfig
from alpaca_lora.data.audit.catalogue import BUILTIN, choose_rules
from alpaca_lora.data.audit.clean import Cleaned, clean_table, clean_text, log_bytes
from alpaca_lora.data.audit.counts import CLEANED, CleanLog, count_changes
from alpaca_lora.data.audit.mending import Change
from alpaca_lora.data.audit.rows import Table, is_json_text, read_rows
from alpaca_lora.data.cache import cache_file, cache_folder, read_arrays, write_arrays
from alpaca_lora.data.examples import read_examples
from alpaca_lora.data.files import BrokenRow, content_fingerprint

_CACHE_FILES = 4


def clean_data(data: DataConfig) -> tuple[bytes, CleanLog]:
    """Clean the rows of a file or Hub data set by all rules that are on by default, or take them from the cache.

    Returns the bytes that `data clean` would write, of a table or data set as JSON, and what was done. Rows that
    cannot be read are dropped, or raise `UserError`, as `on_bad_rows` says.
    """
    sha256 = content_fingerprint(data.data_path)
    table = None if sha256 else _read(data)
    arrays = read_arrays(_cache_file(data, table.sha256 if table else sha256), _ARRAYS)
    if arrays is not None:
        content, lines = (arrays[name].tobytes() for name in _ARRAYS)
    else:
        table = table or _read(data)
        cleaned = _clean(table)
        content, lines = cleaned.content, log_bytes(table, cleaned, CLEANED)
        texts = {name: np.frombuffer(text, np.uint8) for name, text in zip(_ARRAYS, (content, lines), strict=True)}
        write_arrays(_cache_file(data, table.sha256), keep=_CACHE_FILES, **texts)
    return content, read_log(lines)


_ARRAYS = ("content", "lines")


def _read(data: DataConfig) -> Table:
    table = read_rows(data.data_path, data.data_shape)
    if table.bad and data.on_bad_rows == "error":
        read_examples(data.data_path, shape=data.data_shape)  # raises, and knows the lines
    return table


def _clean(table: Table) -> Cleaned:
    rules, show_progress = choose_rules(BUILTIN), sys.stderr.isatty()
    if is_json_text(table.name):
        return clean_table(table, rules, show_progress=show_progress)
    text = _as_json(table.raw)
    return clean_text(text, replace(table, raw=json.loads(text)), rules, show_progress=show_progress)


def _as_json(rows: Sequence[Any]) -> str:
    texts = (json.dumps(row.text if isinstance(row, BrokenRow) else row, default=str) for row in rows)
    return "[\n" + ",\n".join(texts) + "\n]\n"


def _cache_file(data: DataConfig, sha256: str) -> Path:
    """Key the cache by the data and the code that cleans it; the path belongs to it because the log names it."""
    key = [_CODE, sha256, data.data_path, data.data_shape, data.on_bad_rows]
    return cache_file(cache_folder().with_name("cleaned"), key)


def code_digest(folder: Path) -> str:
    """Give a sha256 over Python and all code under a folder: a changed rule cleans another way."""
    code = hashlib.sha256(sys.version.encode())
    for path in sorted(folder.rglob("*.py")):
        code.update(path.read_bytes())
    return code.hexdigest()


_CODE = code_digest(Path(__file__).parents[1])  # now, as the code is loaded: the files may change while it runs


def read_log(lines: bytes) -> CleanLog:
    """Read what a log of changes says."""
    first, *rest = map(json.loads, lines.splitlines())
    changes: list[Change] = []
    for line in rest:
        if line.pop("kind") == "change":
            del line["row_sha256"]
            changes.append(Change(**line))
    return CleanLog(count_changes(first["rows"], changes), first["sha256"], first["output_sha256"], lines)
