"""TRL's `SFTTrainer`, completion-only, without checkpointing of activations, which it has on unless told otherwise.

`trl` is the fastest of its ways on the device, and each can be named:

- `trl:packed`: packs of at most the cut-off, filled best fit first in decreasing order (`bfd`), without padding,
  several of them (`trl:packed-8`) as one sequence. A step is a number of packs, not of examples: as many as give the
  job's number of steps, as nearly as can be. On CUDA the default where flash-attn is installed; else `trl:padded` is.
- `trl:padding_free`: micro-batches of examples laid out as one sequence without padding. Steps are the job's. On a CPU
  with one example at a time, which took half the time of 4 and of packs: several in one sequence cost attention
  between all of them, computed and masked.
- `trl:padded`: micro-batches padded on the right, grouped by length, which reorders the examples over the steps.

`trl:padding_free-4` and the like name the micro-batch.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from contract import Job, Outcome, run_contender
from datasets import Dataset, disable_progress_bars
from trainer_run import Clock, Counting, load_base, lora_settings, outcome_of, training_arguments
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer, pack_dataset

HAS_FLASH = find_spec("flash_attn") is not None
BEST = {"cpu": "padding_free", "cuda": "packed" if HAS_FLASH else "padded"}
PACKS_AT_ONCE = {"cpu": 1, "cuda": 8}
ROWS_AS_ONE = {"cpu": 1, "cuda": 32}


def train(job: Job) -> Outcome:
    """Train once over the job's rows."""
    disable_progress_bars()
    way = job.way(BEST[job.device])
    rows = Dataset.from_list(job.read_tokens())
    chosen, note = {"packed": packed, "padding_free": _padding_free, "padded": _padded}[way](job, rows)
    arguments = SFTConfig(
        completion_only_loss=True, gradient_checkpointing=False, **chosen, **training_arguments(job)
    )  # fmt: skip
    clock = Clock()
    attention = "flash_attention_2" if job.device == "cuda" and HAS_FLASH else "sdpa"
    trainer = SFTTrainer(
        model=load_base(job, attention), args=arguments, train_dataset=rows, peft_config=lora_settings(job),
        processing_class=AutoTokenizer.from_pretrained(job.model), callbacks=[clock],
    )  # fmt: skip
    collate = Counting(trainer.data_collator)
    trainer.data_collator = collate
    trainer.train()
    return outcome_of(job, clock, collate.positions, [f"{way}: {note}"])


def packed(job: Job, rows: Dataset) -> tuple[dict[str, Any], str]:
    """Give the settings of packs, so many a step that the steps are as many as the job's."""
    packs = len(pack_dataset(rows.select_columns(["input_ids", "labels"]), job.cutoff, "bfd"))
    each = -(-packs // job.steps)
    named = job.variant.partition("-")[2]
    at_once = min(each, int(named) if named else PACKS_AT_ONCE[job.device])
    chosen = {"packing": True, "packing_strategy": "bfd", "max_length": job.cutoff}
    chosen |= {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": -(-each // at_once)}
    return chosen, f"{packs} packs of up to {job.cutoff} tokens, {each} a step, {at_once} at once"


def _padding_free(job: Job, rows: Dataset) -> tuple[dict[str, Any], str]:
    micro = job.rows_at_once(ROWS_AS_ONE[job.device])
    chosen = {"padding_free": True, "max_length": None, "train_sampling_strategy": "sequential"}
    return chosen | _micro_batches(job, micro), f"{micro} examples as one sequence"


def _padded(job: Job, rows: Dataset) -> tuple[dict[str, Any], str]:
    micro = job.rows_at_once(job.micro_batch_size)
    chosen = {"max_length": job.cutoff, "train_sampling_strategy": "group_by_length"}
    return chosen | _micro_batches(job, micro), f"micro-batches of {micro} of like length"


def _micro_batches(job: Job, micro: int) -> dict[str, Any]:
    return {"per_device_train_batch_size": micro, "gradient_accumulation_steps": job.batch_size // micro}


if __name__ == "__main__":
    run_contender(train, ("torch", "trl", "transformers", "peft", "accelerate", "datasets"))
