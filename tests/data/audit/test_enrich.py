"""`data enrich`: shares, ratios and intervals worked by hand, and rows found by content or by number."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.enrich import ANY_DEFECT, Share, count_shares, find_subset, wilson
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table
from alpaca_lora.errors import UserError

MakeTable = Callable[[list[Any]], Table]


def rows(n: int) -> list[dict[str, str]]:
    """Rows of which every 4th has an input that says there is none, and the last an empty output."""
    return [
        {
            "instruction": f"Name number {number}.",
            "input": "" if number % 4 else "<noinput>",
            "output": "" if number == n - 1 else f"It is {number}.",
        }
        for number in range(n)
    ]


@pytest.fixture
def subset(tmp_path: Path) -> Callable[[Any], str]:
    def write(content: Any) -> str:
        path = tmp_path / "subset.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return str(path)

    return write


def test_wilson_as_published() -> None:
    """Newcombe 1998, table I, method 3 (score method without continuity correction)."""
    for hits, of, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(hits, of) == pytest.approx((low, high), abs=5e-5)
    assert wilson(29, 29) == pytest.approx((0.8830, 1), abs=5e-5)


def test_a_ratio_and_its_interval_by_hand() -> None:
    share = Share("a", in_whole=20, whole=400, in_subset=10, subset=100)
    assert share.ratio == pytest.approx((10 / 100) / (20 / 400))
    low, high = wilson(10, 20)  # 20 flawed rows are fewer than 100 chosen ones; a quarter of all rows was chosen
    assert share.interval == pytest.approx((low / 0.25, high / 0.25))
    few = Share("b", in_whole=300, whole=400, in_subset=10, subset=10)
    assert few.interval == pytest.approx((wilson(10, 10)[0] / 0.75, 1 / 0.75))
    for one in (share, few):
        assert one.interval[0] < one.ratio <= one.interval[1]


def test_counts_by_hand(table_of: MakeTable, subset: Callable[[Any], str]) -> None:
    table = table_of(rows(40))  # 10 rows say "no input", 1 is empty
    report = run_rules(table, choose_rules(with_own_rules("")))
    chosen = find_subset(subset([0, 4, 8, 12, 16, 1, 2, 39]), table)
    shares = {share.rule: share for share in count_shares(report, chosen)}
    assert set(shares) == {"no-input", "empty-output", ANY_DEFECT}
    assert (shares["no-input"].in_whole, shares["no-input"].in_subset) == (10, 5)
    assert shares["no-input"].ratio == pytest.approx((5 / 8) / (10 / 40))
    assert shares["empty-output"].ratio == pytest.approx((1 / 8) / (1 / 40))
    assert [share.rule for share in count_shares(report, chosen)] == ["empty-output", "no-input", ANY_DEFECT]


def test_rows_are_found_by_content(table_of: MakeTable, subset: Callable[[Any], str]) -> None:
    whole = [*rows(6), rows(6)[1]]  # row 6 repeats row 1
    table = table_of(whole)
    other = {"instruction": "Name the colour of grass.", "input": "", "output": "Green."}
    stripped = {**whole[3], "output": whole[3]["output"] + "\n"}
    found = find_subset(subset([whole[1], stripped, other]), table)
    assert (found.rows, found.unknown, found.repeated) == ({1, 3}, 1, 0)
    again = find_subset(subset([whole[1], whole[1], whole[1]]), table)
    assert (again.rows, again.unknown, again.repeated) == ({1, 6}, 0, 1)
    assert find_subset(subset([whole[2], whole[2]]), table).repeated == 1


def test_shapes_may_differ(table_of: MakeTable, subset: Callable[[Any], str]) -> None:
    messages = [{"role": "user", "content": "Name number 2."}, {"role": "assistant", "content": "It is 2."}]
    assert find_subset(subset([{"messages": messages}]), table_of(rows(6))).rows == {2}


@pytest.mark.parametrize("text", ["[3, 1]", "3\n1\n", "[3,\n1,\n3]"])
def test_row_numbers(text: str, table_of: MakeTable, subset: Callable[[Any], str]) -> None:
    assert find_subset(subset(text), table_of(rows(6))).rows == {1, 3}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([6], "row 6 is not in"),
        ([-1], "row -1 is not in"),
        ("[]", "it holds no row number"),
        ([{"instruction": "Another.", "input": "", "output": "One."}], "no row of"),
    ],
)
def test_a_subset_of_something_else_is_refused(
    content: Any, message: str, table_of: MakeTable, subset: Callable[[Any], str]
) -> None:
    table = table_of(rows(6))
    with pytest.raises(UserError, match=message):
        find_subset(subset(content), table)


def test_the_verb_prints_the_table(
    table_of: MakeTable, subset: Callable[[Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    table, content = table_of(rows(40)), rows(40)
    other = {"instruction": "Name the colour of grass.", "input": "", "output": "Green."}
    path = subset([content[0], content[0], content[4], content[1], content[2], other])
    dispatch(["data", "enrich", path, "--of", table.name, "--only", "no-input", "empty-output"])
    printed = capsys.readouterr().out
    cells = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:]]
        for line in printed.splitlines()
        if "│" in line
    }
    assert cells["no-input"][:5] == ["10", "25.00 %", "2", "50.00 %", "2.00"]
    assert cells["empty-output"][:5] == ["1", "2.50 %", "0", "0.00 %", "0.00"]
    assert "unknown 1 rows of the subset" in printed
    assert "again   1 rows are repeated" in printed
    dispatch(["data", "enrich", path, "--of", table.name, "--only", "stop-cut"])
    assert "none    no row of the whole: stop-cut" in capsys.readouterr().out
    with pytest.raises(UserError, match="no whole given"):
        dispatch(["data", "enrich", path])


def test_the_longest_rows_of_the_real_file_hold_the_merged_ones(
    stanford: Table, report: Report, subset: Callable[[Any], str]
) -> None:
    """A choice of the 1,000 longest answers is known to hold about 28 times its share of merged rows."""
    longest = sorted(range(len(stanford.raw)), key=lambda row: -len(stanford.raw[row]["output"]))[:1000]
    shares = {share.rule: share for share in count_shares(report, find_subset(subset(longest), stanford))}
    share = shares["merged-instructions"]
    assert share.in_whole == 37
    assert 25 < share.ratio < 32
    assert share.interval[0] > 15
