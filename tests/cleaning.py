"""Rows with flaws, written for the tests of cleaning, and cleaning them from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.errors import UserError

RIVER = "Name the river that flows through the city of Dresden."
NEXT = "\n\n12. Instruction: Name the sea that is at the end of the Elbe.\n12. Input: \n12. Output: The North Sea."
ROWS: list[dict[str, Any]] = [
    {"instruction": "Name a colour of the sky.", "input": "", "output": 'Blue, or "grey"\tin the rain.'},
    {"instruction": RIVER, "input": "<noinput>", "output": "The Elbe.", "id": "r-1"},
    {"instruction": "Summarize the article in a sentence.", "input": "https://example.org/a", "output": "It is long."},
    {"instruction": "Tell me of a river in the east.", "input": "N/A", "output": "The Elbe is\u200b a river." + NEXT},
    {"instruction": "Is the café open in the évening?", "input": "", "output": "Yes, it is – until ten."},
    {"instruction": "Write the name of a day of the week.", "input": "", "output": ""},
]
RECOVERED = {
    "instruction": "Name the sea that is at the end of the Elbe.",
    "input": "",
    "output": "The North Sea.",
    "recovered_from": 3,
}
AFTER = [
    ROWS[0],
    {**ROWS[1], "input": ""},
    {**ROWS[3], "input": "", "output": "The Elbe is a river."},
    ROWS[4],
    RECOVERED,
]


def write_rows(tmp_path: Path, rows: list[Any], **how: Any) -> Path:
    """Write rows to a JSON file."""
    path = tmp_path / "rows.json"
    path.write_bytes(json.dumps(rows, **how).encode())
    return path


def clean(file: Path, *words: str, output: str = "clean.json") -> Path:
    """Clean a file from the command line; give the cleaned one."""
    out = file.with_name(output)
    dispatch(["data", "clean", str(file), "--output", str(out), *words])
    return out


def read_back(path: Path) -> list[Any]:
    """Read the rows of a JSON or JSONL file."""
    text = path.read_text(encoding="utf-8-sig")
    return json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in _full(text)]


def _full(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.strip()]


def log_of(out: Path, kind: str = "change") -> list[dict[str, Any]]:
    """Give the lines of one kind from the log of a cleaned file."""
    lines = map(json.loads, _full(out.with_name(out.name + ".changes.jsonl").read_text(encoding="utf-8")))
    return [line for line in lines if line["kind"] == kind]


def refused(*words: str | Path) -> str:
    """Clean with these words, which must fail; give the message."""
    with pytest.raises(UserError) as caught:
        dispatch(["data", "clean", *map(str, words)])
    return str(caught.value)


def chat(shape: str, *texts: str) -> dict[str, Any]:
    """Make a conversation of a shape."""
    if shape == "sharegpt":
        pairs = zip(("human", "gpt") * 4, texts, strict=False)
        return {"conversations": [{"from": role, "value": text} for role, text in pairs], "id": "s-7"}
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 4, texts, strict=False)]
    if shape == "messages":
        return {"messages": [{"role": "system", "content": "Be brief."}, *messages]}
    return {"prompt": messages[:-1], "completion": messages[-1:]}
