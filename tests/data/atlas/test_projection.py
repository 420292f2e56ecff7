"""The picture keeps neighbours, is the same again, and holds one row as well as equal ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from threadpoolctl import threadpool_limits

from alpaca_lora.data.atlas.projection import find_neighbours, on_picture, project


def blobs(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Give vectors of length 1 around 12 directions of 20 dimensions."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(12, 20))[np.arange(n) % 12] + 0.4 * random.normal(size=(n, 20))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def nearest(points: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Give the k nearest others of each point, by all distances."""
    square = (points.astype(float) ** 2).sum(1)
    away = square[:, None] + square - 2 * points.astype(float) @ points.astype(float).T
    np.fill_diagonal(away, np.inf)
    return np.argsort(away, axis=1, kind="stable")[:, :k]


def quiet(_: float) -> None: ...


def test_neighbours_are_the_exact_ones() -> None:
    vectors = blobs(200)
    places, distances = find_neighbours(vectors)
    np.testing.assert_array_equal(places, nearest(vectors, 15))
    np.testing.assert_allclose(distances[7, 3], np.linalg.norm(vectors[7] - vectors[places[7, 3]]), rtol=1e-4)


@pytest.mark.parametrize(
    ("n", "chance", "bar"), [(1200, 0.51, 0.85), pytest.param(3000, 0.21, 0.5, marks=pytest.mark.slow)]
)
def test_the_picture_keeps_neighbours(n: int, chance: float, bar: float) -> None:
    """Of the 10 nearest in the vectors, how many are among the 50 nearest of the picture.

    `chance` is what places drawn at random within each row's own group would keep.
    """
    vectors = blobs(n)
    kept = _kept(vectors, project(vectors, 0, quiet))
    groups = np.eye(12)[np.arange(n) % 12] + 0.01 * np.random.default_rng(5).normal(size=(n, 12))
    assert _kept(vectors, groups) == pytest.approx(chance, abs=0.02)
    assert kept > bar


def _kept(vectors: NDArray[np.float32], places: NDArray[np.floating]) -> float:
    pairs = zip(nearest(vectors, 10), nearest(places, 50), strict=True)
    return float(np.mean([len(set(near) & set(seen)) / 10 for near, seen in pairs]))


def test_the_same_again_on_any_number_of_threads() -> None:
    vectors = np.repeat(blobs(60), 4, axis=0)  # ties everywhere
    with threadpool_limits(1):
        alone = project(vectors, 3, quiet)
    with threadpool_limits(2):
        np.testing.assert_array_equal(project(vectors, 3, quiet), alone)
    assert (project(vectors, 4, quiet) != alone).any()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 17, 50])
def test_few_rows(n: int) -> None:
    points = project(blobs(n), 0, quiet)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert len({tuple(point) for point in on_picture(points)}) == n


@pytest.mark.parametrize("dimensions", [1, 5])
def test_equal_rows_and_rows_without_a_word(dimensions: int) -> None:
    for vectors in (np.zeros((40, dimensions), np.float32), np.ones((40, dimensions), np.float32)):
        points = project(vectors, 0, quiet)
        assert np.isfinite(points).all()
        assert len(np.unique(points, axis=0)) == 40


def test_equal_rows_stay_a_small_cloud_whatever_rounding_left_between_them() -> None:
    vectors = np.full((50, 20), 20**-0.5) + np.random.default_rng(0).normal(scale=1e-8, size=(50, 20))
    places = on_picture(project(vectors.astype(np.float32), 0, quiet)).astype(int)
    assert 1000 < np.ptp(places, axis=0).max() < 65535 / 5
    assert np.abs(places - 32768).max() < 65535 / 10


def test_few_rows_keep_the_distances_of_a_plane() -> None:
    """A plane turned into 20 dimensions comes back, but for turning, scale and the noise."""
    random = np.random.default_rng(3)
    flat = random.normal(size=(17, 2))
    turned = flat @ np.linalg.qr(random.normal(size=(20, 20)))[0][:2]
    found = pdist(project(turned.astype(np.float32), 0, quiet))
    np.testing.assert_allclose(found, pdist(flat) / pdist(flat).max(), atol=0.06)


def test_odd_rows_do_not_press_the_others_into_one_dot() -> None:
    """Ten rows alike, as far from each other as 0.8 of their way to seven that have nothing in common."""
    vectors = np.eye(18, dtype=np.float32)[:17]
    vectors[:10, 17] = 0.75
    places = project(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), 0, quiet)
    assert pdist(places[:10]).min() > 0.1 * pdist(places).max()


def test_progress_runs_to_its_end() -> None:
    shares: list[float] = []
    project(blobs(130), 0, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_places_on_the_picture_by_hand() -> None:
    """The wide axis fills 0 to 65,535; the other, half as wide, lies in its middle."""
    found = on_picture(np.array([[-2.0, 5.0], [2.0, 6.0], [0.0, 7.0]]))
    assert found.tolist() == [[0, 16384], [65535, 32768], [32768, 49151]]
    assert on_picture(np.zeros((1, 2))).tolist() == [[32768, 32768]]
