"""Run rules over a file: every finding in its place, and `data check`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.leakage import leaked_row
from alpaca_lora.data.audit.report import Report, print_report, write_findings
from alpaca_lora.data.audit.rows import RowView, Table, read_rows
from alpaca_lora.data.audit.rules import Finding, Fix, Hit, Rule
from alpaca_lora.data.audit.settings import CheckConfig
from alpaca_lora.data.audit.statistics import measure, print_statistics
from alpaca_lora.errors import UserError

_REPORT_EVERY = 500
UNREADABLE = Rule(
    "unreadable-row", "defect", "the row has no known shape, so no rule can look at it", find=lambda _: ()
)


def check(path: str, config: CheckConfig) -> None:
    """Check a file, print what was found, write it where asked; raise `UserError` over `max_defects`."""
    if path and config.data_path and path != config.data_path:
        raise UserError(f"two files to check, {path} and {config.data_path}", fix="give one of them")
    known = with_own_rules(config.rules)
    if config.against:
        known = (*known, leaked_row([read_rows(other) for other in config.against]))
    rules = choose_rules(known, config.only, config.skip)
    table = read_rows(path or config.data_path, config.data_shape)
    report = run_rules(table, rules, show_progress=sys.stderr.isatty())
    print_statistics(measure(table.views), Console())
    print_report(report, Console())
    if config.json:
        write_findings(report, config.json)
    if config.max_defects is not None and len(report.defects) > config.max_defects:
        raise UserError(
            f"{len(report.defects):,} rows have a defect, more than --max_defects {config.max_defects:,}",
            where=table.name,
            fix=f"alpaca-lora data clean {path or config.data_path} --output CLEANED.json",
        )


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
