"""Rows written for the map: topics with words of their own, flaws in one of them, and texts that break pages."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alpaca_lora.data.atlas import build
from alpaca_lora.data.atlas.build import Map, build_map
from alpaca_lora.data.atlas.settings import PictureConfig
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table, read_rows

TOPICS = (
    "whisk flour butter sugar oven dough crust yeast vanilla icing",
    "goal striker referee penalty stadium league offside midfield keeper trophy",
    "violin cello chord tempo sonata conductor orchestra melody flute rehearsal",
    "comet orbit telescope galaxy asteroid nebula eclipse planet crater rocket",
    "invoice ledger audit budget dividend payroll interest mortgage receipt tax",
    "seedling compost pruning orchard soil greenhouse tulip mulch trellis harvest",
)
NASTY = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "nul \x00 and bell \x07",
    "emoji \U0001f999 and \u2028 a line",
    "half a character \ud83e stands here",
    "{{texts}} {{meta}} \\1 \\g<0>",
    'quotes " and \\ and &lt;',
)


def topic_rows(n: int) -> list[dict[str, str]]:
    """Give rows of six topics in turn; every other one of the third topic has an input that says there is none."""
    chance = random.Random(1)
    rows: list[dict[str, str]] = []
    for number in range(n):
        words = TOPICS[number % len(TOPICS)].split()
        rows.append(
            {
                "instruction": f"Tell me of {' '.join(chance.sample(words, 4))}.",
                "input": "<noinput>" if number % 12 == 2 else "",
                "output": "" if number % 24 == 2 else f"It is {' '.join(chance.sample(words, 6))}.",
            }
        )
    return rows


def nasty_rows() -> list[dict[str, str]]:
    return [{"instruction": f"Say: {text}", "input": text, "output": f"Here: {text}"} for text in NASTY]


def read(folder: Path, rows: list[Any]) -> Table:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return read_rows(str(path))


@pytest.fixture
def _quick_ranker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the ranker, which learns for seconds: rows with a defect are suspicious."""

    def rank(table: Table, report: Report, _: object) -> SimpleNamespace:
        return SimpleNamespace(
            defect=np.array([0.9 if v.row in report.defects else 0.1 for v in table.views], np.float32)
        )

    monkeypatch.setattr(build, "rank", rank)


@pytest.fixture
def map_of(tmp_path: Path, _quick_ranker: None) -> Callable[..., Map]:
    """Build the map of some rows."""

    def make(rows: list[Any], **settings: Any) -> Map:
        return build_map(read(tmp_path, rows), PictureConfig(**settings))

    return make


@pytest.fixture(scope="session")
def topics(tmp_path_factory: pytest.TempPathFactory) -> Map:
    """The map of 360 rows of six topics, then the nasty ones; nobody may change it."""
    rows = [*topic_rows(360), *nasty_rows()]
    return build_map(read(tmp_path_factory.mktemp("topics"), rows), PictureConfig())
