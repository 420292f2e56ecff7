"""Rows as examples: every shape, what is wrong with a bad row, and which rows are held out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.examples import Examples, Turn, detect_shape, read_examples, split_rows
from alpaca_lora.errors import UserError

STANFORD = Path(__file__).parents[2] / ".." / "shared" / "data" / "alpaca_data.json"

GOOD = {"instruction": "Say a.", "input": "", "output": "a"}


def read(folder: Path, rows: list[Any], **options: Any) -> Examples:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return read_examples(str(path), **options)


def refused(folder: Path, rows: list[Any], **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, rows, **options)
    return str(caught.value)


def chat(
    *texts: str, names: tuple[str, str] = ("user", "assistant"), keys: tuple[str, str] = ("role", "content")
) -> Any:
    return [{keys[0]: names[number % 2], keys[1]: text} for number, text in enumerate(texts)]


def sharegpt(*texts: str) -> Any:
    return chat(*texts, names=("human", "gpt"), keys=("from", "value"))


SYSTEM = {"role": "system", "content": "Be brief."}
TWO_TURNS = (Turn("a", "", "b"), Turn("c", "", "d"))


# --- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "shape", "system", "turns"),
    [
        (GOOD, "alpaca", "", (Turn("Say a.", "", "a"),)),
        ({"instruction": "a", "output": "b"}, "alpaca", "", (Turn("a", "", "b"),)),
        ({"instruction": "a", "input": None, "output": "b"}, "alpaca", "", (Turn("a", "", "b"),)),
        ({"instruction": "a", "input": "x", "output": "b", "system": "s"}, "alpaca", "s", (Turn("a", "x", "b"),)),
        ({"instruction": "c", "output": "d", "history": [["a", "b"]]}, "alpaca", "", TWO_TURNS),
        ({"instruction": "a", "output": "b", "history": None, "system": None}, "alpaca", "", (Turn("a", "", "b"),)),
        ({"instruction": "", "input": "x", "output": "b"}, "alpaca", "", (Turn("", "x", "b"),)),
        ({"instruction": "a", "output": ""}, "alpaca", "", (Turn("a", "", ""),)),
        ({"conversations": sharegpt("a", "b", "c", "d")}, "sharegpt", "", TWO_TURNS),
        ({"conversations": [{"from": "system", "value": "s"}, *sharegpt("a", "b")], "id": 7}, "sharegpt", "s", None),
        ({"conversations": sharegpt("a", "b"), "system": "s"}, "sharegpt", "s", (Turn("a", "", "b"),)),
        ({"messages": chat("a", "b", "c", "d")}, "messages", "", TWO_TURNS),
        ({"messages": [SYSTEM, *chat("a", "b")]}, "messages", "Be brief.", (Turn("a", "", "b"),)),
        ({"messages": [SYSTEM | {"role": "developer"}, *chat("a", "b")]}, "messages", "Be brief.", None),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", "", (Turn("a", "", "b"),)),
        (
            {"prompt": [SYSTEM, *chat("a", "b", "c")], "completion": [{"role": "assistant", "content": "d"}]},
            "prompt_completion",
            "Be brief.",
            TWO_TURNS,
        ),
    ],
)
def test_a_shape_is_known_by_its_keys(tmp_path: Path, row: Any, shape: str, system: str, turns: Any) -> None:
    examples = read(tmp_path, [row])
    assert (examples.shape, examples.rows_read, examples.rows_bad) == (shape, 1, 0)
    (example,) = examples.examples
    assert example.system == system
    assert example.turns == (turns or (Turn("a", "", "b"),))
    assert example.row == 0


def test_a_named_shape_wins_over_the_keys(tmp_path: Path) -> None:
    row = GOOD | {"messages": chat("a", "b")}
    assert read(tmp_path, [row]).shape == "alpaca"
    assert read(tmp_path, [row], shape="messages").examples[0].turns == (Turn("a", "", "b"),)


def test_the_first_row_that_has_a_shape_decides() -> None:
    assert detect_shape(["text", ["list"], {"x": 1}, {"messages": []}, GOOD]) == "messages"
    assert detect_shape([{"instruction": "a"}, None]) is None


def test_csv_cells_are_text_even_where_they_look_like_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("instruction,output\nTwo and two?,4\nNothing?,\n", encoding="utf-8")
    turns = [example.turns[0] for example in read_examples(str(path)).examples]
    assert turns == [Turn("Two and two?", "", "4"), Turn("Nothing?", "", "")]


# --- bad rows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a"}, "'output' is missing"),
        (GOOD | {"output": 4}, "'output' is a number, expected text"),
        (GOOD | {"output": float("nan")}, "'output' is a number, expected text"),
        (GOOD | {"output": None}, "'output' is null, expected text"),
        (GOOD | {"output": ["a"]}, "'output' is a list, expected text"),
        (GOOD | {"output": True}, "'output' is true or false, expected text"),
        (GOOD | {"input": {"a": None}}, "'input' is an object, expected text"),
        (GOOD | {"instruction": " \n"}, "'instruction' is empty"),
        (GOOD | {"system": 1}, "'system' is a number, expected text"),
        (GOOD | {"output": "half \ud83d"}, "'output' holds half a character"),
        (GOOD | {"history": "a"}, "'history' must be a list of [question, answer] pairs"),
        (GOOD | {"history": 5}, "'history' must be a list of [question, answer] pairs"),
        (GOOD | {"history": [["a", None]]}, "'history' must be a list of [question, answer] pairs"),
        (GOOD | {"history": [["a", "\udc00"]]}, "'history' holds half a character"),
        (["Say a.", "a"], "the row is a list, expected an object"),
        ("Say a.", "the row is text, expected an object"),
        (None, "the row is null, expected an object"),
    ],
)
def test_what_is_wrong_with_an_alpaca_row_is_told(tmp_path: Path, row: Any, reason: str) -> None:
    message = refused(tmp_path, [GOOD, row])
    assert message.startswith(f"row 1 cannot be used: {reason}")
    assert f"rows.jsonl:2: {json.dumps(row)[:10]}" in message
    assert "a row of shape alpaca has instruction, output" in message
    assert "--on_bad_rows skip" in message


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "the list of messages is missing or empty"),
        (None, "the list of messages is missing or empty"),
        ("hello", "the list of messages is missing or empty"),
        (["hello"], "message 0 is text, expected an object"),
        (sharegpt("a", "b")[1:], "message 0 is from 'gpt'; expected user and assistant in turn, the user first"),
        (sharegpt("a"), "the last message is not the assistant's"),
        ([*sharegpt("a", "b"), *sharegpt("c")], "the last message is not the assistant's"),
        ([*sharegpt("a"), *sharegpt("b", "c")], "message 1 is from 'human'; expected user and assistant in turn"),
        ([*sharegpt("a", "b"), {"from": "system", "value": "s"}], "message 2 is from 'system'; expected user and"),
        ([*sharegpt("a"), {"from": "tool", "value": "x"}], "message 1 has 'from' 'tool'; known are user, human, "),
        ([{"value": "a"}], "message 0 has 'from' None; known are user, human, "),
        ([{"from": ["human"], "value": "a"}], "message 0 has 'from' ['human']; known are"),
        ([{"from": "human", "value": None}], "'value' is null, expected text"),
        ([{"from": "human"}], "'value' is missing"),
        ([{"from": "system", "value": "s"}], "the last message is not the assistant's"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_told(tmp_path: Path, messages: Any, reason: str) -> None:
    message = refused(tmp_path, [{"conversations": sharegpt("a", "b")}, {"conversations": messages}])
    assert message.startswith(f"row 1 cannot be used: {reason}")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "", "completion": "b"}, "'prompt' is empty"),
        ({"prompt": "a", "completion": 1}, "'completion' is a number, expected text"),
        ({"prompt": chat("a"), "completion": "b"}, "'prompt' is a list, expected text"),
        ({"prompt": chat("a"), "completion": []}, "the last message is not the assistant's"),
    ],
)
def test_what_is_wrong_with_a_completion_is_told(tmp_path: Path, row: Any, reason: str) -> None:
    assert refused(tmp_path, [row]).startswith(f"row 0 cannot be used: {reason}")


def test_the_error_names_file_line_keys_text_and_how_many_more_fail(tmp_path: Path) -> None:
    long = {"instruction": "Say a.", "answer": "ä" * 100}
    message = refused(tmp_path, [GOOD, long, GOOD, {"instruction": "b", "reply": "c"}, {}])
    first, where, why, fix = message.splitlines()
    assert first == f"row 1 cannot be used: 'output' is missing; 2 more fail, the next at {tmp_path}/rows.jsonl:4"
    assert where == f"  where: {tmp_path}/rows.jsonl:2: " + ('{"instruction": "Say a.", "answer": "' + "ä" * 100)[:80]
    assert why == "  why: found the keys instruction, answer; a row of shape alpaca has instruction, output"
    assert fix == "  fix: mend the rows, or leave them out with --on_bad_rows skip"


def test_bad_rows_are_left_out_and_counted_when_asked_for(tmp_path: Path) -> None:
    rows = [["no"], GOOD, {"instruction": "a"}, GOOD]
    examples = read(tmp_path, rows, on_bad_rows="skip")
    assert [example.row for example in examples.examples] == [1, 3]
    assert (examples.rows_read, examples.rows_bad, examples.shape) == (4, 2, "alpaca")


def test_a_line_that_is_not_json_is_a_bad_row_like_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"instruction": "a", "outp\n' + json.dumps(GOOD) + "\n{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"row 0 cannot be used: the line is not JSON: .*; 1 more fail") as caught:
        read_examples(str(path))
    assert 'rows.jsonl:1: {"instruction": "a", "outp' in str(caught.value)
    assert read_examples(str(path), on_bad_rows="skip").rows_bad == 2


def test_skipping_every_row_is_an_error(tmp_path: Path) -> None:
    message = refused(tmp_path, [{"instruction": "", "output": "a"}] * 3, on_bad_rows="skip")
    assert "row 0 cannot be used: 'instruction' is empty; 2 more fail" in message


# --- no shape at all ---------------------------------------------------------------------------------------------


def test_unknown_keys_are_shown_with_the_known_shapes(tmp_path: Path) -> None:
    message = refused(tmp_path, [{"question": "a", "answer": "b"}] * 2)
    assert "no row has a known shape; the first of 2 has the keys question, answer" in message
    assert 'rows.jsonl:1: {"question": "a", "answer": "b"}' in message
    for shape in ("alpaca: instruction, output", "sharegpt: conversations", "messages: messages"):
        assert shape in message
    assert "prompt_completion: completion, prompt" in message


def test_rows_wrapped_in_an_object_are_pointed_at(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": 1, "data": [GOOD]}, indent=2), encoding="utf-8")
    with pytest.raises(UserError, match="the rows are the list under 'data', save that list alone"):
        read_examples(str(path))


def test_text_that_is_no_data_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("Dear reader,\nthis is a letter.\n", encoding="utf-8")
    with pytest.raises(UserError, match="the line is not JSON") as caught:
        read_examples(str(path))
    assert "rows.jsonl:1: Dear reader," in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "\n"])
def test_no_rows_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"rows\.json holds no rows"):
        read_examples(str(path))


# --- the split ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_rows", "size"), [(1, 0), (19, 0), (20, 1), (1000, 50), (40_000, 2000), (52_002, 2000)])
def test_the_default_holds_out_5_percent_and_at_most_2000(n_rows: int, size: int) -> None:
    assert len(split_rows(n_rows, None)) == size


def test_the_held_out_rows_are_fixed_nested_and_spread() -> None:
    held = split_rows(1000, 100)
    assert held == split_rows(1000, 100)
    assert len(held) == 100
    assert split_rows(1000, 10) < held < split_rows(1000, 300) < frozenset(range(1000))
    tenths = [sum(start <= row < start + 100 for row in held) for start in range(0, 1000, 100)]
    assert min(tenths) > 0
    assert sorted(split_rows(20, 5)) == [3, 5, 16, 17, 19]


@pytest.mark.parametrize(("n_rows", "size", "largest"), [(10, 10, 9), (10, 2000, 9), (1, 1, 0)])
def test_a_split_that_leaves_nothing_names_the_largest_that_fits(n_rows: int, size: int, largest: int) -> None:
    with pytest.raises(UserError, match=f"--val_set_size {largest} is the largest that fits"):
        split_rows(n_rows, size)
    assert len(split_rows(n_rows, largest)) == largest


# --- the real file -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not STANFORD.is_file(), reason="the Stanford data is not here")
def test_the_stanford_rows_are_read_whole() -> None:
    expected = json.loads(STANFORD.read_text(encoding="utf-8"))
    examples = read_examples(str(STANFORD))
    assert (examples.rows_read, examples.rows_bad, examples.shape) == (len(expected), 0, "alpaca")
    pairs = zip(examples.examples, expected, strict=True)
    assert all(example.turns == (Turn(**row),) for example, row in pairs)
