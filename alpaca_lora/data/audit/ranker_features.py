"""What the ranker sees of rows: the topics of their words, the rules' findings, and plain measures of their texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits

from alpaca_lora.data.audit.rows import RowView
from alpaca_lora.data.audit.rules import Finding

_TOPICS = 120
_PIECE_TOPICS = 60
_PIECE = 4
"""Letters in a piece of a word: “calculate”, “calculation” and “recalculated” share some."""
_PIECE_SCALE = 0.7
_PARTS = ("instruction", "input", "output")
_MOST_WORDS = 12_000
_FEWEST_ROWS = 3
_ROWS_LEARNT_FROM = 30_000
"""Topics are learnt from every second row of twice as many, and so on: more rows cost memory and change little."""
_ROWS_ENOUGH = 10_000
"""The bundled rows, of one mould, would bend the topics of a file, and are needed for those of a small one."""
_MEASURE_SCALE = 0.07
"""A measure one standard deviation off its mean weighs this much; a finding or a kind 1, a row's topic 1 in all."""
_FARTHEST = 4.0
_OPENS = "\x02"
"""Put before an instruction, so that the pair of it and the first word says what the instruction opens with."""
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
# A Chinese character is a word, and two of them are a pair as in English.
_TOKEN = rf"{_OPENS}|[{_HAN}]|[^\W_{_HAN}]{{2,}}"
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
        values: (rows, features) float32: the row's topics (length 1 in all), those of its instruction by the pieces
            of words (length 0.7), its findings and the kinds of its task (0 or 1), its measures.
        names: of the findings, kinds and measures, in their order, the last of the features.
        words: (rows, words) weighed counts; `word_names` says which part of a row each word stands in.
        directions: (words, topics): how words turn to topics; `norms`: (rows,) what their sum is divided by.
    """

    values: NDArray[np.float32]
    names: list[str]
    words: csr_matrix
    word_names: list[str]
    directions: NDArray[np.float32]
    norms: NDArray[np.float32]


def features_of(rows: Sequence[RowView], findings: Sequence[Finding], rules: Sequence[str], first: int) -> Features:
    """Look at rows; findings are matched to them by their number, those of other rules than `rules` left out.

    Topics are the TF-IDF of words and of pairs of words in the instruction (sublinear) under a randomized SVD (latent
    semantic analysis, Deerwester et al. 1990; Halko et al. 2011), fitted to these rows without any mark, and likewise
    of the pieces of words in the instruction, so that forms of a word count as one. Each part of a row must have a word
    that three rows share, as the bundled rows see to. Kinds are told by English words.

    Args:
        first: how many rows stand before the bundled ones; so many alone, where enough, say what topics there are.
    """
    parts = [["\n".join(getattr(turn, part) for turn in row.turns) for row in rows] for part in _PARTS]
    words, word_names = _words(parts)
    first = first if first >= _ROWS_ENOUGH else len(rows)
    topics, directions, norms = _topics(words, first, _TOPICS)
    pieces = _topics(_pieces(parts[0]), first, _PIECE_TOPICS)[0] * _PIECE_SCALE
    found = np.zeros((len(rows), len(rules) + 1), np.float32)  # the last: a flaw, whichever
    place, column = {row.row: at for at, row in enumerate(rows)}, {rule: at for at, rule in enumerate(rules)}
    for finding in findings:
        if finding.rule in column and finding.row in place:
            found[place[finding.row], column[finding.rule]] = 1
            found[place[finding.row], -1] = max(found[place[finding.row], -1], finding.severity != "tag")
    kinds = np.empty((len(rows), len(KINDS)), np.float32)
    measures = np.empty((len(rows), len(MEASURES)), np.float32)
    for at, texts in enumerate(zip(*parts, strict=True)):
        kinds[at] = _kinds(*texts[:2])
        measures[at] = _measures(*texts)
    measures = (measures - measures.mean(0)) / np.maximum(measures.std(0), 1e-6)
    measures = np.clip(measures, -_FARTHEST, _FARTHEST) * _MEASURE_SCALE
    values = np.hstack([topics, pieces, found, kinds, measures]).astype(np.float32, copy=False)
    return Features(values, [*rules, FLAW, *KINDS, *MEASURES], words, word_names, directions, norms)


def _words(parts: Sequence[Sequence[str]]) -> tuple[csr_matrix, list[str]]:
    """Weigh the words of each part apart: a word of the question says something else than the same of the answer."""
    matrices: list[Any] = []
    names: list[str] = []
    for part, texts in zip(_PARTS, parts, strict=True):
        make: Any = TfidfVectorizer
        weigh = make(
            sublinear_tf=True,
            token_pattern=_TOKEN,
            ngram_range=(1, 2) if part == "instruction" else (1, 1),
            min_df=_FEWEST_ROWS,
            max_df=len(texts) - 1,  # what all rows have tells none apart: _OPENS by itself
            max_features=_MOST_WORDS,
            dtype=np.float32,
        )
        matrices.append(weigh.fit_transform([_OPENS + text for text in texts] if part == "instruction" else texts))
        names += [_named(word, part) for word in weigh.get_feature_names_out()]
    return csr_matrix(hstack(matrices)), names


def _pieces(texts: Sequence[str]) -> csr_matrix:
    """Weigh each four letters that stand together in a word, its ends among them as spaces."""
    make: Any = TfidfVectorizer
    weigh = make(
        sublinear_tf=True,
        analyzer="char_wb",
        ngram_range=(_PIECE, _PIECE),
        min_df=_FEWEST_ROWS,
        max_features=_MOST_WORDS,
        dtype=np.float32,
    )
    return weigh.fit_transform(texts)


def _named(word: str, part: str) -> str:
    place = "at the start of" if word.startswith(_OPENS) else "in"
    return f"“{word.removeprefix(f'{_OPENS} ')}” {place} the {part}"


def _topics(
    words: csr_matrix, first: int, most: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Learn topics, so many at most, from the first rows.

    Gives (rows, topics) vectors of length 1, the (words, topics) directions, and the lengths the vectors had.
    """
    svd, shape = cast("tuple[Any, tuple[int, int]]", (randomized_svd, words.shape))
    with threadpool_limits(1, "blas"):  # sums in the same order on any number of cores
        sample = words[: first : 1 + first // _ROWS_LEARNT_FROM]
        _, _, right = svd(sample, min(most, first, shape[1]), n_oversamples=20, n_iter=2, random_state=0)
    directions = right.T.astype(np.float32)
    topics: Any = words @ directions
    norms = np.maximum(np.linalg.norm(topics, axis=1), 1e-6).astype(np.float32)
    return topics / norms[:, None], directions, norms


def _says(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b", re.IGNORECASE)


_COMPUTES = _says(
    r"calculate|compute|sum|mean|median|mode|average|total|area|volume|perimeter|probability|equation|solve|convert"
    r"|percent\w*|round|derivative|integral|square root|factorial|numbers?|digits?|sequence|sort|count|divide|multiply"
    r"|simplify|evaluate|estimate"
)
_ASKS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "a text or data to work on": _says(
            r"article|passage|text|paragraph|story|blog|news|document|poem|speech|book|movie|song|report|review|essay"
            r"|post|study|content|web ?page|website|page|tweet|email|letter|conversation|dialogue|data|dataset|table"
            r"|graph"
        ),
        "code to write or read": _says(
            r"code|function|program|sql|query|algorithm|script|python|java|html|css|regex|class|array|linked list"
            r"|binary|database|data structure|loop"
        ),
        "something to calculate": _COMPUTES,
        "a life of one's own": _says(
            r"a time (?:when|you)|you (?:had|have|did|ever|recently|just)|yesterday|last (?:week|month|year)|recently"
            r"|your (?:favou?rite|last|own|recent|grand\w+|mother|father|life|experience|day|opinion|thoughts?)"
        ),
        "what changes with time": _says(
            r"current(?:ly)?|latest|recent|today|now|this (?:year|month|week)|20[12]\d|nearest|near me|price|stock"
            r"|weather|forecast|population|rate"
        ),
        "something given": re.compile(r"\A\s*given\b", re.IGNORECASE),
        "words or sentences": _says(r"sentence|words?|phrase|letters?"),
        "something to tell apart": _says(
            r"(?:classif|categor|label|identify|determine|detect|predict|sentiment|recognize|match|find)\w*"
        ),
        "a page or the web": _says(
            r"url|link|website|web ?page|google|search|internet|online|twitter|wikipedia|amazon"
        ),
        "an edit": re.compile(
            r"\A\s*(?:edit|rewrite|rephrase|paraphrase|correct|reword|change|replace|modify|convert|transform|translate"
            r"|add|remove|delete|insert|fix|arrange|rearrange|reorder)\b",
            re.IGNORECASE,
        ),
    }
)
_LETTERS = re.compile(r"[^\W\d_]{3}")
KINDS = [
    *_ASKS,
    "something to calculate from numbers in the input",
    "something to calculate from numbers in the instruction",
    "something to calculate without any number",
    "an input without words",
]
"""Names of the kinds, what a task asks for or about: some kinds go wrong, or are easy, more often than others."""


def _kinds(instruction: str, given: str) -> list[bool]:
    """Tell for each of KINDS whether a task is of it."""
    asks = [bool(pattern.search(instruction)) for pattern in _ASKS.values()]
    computes = bool(_COMPUTES.search(instruction))
    in_input, in_instruction = bool(_DIGITS.search(given)), bool(_DIGITS.search(instruction))
    return [
        *asks,
        computes and in_input,
        computes and in_instruction and not given.strip(),
        computes and not in_input and not in_instruction,
        bool(given.strip()) and not _LETTERS.search(given),
    ]


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
