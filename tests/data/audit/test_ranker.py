"""The ranker: what it sees and learns, by hand and against other ways to compute it; and against human cleaners."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit import ranker_features
from alpaca_lora.data.audit.catalogue import BUILTIN, choose_rules
from alpaca_lora.data.audit.check import run_rules
from alpaca_lora.data.audit.marks import add_mark
from alpaca_lora.data.audit.ranker import BUNDLED, Seen, learn, rank, see
from alpaca_lora.data.audit.ranker_features import KINDS, MEASURES
from alpaca_lora.data.audit.report import Report
from alpaca_lora.data.audit.rows import Table, TurnView, read_rows
from alpaca_lora.data.audit.rules import Hit, Rule, Severity
from alpaca_lora.errors import UserError

ROOT = Path(__file__).parents[3]
LABELS = ROOT.parent / "shared" / "data" / "human_cleaned_rows_0_2499.json"
RULES = choose_rules(BUILTIN)
CALCULATE, BARE = "something to calculate", "an input without words"
SEVERITIES: tuple[Severity, ...] = ("tag", "defect")
MakeTable = Callable[[list[Any]], Table]


def rows(n: int) -> list[dict[str, str]]:
    """Rows in threes: a page to be read that nobody has seen, an easy sum, and a sound explanation."""
    made: list[dict[str, str]] = []
    for number in range(n):
        link = f"https://example.com/story{number}"
        made += [
            {
                "instruction": "Summarize the article.",
                "input": link,
                "output": f"It tells of town {number} and its mayor.",
            },
            {"instruction": f"What is {number} + 1?", "input": "", "output": str(number + 1)},
            {
                "instruction": f"Explain how a boat of type {number} floats.",
                "input": "",
                "output": "It pushes water aside, and the water pushes back as strongly as the boat weighs.",
            },
        ]
    return made


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    path = tmp_path_factory.mktemp("ranker") / "rows.json"
    path.write_text(json.dumps(rows(40)), encoding="utf-8")
    table = read_rows(str(path))
    return see(table, run_rules(table, RULES))


def marks_of(n: int) -> dict[int, str]:
    return {row: ("defect", "low value", "fine")[row % 3] for row in range(n)}


def test_the_bundled_marks_are_what_the_script_makes() -> None:
    make: Any = runpy.run_path(str(ROOT / "scripts" / "make_marks.py"))["marks_text"]
    assert BUNDLED.read_text(encoding="utf-8") == make()
    bundled = json.loads(BUNDLED.read_text(encoding="utf-8"))
    assert {row["mark"] for row in bundled} == {"defect", "low value", "fine"}


def test_what_is_seen_of_a_row_by_hand(seen: Seen) -> None:
    features = seen.features
    topics = features.directions.shape[1]
    assert np.allclose(np.linalg.norm(features.values[:, :topics], axis=1), 1, atol=1e-5)
    plain = dict(zip(features.names, features.values[:, -len(features.names) :].T, strict=True))
    assert plain["unseen-page"][:120].tolist() == [1, 0, 0] * 40
    inputs = [*(row["input"] for row in rows(40)), *(row["input"] for row in json.loads(BUNDLED.read_text("utf-8")))]
    empty = np.array([not text for text in inputs], float)
    by_hand = 0.07 * (empty - empty.mean()) / empty.std()  # standard deviations off the mean, weighed
    assert plain["an empty input"] == pytest.approx(by_hand, abs=1e-5)
    assert features.names[-len(KINDS + MEASURES) :] == KINDS + MEASURES
    kinds = features.values[:, -len(KINDS + MEASURES) : -len(MEASURES)]
    told = [[KINDS[at] for at in np.flatnonzero(kinds[row])] for row in range(3)]
    assert told == [["a text or data to work on"], [], []]  # "Summarize the article.", "What is 0 + 1?", "Explain how"
    assert set(kinds.ravel().tolist()) == {0, 1}
    opening = features.words[:, features.word_names.index("“summarize” at the start of the instruction")]
    assert opening.toarray()[:120].astype(bool).ravel().tolist() == [True, False, False] * 40
    assert "\x02" not in "".join(features.word_names)
    # Of words of four letters and more that nobody asked with, row 0 says tells, town, mayor, row 1 none, and row 2
    # pushes, water, aside, back, strongly, weighs: logarithms of one more, which keep their ratio when standardised.
    new = plain["new words in the output"]
    assert (new[2] - new[1]) / (new[0] - new[1]) == pytest.approx(np.log(7) / np.log(4), rel=1e-4)


@pytest.mark.parametrize(
    ("instruction", "given", "kinds"),
    [
        ("Calculate the mean.", "3, 4", [CALCULATE, f"{CALCULATE} from numbers in the input", BARE]),
        ("Convert 3 feet to metres.", "", [CALCULATE, "an edit", f"{CALCULATE} from numbers in the instruction"]),
        ("Find the average of a list.", "", [CALCULATE, "something to tell apart", f"{CALCULATE} without any number"]),
        ("Given a URL, say what the site sells.", "shop", ["something given", "a page or the web"]),
        ("Describe a time when you failed.", "", ["a life of one's own"]),
        ("Write Python that prints today.", "", ["code to write or read", "what changes with time"]),
        ("Please edit nothing; rhyme.", "", []),
    ],
)
def test_kinds_of_tasks(instruction: str, given: str, kinds: list[str], table_of: MakeTable) -> None:
    table = table_of([{"instruction": instruction, "input": given, "output": "Done."}])
    features = see(table, run_rules(table, RULES)).features
    plain = dict(zip(features.names, features.values[0, -len(features.names) :], strict=True))
    assert [kind for kind in KINDS if plain[kind]] == kinds


def test_pieces_of_words_join_the_forms_of_a_word(seen: Seen) -> None:
    """Of "cats sat" they are _cat, cats, ats_, _sat, sat_, all as rare, so that each weighs one over the root of 5."""
    pieces: Any = ranker_features._pieces(["cats sat"] * 3 + ["dogs"] * 4)  # pyright: ignore[reportPrivateUsage]
    first, last = pieces.toarray()[[0, 6]]
    assert sorted(first) == pytest.approx([0] * 3 + [5**-0.5] * 5)
    assert sorted(last) == pytest.approx([0] * 5 + [3**-0.5] * 3)
    features = seen.features
    topics = features.values[:, features.directions.shape[1] : -len(features.names)]
    assert np.linalg.norm(topics[:120], axis=1) == pytest.approx(0.7, abs=1e-4)


def test_the_bundled_rows_do_not_bend_the_topics_of_a_large_file() -> None:
    """Learnt from the first rows alone, the topics span what those rows span: numpy's exact SVD says the same."""
    first = csr_matrix(np.array([[3, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]], np.float32))
    words = csr_matrix(vstack([first, csr_matrix(np.array([[0, 0, 0, 9]], np.float32))]))
    topics, directions, norms = ranker_features._topics(words, 3, 9)  # pyright: ignore[reportPrivateUsage]
    exact = np.linalg.svd(first.toarray())[2][:3]
    assert directions @ directions.T == pytest.approx(exact.T @ exact, abs=1e-5)
    assert np.abs(topics[:3]) == pytest.approx(np.eye(3), abs=1e-5)
    assert norms[:3] == pytest.approx([3, 2, 1], abs=1e-5)
    assert not topics[3].any() or norms[3] < 1e-5


