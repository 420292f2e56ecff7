"""`data clean`: mend what rules can mend, drop what they say is beyond it, and leave every other byte as it was."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.changes import SUFFIX, Cleaning, log_lines, log_path, undo_cleaning
from alpaca_lora.data.audit.counts import count_changes
from alpaca_lora.data.audit.leakage import against_rules
from alpaca_lora.data.audit.marks import BY_HAND, hand_findings, load_marks
from alpaca_lora.data.audit.mending import Change, Mended, mend
from alpaca_lora.data.audit.rows import Table, TurnView, is_json_text, one_path, read_rows
from alpaca_lora.data.audit.rules import Finding, Rule, counted
from alpaca_lora.data.audit.settings import CleanConfig
from alpaca_lora.data.audit.spans import Edit, RowSpans, Span, Undo, apply, row_spans, text_span
from alpaca_lora.data.audit.writing import check_output, write_whole
from alpaca_lora.errors import UserError


@dataclass(frozen=True)
class Cleaned:
    """A cleaned file's bytes, what takes them back, and what was done; `text` is the old file."""

    content: bytes
    undo: list[Undo]
    mended: Mended
    text: str
    spans: RowSpans


def clean(path: str, config: CleanConfig) -> None:
    """Clean a file into `--output` with a log beside it and print what was done, or take a cleaning back."""
    data_path = one_path(path, config.data_path, "clean")
    if not config.output:
        raise UserError("no place for the result is given", fix="--output NEW_FILE.json")
    sources = (data_path, config.marks, config.rules, *config.against)
    output, console = check_output(config.output, "--output", *sources), Console()
    if config.undo:
        if data_path:
            raise UserError("--undo needs no data file: its log names the cleaned one", fix="leave the file out")
        unread = vars(replace(config, output="", undo="")).items() - vars(CleanConfig()).items()
        if unread:
            raise UserError(f"--undo does not read --{', --'.join(sorted(dict(unread)))}", fix="leave that out")
        cleaning = undo_cleaning(Path(config.undo).expanduser(), output)
        _print(console, f"{output} is {cleaning.file} again, byte for byte: sha256 {cleaning.sha256}")
        return
    check_output(f"{config.output}{SUFFIX}", "--output", *sources)
    known = ((BY_HAND,) if config.marks else ()) + with_own_rules(config.rules) + against_rules(config.against)
    rules = choose_rules(known, config.only, config.skip)
    table = read_rows(data_path, config.data_shape)
    if config.drop_low_value and not config.marks:
        raise UserError("--drop_low_value drops marked rows, and no marks are given", fix="--marks FILE.marks.jsonl")
    marks = load_marks(config.marks, table) if config.marks else {}
    by_hand = hand_findings(marks, drop_low_value=config.drop_low_value)
    cleaned = clean_table(table, rules, by_hand, drop_unreadable=not config.only, show_progress=sys.stderr.isatty())
    _write(table, cleaned, output)
    print_summary(table, rules, cleaned.mended, console)
    _print(console, f"written {output}")
    _print(console, f"undo    alpaca-lora data clean --undo {log_path(output)} --output ORIGINAL{output.suffix}")


def clean_table(
    table: Table,
    rules: Sequence[Rule],
    by_hand: Sequence[Finding] = (),
    *,
    drop_unreadable: bool = True,
    show_progress: bool = False,
) -> Cleaned:
    """Clean the text of a table's file by edits of what rules name, and by dropping the rows that none could read.

    What a person found comes first: see `hand_findings`.

    Raises `UserError` where the file is no JSON text or has changed since it was read.
    """
    if not is_json_text(table.name):
        raise UserError(
            f"{table.name} is no JSON or JSONL file", why="cleaning edits a file's text", fix="save its rows as JSON"
        )
    content = Path(table.name).read_bytes()
    if hashlib.sha256(content).hexdigest() != table.sha256:
        raise UserError(f"{table.name} changes while it is cleaned", fix="try again when it is at rest")
    text = content.decode()
    return clean_text(text, table, rules, by_hand, drop_unreadable=drop_unreadable, show_progress=show_progress)


def clean_text(
    text: str,
    table: Table,
    rules: Sequence[Rule],
    by_hand: Sequence[Finding] = (),
    *,
    drop_unreadable: bool = True,
    show_progress: bool = False,
) -> Cleaned:
    """Clean the JSON or JSONL text that holds a table's rows; raise `UserError` where no row would be left."""
    spans = row_spans(text, len(table.raw))
    mended = mend(table, rules, by_hand, drop_unreadable=drop_unreadable, show_progress=show_progress)
    if not mended.kept and not mended.recovered:
        raise UserError(f"no row of {table.name} would be left", fix="look at the flaws with alpaca-lora data check")
    new, undo = apply(text, _edits(text, spans, table, mended))
    return Cleaned(new, undo, mended, text, spans)


