"""LitGPT's LoRA script, `litgpt.finetune.lora.setup`, called in process.

It pads micro-batches on the right to their longest example; `litgpt-4` names another micro-batch than its default 1,
which pads nothing. Weights are converted by LitGPT's own `copy_weights_hf_llama`. Replaced around its training loop:
the schedule (it knows only warm-up and cosine; here constant), and what comes after it (merging the adapter into a copy
of the base). It trains bfloat16 with the adapter in bfloat16 too (`bf16-true`, its fastest), clips no gradients, and
takes the mean of the micro-batches' mean losses, so with examples one by one each counts the same, whatever its length.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from contract import Job, Outcome, run_contender
from litgpt.args import EvalArgs, TrainArgs
from litgpt.config import Config
from litgpt.data import DataModule
from litgpt.data.base import get_sft_collate_fn
from litgpt.finetune import lora
from litgpt.prompts import PromptStyle
from litgpt.scripts.convert_hf_checkpoint import copy_weights_hf_llama
from litgpt.utils import save_config
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from torchmetrics import RunningMean

PRECISION = {"float32": "32-true", "bfloat16": "bf16-true", "float16": "16-true"}
LEARNED = dict.fromkeys(("lora_query", "lora_key", "lora_value", "lora_projection", "lora_mlp"), True)


class Watch:
    """When training starts and ends, each micro-batch's running loss, and the positions computed."""

    began = ended = 0.0
    positions = 0
    losses: list[float] = []  # noqa: RUF012  emptied for each training


class Constant(torch.optim.lr_scheduler.LambdaLR):
    """A constant rate; as the last thing that each optimiser step calls, it notes the time."""

    def __init__(self, optimizer: Any, *_: Any, **__: Any) -> None:
        super().__init__(optimizer, lambda step: 1.0)

    def step(self, *_: Any, **__: Any) -> None:
        """Step, and note the time."""
        super().step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        Watch.ended = time.perf_counter()


class Noting(RunningMean):
    """The script's running mean over a step's micro-batches, each value kept."""

    def compute(self) -> torch.Tensor:
        """Compute and keep."""
        value = super().compute()
        Watch.losses.append(float(value))
        return value


class Tokens(DataModule):
    """The job's tokens, in their order."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.size, self.prompt_style = job, 1, PromptStyle.from_name("alpaca")
        self.collate = get_sft_collate_fn()

    def connect(self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: int | None = None, **_: Any) -> None:
        """Take the micro-batch."""
        self.size = batch_size

    def train_dataloader(self) -> DataLoader[Any]:
        """Give the job's rows."""
        return DataLoader(_tensors(self.job.read_tokens()), batch_size=self.size, collate_fn=self._noted)

    def val_dataloader(self) -> DataLoader[Any]:
        """Give one row, for the check before training that cannot be turned off."""
        return DataLoader(_tensors(self.job.read_tokens()[:1]), batch_size=1, collate_fn=self.collate)

    def _noted(self, samples: list[Any]) -> Any:
        Watch.began = Watch.began or time.perf_counter()
        batch = self.collate(samples)
        Watch.positions += batch["input_ids"].numel()
        return batch


def _tensors(rows: Iterable[dict[str, list[int]]]) -> list[dict[str, Any]]:
    return [
        {name: torch.tensor(values) for name, values in row.items()}
        | {"token_counts": {"raw": len(row["input_ids"]), "raw_plus_prompt_template": len(row["input_ids"])}}
        for row in rows
    ]


def convert(model: Path) -> Path:
    """Give LitGPT's form of a model folder, written beside it the first time."""
    folder = model.with_name(f"{model.name}-litgpt")
    if folder.is_dir():
        return folder
    staged = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    shape = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config = Config(
        name=model.name, hf_config={}, block_size=shape["max_position_embeddings"], vocab_size=shape["vocab_size"],
        padded_vocab_size=shape["vocab_size"], n_layer=shape["num_hidden_layers"], n_head=shape["num_attention_heads"],
        n_query_groups=shape["num_key_value_heads"], n_embd=shape["hidden_size"], rotary_percentage=1.0,
        parallel_residual=False, bias=False, norm_class_name="RMSNorm", norm_eps=shape["rms_norm_eps"],
        mlp_class_name="LLaMAMLP", intermediate_size=shape["intermediate_size"], rope_base=10000,
    )  # fmt: skip
    weights = {name: tensor for part in _parts(model) for name, tensor in part.items()}
    converted: dict[str, torch.Tensor] = {}
    copy_weights_hf_llama(config, {}, converted, weights)
    torch.save(converted, staged / "lit_model.pth")
    save_config(config, staged)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        shutil.copy(model / name, staged / name)
    staged.rename(folder)
    return folder


def _parts(model: Path) -> Iterator[dict[str, torch.Tensor]]:
    for path in sorted(model.glob("model*.safetensors")):
        yield load_file(path)


def train(job: Job) -> Outcome:
    """Train once over the job's rows."""
    micro = job.rows_at_once(1)
    Watch.began, Watch.positions, Watch.losses = 0.0, 0, []
    lora.get_lr_scheduler, lora.RunningMean = Constant, Noting
    lora.merge_lora = lora.save_hyperparameters = lambda *_, **__: None
    lora.setup(
        convert(Path(job.model)), Path(job.output), precision=PRECISION[job.dtype], lora_r=job.rank,
        lora_alpha=job.alpha, lora_dropout=0.0, **LEARNED, data=Tokens(job), seed=job.seed,
        train=TrainArgs(save_interval=None, log_interval=1, global_batch_size=job.batch_size, micro_batch_size=micro,
                        lr_warmup_steps=0, epochs=1, max_steps=job.steps),
        eval=EvalArgs(interval=job.steps + 1, max_new_tokens=1, max_iters=1, final_validation=False),
        optimizer={"class_path": "torch.optim.AdamW", "init_args": {"lr": job.learning_rate, "weight_decay": 0.0}},
    )  # fmt: skip
    lengths = [len(row["input_ids"]) for row in job.read_tokens()]
    a_step = job.batch_size // micro
    return Outcome(
        rows=len(lengths),
        real_tokens=sum(lengths),
        computed_tokens=Watch.positions,
        seconds=Watch.ended - Watch.began,
        losses=Watch.losses[a_step - 1 :: a_step],
        notes=[f"micro-batches of {micro}, {PRECISION[job.dtype]}; its loss is the mean of the micro-batches' means"],
    )


if __name__ == "__main__":
    run_contender(train, ("torch", "litgpt", "lightning"))