def test_own_marks_rank_what_was_not_marked(seen: Seen) -> None:
    ranking = learn(seen, marks_of(60))
    assert ranking.defect.dtype == ranking.low_value.dtype == np.float32
    assert len(ranking.defect) == len(ranking.low_value) == 120
    kind = np.arange(60, 120) % 3
    assert roc_auc_score(kind == 0, ranking.defect[60:]) == 1
    assert roc_auc_score(kind == 1, ranking.low_value[60:]) == 1
    assert ranking.defect[60:][kind == 1].max() < 0.5 < ranking.low_value[60:][kind == 1].min()  # told apart
    assert all(head.own and (head.yes, head.marks) == (20, 60) for head in ranking.heads.values())


def test_the_chances_add_up_to_the_marks(seen: Seen) -> None:
    """At the optimum of a logistic regression with a free intercept, the mean chance is the share of marks."""
    marks = {row: mark for row, mark in marks_of(90).items() if row % 7}
    ranking = learn(seen, marks)
    assert ranking.defect[list(marks)].mean() == pytest.approx(
        np.mean([mark == "defect" for mark in marks.values()]), abs=2e-3
    )


def test_a_mended_row_was_a_defect(seen: Seen) -> None:
    edited = {row: "edit" if mark == "defect" else mark for row, mark in marks_of(60).items()}
    assert learn(seen, edited).defect.tobytes() == learn(seen, marks_of(60)).defect.tobytes()


