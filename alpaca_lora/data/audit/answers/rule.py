"""The rule that answers a machine can decide must be right."""

from __future__ import annotations

from collections.abc import Iterator

from alpaca_lora.data.audit.answers.check import check_answer, is_right
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Fix, Hit, Rule, quote


def _wrong(turn: TurnView) -> Iterator[Hit]:
    verdict = check_answer(turn.instruction, turn.input, turn.output)
    if verdict is not None and not verdict.right:
        reason = f"{verdict.kind}: {quote(verdict.expected)} is right, the output says {quote(verdict.found)}"
        fix = Fix("set", verdict.corrected) if is_right(turn.instruction, turn.input, verdict.corrected) else None
        yield Hit("output", reason, 0.98, fix)


WRONG_ANSWER = Rule(
    id="wrong-answer",
    severity="defect",
    description="the output gives a wrong result where arithmetic, units, order, a count or a date decide it",
    find=_wrong,
    precision=1.0,
    read="195 of 195 rows read",
    english_only=True,
)
