"""Build a map: every row's place, cluster, flaws and suspicion."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from alpaca_lora.data.atlas.embedding import check_embedder, encode, tf_idf
from alpaca_lora.data.atlas.islands import automatic_clusters, find_islands
from alpaca_lora.data.atlas.projection import check_projection, on_picture, project
from alpaca_lora.data.atlas.settings import TF_IDF, PictureConfig
from alpaca_lora.data.atlas.words import count_words, label_clusters
from alpaca_lora.data.audit.catalogue import choose_rules, with_own_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.ranker import rank
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import RowView, Table

SEVERITIES = ("tag", "normalise", "defect")
"""From the mildest; a point's `worst` is 1 and its place here, 0 for a row without a finding."""
_SOURCE_KEYS = ("source", "dataset", "category")
_MOST_SOURCES = 256
_OTHERS, _UNNAMED = "others", "not named"
_SHARES = (("reading words", 12), ("arranging", 50), ("suspicion", 38))
"""Stages after the rules have run, with their share of the time that the original 52,002 rows took."""


@dataclass(frozen=True)
class Cluster:
    """One cluster: its words, best first; its rows, those with a defect, and the mean suspicion; where it lies."""

    words: Sequence[str]
    rows: int
    x: int
    y: int
    defects: int
    suspicion: float


@dataclass(frozen=True)
class Map:
    """All that is on a map; arrays have one entry for each row that could be read, `report.table.views`.

    Attributes:
        positions: (rows, 2), 0 to 65,535.
        cluster: place in `clusters`.
        length: characters of all texts of the row.
        source: place in `sources`, which are none where no row names one.
        worst: 0, or 1 and the place of the worst finding in `SEVERITIES`.
        suspicion: probability of a defect.
    """

    report: Report
    config: PictureConfig
    positions: NDArray[np.uint16]
    cluster: NDArray[np.uint16]
    clusters: Sequence[Cluster]
    length: NDArray[np.uint32]
    source: NDArray[np.uint8]
    sources: Sequence[str]
    worst: NDArray[np.uint8]
    suspicion: NDArray[np.float32]

    def worst_clusters(self) -> list[int]:
        """Give the clusters with a defect in them, the largest share of such rows first, then the more suspicious."""
        bad = [number for number, cluster in enumerate(self.clusters) if cluster.defects]
        return sorted(
            bad, key=lambda n: (-self.clusters[n].defects / self.clusters[n].rows, -self.clusters[n].suspicion)
        )


def build_map(table: Table, config: PictureConfig, marks: Mapping[int, str] | None = None) -> Map:
    """Check all rows, bring alike ones together, name the clusters; progress goes to a terminal's stderr.

    Args:
        marks: verdicts of a person by row, to learn from what is suspicious; None: the bundled ones.

    Raises `UserError` where a rule or a package is missing.
    """
    check_embedder(config.embedder)
    check_projection()
    rules = choose_rules(with_own_rules(config.rules), config.only, config.skip)
    report = run_rules(table, rules, show_progress=sys.stderr.isatty())
    with _stages(sys.stderr.isatty()) as stage:
        advance = stage("reading words")
        parts = texts_of(table.views, config.of)
        words = count_words(parts)
        advance(0.7)
        if config.embedder == TF_IDF:
            vectors = tf_idf(words, config.seed)
        else:
            vectors = encode(parts, config.embedder, lambda share: advance(0.7 + 0.3 * share))
        positions = on_picture(project(vectors, config.seed, stage("arranging")))
        cluster = find_islands(positions, config.clusters or automatic_clusters(len(positions)))
        labels = label_clusters(words, cluster, int(cluster.max()) + 1)
        del words, vectors, parts
        stage("suspicion")
        suspicion = rank(table, report, marks).defect
    worst = _worst(report)
    source, sources = _sources(table)
    lengths = [len(view.system) + sum(map(len, _texts(view))) for view in table.views]
    clusters = [_describe(label, cluster == number, positions, worst, suspicion) for number, label in enumerate(labels)]
    length = np.array(lengths, np.uint32)
    return Map(report, config, positions, cluster, clusters, length, source, sources, worst, suspicion)


def texts_of(rows: Sequence[RowView], of: str) -> list[list[str]]:
    """Give the texts that bring rows together, a list for each part: questions (all turns of a row), answers."""
    parts: list[list[str]] = []
    if of != "outputs":
        parts.append(["\n".join(text for turn in row.turns for text in (turn.instruction, turn.input)) for row in rows])
    if of != "instructions":
        parts.append(["\n".join(turn.output for turn in row.turns) for row in rows])
    return parts


def _texts(view: RowView) -> Iterator[str]:
    for turn in view.turns:
        yield from (turn.instruction, turn.input, turn.output)


def _describe(
    label: Sequence[str],
    inside: NDArray[np.bool_],
    positions: NDArray[np.uint16],
    worst: NDArray[np.uint8],
    suspicion: NDArray[np.float32],
) -> Cluster:
    x, y = np.median(positions[inside], axis=0)
    defects = int((worst[inside] == len(SEVERITIES)).sum())
    return Cluster(label, int(inside.sum()), int(x), int(y), defects, round(float(suspicion[inside].mean()), 4))


def _worst(report: Report) -> NDArray[np.uint8]:
    worst: dict[int, int] = {}
    for finding in report.findings:
        worst[finding.row] = max(worst.get(finding.row, 0), SEVERITIES.index(finding.severity) + 1)
    return np.array([worst.get(view.row, 0) for view in report.table.views], np.uint8)


def _sources(table: Table) -> tuple[NDArray[np.uint8], list[str]]:
    """Number the values of the first key that says where rows come from, most frequent first; the rarest are one."""
    rows = [table.raw[view.row] for view in table.views]
    key = next((key for key in _SOURCE_KEYS if any(_names_source(row, key) for row in rows)), None)
    if key is None:
        return np.zeros(len(rows), np.uint8), []
    named = [str(row[key]) if _names_source(row, key) else _UNNAMED for row in rows]
    sources = [name for name, _ in Counter(named).most_common()]
    if len(sources) > _MOST_SOURCES:
        sources = [*sources[: _MOST_SOURCES - 1], _OTHERS]
    places = {name: place for place, name in enumerate(sources)}
    return np.array([places.get(name, len(sources) - 1) for name in named], np.uint8), sources


def _names_source(row: Any, key: str) -> bool:
    return isinstance(row.get(key), str) and bool(row[key])


@contextmanager
def _stages(show: bool) -> Generator[Callable[[str], Callable[[float], None]]]:
    """Show one bar over all stages; begin a stage by its name, then tell the share of it that is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not show) as progress:
        task = progress.add_task("", total=sum(share for _, share in _SHARES))

        def stage(name: str) -> Callable[[float], None]:
            place = [known for known, _ in _SHARES].index(name)
            before, own = sum(share for _, share in _SHARES[:place]), _SHARES[place][1]
            progress.update(task, description=name, completed=before)
            return lambda done: progress.update(task, completed=before + own * done)

        yield stage
