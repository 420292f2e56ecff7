"""Where two answers differ, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # Chinese and Japanese have no spaces: each sign counts as a word
_WORD = re.compile(rf"\s*(?:[{_ALONE}]|[^\W{_ALONE}]+|\S)|\s+")


def mark_differences(answer: str, other: str) -> Iterator[tuple[str, bool]]:
    """Yield an answer in pieces, each with whether the other answer lacks it at its place. White space does not count.

    The pieces make the whole answer; one that differs begins with a word, not with white space.
    """
    mine, theirs = _WORD.findall(answer), _WORD.findall(other)
    matcher = SequenceMatcher(None, [word.strip() for word in mine], [word.strip() for word in theirs], autojunk=False)
    for kind, start, end, _, _ in matcher.get_opcodes():
        piece = "".join(mine[start:end])
        words = piece.lstrip()
        if kind == "equal" or not words:
            yield piece, False
        else:
            yield piece.removesuffix(words), False
            yield words, True
