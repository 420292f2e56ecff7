"""Outputs that run on into the generator's next tasks: `12. Instruction: ... 12. Input: ... 12. Output: ...`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.markers import is_no_input
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Fix, Hit, Rule, counted, quote

_START = re.compile(r"^[ \t]*(?:(?P<number>\d{1,3})\.[ \t]*|#{2,4}[ \t]*)Instruction:[ \t]*", re.MULTILINE)
_TASK = re.compile(
    r"(?P<instruction>.+?)\n\s*(?:\d{1,3}\.|#{2,4})?[ \t]*Input:(?P<input>.*?)"
    r"\n\s*(?:\d{1,3}\.|#{2,4})?[ \t]*(?:Output|Response):(?P<output>.+)",
    re.DOTALL,
)
_TASK_WITHOUT_INPUT = re.compile(
    r"(?P<instruction>.+?)\n\s*(?:\d{1,3}\.|#{2,4})?[ \t]*(?:Output|Response):(?P<output>.+)", re.DOTALL
)
_SEPARATOR = re.compile(r"(?:\s*\n[^\S\n]*(?:[\W_]+|<!--.*-->|(?:\w+ = \d+;\n)?#\S+))*\s*\Z")


def _merged(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    if "Instruction:" not in text:
        return
    starts = list(_START.finditer(text))
    if not starts:
        return
    ends = [start.start() for start in starts[1:]] + [len(text)]
    tasks = [_task(text[start.end() : end]) for start, end in zip(starts, ends, strict=True)]
    rows = tuple(task for task in tasks if task)
    if not rows:
        return
    kept = _without_separator(text[: starts[0].start()])
    number = starts[0]["number"]
    if number and len(number) > 1:  # a separator such as 111 before task 11
        kept = re.sub(rf"\n{number}+\Z", "", kept)
    reason = f"the output goes on with {quote(text[starts[0].start() :])} and holds {counted(len(rows), 'whole task')}"
    yield Hit("output", reason, 1.0 if kept else 0.7, Fix("set", kept, rows) if kept else Fix("drop", "", rows))


def _task(text: str) -> dict[str, str] | None:
    """Read one embedded task; None where it has no answer."""
    found = _TASK.match(text) or _TASK_WITHOUT_INPUT.match(text)
    if not found:
        return None
    given = found.groupdict()
    context = (given.get("input") or "").strip()
    row = {
        "instruction": given["instruction"].strip(),
        "input": "" if is_no_input(context) else context,
        "output": _without_separator(given["output"]).strip(),
    }
    return row if row["instruction"] and row["output"] else None


def _without_separator(text: str) -> str:
    """Take off what the generator put between two tasks: lines of signs or digits, comments, blank lines."""
    return _SEPARATOR.sub("", text)


MERGED = Rule(
    "merged-instructions",
    "defect",
    "the output goes on with other tasks, instruction and all; they are cut and recovered as rows",
    find=_merged,
    precision=1.0,
    read="all 37",
)
