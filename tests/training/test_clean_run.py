"""A run with `--clean` trains what a cleaned file would have trained, and says and keeps what was done to the rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cleaning import ROWS, clean, write_rows
from rich.console import Console

from alpaca_lora.cli import dispatch
from alpaca_lora.config import DataConfig, FinetuneConfig, LoraConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.data.audit.counts import Counts
from alpaca_lora.errors import UserError
from alpaca_lora.training.checkpoint import check_same_run, read_progress
from alpaca_lora.training.prepare import plan_run, prepare
from alpaca_lora.training.run import finetune

SAID = "clean   6 rows in, 5 out: 2 changed, 2 dropped, 1 recovered and put at the end"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clean-run")


@pytest.fixture(scope="module")
def config(folder: Path, tiny_llama: Path) -> FinetuneConfig:
    return FinetuneConfig(
        data=DataConfig(data_path=str(write_rows(folder, ROWS)), clean=True),
        model=ModelConfig(base_model=str(tiny_llama), dtype="float32", device="cpu"),
        lora=LoraConfig(lora_r=4),
        train=TrainConfig(batch_size=2, max_steps=2, val_set_size=1),
        run=RunConfig(output_dir=str(folder / "run"), save_steps=1),
    )


@pytest.fixture(scope="module")
def printed(config: FinetuneConfig, folder: Path) -> str:
    """What a whole run says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALPACA_LORA_CACHE", str(folder / "cache"))
        out = StringIO()
        finetune(config, Console(file=out, width=200))
    return out.getvalue()


def record_of(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_the_adapter_is_that_of_the_cleaned_file(
    printed: str, config: FinetuneConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path))
    written = clean(Path(config.data.data_path), output="cleaned.json")
    other = replace(config, data=DataConfig(data_path=str(written)), run=RunConfig(output_dir=str(folder / "other")))
    finetune(other, Console(quiet=True))
    name = "adapter_model.safetensors"
    assert (folder / "run" / name).read_bytes() == (folder / "other" / name).read_bytes()
    assert record_of(folder / "other")["cleaning"] is None
    assert "| cleaned |" not in (folder / "other" / "README.md").read_text(encoding="utf-8")
    log = "cleaned.json.changes.jsonl"
    assert (folder / "run" / log).read_bytes() == written.with_name(log).read_bytes()
    record = record_of(folder / "run")
    assert record["cleaning"]["sha256"] == hashlib.sha256(written.read_bytes()).hexdigest()
    assert record["data_sha256"] == hashlib.sha256(Path(config.data.data_path).read_bytes()).hexdigest()
    assert (record["rows_trained"], record["rows_held_out"]) == (4, 1)


def test_the_run_says_and_keeps_what_was_done(printed: str, config: FinetuneConfig, folder: Path) -> None:
    run = folder / "run"
    assert SAID in printed
    assert f"data    {config.data.data_path}, cleaned: 5 rows read, 5 kept" in printed
    assert f"changes {run / 'cleaned.json.changes.jsonl'}" in printed
    kept = record_of(run)["cleaning"]
    assert f"clean   {Counts.of_record(kept)}" == SAID
    assert kept["rules"]["no-input"] == {"set": 2}
    assert (run / kept["log"]).is_file()
    assert f"| cleaned | {SAID.removeprefix('clean   ')}, by `--clean`; each change is in `{kept['log']}` |" in (
        run / "README.md"
    ).read_text(encoding="utf-8")


def test_resuming_without_it_is_refused(printed: str, config: FinetuneConfig, folder: Path) -> None:
    before = read_progress(folder / "run" / "checkpoint-1").identity
    assert check_same_run(before, prepare(config).identity, allow_changed=False) == []
    plain = prepare(replace(config, data=replace(config.data, clean=False))).identity
    with pytest.raises(UserError, match=r"cleaned_sha256: '\w{64}' -> None"):
        check_same_run(before, plain, allow_changed=False)
    assert "clean" not in plain.keys() | before.keys()  # checkpoints from before there was --clean can be resumed


@pytest.mark.parametrize("verb", ["preview", "lengths"])
def test_other_verbs_clean_as_well(verb: str, config: FinetuneConfig, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data_path", config.data.data_path, "--base_model", config.model.base_model, "--clean"]
    dispatch(["data", verb, *words, *(["--picture", ""] if verb == "lengths" else [])])
    assert SAID in capsys.readouterr().out


def test_the_plan_is_made_for_cleaned_rows(config: FinetuneConfig) -> None:
    out = StringIO()
    plan_run(config, Console(file=out, width=200))
    assert SAID in out.getvalue()
    assert "split   4 rows to train on, 1 held out" in out.getvalue()
