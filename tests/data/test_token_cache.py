"""The token cache: the same arrays without the work, and never those of something else."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_tokenizers import llama3_style
from transformers import PreTrainedTokenizerFast

from alpaca_lora.config import DataConfig
from alpaca_lora.data.cache import cache_folder
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import TokenTable, load_tokens

ROWS = [{"instruction": f"Count to {n}.", "output": " ".join(map(str, range(1, n + 1)))} for n in range(1, 9)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "tokens"
    return cache_folder()


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ROWS), encoding="utf-8")
    return DataConfig(data_path=str(path))


def load(data: DataConfig, tokenizer: PreTrainedTokenizerFast) -> TokenTable:
    return load_tokens(data, load_prompt(data.prompt_template_name, tokenizer), TextEncoder(tokenizer))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def same(one: TokenTable, other: TokenTable) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("input_ids", "is_target", "starts", "rows")]
    arrays_equal = all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in pairs)
    return arrays_equal and one.ledger == other.ledger and one.data_sha256 == other.data_sha256


def rewrite(path: Path, **changes: Any) -> None:
    with np.load(path) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    np.savez(path, **(content | changes))


def test_the_second_time_gives_the_same_table(data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path) -> None:
    first = load(data, llama)
    assert len(first) == len(ROWS)
    (file,) = files(folder)
    written = file.stat().st_mtime_ns
    assert same(load(data, llama), first)
    assert [path.stat().st_mtime_ns for path in files(folder)] == [written]


def test_the_second_time_reads_the_cache_and_not_the_rows(
    data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path
) -> None:
    first = load(data, llama)
    (file,) = files(folder)
    planted = replace(first.ledger, longest_row=12345)
    rewrite(file, input_ids=first.input_ids + 1, ledger=json.dumps(asdict(planted)))
    second = load(data, llama)
    assert np.array_equal(second.input_ids, first.input_ids + 1)
    assert second.ledger == planted


def test_whatever_decides_the_result_gives_another_key(
    data: DataConfig, llama: PreTrainedTokenizerFast, llama3: PreTrainedTokenizerFast, folder: Path, tmp_path: Path
) -> None:
    load(data, llama)
    template = tmp_path / "own.json"
    content = {"description": "", "prompt_input": "{instruction} {input} A:", "prompt_no_input": "{instruction} A:"}
    other_rows, other_suffix = tmp_path / "other.json", tmp_path / "rows.jsonl"
    other_rows.write_text(Path(data.data_path).read_text(encoding="utf-8") + " ", encoding="utf-8")
    for path in (other_suffix, tmp_path / "unlike.jsonl"):
        path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    (tmp_path / "unlike.json").write_bytes(other_suffix.read_bytes())
    variants = [
        (data, llama3),
        (data, llama3_style(eos_token="<|eot_id|>")),
        (replace(data, prompt_template_name="alpaca_short"), llama),
        (replace(data, cutoff_len=511), llama),
        (replace(data, truncation="drop"), llama),
        (replace(data, train_on_inputs=True), llama),
        (replace(data, on_bad_rows="skip"), llama),
        (replace(data, data_shape="alpaca"), llama),
        (replace(data, data_path=str(other_rows)), llama),
        (replace(data, data_path=str(other_suffix)), llama),
        (replace(data, data_path=str(tmp_path / "unlike.json")), llama),  # the suffix decides how a file is read
    ]
    for count, (variant, tokenizer) in enumerate(variants, start=2):
        load(variant, tokenizer)
        assert len(files(folder)) == count
    for marker in ("A:", "A"):
        template.write_text(json.dumps(content | {"response_split": marker}), encoding="utf-8")
        load(replace(data, prompt_template_name=str(template)), llama)
    assert len(files(folder)) == len(variants) + 3


def test_what_decides_nothing_gives_the_same_key(
    data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path, tmp_path: Path
) -> None:
    load(data, llama)
    copy = tmp_path / "copy.json"
    copy.write_bytes(Path(data.data_path).read_bytes())
    load(replace(data, data_path=str(copy)), llama)
    assert len(files(folder)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"not an archive",
        b"PK\x03\x04 broken",
        slice(0, -300),
        slice(0, 1000),
        "flip",
        "no ledger",
        "another ledger",
    ],
)
def test_a_damaged_cache_is_made_anew(
    data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path, damage: bytes | slice | str
) -> None:
    first = load(data, llama)
    (file,) = files(folder)
    whole = file.read_bytes()
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    elif isinstance(damage, slice):
        file.write_bytes(whole[damage])
    elif damage == "flip":
        middle = len(whole) // 3
        file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    else:
        rewrite(file, ledger=json.dumps({} if damage == "no ledger" else {"rows_sung": 3}))
        if damage == "no ledger":
            file.write_bytes(file.read_bytes().replace(b"ledger.npy", b"lodger.npy"))
    assert same(load(data, llama), first)
    assert file.read_bytes() == whole


def test_without_a_place_for_the_cache_the_work_is_done_again(
    data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(data, llama)
    blocked = tmp_path / "a file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(blocked))
    for _ in range(2):
        assert same(load(data, llama), first)
    assert blocked.read_bytes() == b""


def test_old_entries_make_room(data: DataConfig, llama: PreTrainedTokenizerFast, folder: Path) -> None:
    for number in range(20):
        load(replace(data, cutoff_len=100 + number), llama)
        for path in files(folder):  # as if the files were written minutes apart
            os.utime(path, ns=(0, path.stat().st_mtime_ns - 60 * 10**9))
    kept = files(folder)
    assert len(kept) == 16
    load(replace(data, cutoff_len=119), llama)
    assert files(folder) == kept
    load(replace(data, cutoff_len=100), llama)
    assert files(folder) != kept


def test_the_cache_lies_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ALPACA_LORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "alpaca-lora" / "tokens"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_folder() == tmp_path / "me" / ".cache" / "alpaca-lora" / "tokens"
