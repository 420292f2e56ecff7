"""Unsloth's `FastLanguageModel` with TRL's `SFTTrainer`, as its documentation has it.

Without quantisation (`load_in_4bit` off), completion-only, without checkpointing of activations; `unsloth:checkpointed`
uses its own offloading checkpointing, for models that do not fit otherwise. On CUDA packed, the packs counted into
steps as for TRL. Without a card it falls back on the CPU, says so, and refuses to pack: then examples one by one, in
the job's order; `unsloth:-4` names another micro-batch.
"""

from __future__ import annotations

from typing import Any

import unsloth  # isort: skip  it patches what is imported after it
import torch
from contract import TARGETS, Job, Outcome, run_contender
from datasets import Dataset, disable_progress_bars
from trainer_run import Clock, Counting, outcome_of, training_arguments
from trl import SFTConfig, SFTTrainer
from trl_sft import packed


def train(job: Job) -> Outcome:
    """Train once over the job's rows."""
    disable_progress_bars()
    rows = Dataset.from_list(job.read_tokens())
    chosen, note = packed(job, rows) if job.device == "cuda" else _padded(job)
    masks = [{"input_ids": row["input_ids"], "completion_mask": _trained(row)} for row in job.read_tokens()]
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        job.model, max_seq_length=job.cutoff, dtype=getattr(torch, job.dtype), load_in_4bit=False
    )
    model = unsloth.FastLanguageModel.get_peft_model(
        model, r=job.rank, lora_alpha=job.alpha, lora_dropout=0, target_modules=list(TARGETS), bias="none",
        use_gradient_checkpointing="unsloth" if job.way("") == "checkpointed" else False, random_state=job.seed,
        max_seq_length=job.cutoff,
    )  # fmt: skip
    arguments = SFTConfig(
        completion_only_loss=True, gradient_checkpointing=False, optim="adamw_torch_fused", **chosen,
        **training_arguments(job),
    )  # fmt: skip
    clock = Clock()
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(masks), processing_class=tokenizer,
        callbacks=[clock],
    )  # fmt: skip
    collate = Counting(trainer.data_collator)
    trainer.data_collator = collate
    trainer.train()
    return outcome_of(job, clock, collate.positions, [note])


def _padded(job: Job) -> tuple[dict[str, Any], str]:
    micro = job.rows_at_once(1)
    chosen = {"max_length": job.cutoff, "train_sampling_strategy": "sequential", "per_device_train_batch_size": micro}
    return chosen | {"gradient_accumulation_steps": job.batch_size // micro}, f"its CPU mode, micro-batches of {micro}"


def _trained(row: dict[str, list[int]]) -> list[int]:
    return [int(label != -100) for label in row["labels"]]


if __name__ == "__main__":
    run_contender(train, ("torch", "unsloth", "unsloth_zoo", "trl", "transformers", "peft", "bitsandbytes", "triton"))