@pytest.mark.parametrize(
    "marks", [None, {}, marks_of(27), dict.fromkeys(range(100), "defect"), dict.fromkeys(range(100), "fine")]
)
def test_too_few_marks_or_of_one_kind_leave_it_to_the_bundled(seen: Seen, marks: dict[int, str] | None) -> None:
    ranking, bundled = learn(seen, marks), learn(seen, None)
    assert not any(head.own for head in ranking.heads.values())
    assert ranking.defect.tobytes() == bundled.defect.tobytes()
    assert ranking.low_value.tobytes() == bundled.low_value.tobytes()
    assert bundled.heads["defect"].marks == len(json.loads(BUNDLED.read_text("utf-8")))
    pages, sums, sound = (bundled.defect[kind:120:3] for kind in range(3))
    assert pages.min() > max(sums.max(), sound.max())
    assert bundled.low_value[1:120:3].min() > bundled.low_value[0:120:3].max()


def test_one_kind_may_be_the_users_and_the_other_bundled(seen: Seen) -> None:
    marks = {row: "fine" if mark == "low value" else mark for row, mark in marks_of(60).items()}
    heads = learn(seen, marks).heads
    assert (heads["defect"].own, heads["low value"].own) == (True, False)


def test_reasons_name_what_tells_a_row_apart(seen: Seen) -> None:
    ranking = learn(seen, marks_of(90))
    assert "unseen-page" in ranking.reasons(0)
    features, weights = seen.features, ranking.heads["defect"].weights
    topics = features.directions.shape[1]
    row: Any = features.words[0]
    by_word = row.toarray()[0] @ features.directions @ weights[:topics] / features.norms[0]
    assert by_word == pytest.approx(features.values[0, :topics] @ weights[:topics], abs=1e-5)
    assert len(ranking.reasons(1, most=1, kind="low value")) == 1


def test_same_rows_same_ranking(table_of: MakeTable) -> None:
    table = table_of(rows(20))
    report = run_rules(table, RULES)
    with threadpool_limits(2):
        first = rank(table, report, marks_of(45))
    with threadpool_limits(1):
        again = rank(table, report, marks_of(45))
    assert first.defect.tobytes() == again.defect.tobytes()
    assert first.low_value.tobytes() == again.low_value.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        [{"instruction": "Say hi.", "input": "", "output": "Hi."}],
        [{"instruction": "!?", "input": "", "output": ""}] * 3,
        [{"instruction": "什么是水？", "input": "", "output": "水是一种液体。"}] * 5,
        [{"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}] * 2}],
    ],
)
def test_small_and_foreign_files_are_ranked(content: list[Any], table_of: MakeTable) -> None:
    table = table_of(content)
    ranking = rank(table, run_rules(table, RULES))
    assert ranking.defect.shape == (len(content),)
    assert np.all((ranking.defect > 0) & (ranking.defect < 1))


