"""What `data check` found, for people and for programs: the table in the terminal, and the file of findings."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from alpaca_lora.data.audit.rows import Table
from alpaca_lora.data.audit.rules import Finding, Rule, counted
from alpaca_lora.data.audit.writing import as_json, write_whole

_EXAMPLES = 2
_STYLES = {"defect": "red", "normalise": "yellow", "tag": "cyan"}


@dataclass(frozen=True)
class Report:
    """What was found in a table.

    Attributes:
        rules: those that ran, in their order; `off`: those left out because the file is not in English.
        findings: in the order of the rows.
        defects: 0-based numbers of the rows with a defect.
    """

    table: Table
    rules: list[Rule]
    off: list[Rule]
    findings: list[Finding]

    @property
    def defects(self) -> set[int]:
        return {finding.row for finding in self.findings if finding.severity == "defect"}


def print_report(report: Report, console: Console) -> None:
    """Print a line for each rule, then how many rows have a defect, what was off, and what is bad and why."""
    by_rule: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_rule[finding.rule].append(finding)
    grid = Grid(title=_title(report), title_justify="left")
    for name in ("rule", "severity", "rows", "precision", "read", "such as"):
        grid.add_column(
            name, justify="right" if name in ("rows", "precision") else "left", no_wrap=name not in ("read", "such as")
        )
    for rule in report.rules:
        rows = sorted({finding.row for finding in by_rule[rule.id]})
        examples = ", ".join(map(str, rows[:_EXAMPLES])) + (", …" if len(rows) > _EXAMPLES else "")
        severity = Text(rule.severity, style=_STYLES[rule.severity])
        precision = "-" if rule.precision is None else f"{100 * rule.precision:.0f} %"
        grid.add_row(rule.id, severity, f"{len(rows):,}", precision, rule.read, examples)
    console.print(grid)
    rows = len(report.table.raw)
    share = 100 * len(report.defects) / max(1, rows)
    have = "has" if len(report.defects) == 1 else "have"
    _print(console, f"defects {len(report.defects):,} of {counted(rows, 'row')} {have} at least one ({share:.1f} %)")
    mendable = {finding.row for finding in report.findings if finding.fix and finding.fix["action"] == "set"}
    recovered = sum(len(finding.fix.get("new_rows", ())) for finding in report.findings if finding.fix)
    _print(
        console,
        f"mends   {counted(len(mendable), 'row')} can be mended,"
        f" {counted(recovered, 'whole task')} recovered from within others",
    )
    _print(console, "        precision is what reading rows of the original 52,002 gave; read says how many")
    if report.off:
        names = ", ".join(rule.id for rule in report.off)
        _print(console, f"off     the file is not in English; these look for English words: {names}")


def _title(report: Report) -> str:
    table = report.table
    rows, rules = counted(len(table.raw), "row"), counted(len(report.rules), "rule")
    return f"{table.name}: {rows} of shape {table.shape}, {rules}"


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def write_findings(report: Report, path: str) -> None:
    """Write all findings as one JSON file, which appears under its name only when it is whole."""
    record = {
        "file": report.table.name,
        "sha256": report.table.sha256,
        "rows": len(report.table.raw),
        "findings": [asdict(finding) for finding in report.findings],
    }
    write_whole({Path(path).expanduser(): as_json(record, indent=1)}, "--json")
