"""The loop: count targets, sum the loss, divide once, clip, step, evaluate, save, log."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from alpaca_lora.config import RunConfig, TrainConfig
from alpaca_lora.data.tokens import TokenTable
from alpaca_lora.errors import Interrupted, UserError
from alpaca_lora.model.device import peak_memory_gib
from alpaca_lora.training.loss import IGNORED
from alpaca_lora.training.runlog import RunLog, format_seconds
from alpaca_lora.training.schedule import learning_rate, random_seed, rows_of_step


@dataclass
class Position:
    """How far a run is: steps done, target tokens trained, seconds spent, losses seen last."""

    step: int = 0
    target_tokens: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    eval_loss: float | None = None


@dataclass(frozen=True)
class Parts:
    """What the loop works with.

    Attributes:
        nats: the prepared `TargetNats` module.
        optimizer: the prepared AdamW over the adapter.
        table: tokens of all rows.
        train_rows, held_out_rows: int64 indices into the table.
        save: writes a checkpoint of the present position; called on every rank, writes on the first.
    """

    accelerator: Accelerator
    nats: Any
    optimizer: Any
    table: TokenTable
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    save: Callable[[Position], None]
    log: RunLog


def train(parts: Parts, settings: TrainConfig, run: RunConfig, steps: int, at: Position) -> Position:
    """Train from `at.step` to `steps`; return where it ended.

    One step: the loss of exactly `batch_size` rows, summed over micro-batches and ranks and divided once by the number
    of targets of the whole step (the mean of micro-batch means is wrong whenever their target counts differ).

    Raises `UserError` when loss or gradient is not finite, after saving the weights from before that step, and
    `Interrupted` on SIGINT or SIGTERM, after the step was finished and saved.
    """
    accelerator, log = parts.accelerator, parts.log
    trained = [parameter for group in parts.optimizer.param_groups for parameter in group["params"]]
    saved_step, window = at.step, _Window()
    with _signals() as received:
        while at.step < steps:
            began = time.perf_counter()
            rows = parts.train_rows[rows_of_step(len(parts.train_rows), settings.batch_size, settings.seed, at.step)]
            n_targets = count_targets(parts.table, rows)
            rate = learning_rate(settings, at.step, steps)
            for group in parts.optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(random_seed(settings.seed, at.step, accelerator.process_index))
            parts.nats.train()
            own_nats = accumulate_gradients(parts, settings.micro_batch_size, rows, n_targets)
            own = torch.stack([own_nats, own_nats.new_tensor(float(len(received)))])
            nats, stop = sum_over_ranks(accelerator, own).tolist()
            loss = nats / max(1, n_targets)
            norm = float(cast(Tensor, accelerator.clip_grad_norm_(trained, settings.max_grad_norm or math.inf)))
            if not (math.isfinite(loss) and (math.isfinite(norm) or accelerator.scaler is not None)):
                if saved_step < at.step:
                    parts.save(at)
                raise _not_finite(loss, norm, parts.table.rows[rows], at.step, run)
            parts.optimizer.step()
            parts.optimizer.zero_grad()
            seconds = time.perf_counter() - began
            at.step, at.loss = at.step + 1, loss
            at.target_tokens += n_targets
            at.seconds += seconds
            window.add(loss, n_targets, int(parts.table.lengths[rows].sum()), seconds)
            log.advance(at.step)
            if at.step % run.logging_steps == 0 or at.step == steps:
                window.tell(log, at, steps, rate, norm, peak_memory_gib(accelerator.device))
            last = at.step == steps
            if len(parts.held_out_rows) and (last or (run.eval_steps and at.step % run.eval_steps == 0)):
                at.eval_loss = evaluate_loss(parts, parts.held_out_rows, settings.micro_batch_size)
                log.record(at.step, {"eval_loss": at.eval_loss})
                log.say(f"step {at.step:>5}  held-out loss {at.eval_loss:.4f}")
            if last or stop or (run.save_steps and at.step % run.save_steps == 0):
                parts.save(at)
                saved_step = at.step
            if stop and not last:
                raise Interrupted(received[0] if received else signal.SIGTERM, at.step)
    return at


def count_targets(table: TokenTable, rows: np.ndarray) -> int:
    """Count the target tokens of rows; a row's first token is predicted from nothing and never counts."""
    return sum(int(table[int(row)].is_target[1:].sum()) for row in rows)


