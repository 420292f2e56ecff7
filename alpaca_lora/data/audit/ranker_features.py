"""What the ranker sees of rows: the topic of their words, the rules' findings, and plain measures of their texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from alpaca_lora.data.audit.rows import RowView
from alpaca_lora.data.audit.rules import Finding

_TOPICS = 100
_PARTS = ("instruction", "input", "output")
_PART_WEIGHTS = (1.0, 0.7, 0.7)
_MOST_WORDS = 20_000
_FEWEST_ROWS = 3
_ROWS_LEARNT_FROM = 30_000
"""Topics are learnt from every second row of twice as many, and so on: more rows cost memory and change little."""
_MEASURE_SCALE = 0.1
"""A measure one standard deviation off its mean weighs this much; a finding weighs 1, a row's topic 1 in all."""
_FARTHEST = 4.0
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = rf"[{_HAN}]|[^\W_{_HAN}]{{2,}}"  # a Chinese character is a word, and two of them are a pair as in English
_WORD = re.compile(rf"[{_HAN}]|[^\W\d_{_HAN}]+|\d+")
_DIGITS = re.compile(r"\d")
_SIGNS = re.compile(r"[^\w\s.,]")
_CAPITALS = re.compile(r"[A-Z]")
_CODE = re.compile(r"\bdef |\breturn\b|\bSELECT\b|\bimport |[{}]|;\s*\n|</?\w|\bprint\(|\(\)|==|\+=|= *\[")
_LONG_WORD = 4
FLAW = "a flaw by the rules"
"""Stands for any rule that is no tag, so that one without an example among the marks counts as well."""


@dataclass(frozen=True)
class Features:
    """What is known of each row.

    Attributes:
        values: (rows, features) float32: the row's topics (length 1 in all), its findings (0 or 1), its measures.
        names: of the findings and measures, in their order after the topics.
        words: (rows, words) weighed counts; `word_names` says which part of a row each word stands in.
        directions: (words, topics): how words turn to topics; `norms`: (rows,) what their sum is divided by.
    """

    values: NDArray[np.float32]
    names: list[str]
    words: csr_matrix
    word_names: list[str]
    directions: NDArray[np.float32]
    norms: NDArray[np.float32]


def features_of(rows: Sequence[RowView], findings: Sequence[Finding], rules: Sequence[str]) -> Features:
    """Look at rows; findings are matched to them by their number, those of other rules than `rules` left out.

    Topics are the TF-IDF of words and of pairs of words in the instruction (sublinear) under a randomized SVD (latent
    semantic analysis, Deerwester et al. 1990; Halko et al. 2011), fitted to these rows without any mark. Each part of a
    row must have a word that three rows share, as the bundled rows see to.
    """
    parts = [["\n".join(getattr(turn, part) for turn in row.turns) for row in rows] for part in _PARTS]
    words, word_names = _words(parts)
    topics, directions, norms = _topics(words)
    found = np.zeros((len(rows), len(rules) + 1), np.float32)  # the last: a flaw, whichever
    place, column = {row.row: at for at, row in enumerate(rows)}, {rule: at for at, rule in enumerate(rules)}
    for finding in findings:
        if finding.rule in column and finding.row in place:
            found[place[finding.row], column[finding.rule]] = 1
            found[place[finding.row], -1] = max(found[place[finding.row], -1], finding.severity != "tag")
    measures = np.empty((len(rows), len(MEASURES)), np.float32)
    for at, texts in enumerate(zip(*parts, strict=True)):
        measures[at] = _measures(*texts)
    measures = (measures - measures.mean(0)) / np.maximum(measures.std(0), 1e-6)
    measures = np.clip(measures, -_FARTHEST, _FARTHEST) * _MEASURE_SCALE
    values = np.hstack([topics, found, measures]).astype(np.float32)
    return Features(values, [*rules, FLAW, *MEASURES], words, word_names, directions, norms)


