"""TF-IDF vectors against scikit-learn's own way, and a user's model with its errors."""

from __future__ import annotations

import importlib.machinery
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from alpaca_lora.data.atlas import embedding
from alpaca_lora.data.atlas.embedding import check_embedder, encode, tf_idf
from alpaca_lora.data.atlas.settings import PictureConfig
from alpaca_lora.data.atlas.words import count_words, split_words
from alpaca_lora.errors import UserError

QUESTIONS = ["bake bread today", "bake cake", "moon orbit", "orbit of comet comet", "", "bread"]
ANSWERS = ["flour yeast", "flour sugar", "rocket", "telescope rocket", "", "flour flour yeast"]


def test_vectors_keep_the_angles_of_tf_idf() -> None:
    found = tf_idf(count_words([QUESTIONS, ANSWERS]), seed=0)
    vectorizer = TfidfVectorizer(analyzer=split_words, sublinear_tf=True).fit(QUESTIONS + ANSWERS)
    wanted = (vectorizer.transform(QUESTIONS) + vectorizer.transform(ANSWERS)).toarray()
    wanted /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-5)


def test_more_rows_than_dimensions_are_the_nearest_of_lower_rank() -> None:
    """Against numpy's exact SVD: 150 rows of 120 words, cut at 100."""
    random = np.random.default_rng(0)
    names = [f"{a}{b}" for a in "bcdfghjklmnp" for b in ("ab", "ac", "ad", "af", "ag", "ak", "al", "ap", "ar", "av")]
    texts = [" ".join(random.choice(names, 8, p=_zipf(len(names)))) for _ in range(150)]
    found = tf_idf(count_words([texts]), seed=0)
    exact = TfidfVectorizer(analyzer=split_words, sublinear_tf=True).fit_transform(texts).toarray()
    left, strength, _ = np.linalg.svd(exact, full_matrices=False)
    wanted = left[:, :100] * strength[:100]
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    assert found.shape == (150, 100)
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=0.02)


def _zipf(n: int) -> np.ndarray:
    share = 1 / np.arange(1, n + 1)
    return share / share.sum()


def test_no_word_is_no_direction() -> None:
    assert tf_idf(count_words([["", "!"]]), seed=0).tolist() == [[0], [0]]


def test_a_missing_library_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda _: None)
    with pytest.raises(UserError, match="not installed") as error:
        check_embedder("sentence-transformers:a/b")
    assert error.value.fix.startswith("pip install sentence-transformers")
    check_embedder("tf-idf")


@pytest.mark.parametrize("name", ["", "word2vec", "sentence-transformers:"])
def test_an_unknown_embedder_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="--embedder"):
        PictureConfig(embedder=name)


@pytest.fixture
def _library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for sentence-transformers: counts of a and b, from a folder only."""

    class SentenceTransformer:
        def __init__(self, name: str) -> None:
            if not Path(name).is_dir():
                raise OSError(f"{name} is neither a folder nor on the Hub\nlong story")

        def encode(self, texts: list[str], *, show_progress_bar: bool) -> list[list[int]]:
            assert not show_progress_bar
            assert len(texts) <= 256
            return [[text.count("a"), text.count("b")] for text in texts]

    library = types.ModuleType("sentence_transformers")
    library.__spec__ = importlib.machinery.ModuleSpec("sentence_transformers", None)
    library.SentenceTransformer = SentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)


@pytest.mark.usefixtures("_library")
def test_a_model_gets_the_parts_joined_and_the_rows_in_place(tmp_path: Path) -> None:
    questions = ["a" * (1 + number % 7) for number in range(600)]
    answers = ["b" * (1 + number % 5) for number in range(600)]
    shares: list[float] = []
    found = encode([questions, answers], f"sentence-transformers:{tmp_path}", shares.append)
    wanted = np.array([[1 + number % 7, 1 + number % 5] for number in range(600)], float)
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), rtol=1e-6)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.usefixtures("_library")
def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"the model \S*such cannot be loaded: .* is neither a folder nor on the Hub"):
        encode([["a"]], "sentence-transformers:no/such", lambda _: None)
