"""Words of many languages, and the clusters' labels worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from alpaca_lora.data.atlas.words import Words, count_words, label_clusters, split_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cats don’t eat Ice-Cream in 2020", "cats don’t eat ice cream"),
        ("naïve café, e\u0301te\u0301!", "naïve café e\u0301te\u0301"),
        ("हिन्दी भाषा में लिखो", "हिन्दी भाषा में लिखो"),
        ("Привет, мир; 한국어 문장", "привет мир 한국어 문장"),
        ("コンピュータを使う方法", "コンピュータ 方法"),
        ("人工智的故事", "人工 工智 人工智 故事"),
        ("\ud800 1 + 1 = 2 x", ""),
    ],
)
def test_words_of_many_languages(text: str, expected: str) -> None:
    assert split_words(text) == expected.split()


def test_a_thai_run_gives_2_to_4_letters() -> None:
    assert split_words("ไทยๆ") == ["ไท", "ทย", "ยๆ", "ไทย", "ทยๆ", "ไทยๆ"]


def test_words_are_counted_in_each_part() -> None:
    words = count_words([["red red blue", ""], ["blue", "green"]])
    assert words.names == ["blue", "green", "red"]
    assert [part.toarray().tolist() for part in words.parts] == [[[1, 0, 2], [0, 0, 0]], [[1, 0, 0], [0, 1, 0]]]


def test_rows_without_a_word() -> None:
    words = count_words([["", "1 2"], ["...", "?"]])
    assert [part.shape for part in words.parts] == [(2, 0), (2, 0)]
    assert label_clusters(words, np.array([0, 1]), 2) == [[], []]


def test_a_label_is_what_is_frequent_here_and_rare_elsewhere() -> None:
    """Cluster 0 is rows 0 and 1, cluster 1 rows 2 and 3: common is in all rows, both in one row of each."""
    words = count_words([["common apple pear both", "common apple", "common plum both", "common plum"]])
    labels = label_clusters(words, np.array([0, 0, 1, 1]), 2)
    # apple: 1 log(1 / .5) = .69; pear: .5 log(.5 / .25) = .35; common and both: p = q, so 0.
    assert [label[:2] for label in labels] == [["apple", "pear"], ["plum", "common"]]
    assert "plum" not in labels[0]
    assert "apple" not in labels[1]


def test_a_lone_cluster_is_named_by_its_frequent_words_and_none_by_web_addresses() -> None:
    """Each of the 17 rows has animal, 9 have sea, one has apple; no word tells the cluster from the whole."""
    rows = [
        f"animal https www com {'sea' if number < 9 else ''} {'apple' if number == 3 else ''}" for number in range(17)
    ]
    assert label_clusters(count_words([rows]), np.zeros(17, int), 1) == [["animal", "sea", "apple"]]


def test_forms_of_one_word_stand_once_in_a_label() -> None:
    words = count_words([["car cars smart art", "tea"]])
    assert label_clusters(words, np.array([0, 1]), 2) == [["art", "car", "smart"], ["tea"]]
    chinese = count_words([["人工智能", "红茶"]])
    assert label_clusters(chinese, np.array([0, 1]), 2) == [["人工智能"], ["红茶"]]


def test_rare_words_are_left_out_of_large_files_only() -> None:
    rows = ["common"] * 300
    assert count_words([[*rows, "rare"]]).names == ["common"]
    assert count_words([["common", "rare"]]).names == ["common", "rare"]
    assert isinstance(count_words([rows]), Words)