def _words(parts: Sequence[Sequence[str]]) -> tuple[csr_matrix, list[str]]:
    """Weigh the words of each part apart: a word of the question says something else than the same of the answer."""
    matrices: list[Any] = []
    names: list[str] = []
    for part, texts, weight in zip(_PARTS, parts, _PART_WEIGHTS, strict=True):
        make: Any = TfidfVectorizer
        weigh = make(
            sublinear_tf=True,
            token_pattern=_TOKEN,
            ngram_range=(1, 2) if part == "instruction" else (1, 1),
            min_df=_FEWEST_ROWS,
            max_features=_MOST_WORDS,
            dtype=np.float32,
        )
        matrices.append(weigh.fit_transform(texts) * weight)
        names += [f"“{word}” in the {part}" for word in weigh.get_feature_names_out()]
    return csr_matrix(hstack(matrices)), names


def _topics(words: csr_matrix) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Give (rows, topics) vectors of length 1, the (words, topics) directions, and the lengths they had."""
    svd, shape = cast("tuple[Any, tuple[int, int]]", (randomized_svd, words.shape))
    with threadpool_limits(1, "blas"):  # sums in the same order on any number of cores
        sample = words[:: 1 + shape[0] // _ROWS_LEARNT_FROM]
        _, _, right = svd(sample, min(_TOPICS, *shape), n_oversamples=20, n_iter=2, random_state=0)
    directions = right.T.astype(np.float32)
    topics: Any = words @ directions
    norms = np.maximum(np.sqrt((topics**2).sum(1)), 1e-6).astype(np.float32)
    return np.asarray(normalize(topics), np.float32), directions, norms


def _shape(text: str, words: list[str]) -> list[float]:
    length = len(text)
    per = 1 / max(1, length)
    return [
        np.log1p(length),
        np.log1p(text.count("\n")),
        len(_DIGITS.findall(text)) * per,
        np.log1p(sum(map(str.isdigit, words))),
        len(_SIGNS.findall(text)) * per,
        len(_CAPITALS.findall(text)) * per,
        np.log1p(len(_CODE.findall(text))),
        length / max(1, len(words)),
        len(set(words)) / max(1, len(words)),
    ]


_SHAPE = "length;lines;share of digits;numbers;share of signs;share of capitals;code;length of words;variety of words"
MEASURES = [
    *(f"{name} of the {part}" for part in _PARTS for name in _SHAPE.split(";")),
    "an empty input",
    "an empty output",
    "output words taken from the input",
    "input words taken up by the output",
    "output words taken from the instruction",
    "instruction words taken up by the output",
    "instruction words that the input holds",
    "new words in the output",
    "new numbers in the output",
    "output longer than the input",
    "output longer than the instruction",
    "an instruction that ends with a full stop",
    "an instruction that ends with a question mark",
    "an instruction that ends with a colon",
    "quotes in the instruction",
    "brackets in the input",
    "an output that ends a sentence",
]
"""Names of the measures, each to be read after “much” or “little”."""


def _share(part: set[str], whole: set[str]) -> float:
    return len(part & whole) / max(1, len(part))


def _measures(instruction: str, given: str, output: str) -> list[float]:
    texts = (instruction, given, output)
    lists = [_WORD.findall(text.lower()) for text in texts]
    shapes = [_shape(text, words) for text, words in zip(texts, lists, strict=True)]
    asked, known, said = ({word for word in words if len(word) >= _LONG_WORD} for words in lists)
    fresh = said - asked - known
    numbers = [{word for word in words if word.isdigit()} for words in lists]
    end = instruction.rstrip()[-1:]
    return [
        *(value for shape in shapes for value in shape),
        float(not given.strip()),
        float(not output.strip()),
        _share(said, known),
        _share(known, said),
        _share(said, asked),
        _share(asked, said),
        _share(asked, known),
        np.log1p(len(fresh)),
        np.log1p(len(numbers[2] - numbers[1] - numbers[0])),
        shapes[2][0] - shapes[1][0],
        shapes[2][0] - shapes[0][0],
        float(end == "."),
        float(end == "?"),
        float(end == ":"),
        float('"' in instruction or "“" in instruction),
        float("[" in given or "<" in given),
        float(output.rstrip()[-1:] in (".", "!", "?", '"', "。")),
    ]
