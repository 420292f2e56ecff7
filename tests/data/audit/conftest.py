"""Files of rows for the audit's tests, and the real ones where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.audit import mending
from alpaca_lora.data.audit.answers import rule as answer_rule
from alpaca_lora.data.audit.answers.check import check_answer
from alpaca_lora.data.audit.answers.verdict import Verdict
from alpaca_lora.data.audit.catalogue import BUILTIN, choose_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.clean import Cleaned, clean_table
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table, read_rows

STANFORD = Path(__file__).parents[4] / "shared" / "data" / "alpaca_data.json"
CHINESE = STANFORD.with_name("alpaca_zh_demo.json")


@pytest.fixture
def table_of(tmp_path: Path) -> Callable[[list[Any]], Table]:
    """Write rows to a file and read them as the audit does."""

    def make(rows: list[Any]) -> Table:
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        return read_rows(str(path))

    return make


@pytest.fixture(scope="session")
def stanford() -> Table:
    if not STANFORD.is_file():
        pytest.skip("../shared is not here")
    return read_rows(str(STANFORD))


@pytest.fixture(scope="session")
def chinese() -> Table:
    if not CHINESE.is_file():
        pytest.skip("../shared is not here")
    return read_rows(str(CHINESE))


@dataclass(frozen=True)
class Audit:
    """One cleaning of the original rows; what all rules found in them at first, and the verdict on each answer."""

    cleaned: Cleaned
    report: Report
    verdicts: list[Verdict | None]


@pytest.fixture(scope="session")
def audit(stanford: Table) -> Audit:
    """Run every rule over the original rows once for all tests: it takes about ten seconds."""
    reports: list[Report] = []
    verdicts: list[Verdict | None] = []

    def keep_report(*given: Any, **settings: Any) -> Report:
        reports.append(run_rules(*given, **settings))
        return reports[-1]

    def keep_verdict(*texts: str) -> Verdict | None:
        verdicts.append(check_answer(*texts))
        return verdicts[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mending, "run_rules", keep_report)
        patch.setattr(answer_rule, "check_answer", keep_verdict)
        cleaned = clean_table(stanford, choose_rules(BUILTIN))
    return Audit(cleaned, reports[0], verdicts[: len(stanford.views)])


@pytest.fixture(scope="session")
def cleaned(audit: Audit) -> Cleaned:
    return audit.cleaned


@pytest.fixture(scope="session")
def report(audit: Audit) -> Report:
    return audit.report
