"""Votes of the comparison: one line of JSON each, appended whole."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from alpaca_lora.inference.settings import SamplingConfig


@dataclass(frozen=True)
class Comparison:
    """One question and what each model answered, in the order shown."""

    prompt: str
    input: str
    sampling: SamplingConfig
    answers: Mapping[str, str]


def save_vote(path: Path, comparison: Comparison, vote: str) -> None:
    """Append a vote: the time, the question, seed and sampling, all answers, and which was preferred.

    The line is written at once and is on the disk when this returns, so that several writers do not mix theirs.
    """
    sampling = asdict(comparison.sampling)
    row = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "prompt": comparison.prompt,
        "input": comparison.input,
        "seed": sampling.pop("seed"),
        "sampling": sampling,
        "answers": dict(comparison.answers),
        "vote": vote,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        os.write(file, (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace"))
        os.fsync(file)
    finally:
        os.close(file)
