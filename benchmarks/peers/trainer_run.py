"""What the contenders built on `transformers.Trainer` share: the base, the clock, the count of computed tokens."""

from __future__ import annotations

import time
from typing import Any

import torch
from contract import TARGETS, Job, Outcome
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback


class Clock(TrainerCallback):
    """Note when training starts, when each optimiser step ends, and what the Trainer logs."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0
        self.losses: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Move the end; on CUDA the step's kernels must have finished."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ended = time.perf_counter()

    def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
        """Keep the step's loss."""
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))


class Counting:
    """A collator that counts the positions it hands out."""

    def __init__(self, collate: Any) -> None:
        self.collate, self.positions = collate, 0

    def __call__(self, features: Any, *args: Any, **kwargs: Any) -> Any:
        batch = self.collate(features, *args, **kwargs)
        self.positions += batch["input_ids"].numel()
        return batch


def load_base(job: Job, attention: str = "sdpa") -> Any:
    """Load the base in the job's arithmetic."""
    dtype = getattr(torch, job.dtype)
    base = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype, attn_implementation=attention)
    base.config.use_cache = False
    return base


def lora_settings(job: Job) -> LoraConfig:
    """Say the job's adapter to PEFT."""
    return LoraConfig(
        r=job.rank, lora_alpha=job.alpha, lora_dropout=0.0, target_modules=list(TARGETS), bias="none",
        task_type="CAUSAL_LM",
    )  # fmt: skip


def training_arguments(job: Job) -> dict[str, Any]:
    """Give the settings that all of them share, for `TrainingArguments` and what inherits from it."""
    return {
        "output_dir": job.output,
        "num_train_epochs": 1,
        "learning_rate": job.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": job.dtype == "bfloat16",
        "fp16": job.dtype == "float16",
        "use_cpu": job.device == "cpu",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": job.seed,
    }


def outcome_of(job: Job, clock: Clock, computed: int, notes: list[str]) -> Outcome:
    """Sum up a finished training on all of the job's rows."""
    lengths = [len(row["input_ids"]) for row in job.read_tokens()]
    return Outcome(
        rows=len(lengths),
        real_tokens=sum(lengths),
        computed_tokens=computed,
        seconds=clock.ended - clock.began,
        losses=clock.losses,
        notes=notes,
    )
