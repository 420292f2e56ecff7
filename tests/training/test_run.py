"""Whole runs: the saved adapter is the trained one, killed and resumed runs end in the same bits, refusals refuse."""

from __future__ import annotations

import io
import json
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from rich.console import Console
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from alpaca_lora.config import DataConfig, FinetuneConfig, LoraConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.model.tokenizer import load_tokenizer
from alpaca_lora.training import run as run_module
from alpaca_lora.training.run import finetune
from alpaca_lora.training.runlog import read_log

WORDS = ["red", "blue", "green", "cat", "dog", "bird", "tree", "house", "river", "stone", "seven", "eight", "walks"]


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(1)
    rows = [
        {
            "instruction": "Say " + " ".join(rng.choices(WORDS, k=rng.randint(1, 9))),
            "input": " ".join(rng.choices(WORDS, k=4)) if number % 3 == 0 else "",
            "output": " ".join(rng.choices(WORDS, k=rng.randint(1, 12))),
        }
        for number in range(60)
    ]
    path = tmp_path_factory.mktemp("rows") / "rows.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))


def make_config(base: Path, rows: Path, output_dir: Path, **train: Any) -> FinetuneConfig:
    usual = {"batch_size": 4, "micro_batch_size": 2, "max_steps": 8, "learning_rate": 5e-3, "val_set_size": 6}
    return FinetuneConfig(
        data=DataConfig(data_path=str(rows)),
        model=ModelConfig(base_model=str(base), dtype="float32", device="cpu"),
        lora=LoraConfig(lora_r=4, lora_dropout=0.2),
        train=TrainConfig(**usual | train),
        run=RunConfig(output_dir=str(output_dir), logging_steps=1, save_steps=3, eval_steps=4),
    )


def quiet(config: FinetuneConfig) -> Path:
    return finetune(config, Console(quiet=True))


