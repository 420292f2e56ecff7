"""Apply the fixes of rules to rows, again and again until no rule changes anything more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from alpaca_lora.data.audit.check import UNREADABLE, run_rules
from alpaca_lora.data.audit.language import is_english
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import RowView, Table, TurnView
from alpaca_lora.data.audit.rules import Finding, Rule
from alpaca_lora.data.files import BrokenRow
from alpaca_lora.errors import UserError

_MOST_ROUNDS = 12
_PLACES: Mapping[str, str] = MappingProxyType({name: name for name in ("instruction", "input", "output")})


@dataclass(frozen=True, slots=True)
class Change:
    """What one rule did to one row: `set` a text, `drop` the row, `recover` a row from it, or only `mark` it.

    `row` is the 0-based row of the file; recovered rows are numbered on from its end, and `parent` is where one was.
    """

    action: Literal["set", "drop", "recover", "mark"]
    row: int
    parent: int
    rule: str
    severity: str
    field: str
    reason: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Mended:
    """A table after mending.

    Attributes:
        texts: new texts by row of the file and path.
        recovered: (number of the parent, path of the text in it that held the row, the row as it is now).
        kept: numbers of the rows of the file that stay.
        changes: in the order they were made, the marks last.
    """

    texts: Mapping[tuple[int, str], str]
    recovered: Sequence[tuple[int, str, TurnView]]
    kept: Sequence[int]
    changes: Sequence[Change]


def mend(
    table: Table,
    rules: Sequence[Rule],
    by_hand: Sequence[Finding] = (),
    *,
    drop_unreadable: bool = True,
    show_progress: bool = False,
) -> Mended:
    """Apply fixes in rounds, each over the rows that the one before changed, until a round changes none.

    In one round a text takes the first fix that a rule has for it; a row that a rule drops takes none, but what is
    recovered from it stays. Tags change nothing. What a person found comes before all rules and overrules them.
    Where the fixes of a row come to no end, as where rules undo each other, all begins anew without them: the row
    stays as it was and is marked. All begins anew as well, with the rules for English, where the file is in English
    only once it is mended.
    """
    if not drop_unreadable:
        table = replace(table, bad=[])
    turn_rules = {rule.id for rule in rules if rule.find}
    counts = _not_overruled(by_hand)
    start = replace(table, views=list(_Rows(table, turn_rules, by_hand).views.values()))
    report = run_rules(start, rules, show_progress=show_progress)
    left = set[int]()

    def heeded(findings: Iterable[Finding]) -> list[Finding]:
        return [_only_marked(finding) if finding.row in left else finding for finding in filter(counts, findings)]

    while True:
        rows = _Rows(table, turn_rules, by_hand)
        if restless := _settle(rows, report, heeded):
            left |= restless
        elif report.off and is_english(list(rows.views.values())):  # as cleaning the cleaned file would find it
            on = [replace(rule, english_only=False) for rule in rules]
            report = run_rules(start, on, show_progress=show_progress)
            left.clear()
        else:
            return rows.result()


def _settle(rows: _Rows, report: Report, heeded: Callable[[Iterable[Finding]], list[Finding]]) -> set[int]:
    """Apply fixes until a round changes no row; give the rows of the file that still change after many rounds."""
    # The language was decided over the whole file; the few rows of a later round would not tell it.
    on = [replace(rule, english_only=False) for rule in report.rules if rule is not UNREADABLE]
    findings, touched = heeded(report.findings), set[int]()
    for _ in range(_MOST_ROUNDS):
        touched = rows.apply(findings)
        if not touched:
            break
        findings = _find_again(report.table, rows.views, touched, on, heeded)
    return set(map(rows.in_file, touched))


def _only_marked(finding: Finding) -> Finding:
    why = f"{finding.reason}; the row stays as it was, as its fixes came to no end in {_MOST_ROUNDS} rounds"
    return replace(finding, fix=None, reason=why) if finding.fix else finding


def _not_overruled(by_hand: Iterable[Finding]) -> Callable[[Finding], bool]:
    """Give what tells whether a finding counts: none on a row that a person keeps or a text that one wrote does; nor
    does one that would drop a row with such a text.
    """
    kept, written = (
        {(finding.row, finding.field) for finding in by_hand if finding.fix and finding.fix["action"] == action}
        for action in ("keep", "set")
    )
    edited = {row for row, _ in written}

    def counts(finding: Finding) -> bool:
        drops_edited = finding.row in edited and finding.fix is not None and finding.fix["action"] == "drop"
        return (finding.row, "") not in kept and (finding.row, finding.field) not in written and not drops_edited

    return counts


def _find_again(
    table: Table,
    views: Mapping[int, RowView],
    touched: Iterable[int],
    rules: Sequence[Rule],
    heeded: Callable[[Iterable[Finding]], list[Finding]],
) -> list[Finding]:
    """Run rules over single turns on the rows touched and, once those mend no more, the others on the whole file."""
    changed = [views[row] for row in sorted(touched) if row in views]
    in_turns = run_rules(replace(table, views=changed, bad=[]), [rule for rule in rules if rule.find]).findings
    findings = heeded(in_turns)
    if not any(finding.fix and finding.severity != "tag" for finding in findings):
        whole = replace(table, views=list(views.values()), bad=[])
        findings += heeded(run_rules(whole, [rule for rule in rules if rule.find_all]).findings)
    order = {rule.id: place for place, rule in enumerate(rules)}
    return sorted(findings, key=lambda finding: (finding.row, order[finding.rule]))


class _Rows:
    """The rows as they are now, and what was done to them, first of all by hand."""

    def __init__(self, table: Table, turn_rules: set[str], by_hand: Iterable[Finding]) -> None:
        self.views = {view.row: view for view in table.views}
        self._table = table
        self._turn_rules = turn_rules
        self._texts: dict[tuple[int, str], str] = {}
        self._parents: dict[int, tuple[int, str]] = {}
        self._changes: list[Change] = []
        self._marks: dict[tuple[int, str, str], Change] = {}
        self.apply(by_hand)

    def in_file(self, row: int) -> int:
        """Give the number of the row of the file that a row is or was in."""
        return self._parents[row][0] if row in self._parents else row

    def apply(self, findings: Iterable[Finding]) -> set[int]:
        """Apply one round of fixes; give the numbers of the rows changed, dropped or recovered."""
        by_row: dict[int, list[Finding]] = defaultdict(list)
        for finding in findings:
            by_row[finding.row].append(finding)
        touched: set[int] = set()
        for row, found in by_row.items():
            fixes = [finding for finding in found if finding.fix and finding.severity != "tag"]
            done = self._drop(row, fixes) or self._set(row, fixes)
            touched |= done
            if row in done:  # what rules over single turns still find is found again in the next round
                self._forget_marks(row)
            for finding in found:
                if finding not in fixes and not (row in done and finding.rule in self._turn_rules):
                    mark = self._change("mark", finding, None, None)
                    self._marks[row, finding.rule, finding.field] = mark
        return touched

    def _drop(self, row: int, fixes: Sequence[Finding]) -> set[int]:
        drop = next((finding for finding in fixes if finding.fix and finding.fix["action"] == "drop"), None)
        if drop is None:
            return set()
        self._changes.append(self._change("drop", drop, self._as_it_was(row), None))
        done = {row}.union(*(self._recover(finding) for finding in fixes))
        self.views.pop(row, None)
        return done

    def _set(self, row: int, fixes: Sequence[Finding]) -> set[int]:
        done: set[int] = set()
        fields: set[str] = set()
        for finding in fixes:
            assert finding.fix
            text: str = finding.fix["value"]
            before = _text_at(self.views[row], finding)
            if finding.field in fields or text == before:
                continue
            fields.add(finding.field)
            self._texts[row, finding.field] = text
            self.views[row] = _with_text(self.views[row], finding.field, text)
            self._changes.append(self._change("set", finding, before, text))
            done |= {row} | self._recover(finding)
        if any(_asks_nothing(self.views[row], field) for field in fields):
            nothing = Finding(row, UNREADABLE.id, "defect", "", "nothing is asked any more", 1.0, {"action": "drop"})
            done |= self._drop(row, [nothing])
        return done

    def _recover(self, finding: Finding) -> set[int]:
        """Take up the rows that were hidden in a text; without a place of its own, an input follows the question."""
        done: set[int] = set()
        parent, field = self._parents.get(finding.row, (finding.row, finding.field))
        for new in (finding.fix or {}).get("new_rows", ()):
            number = len(self._table.raw) + len(self._parents)
            self._parents[number] = parent, field
            question, context = new["instruction"], new.get("input", "")
            if self._table.shape != "alpaca":
                question, context = f"{question}\n\n{context}".rstrip(), ""
            turn = TurnView(question, context, new["output"], _PLACES)
            self.views[number] = RowView(number, (turn,), "")
            change = self._change("recover", finding, None, new)
            self._changes.append(replace(change, row=number, parent=parent))
            done.add(number)
        return done

    def _forget_marks(self, row: int) -> None:
        for key in [
            key for key in self._marks if key[0] == row and (key[1] in self._turn_rules or row not in self.views)
        ]:
            del self._marks[key]

    def _change(
        self, action: Literal["set", "drop", "recover", "mark"], finding: Finding, old: Any, new: Any
    ) -> Change:
        rest = (finding.rule, finding.severity, finding.field, finding.reason)
        return Change(action, finding.row, self.in_file(finding.row), *rest, old, new)

    def _as_it_was(self, row: int) -> Any:
        if row not in self._parents:
            raw = self._table.raw[row]
            return raw.text if isinstance(raw, BrokenRow) else raw
        turn = self.views[row].turns[0]
        return {"instruction": turn.instruction, "input": turn.input, "output": turn.output}

    def result(self) -> Mended:
        """Give what became of the rows."""
        in_file = len(self._table.raw)
        recovered = [(*self._parents[row], view.turns[0]) for row, view in self.views.items() if row in self._parents]
        texts = {key: text for key, text in self._texts.items() if key[0] < in_file and key[0] in self.views}
        dropped = {change.row for change in self._changes if change.action == "drop"}
        kept = [row for row in range(in_file) if row not in dropped]
        return Mended(texts, recovered, kept, [*self._changes, *self._marks.values()])


def _asks_nothing(view: RowView, path: str) -> bool:
    """Say whether the turn that has this path among its question's texts has no question left."""
    return any(
        path in (turn.places["instruction"], turn.places.get("input")) and not (turn.instruction + turn.input).strip()
        for turn in view.turns
    )


def _text_at(view: RowView, finding: Finding) -> str:
    for turn in view.turns:
        for name, place in turn.places.items():
            if place == finding.field:
                return getattr(turn, name)
    raise UserError(f"the rule {finding.rule!r} sets {finding.field!r}, which row {finding.row} does not have")


def _with_text(view: RowView, path: str, text: str) -> RowView:
    turns = [
        replace(turn, **{name: text for name, place in turn.places.items() if place == path}) for turn in view.turns
    ]
    return replace(view, turns=turns)
