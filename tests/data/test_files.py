"""Files as rows: every format, where each row begins, and the odd files people have."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.data.files import BrokenRow, RowFile, content_fingerprint, open_rows
from alpaca_lora.errors import UserError

ROWS = [{"instruction": f"Say {n}.", "input": "", "output": str(n)} for n in range(3)]


def opened(folder: Path, name: str, content: str | bytes) -> RowFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_rows(str(path))


def refused(folder: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(UserError) as caught:
        opened(folder, name, content)
    return str(caught.value)


# --- the formats -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.json", json.dumps(ROWS), [1, 1, 1]),
        ("a.json", json.dumps(ROWS, indent=2), [2, 7, 12]),
        ("a.json", "".join(json.dumps(row) + "\n" for row in ROWS), [1, 2, 3]),
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS), [1, 2, 3]),
        ("a.jsonl", "\n\n".join(json.dumps(row) for row in ROWS) + "\n\n", [1, 3, 5]),
        ("a.ndjson", "\r\n".join(json.dumps(row) for row in ROWS), [1, 2, 3]),
        ("a.jsonl", json.dumps(ROWS, indent=1), [2, 7, 12]),
        ("a.jsonl", json.dumps(ROWS) + "\n", [1, 1, 1]),
        ("rows", "\r\n\r\n" + json.dumps(ROWS).replace("}, ", "},\r\n"), [3, 4, 5]),
        ("a.csv", "instruction,input,output\nSay 0.,,0\nSay 1.,,1\nSay 2.,,2\n", [2, 3, 4]),
        ("a.csv", '"instruction","input","output"\r\n\r\n"Say 0.","","0"\r\nSay 1.,,1\r\nSay 2.,,2', [3, 4, 5]),
        ("a.tsv", "instruction\tinput\toutput\nSay 0.\t\t0\nSay 1.\t\t1\nSay 2.\t\t2\n", [2, 3, 4]),
        ("A.JSON", json.dumps(ROWS), [1, 1, 1]),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_each_format_gives_the_same_rows_and_their_lines(
    tmp_path: Path, name: str, text: str, lines: list[int], mark: str
) -> None:
    source = opened(tmp_path, name, mark + text)
    assert source.rows == ROWS
    assert source.lines == lines
    assert source.locate(2) == f"{tmp_path / name}:{lines[2]}"


def test_lines_are_right_in_arrays_laid_out_at_random(tmp_path: Path) -> None:
    draw = random.Random(5)
    rows = [{"n": n, "text": draw.choice(["x", "a\nb", "],[{", '"', "ü\u2028"])} for n in range(200)]
    space = ["", " ", "\n", "\r\n", "\n\n\t"]
    text = draw.choice(space) + "["
    for number, row in enumerate(rows):
        body = json.dumps(row, indent=draw.choice([None, 1, 4]), ensure_ascii=draw.random() < 0.5)
        text += ("," if number else "") + draw.choice(space) + body + draw.choice(space)
    text += "]" + draw.choice(space)

    source = opened(tmp_path, "a.json", text)

    assert source.rows == json.loads(text)
    starts = [text.rindex("{", 0, text.index(f'"n": {n},')) for n in range(200)]
    assert source.lines == [text.count("\n", 0, start) + 1 for start in starts]


def test_parquet_gives_rows_with_nulls_and_lists(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows: list[dict[str, Any]] = [
        {"instruction": "a", "input": None, "output": "b", "history": [["c", "d"]]},
        {"instruction": "e", "input": "f", "output": "g", "history": None},
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    source = open_rows(str(tmp_path / "a.parquet"))
    assert source.rows == rows
    assert source.locate(1) == f"{tmp_path / 'a.parquet'} row 1"


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "pip install 'alpaca-lora[data]'" in refused(tmp_path, "a.parquet", b"PAR1")


def test_csv_cells_hold_quotes_newlines_and_long_texts(tmp_path: Path) -> None:
    long = "long " * 40_000
    rows = [['He said "no",\nthen', "", "left"], ["a,b", long, "ü"], ["c", "", "d"]]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["instruction", "input", "output"], *rows])
    limit = csv.field_size_limit()
    source = open_rows(str(tmp_path / "a.csv"))
    assert [list(row.values()) for row in source.rows] == rows
    assert source.lines == [2, 4, 5]
    assert csv.field_size_limit() == limit


def test_the_fingerprint_is_the_files_hash_parsed_or_not(tmp_path: Path) -> None:
    content = json.dumps(ROWS).encode()
    source = opened(tmp_path, "a.json", content)
    assert source.fingerprint == hashlib.sha256(content).hexdigest() == content_fingerprint(source.name)
    assert content_fingerprint("someone/a-data-set") == ""


# --- one broken row among good ones ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": \n{"a": 3}', "the line is not JSON: Expecting value", '{"a": '),
        ("a.json", '{"a": 1}\n{"a": 2} {"a": 4}\n{"a": 3}', "more text after the object", '{"a": 2} {"a": 4}'),
        ("a.jsonl", '{"a": 1}\n{"a": 2, "a": 4}\n{"a": 3}', "the key 'a' stands twice", '{"a": 2, "a": 4}'),
        ("a.json", '[{"a": 1},\n{"b": [{"a": 2, "a": 4}]},\n{"a": 3}]', "the key 'a' stands twice", '{"b": [{'),
        ("a.jsonl", '{"a": 1}\n{"a": ' + "[" * 200_000 + '\n{"a": 3}', "not JSON: too deeply nested", '{"a": [['),
        ("a.jsonl", '{"a": 1}\n{"a": ' + "9" * 5000 + '}\n{"a": 3}', "not JSON: Exceeds the limit", '{"a": 99'),
        ("a.csv", "a,b\n1,\n2\n3,\n", "1 cells under 2 columns", "2"),
        ("a.csv", "a,b\n1,\n2,4,5\n3,\n", "3 cells under 2 columns", "2,4,5"),
    ],
)
def test_a_broken_row_leaves_the_others_readable(tmp_path: Path, name: str, text: str, reason: str, said: str) -> None:
    first, broken, last = opened(tmp_path, name, text).rows
    assert isinstance(broken, BrokenRow)
    assert reason in broken.reason
    assert broken.text.startswith(said)
    assert [int(first["a"]), int(last["a"])] == [1, 3]


# --- files that are not rows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '[{"a": 1},\n {"a": 2},\n]', ["a comma with no row after it", "a.json:3: "]),
        ("a.json", '[{"a": 1}\n {"a": 2}]', ["expected ',' or ']' after a row", "a.json:2: "]),
        ("a.json", '[{"a": 1},\n{"a": tru}]', ["the JSON is broken: Expecting value", "a.json:2: ", '{"a": tru}']),
        ("a.json", '[{"a": 1},\n{"a": "b', ["Unterminated string", "a.json:2: "]),
        ("a.json", "[", ["Expecting value", "a.json:1: "]),
        ("a.json", '[\n{"a": 1}]\n[{"a": 2}]', ["more text after the closing ']'", "a.json:3: "]),
        ("a.json", '{"a": 1,\n"b": 2}\n{"a": 3}', ["more text after the object", "a.json:3: "]),
        ("a.json", "<html>", ["Expecting value", "a.json:1: ", "expected a JSON array of objects"]),
        ("a.json", "[[[" + "[" * 200_000, ["too deeply nested", "a.json:1"]),
        ("a.csv", 'a,b\n1,2\n3,"4\n', ["the CSV is broken: unexpected end of data", "a.csv:3"]),
        ("a.csv", 'a,b\n1,2\n3,"4"5\n', ["the CSV is broken", "a.csv:3"]),
        ("a.csv", "a,b,a\n1,2,3\n", ["names the column 'a' twice", "a.csv:1"]),
        (
            "a.json",
            '[{"a": 1},\n{"a": "\u201cyes\u201d"}]'.encode("cp1252"),
            ["not UTF-8", "a.json:2: byte 18 is 0x93"],
        ),
        ("a.csv", "a\nna\u00efve\n".encode("cp1252"), ["not UTF-8", "a.csv:2: ", "iconv -f WINDOWS-1252 -t UTF-8"]),
        ("a.json", json.dumps(ROWS).encode("utf-16"), ["UTF-16 text, not UTF-8", "iconv -f UTF-16 -t UTF-8"]),
        ("a.json", json.dumps(ROWS).encode("utf-32"), ["UTF-32 text, not UTF-8", "iconv -f UTF-32 -t UTF-8"]),
        ("a.csv", b"\xfe\xff\x00a", ["UTF-16 text, not UTF-8", "a.csv:1: byte 0 is 0xfe"]),
        ("a.parquet", b"PAR1 but no more", ["the Parquet file is broken", "a.parquet"]),
    ],
)
def test_a_broken_file_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, said: list[str]
) -> None:
    message = refused(tmp_path, name, content)
    assert [words for words in said if words not in message] == [], message


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
@pytest.mark.parametrize("text", ["", "\ufeff", "\n \r\n"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str, text: str) -> None:
    assert opened(tmp_path, name, text).rows == []


def test_an_empty_array_and_a_bare_header_have_no_rows(tmp_path: Path) -> None:
    assert opened(tmp_path, "a.json", " [ ] ").rows == []
    assert opened(tmp_path, "a.csv", "instruction,output\n").rows == []


def test_one_object_over_many_lines_is_one_row(tmp_path: Path) -> None:
    source = opened(tmp_path, "a.json", "\n" + json.dumps(ROWS[0], indent=2) + "\n")
    assert (source.rows, source.lines) == ([ROWS[0]], [2])


@pytest.mark.parametrize(
    ("data_path", "said"),
    [
        ("", "no data given"),
        ("nowhere.json", "the data file nowhere.json does not exist"),
        ("./nowhere", "the data file ./nowhere does not exist"),
        ("some/where/else", "the data file some/where/else does not exist"),
        (".", "the data file . is a folder"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(data_path: str, said: str) -> None:
    for reader in (open_rows, content_fingerprint):
        with pytest.raises(UserError, match=r"fix: .*--data_path") as caught:
            reader(data_path)
        assert said in str(caught.value)


def test_a_name_that_is_no_path_is_asked_for_on_the_hub() -> None:
    """The tests are offline with an empty cache, so the Hub's client answers."""
    with pytest.raises(UserError, match="someone/rows is not in the local cache"):
        open_rows("someone/rows")
