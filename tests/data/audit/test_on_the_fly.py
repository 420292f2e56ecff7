"""`--clean`: what is trained is what `data clean` would have written, of every source, and never a stale cache's."""

from __future__ import annotations

import csv
import hashlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from cleaning import AFTER, NEXT, RIVER, ROWS, chat, clean, write_rows
from transformers import PreTrainedTokenizerFast

from alpaca_lora import hub
from alpaca_lora.config import DataConfig
from alpaca_lora.data.audit import on_the_fly
from alpaca_lora.data.audit.counts import CleanLog, Counts, count_changes
from alpaca_lora.data.audit.mending import Change
from alpaca_lora.data.cache import cache_folder
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import TokenTable, load_tokens
from alpaca_lora.errors import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def load(llama: PreTrainedTokenizerFast) -> Any:
    prompt, encoder = load_prompt("alpaca", llama), TextEncoder(llama)

    def load_file(path: Path | str, **settings: Any) -> TokenTable:
        return load_tokens(DataConfig(data_path=str(path), **settings), prompt, encoder)

    return load_file


@pytest.fixture
def load_anew(load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load with another cache: the two ways to the same content must not meet in one."""

    def load_file(path: Path, **settings: Any) -> TokenTable:
        with monkeypatch.context() as patch:
            patch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "another cache"))
            return load(path, **settings)

    return load_file


def assert_same(one: TokenTable, other: TokenTable) -> None:
    for name in ("input_ids", "is_target", "starts", "rows"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.ledger == other.ledger


def log_of(table: TokenTable) -> CleanLog:
    assert table.cleaning
    return table.cleaning


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _chats(shape: str) -> str:
    talk = (RIVER, "The\u200b Elbe.", "Is it a long river?", "It is." + NEXT)
    rows = [chat(shape, RIVER, "The Elbe."), chat(shape, *talk), chat(shape, "Is it the end of the day?", " ")]
    return json.dumps(rows)


TEXTS = {
    "array.json": json.dumps(ROWS, indent=4),
    "marked.json": "\ufeff" + json.dumps(ROWS, ensure_ascii=False),
    "lines.jsonl": "\n".join(json.dumps(row) for row in ROWS),
    "one.jsonl": json.dumps(ROWS[1]),
    **{f"{shape}.json": _chats(shape) for shape in ("sharegpt", "messages", "prompt_completion")},
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_trained_is_what_clean_would_write(name: str, load: Any, load_anew: Any, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(TEXTS[name], encoding="utf-8")
    table = load(file, clean=True)
    written = clean(file, output="cleaned.json")
    assert_same(table, load_anew(written))
    log = log_of(table)
    assert (table.data_sha256, log.sha256) == (sha256(file), sha256(written))
    assert log.lines == written.with_name("cleaned.json.changes.jsonl").read_bytes()
    assert log.counts.changed > 0
    assert log.counts.rows_out == table.ledger.rows_read


def test_the_counts_by_hand(load: Any, tmp_path: Path) -> None:
    table = load(write_rows(tmp_path, ROWS), clean=True)
    counts = log_of(table).counts
    assert (counts.rows_in, counts.rows_out) == (6, len(AFTER))
    assert (counts.changed, counts.dropped, counts.recovered) == (2, 2, 1)
    assert counts.rules["no-input"] == {"set": 2}
    assert counts.rules["merged-instructions"] == {"set": 1, "recover": 1}
    assert sum(actions.get("drop", 0) for actions in counts.rules.values()) == 2
    assert str(counts) == "6 rows in, 5 out: 2 changed, 2 dropped, 1 recovered and put at the end"
    assert Counts.of_record({**vars(counts), "sha256": "", "log": ""}) == counts
    assert table.rows.tolist() == [0, 1, 2, 3, 4]


def test_rows_that_are_changed_or_recovered_and_then_dropped() -> None:
    """Row 0 is set and dropped, 1 set twice, 2 only marked, 3 tagged; 10 is recovered, set and dropped, 11 stays."""
    done: list[tuple[Any, int, str]] = [
        ("set", 0, "a"), ("drop", 0, "b"), ("set", 1, "a"), ("set", 1, "a"), ("mark", 2, "a"), ("mark", 3, "tag"),
        ("recover", 10, "a"), ("set", 10, "b"), ("drop", 10, "b"), ("recover", 11, "a"),
    ]  # fmt: skip
    severity = {"a": "defect", "b": "defect", "tag": "tag"}
    changes = [Change(action, row, 0, rule, severity[rule], "", "", None, None) for action, row, rule in done]
    rules = {"a": {"set": 2, "mark": 1, "recover": 2}, "b": {"drop": 2, "set": 1}, "tag": {"mark": 1}}
    assert count_changes(10, changes) == Counts(10, 10, 1, 1, 1, 1, rules)


def test_cleaned_and_uncleaned_rows_do_not_mix(load: Any, load_anew: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    cleaned, plain = load(file, clean=True), load(file)
    assert plain.cleaning is None
    assert plain.ledger.rows_read == 6
    assert_same(plain, load_anew(file))
    assert_same(load(file, clean=True), cleaned)


# --- sources that are no JSON text -------------------------------------------------------------------------------


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in ("instruction", "input", "output")} for row in rows]


@pytest.mark.parametrize("kind", ["csv", "parquet", "hub"])
def test_tables_and_data_sets_are_cleaned_too(
    kind: str, load: Any, load_anew: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{**row, "day": date(2023, 3, 13)} for row in _plain(ROWS)]  # a value that JSON does not have
    file = tmp_path / f"rows.{kind}"
    if kind == "csv":
        with file.open("w", newline="", encoding="utf-8") as text:
            writer = csv.DictWriter(text, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        parquet.write_table(arrow.Table.from_pylist(rows), file)
    monkeypatch.setattr(hub, "read_hub_rows", lambda name: {"someone/rows": rows}[name])
    table = load("someone/rows" if kind == "hub" else file, clean=True)
    written = clean(write_rows(tmp_path, _plain(ROWS)))
    assert_same(table, load_anew(written))
    assert log_of(table).counts.rows_in == 6
    assert kind == "hub" or table.data_sha256 == sha256(file)


# --- rows that cannot be read ------------------------------------------------------------------------------------


def test_unreadable_rows_as_asked_for(load: Any, load_anew: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    file.write_text("\n".join([*lines[:2], '{"instruction": "half', *lines[2:]]), encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)rows\.jsonl:3.*--on_bad_rows skip"):
        load(file, clean=True)
    table = load(file, clean=True, on_bad_rows="skip")
    assert_same(table, load_anew(clean(file)))
    assert (log_of(table).counts.dropped, log_of(table).counts.rules["unreadable-row"]) == (3, {"drop": 1})
    with pytest.raises(UserError, match=r"rows\.jsonl:3"):  # what was kept for "skip" is not taken
        load(file, clean=True)


def test_no_row_left(load: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no row of .* would be left"):
        load(write_rows(tmp_path, [ROWS[5]]), clean=True)


# --- the cache of cleaned rows -----------------------------------------------------------------------------------


@pytest.fixture
def cleanings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are cleaned, in turn."""
    files: list[str] = []
    real = on_the_fly.clean_table

    def counted(table: Any, *rest: Any, **named: Any) -> Any:
        files.append(Path(table.name).name)
        return real(table, *rest, **named)

    monkeypatch.setattr(on_the_fly, "clean_table", counted)
    return files


def test_rows_are_cleaned_once(load: Any, cleanings: list[str], tmp_path: Path) -> None:
    file = write_rows(tmp_path, ROWS)
    first = load(file, clean=True)
    for settings in ({}, {"cutoff_len": 200}, {"train_on_inputs": True}):
        again = load(file, clean=True, **settings)
        assert again.cleaning == first.cleaning
    assert cleanings == ["rows.json"]
    copy = tmp_path / "copy.json"  # the log names the file
    copy.write_bytes(file.read_bytes())
    assert json.loads(log_of(load(copy, clean=True)).lines.splitlines()[0])["file"] == str(copy)
    file.write_text(json.dumps(ROWS[:4]), encoding="utf-8")
    assert log_of(load(file, clean=True)).counts.rows_in == 4
    assert cleanings == ["rows.json", "copy.json", "rows.json"]


def test_other_code_or_a_damaged_cache_cleans_anew(
    load: Any, cleanings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path, ROWS)
    first = load(file, clean=True)
    (kept,) = cache_folder().with_name("cleaned").iterdir()
    kept.write_bytes(kept.read_bytes()[:-100])
    assert load(file, clean=True).cleaning == first.cleaning
    for digest in ("one", "other", "other"):
        monkeypatch.setattr(on_the_fly, "_CODE", digest)
        load(file, clean=True)
    assert len(cleanings) == 4
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(file))  # no place for a cache
    assert load(file, clean=True).cleaning == first.cleaning


def test_a_file_that_changes_while_it_is_read_is_kept_as_what_was_read(
    load: Any, cleanings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path, ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(on_the_fly, "content_fingerprint", lambda path: "0" * 64)  # of the file as it was just before
        for _ in range(2):
            assert load(file, clean=True).data_sha256 == sha256(file)
    assert len(cleanings) == 2
    load(file, clean=True)
    assert len(cleanings) == 2


def test_a_changed_rule_is_other_code(tmp_path: Path) -> None:
    rule = tmp_path / "audit" / "answers" / "rule.py"
    rule.parent.mkdir(parents=True)
    digests: list[str] = []
    for code in ("A = 1", "A = 2", "A = 2"):
        rule.write_text(code, encoding="utf-8")
        digests.append(on_the_fly.code_digest(tmp_path))
    assert digests[0] != digests[1] == digests[2]


def test_the_log_can_be_read_back(load: Any, tmp_path: Path) -> None:
    log = log_of(load(write_rows(tmp_path, ROWS), clean=True))
    assert on_the_fly.read_log(log.lines) == log