def weights(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def finished(tiny_llama: Path, rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 8 steps."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    return quiet(make_config(tiny_llama, rows_file, folder))


def test_the_folder_holds_all_that_another_program_needs(finished: Path, tiny_llama: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "prompt_template.json", "README.md", "run.json", "log.jsonl", "loss.png",
        "checkpoint-3", "checkpoint-6", "checkpoint-8",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".")]
    config = json.loads((finished / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_llama)
    record = json.loads((finished / "run.json").read_text())
    assert record["steps"] == 8
    assert (record["rows_trained"], record["rows_held_out"]) == (54, 6)
    assert record["settings"]["lora_dropout"] == 0.2
    assert record["eval_loss"] == read_log(finished)[-1]["eval_loss"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["base_model"] in (finished / "README.md").read_text()


def test_stock_peft_and_transformers_give_the_trained_models_logits(finished: Path, tiny_llama: Path) -> None:
    tensors = load_file(finished / "adapter_model.safetensors")
    assert len(tensors) == 2 * 2 * 7  # matrices x layers x linear layers of a block
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    base = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(finished)
    messages = [{"role": "user", "content": "Say red"}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]

    own_tokenizer, _ = load_tokenizer(tiny_llama)
    prompt = load_prompt("alpaca", own_tokenizer)
    assert ids[0].tolist() == encode_prompt(TextEncoder(own_tokenizer), prompt, [Turn("Say red", "", "")])

    before = base(input_ids=ids).logits.detach()
    tuned = PeftModel.from_pretrained(base, str(finished)).eval()
    after = tuned(input_ids=ids).logits.detach()
    assert float((after - before).abs().max()) > 1e-3
    checkpoint = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    last = PeftModel.from_pretrained(checkpoint, str(finished / "checkpoint-8")).eval()
    assert torch.equal(last(input_ids=ids).logits, after)


def test_same_seed_same_adapter_other_seed_another(
    finished: Path, tiny_llama: Path, rows_file: Path, tmp_path: Path
) -> None:
    again = quiet(make_config(tiny_llama, rows_file, tmp_path / "again"))
    other = quiet(make_config(tiny_llama, rows_file, tmp_path / "other", seed=43))
    assert weights(again) == weights(finished)
    assert weights(other) != weights(finished)


def test_resumed_from_a_checkpoint_ends_in_the_same_bits(
    finished: Path, tiny_llama: Path, rows_file: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_llama, rows_file, tmp_path / "out")
    quiet(config)
    for name in ("adapter_model.safetensors", "checkpoint-8/state.json", "checkpoint-6/state.json"):
        (tmp_path / "out" / name).unlink()
    console = Console(record=True, file=io.StringIO(), width=200)
    finetune(replace(config, run=replace(config.run, resume_from_checkpoint="auto")), console)
    lines = console.export_text().splitlines()
    assert any("checkpoint-3" in line for line in lines if line.startswith("resume"))
    assert weights(tmp_path / "out") == weights(finished)
    assert [r["loss"] for r in read_log(tmp_path / "out") if "loss" in r] == [
        r["loss"] for r in read_log(finished) if "loss" in r
    ]


def start(config: FinetuneConfig, steps: int, *extra: str) -> subprocess.Popen[str]:
    settings = {
        "base_model": config.model.base_model, "dtype": "float32", "device": "cpu", "data_path": config.data.data_path,
        "output_dir": config.run.output_dir, "val_set_size": 6, "lora_r": 4, "lora_dropout": 0.2, "batch_size": 4,
        "micro_batch_size": 2, "max_steps": steps, "num_epochs": 1000, "learning_rate": 5e-3, "logging_steps": 1,
        "save_steps": 3, "eval_steps": 0,
    }  # fmt: skip
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "alpaca_lora", "finetune", *flags, *extra]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop_at(process: subprocess.Popen[str], folder: Path, step: int, number: int) -> str:
    """Send a signal once the log has reached a step; return what the process printed."""
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if any(record["step"] >= step for record in read_log(folder)):
            process.send_signal(number)
            break
        time.sleep(0.005)
    output, _ = process.communicate(timeout=60)
    return output


def test_killed_and_terminated_and_resumed_ends_in_the_same_bits(
    tiny_llama: Path, rows_file: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle, SIGTERM later, then to the end: the bits of an undisturbed run."""
    steps = 80
    config = make_config(tiny_llama, rows_file, tmp_path / "out", max_steps=steps, num_epochs=1000)
    config = replace(config, run=replace(config.run, eval_steps=0))
    folder = tmp_path / "out"
    killed = start(config, steps)
    stop_at(killed, folder, 7, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    last = read_log(folder)[-1]["step"]
    terminated = start(config, steps, "--resume_from_checkpoint", "auto")
    printed = stop_at(terminated, folder, last + 4, signal.SIGTERM)
    assert terminated.returncode == 128 + signal.SIGTERM, printed
    assert "--resume_from_checkpoint auto" in printed
    quiet(replace(config, run=replace(config.run, resume_from_checkpoint="auto")))
    undisturbed = quiet(replace(config, run=replace(config.run, output_dir=str(tmp_path / "undisturbed"))))
    assert weights(folder) == weights(undisturbed)
    records = [record["step"] for record in read_log(folder) if "loss" in record]
    assert records == list(range(1, steps + 1))


def test_resuming_something_else_is_refused(finished: Path, tiny_llama: Path, rows_file: Path, tmp_path: Path) -> None:
    config = make_config(tiny_llama, rows_file, finished)
    resumed = replace(config, run=replace(config.run, resume_from_checkpoint=str(finished / "checkpoint-6")))
    with pytest.raises(UserError, match=r"learning_rate: 0\.005 -> 0\.01"):
        quiet(replace(resumed, train=replace(resumed.train, learning_rate=0.01)))
    rows = json.loads(rows_file.read_text())
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps([{**rows[0], "output": "another"}, *rows[1:]]))
    with pytest.raises(UserError, match="data_sha256"):
        quiet(replace(resumed, data=replace(resumed.data, data_path=str(changed))))
    copy = tmp_path / "moved.json"  # the same rows under another name are the same run
    copy.write_bytes(rows_file.read_bytes())
    elsewhere = replace(resumed.run, output_dir=str(tmp_path / "elsewhere"), save_steps=100)
    quiet(replace(resumed, data=replace(resumed.data, data_path=str(copy)), run=elsewhere))
    assert weights(tmp_path / "elsewhere") == weights(finished)


def test_a_new_run_into_a_finished_folder_is_refused(finished: Path, tiny_llama: Path, rows_file: Path) -> None:
    before, fresh = weights(finished), make_config(tiny_llama, rows_file, finished.parent / "fresh")
    quiet(replace(fresh, run=replace(fresh.run, dry_run=True)))
    assert not (finished.parent / "fresh").exists()
    with pytest.raises(UserError, match="already holds"):
        quiet(make_config(tiny_llama, rows_file, finished))
    assert weights(finished) == before


def test_an_adapter_that_reloads_differently_is_not_put_in_place(
    tiny_llama: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = run_module.save_adapter

    def save_with_one_value_changed(model: Any, folder: Path, **names: Any) -> None:
        real(model, folder, **names)
        tensors = load_file(folder / "adapter_model.safetensors")
        name = next(name for name in tensors if "lora_B" in name)
        tensors[name][0, 0] += 0.5
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(run_module, "save_adapter", save_with_one_value_changed)
    with pytest.raises(UserError, match="not the trained one"):
        quiet(make_config(tiny_llama, rows_file, tmp_path / "out", max_steps=2))
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()


def test_no_socket_is_opened_without_a_tracker(
    tiny_llama: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "__init__", refuse)
    quiet(make_config(tiny_llama, rows_file, tmp_path / "out", max_steps=2))


def test_tensorboard_gets_the_losses_when_asked_for(tiny_llama: Path, rows_file: Path, tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = make_config(tiny_llama, rows_file, tmp_path / "out", max_steps=3)
    quiet(replace(config, run=replace(config.run, report_to=("tensorboard",), run_name="first")))
    events = event_accumulator.EventAccumulator(str(tmp_path / "out" / "first"))
    events.Reload()
    logged = [record["loss"] for record in read_log(tmp_path / "out") if "loss" in record]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(logged, rel=1e-6)  # stored as float32


def test_every_setting_of_the_optimisation_has_an_effect(
    finished: Path, tiny_llama: Path, rows_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without plans and curves: they would take longer than these runs."""
    monkeypatch.setattr(run_module, "tell_plan", lambda *_: None)
    monkeypatch.setattr(run_module, "draw_loss", lambda folder: folder)
    reference = make_config(tiny_llama, rows_file, tmp_path)
    changes: list[tuple[str, str, Any]] = [
        ("train", "batch_size", 8), ("train", "learning_rate", 1e-3), ("train", "lr_schedule", "constant"),
        ("train", "warmup_steps", 4), ("train", "weight_decay", 0.5), ("train", "max_grad_norm", 0.01),
        ("train", "max_steps", 5), ("lora", "lora_r", 8), ("lora", "lora_alpha", 4), ("lora", "lora_dropout", 0.0),
        ("lora", "lora_target_modules", ("q_proj",)), ("lora", "use_rslora", True), ("lora", "use_dora", True),
        ("lora", "init_lora_weights", "gaussian"), ("data", "train_on_inputs", True), ("data", "cutoff_len", 90),
        ("data", "prompt_template_name", "alpaca_short"), ("train", "val_set_size", 10),
    ]  # fmt: skip

    def tuned(config: FinetuneConfig, name: str) -> bytes:
        return weights(quiet(replace(config, run=replace(config.run, output_dir=str(tmp_path / name), save_steps=0))))

    seen = {tuned(reference, "unchanged")}
    assert seen == {weights(finished)}
    for group, name, value in changes:
        found = tuned(replace(reference, **{group: replace(getattr(reference, group), **{name: value})}), name)
        assert found not in seen, name
        seen.add(found)


def test_held_out_rows_are_never_trained_on(finished: Path, rows_file: Path, tiny_llama: Path) -> None:
    from alpaca_lora.training.prepare import prepare

    ready = prepare(make_config(tiny_llama, rows_file, finished))
    held, trained = ready.table.rows[ready.held_out_rows], ready.table.rows[ready.train_rows]
    assert len(held) == 6
    assert not np.isin(held, trained).any()
    assert sorted([*held, *trained]) == list(range(60))
