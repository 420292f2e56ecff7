"""LLaMA-Factory's SFT stage, `llamafactory.train.tuner.run_exp`, called in process.

It gets the job's tokens through its `tokenized_path`, in their order (`disable_shuffling`), with checkpointing of
activations off, which it has on unless told otherwise. It pads micro-batches to their longest example and to a multiple
of 8; one example at a time on a CPU, which computes the least; `llamafactory:-8` names another micro-batch. Its
`neat_packing` fills every pack up to the cut-off with padding and masks attention densely; not used.

Its reader of images and sound imports torchaudio, whose builds ask for another torch: an empty stand-in is given.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import transformers.utils
from contract import Job, Outcome, run_contender
from datasets import Dataset, DatasetDict
from trainer_run import Clock, Counting, outcome_of, training_arguments

transformers.utils.is_torchaudio_available()  # remembers that there is none
sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))

from llamafactory.train.sft import workflow  # noqa: E402
from llamafactory.train.tuner import run_exp  # noqa: E402

ROWS_AT_ONCE = {"cpu": 1, "cuda": 8}


def train(job: Job) -> Outcome:
    """Train once over the job's rows."""
    micro = job.rows_at_once(ROWS_AT_ONCE[job.device])
    tokens = Path(job.output) / "tokens"
    rows = [row | {"attention_mask": [1] * len(row["input_ids"])} for row in job.read_tokens()]
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(tokens))
    counters: list[Counting] = []
    collator = workflow.SFTDataCollatorWith4DAttentionMask

    def counted(**settings: object) -> Counting:
        counters.append(Counting(collator(**settings)))
        return counters[-1]

    clock = Clock()
    workflow.SFTDataCollatorWith4DAttentionMask = counted
    try:
        run_exp(
            {
                "stage": "sft", "do_train": True, "model_name_or_path": job.model, "template": "alpaca",
                "dataset": "unread, but it asks for one", "tokenized_path": str(tokens), "cutoff_len": job.cutoff,
                "finetuning_type": "lora",
                "lora_rank": job.rank, "lora_alpha": job.alpha, "lora_dropout": 0.0, "lora_target": "all",
                "flash_attn": "sdpa", "disable_gradient_checkpointing": True, "disable_shuffling": True,
                "per_device_train_batch_size": micro, "gradient_accumulation_steps": job.batch_size // micro,
                **training_arguments(job),
            },
            callbacks=[clock],
        )  # fmt: skip
    finally:
        workflow.SFTDataCollatorWith4DAttentionMask = collator
    return outcome_of(job, clock, counters[0].positions, [f"micro-batches of {micro}, padded to a multiple of 8"])


if __name__ == "__main__":
    run_contender(train, ("torch", "llamafactory", "transformers", "peft", "accelerate", "trl", "datasets"))
