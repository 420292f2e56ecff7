"""Vectors as points in a plane: t-SNE over the graph of nearest neighbours, the same on any number of cores."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import smacof
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info, threadpool_limits

from alpaca_lora.errors import UserError

NEIGHBOURS = 15
_EARLY, _LATE = 150, 250
_EARLY_EXAGGERATION, _EXAGGERATION = 12, 1.5
_TELL_EVERY = 25
_FEWEST = 8 * NEIGHBOURS
"""Fewer rows are nearly all neighbours of each other, and t-SNE draws them together: all distances arrange them."""
_FEW = 3000
"""Below so many rows a tree of the points (van der Maaten 2014) is faster than the FFT."""
_START = 1e-4
"""The standard deviation that t-SNE grows from."""
_NOISE = 0.01
"""What parts equal rows, of the start's standard deviation or of the largest distance."""
_ROUNDING = 1e-5
"""Vectors of length 1 that differ by less are equal."""
_LEAST_SPAN = 0.5
"""Points that span less are equal but for the noise."""
_ROWS_PER_THREAD = 1024


def check_projection() -> None:
    """Raise `UserError` where the library that arranges points is not installed."""
    if find_spec("openTSNE") is None:
        raise UserError(
            "arranging rows on a map needs openTSNE, which is not installed", fix="pip install 'alpaca-lora[data]'"
        )


def find_neighbours(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Give the (rows, up to 15) nearest other rows, exactly, and their distances; nearest first.

    scikit-learn splits the rows among threads where each has over 1,024, else it splits the other side, where ties
    fall as the threads run: there is one thread then.
    """
    rows = len(vectors)
    cores = max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"), default=1)
    with threadpool_limits(max(1, min(cores, (rows - 1) // _ROWS_PER_THREAD)), "openmp"):
        finder = NearestNeighbors(n_neighbors=min(NEIGHBOURS, rows - 1), algorithm="brute").fit(vectors)
        distances, places = finder.kneighbors()
    return places, distances


def project(vectors: NDArray[np.float32], seed: int, advance: Callable[[float], None]) -> NDArray[np.float64]:
    """Give (rows, 2) positions: t-SNE by FFT (Linderman et al. 2019), from openTSNE (Poličar et al. 2024).

    Each row draws its 15 nearest with one strength, which gives the picture of a perplexity at less cost; exaggeration
    of 1.5 to the end makes islands more compact (Böhm et al. 2022). It starts from the first two principal components.

    Args:
        advance: is told the share done, now and then.
    """
    rows = len(vectors)
    noise = np.random.default_rng(seed).normal(scale=_NOISE, size=(rows, 2))
    start = _principal_components(vectors) + noise
    if rows < _FEWEST:
        return _arrange_few(vectors, start) + noise
    check_projection()
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import Uniform
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    places, distances = find_neighbours(vectors)
    advance(0.4)
    uniform: Any = Uniform
    drawn = uniform(knn_index=PrecomputedNeighbors(places, distances), k_neighbors=places.shape[1], symmetrize="mean")
    points: Any = TSNEEmbedding(
        _START * start,
        drawn,
        negative_gradient_method="bh" if rows < _FEW else "fft",
        n_jobs=1,
        random_state=seed,
    )
    done = 0

    def tell(*_: object) -> None:
        nonlocal done
        done += _TELL_EVERY
        advance(0.4 + 0.6 * done / (_EARLY + _LATE))

    with threadpool_limits(1, "blas"):
        for steps, exaggeration, momentum in ((_EARLY, _EARLY_EXAGGERATION, 0.5), (_LATE, _EXAGGERATION, 0.8)):
            points.optimize(
                steps, exaggeration=exaggeration, momentum=momentum, inplace=True,
                callbacks=tell, callbacks_every_iters=_TELL_EVERY,
            )  # fmt: skip
    return np.asarray(points, np.float64)


def _arrange_few(vectors: NDArray[np.float32], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the distances of all pairs as well as a plane can: metric scaling by SMACOF (de Leeuw 1977).

    Principal components would show how a few odd rows differ from the rest, and the rest as one dot.
    """
    apart = squareform(pdist(vectors.astype(np.float64)))
    if apart.max() < _ROUNDING:
        return start
    scale: Any = smacof
    with threadpool_limits(1, "blas"):
        return scale(apart / apart.max(), init=start, n_init=1, max_iter=300, eps=1e-6)[0]


def _principal_components(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Give the first two, the first with a standard deviation of 1 unless the vectors are equal."""
    with threadpool_limits(1, "blas"):
        centred = vectors - vectors.mean(0, dtype=np.float64)
        _, axes = np.linalg.eigh(centred.T @ centred)
        first = centred @ axes[:, :-3:-1]
    first *= np.sign(first[np.abs(first).argmax(0), range(first.shape[1])])  # an axis may come out either way
    both = np.zeros((len(vectors), 2))
    both[:, : first.shape[1]] = first / max(float(first[:, 0].std()), _ROUNDING)
    return both


def on_picture(points: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Give positions as whole numbers from 0 to 65,535, both axes in one scale, the narrower one in the middle.

    Equal rows, which only noise parts, stay a small cloud.
    """
    low, high = points.min(0), points.max(0)
    scale = 65535 / max(float((high - low).max()), _LEAST_SPAN)
    return np.rint((points - (low + high) / 2) * scale + 65535 / 2).clip(0, 65535).astype(np.uint16)
