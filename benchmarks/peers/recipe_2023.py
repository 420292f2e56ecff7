"""The recipe of 2023, rewritten on today's `transformers.Trainer` and PEFT.

As the original did: padded micro-batches of 8 in random order (the job's order, which is random), padded on the left to
a multiple of 8, `adamw_torch`, no grouping by length, the model's own loss over all positions. Not as the original did:
the base is in the job's arithmetic and not in 8 bits, and rank, targets, learning rate and schedule are the job's. Its
`torch.compile(model)` came after the Trainer had taken the model and changed nothing; it is left out.

`recipe_2023:our_start` begins with the very adapter that our program begins with, to compare losses step by step.
"""

from __future__ import annotations

from typing import Any

from contract import Job, Outcome, run_contender
from peft import get_peft_model
from torch.utils.data import Dataset
from trainer_run import Clock, Counting, load_base, lora_settings, outcome_of, training_arguments
from transformers import AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments, set_seed

MICRO_BATCH = 8


class InOrder(Dataset[dict[str, list[int]]]):
    """Tokenised rows in a given order."""

    def __init__(self, rows: list[dict[str, list[int]]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return dict(self.rows[index])


def make_trainer(job: Job, model: Any, rows: list[dict[str, list[int]]]) -> tuple[Trainer, Clock, Counting]:
    """Build the Trainer over rows in their order; the micro-batch is 8, or the step where that is smaller."""
    micro = min(MICRO_BATCH, job.batch_size)
    if job.batch_size % micro:
        raise SystemExit(f"batch_size {job.batch_size} is no multiple of {micro}")
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    tokenizer.padding_side = "left"
    arguments = TrainingArguments(
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=job.batch_size // micro,
        optim="adamw_torch",
        train_sampling_strategy="sequential",
        **training_arguments(job),
    )
    clock = Clock()
    collate = Counting(DataCollatorForSeq2Seq(tokenizer, pad_to_multiple_of=8, return_tensors="pt", padding=True))
    trainer = Trainer(
        model=model, args=arguments, train_dataset=InOrder(rows), data_collator=collate, callbacks=[clock]
    )
    return trainer, clock, collate


def _our_start(job: Job) -> Any:
    """Attach the adapter as our program does: the same seed gives the same weights."""
    from alpaca_lora.config import LoraConfig
    from alpaca_lora.model.lora import attach_adapter

    return attach_adapter(load_base(job), LoraConfig(lora_r=job.rank, lora_alpha=job.alpha), seed=job.seed)


def train(job: Job) -> Outcome:
    """Train once over the job's rows."""
    set_seed(job.seed)
    model = _our_start(job) if job.way("") == "our_start" else get_peft_model(load_base(job), lora_settings(job))
    trainer, clock, collate = make_trainer(job, model, job.read_tokens())
    trainer.train()
    return outcome_of(job, clock, collate.positions, [f"padded micro-batches of {min(MICRO_BATCH, job.batch_size)}"])


if __name__ == "__main__":
    run_contender(train, ("torch", "transformers", "peft", "accelerate"))
