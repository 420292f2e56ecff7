"""`data clean`: what it mends, drops and recovers, that every other byte stays, and that it can be taken back."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from cleaning import AFTER, NEXT, RECOVERED, RIVER, ROWS, chat, clean, log_of, read_back, refused, write_rows

from alpaca_lora.cli import dispatch
from alpaca_lora.data.audit.clean import Cleaned
from alpaca_lora.data.audit.markers import is_no_input
from alpaca_lora.data.audit.rows import Table
from alpaca_lora.data.audit.spans import row_spans, take_back


def _lines(rows: list[Any], **how: Any) -> str:
    return "\n".join(json.dumps(row, **how) for row in rows)


LAYOUTS = {
    "indented": json.dumps(ROWS, indent=4) + "\n",
    "one line": json.dumps(ROWS, ensure_ascii=False),
    "tabs and carriage returns": json.dumps(ROWS, indent="\t", ensure_ascii=False).replace("\n", "\r\n"),
    "odd spaces": "\ufeff [\n" + " ,\n\n".join(json.dumps(row, separators=(" ,", " : ")) for row in ROWS) + " ] \n",
    "lines": _lines(ROWS),
    "lines with blank ones": "\ufeff\n" + _lines(ROWS, ensure_ascii=False).replace("\n", "\r\n \r\n") + "\r\n\n",
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS.keys())
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    path.write_bytes(request.param.encode())
    return path


# --- in every layout of a file -----------------------------------------------------------------------------------


def test_rows_are_mended_dropped_and_recovered(file: Path) -> None:
    assert read_back(clean(file)) == AFTER


def test_what_no_rule_names_stays_byte_for_byte(file: Path) -> None:
    """The spelling of the kept rows, cut out of the old file by hand, is in the new file as it was."""
    before, after = file.read_text(encoding="utf-8"), clean(file).read_text(encoding="utf-8")
    for word in ("Name a colour", "Is the caf"):
        end = before.index("}", before.index(word)) + 1
        assert before[before.rindex("{", 0, end) : end] in after
    assert after[: after.index("{")] == before[: before.index("{")]
    assert after[after.rindex("}") + 1 :] == before[before.rindex("}") + 1 :]


def test_a_cleaned_file_stays_as_it_is(file: Path) -> None:
    once = clean(file)
    twice = clean(once, output="twice.json")
    assert twice.read_bytes() == once.read_bytes()
    assert log_of(twice, "edit") == []


def test_undo_gives_the_old_bytes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = clean(file)
    back = file.with_name("back.json")
    dispatch(["data", "clean", "--undo", f"{out}.changes.jsonl", "--output", str(back)])
    assert back.read_bytes() == file.read_bytes()
    assert "byte for byte" in capsys.readouterr().out
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


def test_recovered_rows_are_laid_out_as_the_others(tmp_path: Path) -> None:
    for number, indent in enumerate((4, "\t")):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(ROWS, indent=indent), encoding="utf-8")
        out = clean(file, output=f"out-{number}.json")
        assert out.read_text(encoding="utf-8") == json.dumps(AFTER, indent=indent)


def test_a_new_text_is_escaped_where_the_file_escapes(tmp_path: Path) -> None:
    row = {**ROWS[4], "output": "Ja\u200b, bis zehn Uhr – fr\u00fcher nicht."}
    for escape in (True, False):
        out = clean(write_rows(tmp_path, [row], ensure_ascii=escape), output=f"{escape}.json")
        expected = json.dumps([{**row, "output": row["output"].replace("\u200b", "")}], ensure_ascii=escape)
        assert out.read_text(encoding="utf-8") == expected


# --- the other shapes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["sharegpt", "messages", "prompt_completion"])
def test_texts_of_conversations_are_mended_in_their_place(shape: str, tmp_path: Path) -> None:
    talk = (RIVER, "The\u200b Elbe.", "Is it a long river?", "It is." + NEXT)
    rows = [chat(shape, RIVER, "The Elbe."), chat(shape, *talk), chat(shape, "Is it the end of the day?", " ")]
    file = write_rows(tmp_path, rows, indent=1)
    out = clean(file)
    kept, mended, recovered = read_back(out)
    assert kept == rows[0]
    assert mended == chat(shape, RIVER, "The Elbe.", "Is it a long river?", "It is.")
    expected = chat(shape, RECOVERED["instruction"], "The North Sea.")
    if shape == "messages":
        del expected["messages"][0]
    expected.pop("id", None)
    assert recovered == {**expected, "recovered_from": rows[1].get("id", 1)}
    assert clean(out, output="twice.json").read_bytes() == out.read_bytes()
    paths = {line["field"] for line in log_of(out) if line["action"] == "set"}
    at = {
        "sharegpt": ["conversations.1.value", "conversations.3.value"],
        "messages": ["messages.2.content", "messages.4.content"],
    }
    assert paths == set(at.get(shape, ["prompt.1.content", "completion.0.content"]))


def test_a_prompt_and_its_completion_as_plain_texts(tmp_path: Path) -> None:
    out = clean(write_rows(tmp_path, [{"prompt": RIVER, "completion": "The Elbe." + NEXT}]))
    assert read_back(out) == [
        {"prompt": RIVER, "completion": "The Elbe."},
        {"prompt": RECOVERED["instruction"], "completion": "The North Sea.", "recovered_from": 0},
    ]


def test_the_history_of_a_row_is_mended_too(tmp_path: Path) -> None:
    row = {**ROWS[0], "history": [[RIVER, "The\u200b Elbe."]]}
    assert read_back(clean(write_rows(tmp_path, [row]))) == [{**row, "history": [[RIVER, "The Elbe."]]}]


# --- what is refused ---------------------------------------------------------------------------------------------


def test_the_file_itself_is_no_output(tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    before = file.read_bytes()
    (tmp_path / "link.json").symlink_to(file)
    (tmp_path / "hard.json").hardlink_to(file)
    for name in ("rows.json", "link.json", "hard.json"):
        assert "would overwrite" in refused(file, "--output", tmp_path / name)
    assert file.read_bytes() == before


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    assert "no place for the result" in refused(file)
    assert "two files to clean" in refused(file, "--data_path", "other.json", "--output", "x.json")
    assert "needs no data file" in refused(file, "--undo", "log", "--output", "x.json")
    assert "cannot be written" in refused(file, "--output", tmp_path / "no" / "folder.json")
    table = tmp_path / "rows.csv"
    table.write_text("instruction,output\nName a day of the week.,Monday\n", encoding="utf-8")
    assert "no JSON or JSONL file" in refused(table, "--output", tmp_path / "x.json")
    assert "no row of" in refused(write_rows(tmp_path, [ROWS[5]]), "--output", tmp_path / "x.json")


def test_a_single_object_over_many_lines_has_no_place_for_more(tmp_path: Path) -> None:
    file = tmp_path / "one.json"
    file.write_text(json.dumps(ROWS[3], indent=2), encoding="utf-8")
    assert "no place for recovered rows" in refused(file, "--output", tmp_path / "x.json")
    file.write_text(json.dumps(ROWS[1], indent=2), encoding="utf-8")
    assert json.loads(clean(file).read_text(encoding="utf-8")) == {**ROWS[1], "input": ""}


def test_undo_refuses_what_does_not_fit(tmp_path: Path) -> None:
    out = clean(write_rows(tmp_path, ROWS))
    log = Path(f"{out}.changes.jsonl")
    back = tmp_path / "back.json"
    assert "would overwrite" in refused("--undo", log, "--output", out)
    assert "would overwrite" in refused("--undo", log, "--output", log)
    assert "no log of changes" in refused("--undo", out, "--output", back)
    assert "fix: give --undo OUTPUT.changes.jsonl" in refused("--undo", tmp_path / "none", "--output", back)
    for words, named in (
        (("--only", "no-input", "--marks", "y"), "--marks, --only"),
        (("--drop_low_value",), "--drop"),
    ):
        assert f"--undo does not read {named}" in refused("--undo", log, "--output", back, *words)
    whole = log.read_text(encoding="utf-8")
    log.write_text("\n".join(whole.split("\n")[:-2]), encoding="utf-8")
    assert "does not lead back" in refused("--undo", log, "--output", back)
    log.write_text(whole, encoding="utf-8")
    out.write_bytes(out.read_bytes() + b"\n")
    assert "has changed since" in refused("--undo", log, "--output", back)
    out.unlink()
    assert "fix: put it back under that name" in refused("--undo", log, "--output", back)
    assert not back.exists()


def test_a_runs_log_leads_back_once_its_cleaned_file_is_made(tmp_path: Path) -> None:
    """As the message says; the run had no use for that file."""
    file, back = write_rows(tmp_path, ROWS), tmp_path / "back.json"
    out = clean(file, output="cleaned.json")
    out.unlink()
    told = refused("--undo", f"{out}.changes.jsonl", "--output", back)
    assert "a run with --clean writes the log alone" in told
    dispatch(shlex.split(told.split("fix: alpaca-lora ")[1]))
    dispatch(["data", "clean", "--undo", f"{out}.changes.jsonl", "--output", str(back)])
    assert back.read_bytes() == file.read_bytes()


# --- the real file -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_original_data(stanford: Table, cleaned: Cleaned) -> None:
    """What was counted by hand in the original rows is mended, and nothing else is touched."""
    mended = cleaned.mended
    assert hashlib.sha256(take_back(cleaned.content, cleaned.undo)).hexdigest() == stanford.sha256
    rows = json.loads(cleaned.content)
    kept, recovered = rows[: len(mended.kept)], rows[len(mended.kept) :]
    assert len(recovered) == 44
    changed = {row for row, _ in mended.texts}
    spans = cleaned.spans.rows
    whole = cleaned.content.decode()
    after = row_spans(whole, len(rows)).rows
    for place, row in enumerate(mended.kept):
        same = cleaned.text[spans[row].start : spans[row].end] == whole[after[place].start : after[place].end]
        assert same == (row not in changed)
    by_rule: dict[str, set[int]] = {}
    for change in mended.changes:
        if change.action in ("set", "drop"):
            by_rule.setdefault(f"{change.rule} {change.action}", set()).add(change.row)
    dropped = set(range(len(stanford.raw))) - set(mended.kept)
    inputs = {row for row, new in zip(mended.kept, kept, strict=True) if new["input"] != stanford.raw[row]["input"]}
    markers = by_rule["no-input set"] | by_rule["marker-in-input set"]
    assert len(markers) >= 675
    assert inputs == markers | {3559, 3560}  # these two inputs hold heaps of combining marks
    assert sum(is_no_input(row["input"]) for row in stanford.raw) == 677
    assert not any(is_no_input(row["input"]) for row in rows)
    merged = {change.parent for change in mended.changes if change.action == "recover"}
    assert len(merged) == 37
    assert by_rule["merged-instructions set"] == merged - dropped == merged - {16947}
    assert all(change.rule for change in mended.changes)
    assert dropped == {row for name, found in by_rule.items() if name.endswith(" drop") for row in found if row < 52002}
