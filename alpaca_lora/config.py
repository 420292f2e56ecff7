"""Every setting, once: frozen dataclasses, one per concern, each field with its meaning, unit and extremes.

Field names are the flags (`--cutoff_len`) and the keys of a recipe (`cutoff_len: 512`).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from typing import Literal

from alpaca_lora.options import Whole, flat, require

RowShape = Literal["auto", "alpaca", "sharegpt", "messages", "prompt_completion"]
Packing = Literal["shared_prefix", "plain", "none"]
Tracker = Literal["tensorboard", "wandb", "trackio"]


@flat
@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What is read, and how rows become tokens."""

    data_path: str = ""
    """JSON, JSONL, CSV or Parquet file, a data set's Hub id, or `sample` for the bundled one."""
    data_shape: RowShape = "auto"
    """How rows are laid out; `auto` looks for the first row of a known shape."""
    on_bad_rows: Literal["error", "skip"] = "error"
    """`error` stops at unreadable rows and lists them; `skip` leaves them out and counts them."""
    clean: bool = False
    """Mend or drop flawed rows first, as `data clean` would, and number them so; the run's folder logs each change."""
    prompt_template_name: str = "alpaca"
    """alpaca, alpaca_legacy, alpaca_short, vigogne, a template file, or `chat`: the tokenizer's own template."""
    cutoff_len: Whole = 512
    """Longest row in tokens, at least 8. At 512 0.19 % of the Stanford rows are cut, at the original 256 4.05 %."""
    truncation: Literal["answer_tail", "drop"] = "answer_tail"
    """Rows over cutoff_len: keep the head and lose the answer's tail and its EOS, or drop the whole row."""
    train_on_inputs: bool = False
    """Train on the prompt's tokens too. Off: every row repeats one of two prompt heads, nothing to learn there."""

    def __post_init__(self) -> None:
        require(
            self,
            cutoff_len=(self.cutoff_len >= 8, "of at least 8 tokens"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """Which base model."""

    base_model: str = ""
    """Local folder, Hub id, or `alpaca-tiny` for the embedded toy model."""
    base_revision: str | None = None
    """Branch, tag or commit of a Hub base model; unset: its default branch. The commit is recorded."""
    trust_remote_code: bool = False
    """Run Python code that comes with a Hub model. Off, because it is someone else's program on your machine."""


@flat
@dataclass(frozen=True, kw_only=True)
class ModelConfig(BaseConfig):
    """The base model and how it is held in memory."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """The base's arithmetic; `auto`: bfloat16 where in hardware, else float32, GPU float16. The adapter is float32."""
    quantization: Literal["none", "int8", "nf4"] = "none"
    """Hold the base in 8 or 4 bits through bitsandbytes, for cards too small for bfloat16 (QLoRA, arXiv 2305.14314)."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto` takes CUDA, then Apple's MPS, then the CPU."""


@flat
@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """The adapter: W + scaling * B A (arXiv 2106.09685)."""

    lora_r: Whole = 16
    """Rank, at least 1. 16 on all linear layers holds data sets of Alpaca's size with room."""
    lora_alpha: Whole = 32
    """Scaling is alpha / r (alpha / sqrt(r) with rsLoRA); twice the rank is the field's usual value."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input, 0 to below 1. In a shared prefix one mask serves all rows of the pack. 0: over
    few epochs it costs time and brought nothing measurable."""
    lora_target_modules: tuple[str, ...] = ("all-linear",)
    """Layers to adapt; `all-linear`: all but the head, as layers matter more than rank (arXiv 2305.14314)."""
    use_rslora: bool = False
    """Scale by alpha / sqrt(r), which keeps high ranks useful (arXiv 2312.03732)."""
    use_dora: bool = False
    """Learn magnitude and direction apart (arXiv 2402.09353); slower, and some exports cannot express it."""
    init_lora_weights: Literal["default", "gaussian", "orthogonal"] = "default"
    """Start of A; B A is zero in all. PiSSA and OLoRA are left out: they change what the base must be afterwards."""

    def __post_init__(self) -> None:
        require(
            self,
            lora_r=(self.lora_r >= 1, "of at least 1"),
            lora_alpha=(self.lora_alpha >= 1, "of at least 1"),
            lora_dropout=(0 <= self.lora_dropout < 1, "from 0 to below 1"),
            init_lora_weights=(
                self.init_lora_weights != "orthogonal" or self.lora_r % 2 == 0,
                "other than orthogonal, or an even --lora_r",
            ),
            lora_target_modules=(len(self.lora_target_modules) > 0, "such as all-linear or q_proj v_proj"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The optimisation."""

    batch_size: Whole = 32
    """Examples per optimiser step, over all processes. Small batches suit LoRA; the original used 128."""
    packing: Packing = "shared_prefix"
    """Rows without padding, a common prefix computed once a pack; each prefix with its row; or padded. Same loss."""
    tokens_per_pack: Whole = 2048
    """Tokens computed at once with packing, at least 64; a longer row is a pack of its own. Memory grows with it."""
    micro_batch_size: Whole = 4
    """Rows computed at once with `packing: none`; changes memory and speed, never the gradient's meaning."""
    activation_checkpointing: str = "auto"
    """none, full, every_2, every_3, ...: compute every n-th layer twice, keep less. auto: as little as makes it fit."""
    num_epochs: float = 3.0
    """Passes over the data, above 0; a fraction stops within a pass."""
    max_steps: Whole | None = None
    """Stop after this many optimiser steps even when num_epochs would go on. The schedule spans the shorter."""
    learning_rate: float = 2e-4
    """Peak of AdamW's learning rate, above 0. 2e-4 is QLoRA's value for 7B and 13B."""
    lr_schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after warm-up; cosine and linear end at 0."""
    warmup_steps: float = 0.03
    """Steps from 0 to the peak; below 1 a share of all steps."""
    weight_decay: float = 0.0
    """AdamW's decoupled decay of the adapter; 0 because B A starts at zero and is held small by its rank."""
    max_grad_norm: float = 1.0
    """Clip the gradient's norm to this; 0 switches clipping off."""
    val_set_size: Whole | None = None
    """Rows held out for evaluation; 0 for none. Unset: 5 % of the rows, at most 2,000. The same rows for every seed."""
    seed: Whole = 42
    """Order of rows, start of A, dropout. Same seed, same adapter."""

    def __post_init__(self) -> None:
        require(
            self,
            batch_size=(self.batch_size >= 1, "of at least 1"),
            val_set_size=(self.val_set_size is None or self.val_set_size >= 0, "of at least 0 rows"),
            tokens_per_pack=(self.tokens_per_pack >= 64, "of at least 64 tokens"),
            micro_batch_size=(self.micro_batch_size >= 1, "of at least 1"),
            activation_checkpointing=(
                re.fullmatch(r"auto|none|full|every_([2-9]|[1-9]\d+)", self.activation_checkpointing) is not None,
                "auto, none, full, or every_2, every_3, ...",
            ),
            num_epochs=(0 < self.num_epochs < math.inf, "above 0 and finite"),
            max_steps=(self.max_steps is None or self.max_steps >= 1, "of at least 1, or leave it out"),
            learning_rate=(0 < self.learning_rate < 1, "above 0 and below 1"),
            warmup_steps=(
                0 <= self.warmup_steps < 1 or self.warmup_steps % 1 == 0,
                "from 0 to below 1, or a whole number",
            ),
            weight_decay=(self.weight_decay >= 0, "of at least 0"),
            max_grad_norm=(self.max_grad_norm >= 0, "of at least 0"),
            seed=(0 <= self.seed < 2**32, "from 0 to 4294967295"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where the run lives, and what is told and kept of it."""

    output_dir: str = "./lora-alpaca"
    """The adapter, its checkpoints and its log."""
    eval_steps: Whole = 200
    """Evaluate on the held-out rows every so many steps, and at the end; 0 only at the end."""
    save_steps: Whole = 200
    """Checkpoint every so many steps, and at the end; 0 only at the end."""
    save_total_limit: Whole = 3
    """Newest checkpoints that are kept; 0 keeps all."""
    logging_steps: Whole = 10
    """Write loss, learning rate and speed every so many steps, at least 1."""
    resume_from_checkpoint: str | None = None
    """Go on from a checkpoint: its path, or `auto` for the newest in output_dir (a fresh start when there is none)."""
    allow_changed: bool = False
    """Resume although data, base or settings differ from the checkpoint's."""
    report_to: tuple[Tracker, ...] = ()
    """Trackers to write to. None unless named: without one no socket is opened."""
    project: str = "alpaca-lora"
    """Project name given to the trackers."""
    run_name: str | None = None
    """This run's name for the trackers; unset: the name of output_dir."""
    dry_run: bool = False
    """Do everything up to the first optimiser step, then stop."""

    def __post_init__(self) -> None:
        require(
            self,
            eval_steps=(self.eval_steps >= 0, "of at least 0"),
            save_steps=(self.save_steps >= 0, "of at least 0"),
            save_total_limit=(self.save_total_limit >= 0, "of at least 0"),
            logging_steps=(self.logging_steps >= 1, "of at least 1"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything `finetune` and `plan` need."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    run: RunConfig = field(default_factory=RunConfig)


@flat
@dataclass(frozen=True, kw_only=True)
class PreviewConfig:
    """Everything `data preview` needs."""

    data: DataConfig = field(default_factory=DataConfig)
    model: BaseConfig = field(default_factory=BaseConfig)
    rows: Whole = 3
    """Rows to show; counts are always over the whole file."""
    first_row: Whole = 0
    """0-based index of the first row to show."""

    def __post_init__(self) -> None:
        require(
            self,
            rows=(self.rows >= 1, "of at least 1"),
            first_row=(self.first_row >= 0, "of at least 0"),
        )


@flat
@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Everything `doctor` needs."""

    output_dir: str = "."
    """Folder whose disk is looked at: where runs will be written."""


@flat
@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Everything `demo` needs."""

    output_dir: str = "./alpaca-demo"
    """Where the demo's adapter goes; an earlier demo's folder of that name is replaced."""
    seed: Whole = 42
    """Seed of the fine-tuning."""


RESULT_NEUTRAL = frozenset(fld.name for fld in fields(RunConfig)) | {"activation_checkpointing"}
"""Settings that cannot change the trained weights: a resumed run may set them anew."""
