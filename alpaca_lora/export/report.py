"""A verification for people and for programs: the table in the terminal, and `verification.json`."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alpaca_lora import __version__
from alpaca_lora.export.compare import Comparison, Result
from alpaca_lora.export.gguf_model import adapter_sha256
from alpaca_lora.export.source import Source
from alpaca_lora.export.verify import Verification

RECORD = "verification.json"
_SHARE_TOLD = 0.99


def print_verification(verification: Verification, console: Console) -> None:
    """Print a table for each comparison, then the verdict."""
    for comparison in (*verification.comparisons, *verification.measured):
        console.print(_table(comparison))
        ties = [f"{result.name} at {tie.position}" for result in comparison.results for tie in result.near_ties]
        if ties:
            shown = ", ".join(ties[:6]) + (f" and {len(ties) - 6} more" if len(ties) > 6 else "")
            _print(console, f"        another token is likeliest, within the limit: {shown}")
    if weights := verification.weights:
        low, high = weights.shares
        shares = f"{low:.2%} to {high:.2%}" if weights.changed else "none to be found"
        _print(
            console, f"weights {weights.tensors} tensors, rounded by {weights.rounding:.2g} (limit {weights.limit:.2g})"
        )
        _print(console, f"        of what was trained into {weights.changed} of them the export holds {shares}")
        if weights.exact and low < _SHARE_TOLD:
            _print(
                console, "        the rest is lost between the numbers this precision has; --dtype float32 keeps it all"
            )
    for note in verification.notes:
        _print(console, f"note    {note}")
    for fault in verification.faults:
        console.print(Text(f"differs {fault}", style="red"), soft_wrap=True)


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    table = Table(title=f"{comparison.program}, against {comparison.against}", title_justify="left")
    for name in ("question", "tokens", "ids", "chat", "same token", "difference", "KL a token"):
        table.add_column(name, justify="left" if name == "question" else "right")
    for result in comparison.results:
        table.add_row(*_cells(result))
    limits = comparison.limits
    table.add_section()
    shown = [f"{limit:.2g}" if isfinite(limit) else "none" for limit in (limits.tie, limits.difference, limits.kl)]
    table.add_row("limit", "", "", "", f"tie {shown[0]}", *shown[1:])
    return table


def _cells(result: Result) -> list[str]:
    same = result.compared - len(result.near_ties) - len(result.wrong)
    return [
        result.name,
        str(result.tokens),
        _word(result.same_ids),
        _word(result.same_chat),
        f"{same}/{result.compared}",
        f"{result.difference:.1e}",
        f"{result.kl:.1e}",
    ]


def _word(same: bool | None) -> str:
    return "-" if same is None else "same" if same else "DIFFER"


def write_record(verification: Verification, source: Source) -> Path:
    """Write everything that was compared, with what, to which limits, beside the export."""
    export = verification.export
    record = {
        "verified": not verification.faults,
        "faults": verification.faults,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "alpaca_lora": __version__,
        "kind": export.kind,
        "file": export.path.name if export.path.is_file() else None,
        "precision": export.precision,
        "base_model": source.base_name,
        "base_commit": source.place.commit,
        "base_fingerprint": source.adapter.base_fingerprint or None,
        "adapter_sha256": adapter_sha256(source.adapter.folder),
        "prompt_template": source.prompt.name if "/" not in source.prompt.name else Path(source.prompt.name).name,
        "comparisons": [comparison.record() for comparison in verification.comparisons],
        "weights": _weights_record(verification),
        "measured": [comparison.record() for comparison in verification.measured],
        "notes": verification.notes,
    }
    path = export.folder / RECORD
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
    return path


def _weights_record(verification: Verification) -> dict[str, Any] | None:
    if verification.weights is None:
        return None
    return asdict(verification.weights) | {"exact": verification.weights.exact is not None}