def _edits(text: str, spans: RowSpans, table: Table, mended: Mended) -> Iterator[Edit]:
    for (row, path), new in mended.texts.items():
        place = text_span(text, spans.rows[row].start, path)
        if json.loads(text[place.start : place.end]) != new:
            yield Edit(place, json.dumps(new, ensure_ascii=text.isascii()))
    rows, kept = spans.rows, set(mended.kept)
    last = max(kept, default=-1)
    for row in range(last):
        if row not in kept:
            yield Edit(Span(rows[row].start, rows[row + 1].start), "")
    tail = Span(rows[last].end if kept else rows[0].start, rows[-1].end)
    added = [_laid_out(text, spans, _raw_row(table, *found), found[0]) for found in mended.recovered]
    if added or tail.start < tail.end:
        between = _between(text, spans) if added else ""
        yield Edit(tail, (between if kept else "") + between.join(added))


def _between(text: str, spans: RowSpans) -> str:
    """Give what stands between two rows."""
    rows = spans.rows
    if len(rows) > 1:
        return text[rows[0].end : rows[1].start]
    before = text[: rows[0].start]
    if spans.is_array:
        return "," + before[before.index("[") + 1 :]
    if "\n" in text[rows[0].start : rows[0].end]:
        raise UserError("a single object over many lines has no place for recovered rows", fix="put it into [ and ]")
    return "\n"


def _raw_row(table: Table, parent: int, path: str, turn: TurnView) -> dict[str, Any]:
    """Write a recovered row in the shape of its parent, whose `id`, or else 0-based row number, it names."""
    raw = table.raw[parent]
    source = {"recovered_from": raw.get("id", parent)}
    if table.shape == "alpaca":
        return {"instruction": turn.instruction, "input": turn.input, "output": turn.output, **source}
    key, *rest = path.split(".")
    if not rest:
        return {"prompt": turn.instruction, "completion": turn.output, **source}
    role, content = ("from", "value") if table.shape == "sharegpt" else ("role", "content")
    messages = raw["prompt"] + raw["completion"] if table.shape == "prompt_completion" else raw[key]
    place = int(rest[0]) + (len(raw["prompt"]) if key == "completion" else 0)
    question = {role: messages[place - 1][role], content: turn.instruction}
    answer = {role: messages[place][role], content: turn.output}
    if table.shape == "prompt_completion":
        return {"prompt": [question], "completion": [answer], **source}
    return {key: [question, answer], **source}


def _laid_out(text: str, spans: RowSpans, row: dict[str, Any], parent: int) -> str:
    """Write a row as its parent stands in the file: on one line, or indented as deep."""
    start, end = spans.rows[parent].start, spans.rows[parent].end
    like, escape = text[start:end], text.isascii()
    if "\n" not in like:
        return json.dumps(row, ensure_ascii=escape)
    line = text[text.rfind("\n", 0, start) + 1 : start]
    outer = line if not line.strip() else ""
    second = like.split("\n", 2)[1]
    inner = second[: len(second) - len(second.lstrip())]
    newline = "\r\n" if "\r\n" in like else "\n"
    indented = json.dumps(row, ensure_ascii=escape, indent=inner[len(outer) :] or None)
    return indented.replace("\n", newline + outer)


def _write(table: Table, cleaned: Cleaned, output: Path) -> None:
    """Write the log first: a cleaned file without one could not be taken back."""
    write_whole({log_path(output): log_bytes(table, cleaned, output.name), output: cleaned.content})


def log_bytes(table: Table, cleaned: Cleaned, output: str) -> bytes:
    """Write the log of a cleaning whose result is called `output`."""
    mended, rows = cleaned.mended, cleaned.spans.rows

    def digest(change: Change) -> str:
        return hashlib.sha256(cleaned.text[rows[change.parent].start : rows[change.parent].end].encode()).hexdigest()

    cleaning = Cleaning(
        file=table.name,
        sha256=table.sha256,
        rows=len(table.raw),
        output=output,
        output_sha256=hashlib.sha256(cleaned.content).hexdigest(),
        output_rows=len(mended.kept) + len(mended.recovered),
    )
    return log_lines(cleaning, ((change, digest(change)) for change in mended.changes), cleaned.undo)


def print_summary(table: Table, rules: Sequence[Rule], mended: Mended, console: Console) -> None:
    """Print rows changed, dropped, recovered and only marked by each rule that did any of it, and the totals."""
    counts = count_changes(len(table.raw), mended.changes)
    grid = Grid(title=f"{table.name}: cleaned", title_justify="left")
    grid.add_column("rule")
    for name in ("changed", "dropped", "recovered", "only marked"):
        grid.add_column(name, justify="right")
    known = [rule.id for rule in rules]
    for rule in sorted(counts.rules, key=lambda rule: known.index(rule) if rule in known else -1):
        numbers = [counts.rules[rule].get(action, 0) for action in ("set", "drop", "recover", "mark")]
        grid.add_row(rule, *(f"{number:,}" if number else "-" for number in numbers))
    console.print(grid)
    _print(console, f"rows    {counts.rows_in:,} in, {counts.rows_out:,} out:")
    _print(console, f"        {counts.rows_of_it()}")
    _print(
        console,
        f"marked  {counted(counts.marked, 'row')} with a defect that no rule can mend: kept, and named in the log",
    )


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
