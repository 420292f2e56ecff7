"""Two processes train what one trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from alpaca_lora.cli import dispatch
from alpaca_lora.training.runlog import read_log


def words(base: Path, rows: Path, output_dir: Path, *extra: str) -> list[str]:
    return [
        "finetune", "--base_model", str(base), "--dtype", "float32", "--device", "cpu", "--data_path", str(rows),
        "--output_dir", str(output_dir), "--val_set_size", "5", "--batch_size", "5", "--max_steps", "4",
        "--learning_rate", "1e-3", "--logging_steps", "1", "--save_steps", "2", *extra,
    ]  # fmt: skip


def run_two(words: list[str]) -> str:
    """Start two processes; give what they print."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launcher, "-m", "alpaca_lora", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "ways", [("--tokens_per_pack", "64"), ("--packing", "none", "--micro_batch_size", "2")], ids=["packed", "padded"]
)
def test_two_processes_train_what_one_trains(
    ways: tuple[str, ...], tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five rows a step on two ranks: unequal numbers of packs or micro-batches, and of targets."""
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))
    rows = [{"instruction": "Repeat " * n, "input": "", "output": "well " * (1 + n % 9)} for n in range(1, 21)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    printed = run_two(words(tiny_llama, tmp_path / "rows.json", tmp_path / "two", *ways))
    dispatch(words(tiny_llama, tmp_path / "rows.json", tmp_path / "one", *ways))
    assert printed.count("logits equal") == 1  # the second process says nothing
    one, two = read_log(tmp_path / "one"), read_log(tmp_path / "two")
    assert [record["step"] for record in one] == [record["step"] for record in two]
    for mine, reference in zip(two, one, strict=True):
        for key in ("loss", "eval_loss", "grad_norm"):
            assert mine.get(key) == pytest.approx(reference.get(key), abs=2e-6)  # float32 sums in another order
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert first.keys() == second.keys()
    assert all(float((first[name] - second[name]).abs().max()) < 1e-5 for name in first)
