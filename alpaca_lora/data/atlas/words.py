"""The words of rows in any language: counted once, for the embedding and for the clusters' labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_OTHERS = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_FUNCTION = "的了是在和与及或并而且但也就都一个这那们我你您他她它其将被把让请吗呢吧"
"""Chinese characters that part words as blanks do elsewhere: a word seldom holds one."""
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u065f\u0900-\u0963\u0970-\u0dff"
"""Vowel signs and accents, which are parts of words and no letters to `re`, and the letters of India among them."""
_RUN = re.compile(
    rf"(?:(?![{_FUNCTION}])[{_HAN}{_OTHERS}])+"  # letters that are written without blanks between words
    r"|[\u3041-\u3096]+|[\u30a1-\u30fa\u30fc]+"  # hiragana, katakana
    rf"|(?:[^\W\d_{_HAN}{_OTHERS}\u3041-\u30ff]|[{_MARKS}]|(?<=\w)['’](?=\w))+"
)
_IS_UNSPACED = re.compile(rf"[{_HAN}{_OTHERS}]")
_LENGTHS = (2, 3, 4)
_MOST_WORDS = 20_000
_FEWEST_ROWS = 3
"""A word must stand in this many rows to bring any together, where there are enough rows."""
_LABEL_WORDS = 6
_OF_ADDRESSES = frozenset(("http", "https", "www", "com", "org", "html"))
"""Parts of web addresses, which bring rows together but name no topic."""


@dataclass(frozen=True)
class Words:
    """How often each word stands in each row.

    Attributes:
        names: the words.
        parts: (rows, words) counts, one matrix for each of the texts of a row that are looked at.
    """

    names: list[str]
    parts: Sequence[Any]


def split_words(text: str) -> list[str]:
    """Give a text's words in lower case without English function words; where none are told apart, 2 to 4 letters."""
    words: list[str] = []
    for run in _RUN.findall(text.lower()):
        if _IS_UNSPACED.match(run):
            words += [run[at : at + n] for n in _LENGTHS for at in range(len(run) - n + 1)]
        elif len(run) > 1 and run not in ENGLISH_STOP_WORDS:
            words.append(run)
    return words


def count_words(parts: Sequence[Sequence[str]]) -> Words:
    """Count the most frequent words of all rows; each part has one text for every row."""
    rows = len(parts[0])
    make: Any = CountVectorizer
    counter = make(
        analyzer=split_words,
        min_df=_FEWEST_ROWS if rows > 100 * _FEWEST_ROWS else 1,
        max_features=_MOST_WORDS,
        dtype=np.float32,
    )
    try:
        counts = csr_matrix(counter.fit_transform([text for part in parts for text in part]))
    except ValueError:  # no word at all
        return Words([], [csr_matrix((rows, 0), dtype=np.float32)] * len(parts))
    names = counter.get_feature_names_out().tolist()
    return Words(names, [counts[at : at + rows] for at in range(0, len(parts) * rows, rows)])


def label_clusters(words: Words, clusters: NDArray[np.integer[Any]], n_clusters: int) -> list[list[str]]:
    """Give each cluster the words that are frequent in it and rare elsewhere, best first; a lone one its frequent ones.

    The score of a word is p log(p / q), of p the share of the cluster's rows and q that of all rows that have it: its
    part in how the cluster differs from the whole (after class-based TF-IDF, Grootendorst 2022). Of words of which one
    begins with the other, or shares two letters in a script without blanks, only the better stands in a label.
    """
    rows = len(clusters)
    member = csr_matrix((np.ones(rows, np.float32), (clusters, np.arange(rows))), shape=(n_clusters, rows))
    counts: Any = sum(words.parts[1:], words.parts[0])
    has = (counts > 0).astype(np.float32)
    inside = (member @ has).toarray()
    share = inside / np.maximum(1, np.bincount(clusters, minlength=n_clusters))[:, None]
    overall = np.maximum(inside.sum(0), 1) / rows
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.nan_to_num(share * np.log(share / overall))
    # Letters of a script without blanks are parts of words: the longer part says more.
    score *= np.array([len(name) if _IS_UNSPACED.match(name) else 1 for name in words.names], np.float32)
    score = score.round(5)  # rounding must not order words that tell nothing apart: their share does
    return [_best(words.names, line, here) for line, here in zip(score, share, strict=True)]


def _best(names: list[str], score: NDArray[np.float32], share: NDArray[np.float32]) -> list[str]:
    order = np.lexsort((np.arange(len(score)), -share, -score))
    chosen: list[str] = []
    for place in order[: 20 * _LABEL_WORDS]:
        name = names[place]
        if share[place] > 0 and name not in _OF_ADDRESSES and not any(_alike(name, other) for other in chosen):
            chosen.append(name)
        if len(chosen) == _LABEL_WORDS:
            break
    return chosen


def _alike(word: str, other: str) -> bool:
    short, long = sorted((word, other), key=len)
    if _IS_UNSPACED.match(short):
        return any(short[at : at + 2] in long for at in range(len(short) - 1))
    return long.startswith(short)
