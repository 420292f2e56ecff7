"""Clusters as the eye sees them: each hill of the density of points is one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

_GRID = 256
_NARROWEST, _WIDEST = 0.5, 64.0
_TRIES = 12
_LEAST_SHARE = 8
"""A hill with less than an eighth of the mean number of rows belongs to the nearest one that has more."""


def automatic_clusters(rows: int) -> int:
    """Give the most clusters for so many rows: a third of the square root, 1 to 100."""
    return min(100, max(1, round(math.sqrt(rows) / 3)))


def find_islands(points: NDArray[np.uint16], most: int) -> NDArray[np.uint16]:
    """Give each point's cluster, the largest first; at most so many, and as near to it as hills allow.

    The clusters are the modes of the density, each point going uphill to its own (mean shift, Comaniciu & Meer 2002),
    on a grid. The wider the smoothing, the fewer the modes: it is halved in until they are few enough.

    Args:
        points: (rows, 2), 0 to 65,535.
    """
    cells = points.astype(np.int64) * _GRID // 65536
    at = cells[:, 1] * _GRID + cells[:, 0]
    density = np.bincount(at, minlength=_GRID**2).reshape(_GRID, _GRID).astype(np.float64)
    narrow, wide = _NARROWEST, _WIDEST
    best = np.zeros(len(points), np.int64)
    for _ in range(_TRIES):
        width = math.sqrt(narrow * wide)
        found = _gather(_summits(gaussian_filter(density, width, mode="constant"))[at], most)
        if found is None:
            narrow = width
        else:
            best, wide = found, width
    return _largest_first(best)


def _summits(density: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give for each cell the cell that is reached from it by going to the highest of the 8 around until none is."""
    side = len(density)
    around = np.pad(density, 1, constant_values=-1.0)
    names = np.pad(np.arange(side**2).reshape(side, side), 1)
    windows = [(slice(y, y + side), slice(x, x + side)) for y in range(3) for x in range(3)]
    highest = np.stack([around[window] for window in windows]).argmax(0)
    up = np.take_along_axis(np.stack([names[window] for window in windows]), highest[None], 0).ravel()
    while (up[up] != up).any():
        up = up[up]
    return up


def _gather(summits: NDArray[np.int64], most: int) -> NDArray[np.int64] | None:
    """Number the points' summits, those of few points join the nearest of the others; None for too many hills.

    There are too many, too, where most points are on small ones.
    """
    names, hill, size = np.unique(summits, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(size * _LEAST_SHARE * most >= len(summits))
    if len(kept) > most or 2 * size[kept].sum() < len(summits):
        return None
    places = np.stack(np.divmod(names, _GRID), axis=1)
    away = ((places[:, None] - places[kept]) ** 2).sum(2)
    return away.argmin(1)[hill]


def _largest_first(clusters: NDArray[np.int64]) -> NDArray[np.uint16]:
    names, cluster, size = np.unique(clusters, return_inverse=True, return_counts=True)
    rank: NDArray[Any] = np.empty(len(names), np.uint16)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(names))
    return rank[cluster]