def test_a_row_that_cannot_be_read_is_not_ranked(table_of: MakeTable) -> None:
    content = rows(2)
    whole, holed = table_of(content), table_of([*content[:3], {"nothing": 1}, *content[3:]])
    expected = rank(whole, run_rules(whole, RULES), dict.fromkeys(range(6), "fine"))
    ranking = rank(holed, run_rules(holed, RULES), dict.fromkeys(range(7), "fine"))
    assert ranking.defect == pytest.approx(expected.defect, abs=1e-3)


def test_a_rule_without_an_example_counts_as_a_flaw(table_of: MakeTable) -> None:
    """No bundled row has the flaw that a user's own rule finds; all the same it makes its row more suspicious."""

    def shouts(turn: TurnView) -> Iterator[Hit]:
        if turn.output.startswith("IT PUSHES"):
            yield Hit("output", "in capitals", 0.9)

    content = rows(2)
    content[5]["output"] = content[5]["output"].upper()
    table = table_of(content)
    chance = {
        severity: rank(table, run_rules(table, [*RULES, Rule("shouting", severity, "", find=shouts)])).defect
        for severity in SEVERITIES
    }
    assert chance["defect"][5] > chance["tag"][5] + 0.05
    assert chance["defect"][:5] == pytest.approx(chance["tag"][:5], abs=1e-3)


def test_the_verb_prints_the_first_and_writes_all(
    table_of: MakeTable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = rows(16)
    content[3]["instruction"] = "Summarize [bold]this[/bold] article."
    table = table_of(content)
    marks = tmp_path / "own.marks.jsonl"
    for row, mark in marks_of(33).items():
        add_mark(marks, table, row, mark)  # type: ignore[arg-type]
    out = tmp_path / "ranks.json"
    dispatch(["data", "rank", table.name, "--top", "16", "--json", str(out), "--marks", str(marks)])
    printed = " ".join(capsys.readouterr().out.split())
    record = json.loads(out.read_text(encoding="utf-8"))
    assert sorted(row["row"] for row in record["rows"]) == list(range(48))
    chances = [row["defect"] for row in record["rows"]]
    assert chances == sorted(chances, reverse=True)
    assert {row["row"] for row in record["rows"][:16]} == set(range(0, 48, 3))
    assert all("unseen-page" in row["why"] for row in record["rows"][:16])
    assert record["learnt_from"]["defect"] == "your marks: 11 of 33 rows"
    assert "the 16 most suspicious of 48 rows" in printed
    assert "[bold]" in printed
    dispatch(["data", "rank", table.name, "--top", "1"])
    assert "learnt from the bundled marks" in capsys.readouterr().out
    with pytest.raises(UserError, match="cannot be written"):
        dispatch(["data", "rank", table.name, "--json", str(tmp_path / "no" / "ranks.json")])
    with pytest.raises(UserError, match="two files"):
        dispatch(["data", "rank", table.name, "--data_path", "other.json"])


@pytest.mark.slow
def test_human_cleaners_are_foretold(stanford: Table, report: Report) -> None:
    """Cross-validated over rows 0-2499; benchmarks/ranker.py has three seeds: AUC 0.930-0.932, precision 0.76-0.77."""
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    target = np.zeros(labels["range"][1] + 1, int)
    target[[int(row) for row in labels["changed"]]] = 1
    seen = see(stanford, report)
    pooled = np.zeros(len(target))
    for known, hidden in StratifiedKFold(5, shuffle=True, random_state=0).split(target, target):
        marks = {int(row): "defect" if target[row] else "fine" for row in known}
        pooled[hidden] = learn(seen, marks).defect[hidden]
    assert average_precision_score(target, pooled) >= 0.7
    assert roc_auc_score(target, pooled) >= 0.92
