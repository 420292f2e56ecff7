"""Run rules over a file: every finding in its place, and `data check`."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alpaca_lora.data.audit.answers.check import check_answer
from alpaca_lora.data.audit.answers.rule import WRONG_ANSWER
from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.leakage import against_rules
from alpaca_lora.data.audit.report import Report, print_report, write_findings
from alpaca_lora.data.audit.rows import RowView, Table, TurnView, is_json_text, one_path, read_rows
from alpaca_lora.data.audit.rules import Finding, Fix, Hit, Rule, counted
from alpaca_lora.data.audit.settings import CheckConfig
from alpaca_lora.data.audit.statistics import measure, print_statistics
from alpaca_lora.data.audit.writing import check_output
from alpaca_lora.errors import UserError

_REPORT_EVERY = 500
UNREADABLE = Rule(
    "unreadable-row", "defect", "the row has no known shape, so no rule can look at it", find=lambda _: ()
)


def check(path: str, config: CheckConfig) -> None:
    """Check a file, print what was found, write it where asked; raise `UserError` over `max_defects`."""
    data_path = one_path(path, config.data_path, "check")
    if config.json:
        check_output(config.json, "--json", data_path, config.rules, *config.against)
    known = with_own_rules(config.rules) + against_rules(config.against)
    answers = Counter[bool]()
    rules = [
        _counting(rule, answers) if rule is WRONG_ANSWER else rule
        for rule in choose_rules(known, config.only, config.skip)
    ]
    table = read_rows(data_path, config.data_shape)
    report = run_rules(table, rules, show_progress=sys.stderr.isatty())
    console = Console()
    print_statistics(measure(table.views), console)
    print_report(report, console)
    if answers:
        turns = sum(len(view.turns) for view in table.views)
        line = f"checked {answers.total():,} of {counted(turns, 'answer')} can be computed:"
        console.print(f"{line} {answers[True]:,} right, {answers[False]:,} wrong", highlight=False, soft_wrap=True)
    if config.json:
        write_findings(report, config.json)
    if config.max_defects is not None and len(report.defects) > config.max_defects:
        have = f"{counted(len(report.defects), 'row')} {'has' if len(report.defects) == 1 else 'have'}"
        raise UserError(
            f"{have} a defect, more than --max_defects {config.max_defects:,}",
            where=table.name,
            fix=_how_to_clean(data_path, table, config),
        )


def _counting(rule: Rule, answers: Counter[bool]) -> Rule:
    """Make the rule of wrong answers count those that are right, too."""

    def find(turn: TurnView) -> Iterator[Hit]:
        verdict = check_answer(turn.instruction, turn.input, turn.output)
        if verdict is not None:
            answers[verdict.right] += 1
            if not verdict.right and rule.find:
                yield from rule.find(turn)

    return replace(rule, find=find)


def _how_to_clean(path: str, table: Table, config: CheckConfig) -> str:
    """Give the command that cleans by the same rules, or what makes a file that it can clean."""
    settings: list[str] = []
    for flag, words in (
        ("--data_shape", [] if config.data_shape == "auto" else [config.data_shape]),
        *(("--against", config.against), ("--only", config.only), ("--skip", config.skip)),
        ("--rules", [config.rules] if config.rules else []),
    ):
        settings += [flag, *words] if words else []
    if is_json_text(table.name):
        return f"{shlex.join(['alpaca-lora', 'data', 'clean', path, *settings])} --output CLEANED.json"
    save = f"save its rows as ROWS.json and {shlex.join(['alpaca-lora', 'data', 'clean', 'ROWS.json', *settings])}"
    if settings:
        return f"{save} --output CLEANED.json"
    return f"alpaca-lora finetune {shlex.join(['--data_path', path])} --clean, or {save} --output CLEANED.json"


def run_rules(table: Table, rules: Sequence[Rule], *, show_progress: bool = False) -> Report:
    """Run the rules over a table; those for English only are left out where the file is in another language."""
    english = not any(rule.english_only for rule in rules) or is_english(table.views)
    on = [rule for rule in rules if english or not rule.english_only]
    off = [rule for rule in rules if rule not in on]
    findings = [
        Finding(row, UNREADABLE.id, UNREADABLE.severity, "", reason, 1.0, {"action": "drop"})
        for row, reason in table.bad
    ]
    columns = (TextColumn("checking"), BarColumn(), TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show_progress) as progress:
        over_all = [rule for rule in on if rule.find_all]
        task = progress.add_task("", total=len(table.views) * (1 + len(over_all)))

        def advance(rows: int) -> None:
            progress.advance(task, rows)

        findings += _in_turns(table.views, [rule for rule in on if rule.find], advance)
        for rule in over_all:
            findings += _in_file(table.views, rule)
            advance(len(table.views))
    order = {rule.id: place for place, rule in enumerate((UNREADABLE, *on))}
    findings.sort(key=lambda finding: (finding.row, order[finding.rule]))
    ran = [UNREADABLE, *on] if table.bad else on
    return Report(table, ran, off, findings)


def _in_turns(rows: Sequence[RowView], rules: Sequence[Rule], advance: Callable[[int], None]) -> Iterable[Finding]:
    finders = [(rule, rule.find) for rule in rules if rule.find]
    for number, row in enumerate(rows, start=1):
        for turn in row.turns:
            for rule, find in finders:
                try:
                    for hit in find(turn):
                        yield _finding(row.row, rule, turn.places, hit)
                except Exception as error:
                    raise _failed(rule, f"row {row.row}", error) from error
        if number % _REPORT_EVERY == 0:
            advance(_REPORT_EVERY)
    advance(len(rows) % _REPORT_EVERY)


def _in_file(rows: Sequence[RowView], rule: Rule) -> Iterable[Finding]:
    assert rule.find_all
    try:
        for place, turn, hit in rule.find_all(rows):
            yield _finding(rows[place].row, rule, rows[place].turns[turn].places, hit)
    except Exception as error:
        raise _failed(rule, "the file", error) from error


def _finding(row: int, rule: Rule, places: Any, hit: Hit) -> Finding:
    field = places.get(hit.field, hit.field)
    return Finding(row, rule.id, rule.severity, field, hit.reason, hit.confidence, _fix(hit.fix))


def _fix(fix: Fix | None) -> dict[str, Any] | None:
    """Write a fix as plain values: a "set" always has its value, and rows only where there are some."""
    if fix is None:
        return None
    plain: dict[str, Any] = {"action": fix.action}
    if fix.action == "set":
        plain["value"] = fix.value
    if fix.new_rows:
        plain["new_rows"] = list(fix.new_rows)
    return plain


def _failed(rule: Rule, where: str, error: Exception) -> UserError:
    return UserError(
        f"the rule {rule.id!r} stops with {type(error).__name__}: {error}",
        where=where,
        fix=f"mend it, or --skip {rule.id}",
    )
