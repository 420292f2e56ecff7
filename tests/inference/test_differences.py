"""What is marked where two answers differ."""

from __future__ import annotations

import random

import pytest

from alpaca_lora.inference.differences import mark_differences


def _braces(answer: str, other: str) -> str:
    return "".join(f"[{piece}]" if differs else piece for piece, differs in mark_differences(answer, other))


@pytest.mark.parametrize(
    ("answer", "other", "marked"),
    [
        ("the cat sat", "the cat sat", "the cat sat"),
        ("the big old cat sat.", "the cat sat.", "the [big old] cat sat."),
        ("the cat", "the big cat sat", "the cat"),
        ("a dog ran", "the cat sat", "[a dog ran]"),
        ("the cat sat.", "the cat sat!", "the cat sat[.]"),
        ("the  cat\n\nsat \n", "the cat sat", "the  cat\n\nsat \n"),
        ("the\n  dog", "the cat", "the\n  [dog]"),
        ("我们喜欢猫和狗。", "我们喜欢鸟和狗。", "我们喜欢[猫]和狗。"),
        ("ねこが好き", "いぬが好き", "[ねこ]が好き"),
        ("", "the cat", ""),
        ("the cat", "", "[the cat]"),
    ],
)
def test_words_that_the_other_lacks_are_marked(answer: str, other: str, marked: str) -> None:
    assert _braces(answer, other) == marked


def test_long_answers_are_compared_word_by_word_too() -> None:
    """Left alone, difflib takes words that are frequent in 200 and more for noise."""
    first, last = (" ".join(random.Random(seed).choices("abcdefgh", k=150)) for seed in (1, 2))
    assert _braces(f"{first} cat {last}", f"{first} the dog {last}") == f"{first} [cat] {last}"
