"""Rows as vectors: alike rows lie close. TF-IDF with a singular value decomposition, or a model the user has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from alpaca_lora.data.atlas.settings import SENTENCE_TRANSFORMERS, TF_IDF
from alpaca_lora.data.atlas.words import Words
from alpaca_lora.errors import UserError

DIMENSIONS = 100
_BATCH = 256


def embedder_name(embedder: str) -> str:
    """Name an embedder for people."""
    return "TF-IDF + SVD" if embedder == TF_IDF else embedder.removeprefix(SENTENCE_TRANSFORMERS)


def check_embedder(embedder: str) -> None:
    """Raise `UserError` where the embedder's library is not installed, before any work is done."""
    if embedder != TF_IDF and find_spec("sentence_transformers") is None:
        raise UserError(
            f"--embedder {embedder} needs a package that is not installed",
            fix="pip install sentence-transformers, or leave --embedder at tf-idf, which needs no model",
        )


def tf_idf(words: Words, seed: int) -> NDArray[np.float32]:
    """Give (rows, up to 100) vectors of length 1, or 0 for a row without a word.

    Each part of a row counts the same, however long: the sum of its parts' TF-IDF vectors (sublinear, length 1 each)
    is reduced by a randomized SVD (Halko et al. 2011).
    """
    rows, n_words = words.parts[0].shape
    if not n_words:
        return np.zeros((rows, 1), np.float32)
    weigh = TfidfTransformer(sublinear_tf=True).fit(vstack(words.parts))
    weighed: Any = sum((weigh.transform(part) for part in words.parts[1:]), weigh.transform(words.parts[0]))
    size = min(DIMENSIONS, rows, n_words)
    svd: Any = randomized_svd
    with threadpool_limits(1, "blas"):  # sums in the same order on any number of cores
        left, strength, _ = svd(weighed.astype(np.float32), size, n_iter=4, random_state=seed)
    return _unit(left * strength)


def encode(parts: Sequence[Sequence[str]], embedder: str, advance: Callable[[float], None]) -> NDArray[np.float32]:
    """Give (rows, model's size) vectors of length 1 from a sentence-transformers model, the parts of a row joined.

    Args:
        advance: is told the share done after each batch.

    Raises `UserError` where there is no such model.
    """
    check_embedder(embedder)
    make: Any = import_module("sentence_transformers").SentenceTransformer
    name = embedder_name(embedder)
    try:
        model: Any = make(str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name)
    except Exception as error:  # the library and the Hub raise many kinds
        raise UserError(
            f"the model {name} cannot be loaded: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            fix="give a model of sentence-transformers, by its Hub id or its folder",
        ) from error
    texts = ["\n".join(row) for row in zip(*parts, strict=True)]
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # rows of a batch are about equally long
    found: list[NDArray[np.float32]] = []
    for at in range(0, len(order), _BATCH):
        batch = [texts[row].encode("utf-8", "replace").decode() for row in order[at : at + _BATCH]]
        found.append(np.asarray(model.encode(batch, show_progress_bar=False), np.float32))
        advance(min(1.0, (at + _BATCH) / len(order)))
    return _unit(np.concatenate(found)[np.argsort(order)])


def _unit(vectors: Any) -> NDArray[np.float32]:
    return np.asarray(normalize(vectors), np.float32)
