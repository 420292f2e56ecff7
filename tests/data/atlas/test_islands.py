"""Clusters are the hills of the density."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from alpaca_lora.data.atlas.islands import automatic_clusters, find_islands


def hills(*places: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Give points around places, each x, y and number of points."""
    random = np.random.default_rng(0)
    points = [random.normal((x, y), 1500, size=(n, 2)) for x, y, n in places]
    return np.concatenate(points).clip(0, 65535).astype(np.uint16)


def test_each_hill_is_a_cluster_and_the_largest_comes_first() -> None:
    found = find_islands(hills((10_000, 10_000, 100), (50_000, 10_000, 300), (30_000, 55_000, 200)), 3)
    np.testing.assert_array_equal(found, np.repeat([2, 0, 1], [100, 300, 200]))


def test_fewer_clusters_join_the_hills_that_are_near() -> None:
    found = find_islands(hills((10_000, 10_000, 200), (18_000, 10_000, 150), (55_000, 55_000, 300)), 2)
    np.testing.assert_array_equal(found, np.repeat([0, 0, 1], [200, 150, 300]))


def test_a_lone_point_belongs_to_the_nearest_cluster() -> None:
    points = np.concatenate([hills((10_000, 10_000, 200), (50_000, 50_000, 150)), [[40_000, 60_000]]])
    assert find_islands(points.astype(np.uint16), 2)[-1] == 1


@pytest.mark.parametrize("most", [1, 5, 20])
def test_never_more_than_asked_for(most: int) -> None:
    points = np.random.default_rng(2).integers(0, 65536, (2000, 2)).astype(np.uint16)
    found = find_islands(points, most)
    assert sorted(set(found.tolist())) == list(range(found.max() + 1))
    assert most / 2 <= found.max() + 1 <= most


def test_few_points() -> None:
    assert find_islands(np.array([[32768, 32768]], np.uint16), 1).tolist() == [0]
    assert find_islands(np.full((9, 2), 7, np.uint16), 3).tolist() == [0] * 9


def test_the_automatic_number() -> None:
    assert [automatic_clusters(rows) for rows in (1, 3, 50, 900, 52_002, 10**6)] == [1, 1, 2, 10, 76, 100]
