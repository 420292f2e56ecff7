"""What is known of a run before its weights are loaded: base, tokenizer, prompt, tokens, split, identity, plan."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from alpaca_lora.config import RESULT_NEUTRAL, BaseConfig, DataConfig, FinetuneConfig, PreviewConfig, TrainConfig
from alpaca_lora.data.encoder import TextEncoder, tokenizer_fingerprint
from alpaca_lora.data.examples import split_rows
from alpaca_lora.data.preview import ledger_lines, row_text
from alpaca_lora.data.prompts import Prompt, load_prompt
from alpaca_lora.data.tokens import TokenTable, load_tokens
from alpaca_lora.errors import UserError
from alpaca_lora.model.device import describe_device, pick_device, pick_dtype
from alpaca_lora.model.load import (
    BasePlace,
    base_fingerprint,
    find_base,
    load_base_tokenizer,
    load_model_config,
)
from alpaca_lora.options import flatten

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from alpaca_lora.training.plan import Plan

_NOT_IDENTITY = RESULT_NEUTRAL | {"data_path", "clean", "base_model", "base_revision", "prompt_template_name"}
"""Settings left out of a run's identity: what they point to is compared by content instead."""


@dataclass(frozen=True)
class Prepared:
    """Everything known before the weights are loaded.

    Attributes:
        train_rows, held_out_rows: int64 indices into `table`.
        notes: what was mended in the tokenizer, for the user.
        identity: what decides the result; a resumed run must have the same.
    """

    place: BasePlace
    tokenizer: PreTrainedTokenizerFast
    prompt: Prompt
    table: TokenTable
    train_rows: NDArray[np.int64]
    held_out_rows: NDArray[np.int64]
    notes: list[str]
    identity: dict[str, Any]


def read_tokens(
    data: DataConfig, model: BaseConfig
) -> tuple[BasePlace, PreTrainedTokenizerFast, Prompt, TokenTable, list[str]]:
    """Find the base, read its tokenizer, and tokenise the data under the chosen prompt."""
    place = find_base(model)
    tokenizer, notes = load_base_tokenizer(model, place)
    prompt = load_prompt(data.prompt_template_name, tokenizer)
    return place, tokenizer, prompt, load_tokens(data, prompt, TextEncoder(tokenizer)), notes


def prepare(config: FinetuneConfig, *, processes: int = 1) -> Prepared:
    """Read everything but the weights, and split off the held-out rows."""
    place, tokenizer, prompt, table, notes = read_tokens(config.data, config.model)
    held = split_rows(table.ledger.rows_read, config.train.val_set_size)
    is_held = np.isin(table.rows, list(held))
    train_rows, held_out_rows = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    if not len(train_rows):
        raise UserError("every row that could be used is held out", fix="lower --val_set_size or raise --cutoff_len")
    identity = {key: value for key, value in flatten(config).items() if key not in _NOT_IDENTITY}
    device = pick_device(config.model.device)
    identity |= {
        "device": device.type,
        "dtype": str(pick_dtype(config.model.dtype, device)).removeprefix("torch."),
        "data_sha256": table.data_sha256,
        **({"cleaned_sha256": table.cleaning.sha256} if table.cleaning else {}),
        "base_fingerprint": base_fingerprint(place),
        "prompt_sha256": hashlib.sha256(prompt.fingerprint.encode()).hexdigest(),
        "tokenizer_sha256": tokenizer_fingerprint(tokenizer),
        "processes": processes,
    }
    as_saved = json.loads(json.dumps(identity))
    return Prepared(place, tokenizer, prompt, table, train_rows, held_out_rows, notes, as_saved)


def tell_data(config: FinetuneConfig, ready: Prepared, console: Console) -> None:
    """Say what will be trained on what: notes, base, ledger, split, and one row with its targets marked."""
    device = pick_device(config.model.device)
    dtype = str(pick_dtype(config.model.dtype, device)).removeprefix("torch.")
    print_lines(
        console,
        *(f"note    {note}" for note in [*ready.notes, *_unused(config)]),
        f"base    {ready.place.name}, {dtype} on {describe_device(device)}",
        *ledger_lines(ready.table.ledger, config.data, ready.table.cleaning),
        f"split   {len(ready.train_rows):,} rows to train on, {len(ready.held_out_rows):,} held out",
    )
    row = ready.table[int(ready.train_rows[0])]
    print_lines(console, f"row {row.row} as it is trained, targets between ⟦ ⟧:")
    console.print(row_text(row, ready.tokenizer))


def _unused(config: FinetuneConfig) -> list[str]:
    """Name a setting that was changed and does nothing beside another."""
    train, usual = config.train, TrainConfig()
    if train.packing != "none" and train.micro_batch_size != usual.micro_batch_size:
        return [f"--micro_batch_size {train.micro_batch_size} has no effect with --packing {train.packing}"]
    if train.packing == "none" and train.tokens_per_pack != usual.tokens_per_pack:
        return [f"--tokens_per_pack {train.tokens_per_pack} has no effect with --packing none"]
    return []


def tell_plan(config: FinetuneConfig, ready: Prepared, console: Console) -> Plan:
    """Predict memory and time, and say them with their arithmetic."""
    from alpaca_lora.training.plan import make_plan  # brings PEFT, which a preview does not need

    model_config = load_model_config(config.model, ready.place)
    plan = make_plan(config, model_config, ready.table, ready.train_rows, len(ready.held_out_rows))
    print_lines(console, *plan.lines())
    return plan


def plan_run(config: FinetuneConfig, console: Console | None = None) -> Plan:
    """Tell what a run would train on and need, without loading the base's weights."""
    console = console or Console()
    ready = prepare(config)
    tell_data(config, ready, console)
    return tell_plan(config, ready, console)


def preview(config: PreviewConfig, console: Console | None = None) -> None:
    """Show rows with their trained tokens coloured, and counts over the whole file."""
    console = console or Console()
    _, tokenizer, _, table, notes = read_tokens(config.data, config.model)
    print_lines(console, *(f"note    {note}" for note in notes))
    numbers = table.rows.tolist()
    first = next((index for index, row in enumerate(numbers) if row >= config.first_row), len(numbers))
    if first == len(numbers):
        raise UserError(f"--first_row {config.first_row}: the last row kept is {numbers[-1]}")
    for index in range(first, min(first + config.rows, len(table))):
        row = table[index]
        n_targets = int(row.is_target.sum())
        print_lines(console, f"row {row.row}: {len(row.input_ids)} tokens, {n_targets} trained, between ⟦ ⟧")
        console.print(row_text(row, tokenizer), soft_wrap=True)
        console.print()
    print_lines(console, *ledger_lines(table.ledger, config.data, table.cleaning))


def print_lines(console: Console, *lines: str) -> None:
    """Print lines as they are: no markup, no highlighting, no wrapping."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
