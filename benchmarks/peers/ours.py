"""Ours: the program itself, as a user starts it.

`ours` trains with the default packing; `ours:shared_prefix`, `ours:plain` and `ours:none` name one, `ours:none-4` with
padded micro-batches of 4.
"""

from __future__ import annotations

import gc
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from contract import Job, Outcome, run_contender
from rich.console import Console

from alpaca_lora.config import DataConfig, FinetuneConfig, LoraConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.training.run import finetune
from alpaca_lora.training.runlog import read_log


def settings(job: Job) -> FinetuneConfig:
    """Say the job in this program's own settings."""
    chosen: dict[str, Any] = {"packing": way} if (way := job.way("")) else {}
    if unknown := chosen.keys() - {field.name for field in fields(TrainConfig)}:
        raise SystemExit(f"this version has no setting {', '.join(unknown)}: {job.contender}:{job.variant} cannot run")
    return FinetuneConfig(
        data=DataConfig(data_path=job.rows, cutoff_len=job.cutoff),
        model=ModelConfig(base_model=job.model, dtype=job.dtype, device=job.device),  # type: ignore[arg-type]
        lora=LoraConfig(lora_r=job.rank, lora_alpha=job.alpha, lora_dropout=0.0),
        train=TrainConfig(
            batch_size=job.batch_size,
            micro_batch_size=job.rows_at_once(job.micro_batch_size),
            num_epochs=1,
            max_steps=job.steps,
            learning_rate=job.learning_rate,
            lr_schedule="constant",
            warmup_steps=0,
            weight_decay=0,
            val_set_size=0,
            seed=job.seed,
            **chosen,
        ),
        run=RunConfig(output_dir=job.output, logging_steps=1, eval_steps=0, save_steps=0),
    )


def train(job: Job) -> Outcome:
    """Fine-tune; time and counts are those the run itself logged."""
    shutil.rmtree(job.output, ignore_errors=True)
    finetune(settings(job), Console(quiet=True))
    gc.collect()
    records = [record for record in read_log(Path(job.output)) if "loss" in record]
    last = records[-1]
    return Outcome(
        rows=job.steps * job.batch_size,
        real_tokens=sum(len(row["input_ids"]) for row in job.read_tokens()),
        computed_tokens=last.get("computed_tokens"),
        seconds=last["seconds"],
        losses=[record["loss"] for record in records],
    )


if __name__ == "__main__":
    run_contender(train, ("alpaca-lora", "torch", "transformers", "peft", "accelerate"))