def accumulate_gradients(parts: Parts, micro_batch_size: int, rows: np.ndarray, n_targets: int) -> Tensor:
    """Add up the gradients of a step's rows over micro-batches and ranks; return this rank's summed loss in nats.

    Data-parallel averaging divides by the ranks, so each rank multiplies by them first.
    """
    accelerator = parts.accelerator
    batches = list(micro_batches(parts.table, own_rows(rows, accelerator), micro_batch_size))
    total = torch.zeros((), device=accelerator.device)
    for number, (input_ids, labels) in enumerate(batches):
        is_last = number == len(batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(parts.nats):
            nats = parts.nats(input_ids.to(accelerator.device), labels.to(accelerator.device))
            accelerator.backward(nats * (accelerator.num_processes / max(1, n_targets)))
        total += nats.detach()
    return total


@torch.no_grad()
def evaluate_loss(parts: Parts, rows: np.ndarray, micro_batch_size: int) -> float:
    """Give the mean loss of rows in nats per target token."""
    accelerator = parts.accelerator
    parts.nats.eval()
    total = torch.zeros((), device=accelerator.device)
    nats = accelerator.unwrap_model(parts.nats)  # data-parallel forwards would wait for ranks with more rows
    for input_ids, labels in micro_batches(parts.table, own_rows(rows, accelerator), micro_batch_size):
        total += nats(input_ids.to(accelerator.device), labels.to(accelerator.device))
    return float(sum_over_ranks(accelerator, total)) / max(1, count_targets(parts.table, rows))


def sum_over_ranks(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """Add a tensor up over all processes; each gets the sum."""
    return cast(Tensor, accelerator.reduce(tensor))


def own_rows(rows: np.ndarray, accelerator: Accelerator) -> np.ndarray:
    """Deal rows over ranks like cards."""
    return rows[accelerator.process_index :: accelerator.num_processes]


def micro_batches(table: TokenTable, rows: np.ndarray, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pad rows of like length together.

    Yields:
        input_ids: int64 (rows, tokens), right-padded with 0; labels: int64 (rows, tokens), -100 where not trained.
    """
    by_length = sorted(rows.tolist(), key=lambda row: len(table[row].input_ids))
    for first in range(0, len(by_length), size):
        chunk = [table[row] for row in by_length[first : first + size]]
        shape = (len(chunk), max(len(row.input_ids) for row in chunk))
        input_ids, labels = torch.zeros(shape, dtype=torch.int64), torch.full(shape, IGNORED)
        for number, row in enumerate(chunk):
            input_ids[number, : len(row.input_ids)] = torch.from_numpy(row.input_ids)
            labels[number, : len(row.input_ids)] = torch.from_numpy(row.labels)
        yield input_ids, labels


class _Window:
    """Sums since the last log line."""

    def __init__(self) -> None:
        self.nats, self.targets, self.tokens, self.seconds = 0.0, 0, 0, 0.0

    def add(self, loss: float, targets: int, tokens: int, seconds: float) -> None:
        self.nats += loss * targets
        self.targets += targets
        self.tokens += tokens
        self.seconds += seconds

    def tell(self, log: RunLog, at: Position, steps: int, rate: float, norm: float, memory_gib: float) -> None:
        loss, speed = self.nats / max(1, self.targets), self.tokens / max(self.seconds, 1e-9)
        log.record(
            at.step,
            {"loss": loss, "learning_rate": rate, "grad_norm": norm, "tokens_per_second": speed,
             "target_tokens": at.target_tokens, "seconds": at.seconds, "memory_gib": memory_gib},
        )  # fmt: skip
        log.say(
            f"step {at.step:>5}/{steps}  loss {loss:.4f}  lr {rate:.2e}  {speed:,.0f} tokens/s  "
            f"{memory_gib:.2f} GiB  left {format_seconds(log.eta_seconds())}"
        )
        self.__init__()


@contextmanager
def _signals() -> Generator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying; a second SIGINT stops at once, as if there were no handler."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        print("\nfinishing this step, then saving", file=sys.stderr)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_finite(loss: float, norm: float, rows: np.ndarray, step: int, run: RunConfig) -> UserError:
    shown = ", ".join(map(str, rows[:20].tolist())) + (", ..." if len(rows) > 20 else "")
    return UserError(
        f"step {step + 1}: the loss is {loss:.4g} and the gradient's norm {norm:.4g}",
        where=f"rows {shown} (0-based, in the data file)",
        why="training cannot go on from values that are not finite; the weights from before this step are kept"
        + (f" in {run.output_dir}/checkpoint-{step}" if step else ""),
        fix="look at these rows; lower --learning_rate; use --dtype float32 or bfloat16 instead of float16",
    )
