"""`data map` from the command line: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.cli import dispatch
from alpaca_lora.data.atlas import projection
from alpaca_lora.data.atlas.build import Map
from alpaca_lora.data.atlas.run import summary_lines
from alpaca_lora.errors import UserError

pytestmark = pytest.mark.usefixtures("_quick_ranker")


def rows() -> list[dict[str, Any]]:
    """Two kinds of rows; every fourth of the second has no output."""
    kinds = ("bake bread of flour and yeast", "watch a comet with a telescope")
    return [
        {
            "instruction": f"Tell how to {kinds[number % 2]}, {number}.",
            "input": "",
            "output": "" if number % 8 == 1 else f"First {kinds[number % 2]}.",
        }
        for number in range(200)
    ]


@pytest.fixture
def data(tmp_path: Path) -> str:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows()), encoding="utf-8")
    return str(path)


def test_two_runs_write_the_same_bytes(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.html", "b.html"):
        dispatch(["data", "map", data, "--output", str(tmp_path / name), "--clusters", "3"])
    first, second = ((tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    said = capsys.readouterr().out
    assert "map     200 rows; 3 clusters" in said
    assert "worst   100.0 % of 25 rows have a defect: " in said
    assert f"wrote   {tmp_path / 'b.html'}, {len(second) / 1e6:.1f} MB" in said
    assert len(second) < 200_000
    dispatch(["data", "map", data, "--output", str(tmp_path / "c.html"), "--clusters", "3", "--seed", "1"])
    assert (tmp_path / "c.html").read_bytes() != first


def test_topics_are_islands_with_labels_of_their_own(topics: Map) -> None:
    """Six topics and the nasty rows: hardly a cluster mixes two topics, and its words are those of its topic."""
    from collections import Counter

    pure = 0
    for number in range(len(topics.clusters)):
        inside = [row % 6 for row in range(360) if topics.cluster[row] == number]
        pure += max(Counter(inside).values(), default=0)
    assert pure >= 0.95 * 360


def test_the_worst_clusters_come_first(topics: Map) -> None:
    """Empty outputs are all of topic 2."""
    worst = topics.worst_clusters()
    inside = [row % 6 for row in range(360) if topics.cluster[row] == worst[0]]
    assert inside.count(2) > len(inside) / 2
    shares = [topics.clusters[number].defects / topics.clusters[number].rows for number in worst]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] > 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_rows_have_a_map(n: int, map_of: Callable[..., Map]) -> None:
    found = map_of(rows()[:n])
    assert len(found.positions) == n
    assert sum(cluster.rows for cluster in found.clusters) == n


def test_one_row_is_said_in_the_singular(map_of: Callable[..., Map]) -> None:
    said = summary_lines(map_of(rows()[1:2]))
    assert said == ["map     1 row; 1 cluster", "worst   100.0 % of 1 row has a defect: comet, telescope, tell, watch"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clusters", "0"], "--clusters is 0"),
        (["--seed", "-1"], "--seed is -1"),
        (["--output", ""], "--output is ''"),
        (["--output", "{folder}/no/map.html"], "cannot be written: there is no folder"),
        (["--output", "{folder}/rows.json"], "--output .* would overwrite .*rows.json"),
        (["--data_path", "other.json"], "two files to draw"),
        (["--only", "no-such-rule"], "no-such-rule"),
        (["--marks", "{folder}/none.jsonl"], "the marks .* cannot be read"),
    ],
)
def test_what_cannot_be_is_refused(flags: list[str], message: str, data: str, tmp_path: Path) -> None:
    given = [flag.format(folder=tmp_path) for flag in flags]
    with pytest.raises(UserError, match=message):
        dispatch(
            ["data", "map", data, *([] if "--output" in given else ["--output", str(tmp_path / "m.html")]), *given]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.json"]


def test_a_missing_library_is_told_before_the_work(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="openTSNE") as error:
        dispatch(["data", "map", data, "--output", str(tmp_path / "map.html")])
    assert error.value.fix == "pip install 'alpaca-lora[data]'"
