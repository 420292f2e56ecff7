"""A person's marks: how they are kept, which are refused, and that `data clean` heeds them before any rule."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cleaning import NEXT, RIVER, ROWS, chat, clean, log_of, read_back, refused, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.marks import Mark, add_mark, load_marks, marks_path
from alpaca_lora.data.audit.rows import Table, read_rows
from alpaca_lora.errors import UserError

PATH = "rows.json.marks.jsonl"


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return read_rows(str(write_rows(tmp_path, ROWS)))


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _marked(tmp_path: Path, rows: list[Any], *marks: tuple[Any, ...]) -> Path:
    """Write rows and marks on them; give the file of rows."""
    file = write_rows(tmp_path, rows, indent=1)
    table = read_rows(str(file))
    for mark in marks:
        add_mark(marks_path(str(file)), table, *mark)
    return file


def _error(call: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


# --- the file ----------------------------------------------------------------------------------------------------


def test_another_kind_of_file_is_told_from_damaged_marks(table: Table, tmp_path: Path) -> None:
    assert "is no file of marks" in _error(load_marks, write_rows(tmp_path, ROWS), table)


def test_the_last_line_of_a_row_counts_and_earlier_ones_stay(table: Table, tmp_path: Path) -> None:
    path = tmp_path / PATH
    assert add_mark(path, table, 4, "fine") == {4: Mark("fine", {})}
    first = path.read_bytes()
    add_mark(path, table, 0, "defect")
    add_mark(path, table, 4, "low value")
    assert add_mark(path, table, 0, None) == load_marks(path, table) == {4: Mark("low value", {})}
    assert path.read_bytes().startswith(first)
    assert [(line["row"], line["mark"]) for line in _lines(path)] == [
        (4, "fine"), (0, "defect"), (4, "low value"), (0, None),
    ]  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()].count(PATH) == len(list(tmp_path.glob("*marks*"))) == 1


def test_a_line_tells_the_row_by_its_hash_and_what_was_written(table: Table, tmp_path: Path) -> None:
    add_mark(tmp_path / PATH, table, 1, "edit", {"input": "", "output": "The Elbe does."})
    (line,) = _lines(tmp_path / PATH)
    canonical = (
        '{"id":"r-1","input":"<noinput>",'
        '"instruction":"Name the river that flows through the city of Dresden.","output":"The Elbe."}'
    )
    assert line.pop("row_sha256") == hashlib.sha256(canonical.encode()).hexdigest()
    assert datetime.fromisoformat(line.pop("at")).utcoffset() is not None
    assert line == {
        "row": 1,
        "mark": "edit",
        "edit": {"input": "", "output": "The Elbe does."},
        "before": {"input": "<noinput>", "output": "The Elbe."},
    }


def test_the_last_turn_of_a_conversation_is_named_by_its_fields(tmp_path: Path) -> None:
    file = write_rows(tmp_path, [chat("messages", RIVER, "The Elbe.", "Is it long?", "It is.")])
    marks = add_mark(tmp_path / PATH, read_rows(str(file)), 0, "edit", {"output": "Yes.", "messages.2.content": "Elbe"})
    assert marks == {0: Mark("edit", {"messages.4.content": "Yes.", "messages.2.content": "Elbe"})}


def test_marks_lie_beside_a_file_or_here(tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    assert marks_path(str(file)) == tmp_path / PATH
    assert marks_path("sample") == Path("sample.marks.jsonl")
    assert marks_path("tatsu-lab/alpaca") == Path("tatsu-lab--alpaca.marks.jsonl")


def test_marks_of_rows_that_have_changed_are_refused(table: Table, tmp_path: Path) -> None:
    path = tmp_path / PATH
    for row, mark in ((0, "fine"), (4, "defect"), (3, "fine")):
        add_mark(path, table, row, mark)  # pyright: ignore[reportArgumentType]
    changed = [*ROWS[:3], {**ROWS[3], "output": "The Elbe."}, *ROWS[4:]]
    message = _error(load_marks, path, read_rows(str(write_rows(tmp_path, changed))))
    assert "row 3 of" in message
    assert "is not the row that was marked\n" in message
    assert f"{path}:3" in message
    shorter = read_rows(str(write_rows(tmp_path, ROWS[1:4])))
    assert "row 0 of" in _error(load_marks, path, shorter)
    assert "nor are 2 more of 3" in _error(add_mark, path, shorter, 1, "fine")
    moved = read_rows(str(write_rows(tmp_path, [dict(reversed(row.items())) for row in ROWS], indent=2)))
    assert list(load_marks(path, moved)) == [0, 3, 4]  # spelt in another way, they are the same rows


def test_a_mark_that_was_taken_back_minds_no_change(table: Table, tmp_path: Path) -> None:
    add_mark(tmp_path / PATH, table, 0, "fine")
    add_mark(tmp_path / PATH, table, 0, None)
    assert load_marks(tmp_path / PATH, read_rows(str(write_rows(tmp_path, ROWS[1:])))) == {}


@pytest.mark.parametrize(
    ("damage", "line", "message"),
    [
        (lambda whole: whole[:-30], 2, "the last line of the marks is cut off"),
        (lambda whole: whole.replace(b'"fine"', b'"good"', 1), 1, "line 1 is no mark"),
        (lambda whole: b"\n[]\n" + whole, 2, "line 2 is no mark"),
        (lambda whole: whole.replace(b'{"row": 4', b'{"row": true', 1), 1, "line 1 is no mark"),
        (lambda whole: b"\xff\xfe" + whole, 1, "line 1 is no mark"),
        (lambda whole: whole.replace(b'"Grey."', b"7"), 2, "is no text"),
        (lambda whole: whole.replace(b'{"output"', b'{"outputs"'), 2, "row 0 has no text 'outputs'"),
    ],
)
def test_damaged_files_are_refused_and_left_alone(
    damage: Callable[[bytes], bytes], line: int, message: str, table: Table, tmp_path: Path
) -> None:
    path = tmp_path / PATH
    add_mark(path, table, 4, "fine")
    add_mark(path, table, 0, "edit", {"output": "Grey."})
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    for error in (_error(load_marks, path, table), _error(add_mark, path, table, 1, "fine")):
        assert message in error
        assert f"{path}:{line}" in error
    assert path.read_bytes() == damaged


def test_an_editor_may_leave_out_the_last_line_break(table: Table, tmp_path: Path) -> None:
    path = tmp_path / PATH
    add_mark(path, table, 4, "fine")
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert list(add_mark(path, table, 5, "defect")) == list(load_marks(path, table)) == [4, 5]


def test_marks_that_cannot_be_read_or_written_are_told(table: Table, tmp_path: Path) -> None:
    assert "cannot be read: No such file" in _error(load_marks, tmp_path / "none", table)
    assert "cannot be written" in _error(add_mark, tmp_path / "no" / "folder", table, 0, "fine")


def test_a_full_disk_leaves_the_marks_whole(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    add_mark(tmp_path / PATH, table, 4, "fine")
    before = (tmp_path / PATH).read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in _error(add_mark, tmp_path / PATH, table, 0, "defect")
    assert (tmp_path / PATH).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("row", "mark", "edit", "message"),
    [
        (6, "fine", None, "has no row 6"),
        (-1, "fine", None, "has no row -1"),
        (0, "edit", None, "changes no text"),
        (0, "edit", {"output": ROWS[0]["output"]}, "changes no text"),
        (0, "edit", {"answer": "Blue."}, "row 0 has no text 'answer'"),
        (0, "edit", {"output": "half \ud83d"}, "half a character"),
        (0, "edit", {"instruction": " \n"}, "leaves no question"),
        (0, "fine", {"output": "Blue."}, "only the mark 'edit' comes with texts"),
    ],
)
def test_marks_that_cannot_be_are_refused(
    row: int, mark: Any, edit: dict[str, str] | None, message: str, table: Table, tmp_path: Path
) -> None:
    assert message in _error(add_mark, tmp_path / PATH, table, row, mark, edit)
    assert not (tmp_path / PATH).exists()


def test_a_text_that_a_row_does_not_have_is_not_made_up(tmp_path: Path) -> None:
    file = write_rows(tmp_path, [{"instruction": RIVER, "output": "The Elbe."}, {"instruction": RIVER}, ROWS[0]])
    table = read_rows(str(file))
    assert "row 0 has no text 'input'" in _error(add_mark, tmp_path / PATH, table, 0, "edit", {"input": "Saxony"})
    assert "has no row 1 that can be read" in _error(add_mark, tmp_path / PATH, table, 1, "defect")
    assert add_mark(tmp_path / PATH, table, 0, "edit", {"input": "", "output": "Elbe"})[0].edit == {"output": "Elbe"}


# --- cleaning ----------------------------------------------------------------------------------------------------

MARKS = ((0, "defect"), (3, "fine"), (4, "low value"), (5, "edit", {"output": "Monday\u200b"}))
HEEDED = [{**ROWS[1], "input": ""}, ROWS[3], ROWS[4], {**ROWS[5], "output": "Monday\u200b"}]


def test_marks_come_before_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Row 3 would be cut and give a task, row 5 be dropped, and its new text lose a character."""
    file = _marked(tmp_path, ROWS, *MARKS)
    out = clean(file, "--marks", str(tmp_path / PATH))
    assert read_back(out) == HEEDED
    by_hand = [line for line in log_of(out) if line["rule"] == "marked-by-hand"]
    assert [(line["row"], line["action"], line["field"], line["reason"]) for line in by_hand] == [
        (0, "drop", "", "marked as defect"),
        (5, "set", "output", "marked as edit"),
        (3, "mark", "", "marked as fine"),
        (4, "mark", "", "marked as low value"),
    ]
    assert {line["row"] for line in log_of(out)} == {0, 1, 2, 3, 4, 5}
    printed = capsys.readouterr().out
    assert "2 changed, 2 dropped, 0 recovered" in printed
    assert "marked  0 rows with a defect" in printed
    dispatch(["data", "clean", "--undo", f"{out}.changes.jsonl", "--output", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    again = clean(file, "--marks", str(tmp_path / PATH), output="again.json")
    assert again.read_bytes() == out.read_bytes()


def test_rows_of_low_value_go_where_asked(tmp_path: Path) -> None:
    file = _marked(tmp_path, ROWS, *MARKS)
    out = clean(file, "--marks", str(tmp_path / PATH), "--drop_low_value")
    assert read_back(out) == [HEEDED[0], HEEDED[1], HEEDED[3]]
    assert "no marks are given" in refused(file, "--output", tmp_path / "x.json", "--drop_low_value")


def test_marks_alone(tmp_path: Path) -> None:
    file = _marked(tmp_path, ROWS, *MARKS)
    out = clean(file, "--marks", str(tmp_path / PATH), "--only", "marked-by-hand")
    assert read_back(out) == [*ROWS[1:5], HEEDED[3]]
    assert read_back(clean(file, "--marks", str(tmp_path / PATH), "--only", "no-input"))[0] == HEEDED[0]
    assert "no rule is called 'marked-by-hand'" in refused(file, "--output", "x.json", "--only", "marked-by-hand")


def test_rules_see_what_a_person_left(tmp_path: Path) -> None:
    """A copy of a dropped row is no copy any more; and an edited row's other texts are mended all the same."""
    copy = {**ROWS[1], "output": "The\u200b Elbe." + NEXT}
    rows = [ROWS[0], ROWS[0], ROWS[0], ROWS[4], ROWS[4], copy]
    edit = (5, "edit", {"instruction": "Which river is in Dresden?"})
    file = _marked(tmp_path, rows, (0, "defect"), (4, "fine"), edit)
    *kept, mended, recovered = read_back(clean(file, "--marks", str(tmp_path / PATH)))
    assert kept == [ROWS[0], ROWS[4], ROWS[4]]
    assert mended == {**copy, "instruction": edit[2]["instruction"], "input": "", "output": "The Elbe."}
    assert recovered["recovered_from"] == "r-1"


def test_what_a_person_wrote_holds_in_every_round(tmp_path: Path) -> None:
    """The input of row 1 is mended, after which it is looked at again; row 2 would be dropped for its input."""
    edits = {row: {"output": f"Words\u200b of mine {row}."} for row in (1, 2)}
    file = _marked(tmp_path, ROWS[:3], *((row, "edit", edit) for row, edit in edits.items()))
    rows = read_back(clean(file, "--marks", str(tmp_path / PATH)))
    assert rows == [ROWS[0], {**ROWS[1], "input": "", **edits[1]}, {**ROWS[2], **edits[2]}]


def test_edits_of_conversations_stand_in_their_place(tmp_path: Path) -> None:
    talk = (RIVER, "The Elbe.", "Is it a long river?", "It is.")
    for shape in ("sharegpt", "messages", "prompt_completion"):
        file = _marked(tmp_path, [chat(shape, *talk)], (0, "edit", {"output": "Yes."}))
        assert read_back(clean(file, "--marks", str(tmp_path / PATH))) == [chat(shape, *talk[:3], "Yes.")]
        (tmp_path / PATH).unlink()


def test_the_marks_are_not_written_over(tmp_path: Path) -> None:
    file = _marked(tmp_path, ROWS, *MARKS)
    before = (tmp_path / PATH).read_bytes()
    assert "would overwrite" in refused(file, "--marks", tmp_path / PATH, "--output", tmp_path / PATH)
    assert (tmp_path / PATH).read_bytes() == before
    assert "cannot be read" in refused(file, "--marks", tmp_path / "none", "--output", tmp_path / "x.json")
