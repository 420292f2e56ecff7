"""Runs that follow each other in one process, as in a notebook."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate.state import AcceleratorState
from rich.console import Console

from alpaca_lora.config import DataConfig, FinetuneConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.training.run import finetune


def test_each_run_has_its_own_precision(tiny_llama: Path, tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}!"} for n in range(4)]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    for dtype, mixed in (("bfloat16", "bf16"), ("float32", "no")):
        config = FinetuneConfig(
            data=DataConfig(data_path=str(data)),
            model=ModelConfig(base_model=str(tiny_llama), dtype=dtype, device="cpu"),
            train=TrainConfig(batch_size=2, max_steps=1, val_set_size=0),
            run=RunConfig(output_dir=str(tmp_path / dtype)),
        )
        finetune(config, Console(quiet=True))
        assert AcceleratorState().mixed_precision == mixed
