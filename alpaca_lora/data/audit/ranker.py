"""Order rows by how likely a person would call them a defect, or of low value: two things, kept apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

import alpaca_lora
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.ranker_features import MEASURES, Features, features_of
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table, read_rows

BUNDLED = Path(alpaca_lora.__file__).parent / "assets" / "marks" / "marks.json"
FEWEST = 10
"""Marks of a kind, and marks of other kinds, that it takes to learn the kind from a person's own."""
_KINDS: dict[str, frozenset[str]] = {"defect": frozenset(("defect", "edit")), "low value": frozenset(("low value",))}
"""The marks that say yes; a row that a person mends was a defect."""
_INVERSE_PENALTY = 2.0
_LEAST = 0.02
"""A reason adds at least this to the log-odds."""


@dataclass(frozen=True)
class Head:
    """A learnt weight of each feature for one kind, and from how many marks; `own`: the person's."""

    weights: NDArray[np.float32]
    own: bool
    yes: int
    marks: int


@dataclass(frozen=True)
class Ranking:
    """How likely each of the table's views is a defect, and how likely of low value: float32, 0 to 1, apart.

    Attributes:
        heads: what was learnt, by kind.
        features: of the views, in their order, which the reasons are read from.
    """

    defect: NDArray[np.float32]
    low_value: NDArray[np.float32]
    heads: Mapping[str, Head]
    features: Features

    def reasons(self, place: int, most: int = 3, kind: str = "defect") -> list[str]:
        """Say what speaks most for the kind in the row at a place of the views, strongest first.

        Pieces of words are not named: a person reads words, and those speak of the same.
        """
        seen, weights = self.features, self.heads[kind].weights
        topics = seen.directions.shape[1]
        at = slice(seen.words.indptr[place], seen.words.indptr[place + 1])
        words, plain = seen.words.indices[at], seen.values[place, -len(seen.names) :]
        word_gain = seen.words.data[at] * (seen.directions[words] @ weights[:topics]) / seen.norms[place]
        gain = np.concatenate([word_gain, plain * weights[-len(seen.names) :]])
        reasons: list[str] = []
        for best in np.argsort(-gain, kind="stable")[:most].tolist():
            if best < len(words):
                name = seen.word_names[words[best]]
            else:
                name = seen.names[best - len(words)]
                name = (
                    name if name not in MEASURES else f"{'much' if plain[best - len(words)] > 0 else 'little'}: {name}"
                )
            reasons += [name] if gain[best] > _LEAST else []
        return reasons


@dataclass(frozen=True)
class Seen:
    """Rows as the ranker sees them: those of the table, then the bundled ones with their marks."""

    features: Features
    rows: Sequence[int]
    bundled: Sequence[str]


def rank(table: Table, report: Report, marks: Mapping[int, str] | None = None) -> Ranking:
    """Rank every row of `table.views` by both kinds, deterministically.

    Args:
        report: what the rules found in the table.
        marks: a person's verdicts by row: "defect", "low value", "fine" or "edit". A kind with fewer than 10 of them,
            or with fewer than 10 rows of other kinds, is learnt from the bundled marks instead; None: both are.
    """
    return learn(see(table, report), marks)


def see(table: Table, report: Report) -> Seen:
    """Compute what is known of the rows of a table and of the bundled ones, all together, without any mark."""
    bundled, marks = _bundled()
    rules = [rule.id for rule in report.rules]
    own = run_rules(bundled, [rule for rule in report.rules if rule.find])
    beyond = 1 + max(view.row for view in table.views)
    views = [*table.views, *(replace(view, row=view.row + beyond) for view in bundled.views)]
    findings = [*report.findings, *(replace(finding, row=finding.row + beyond) for finding in own.findings)]
    return Seen(features_of(views, findings, rules, len(table.views)), [view.row for view in table.views], marks)


def learn(seen: Seen, marks: Mapping[int, str] | None) -> Ranking:
    """Learn both kinds from marks (see `rank`) by logistic regression, and rank the table's rows."""
    rows = len(seen.rows)
    values = seen.features.values
    own = [(place, marks[row]) for place, row in enumerate(seen.rows) if row in marks] if marks else []
    bundled = [(rows + at, mark) for at, mark in enumerate(seen.bundled)]
    heads: dict[str, Head] = {}
    chances: dict[str, NDArray[np.float32]] = {}
    for kind, yes in _KINDS.items():
        count = sum(mark in yes for _, mark in own)
        enough = min(count, len(own) - count) >= FEWEST
        from_marks = own if enough else bundled
        target = np.array([mark in yes for _, mark in from_marks])
        make: Any = LogisticRegression
        model = make(C=_INVERSE_PENALTY, max_iter=2000).fit(values[[place for place, _ in from_marks]], target)
        chances[kind] = model.predict_proba(values[:rows])[:, 1].astype(np.float32)
        heads[kind] = Head(model.coef_[0].astype(np.float32), enough, int(target.sum()), len(from_marks))
    return Ranking(chances["defect"], chances["low value"], heads, seen.features)


@cache
def _bundled() -> tuple[Table, list[str]]:
    """Read the rows written for the ranker, each with its mark."""
    table = read_rows(str(BUNDLED), "alpaca")
    return table, [raw["mark"] for raw in table.raw]
