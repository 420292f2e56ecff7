"""The loop: count targets, sum the loss, divide once, clip, step, evaluate, save, log."""

from __future__ import annotations

import math
import signal
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
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
from alpaca_lora.training.batches import Batch, StepWork, make_batches, prepare_step, prepared_ahead
from alpaca_lora.training.runlog import RunLog, format_seconds
from alpaca_lora.training.schedule import learning_rate, random_seed

_EVALUATED_TOGETHER = 512
"""Held-out rows packed among themselves; the time of packing grows faster than their number."""


@dataclass
class Position:
    """How far a run is: steps done, target tokens trained, tokens computed, seconds spent, losses seen last."""

    step: int = 0
    target_tokens: int = 0
    computed_tokens: int = 0
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
        looks_each_step: read loss and norm after every step, as float16's loss scaling does anyway. Off where that
            would make a card wait for the host: they are then read when something is logged, evaluated or saved.
    """

    accelerator: Accelerator
    nats: Any
    optimizer: Any
    table: TokenTable
    train_rows: np.ndarray
    held_out_rows: np.ndarray
    save: Callable[[Position], None]
    log: RunLog
    looks_each_step: bool = True


def train(parts: Parts, settings: TrainConfig, run: RunConfig, steps: int, at: Position) -> Position:
    """Train from `at.step` to `steps`; return where it ended.

    One step: the loss of exactly `batch_size` rows, summed over batches and ranks and divided once by the number of
    targets of the whole step (the mean of micro-batch means is wrong whenever their target counts differ).

    Raises `UserError` when loss or gradient is not finite, after saving the weights from before that step, and
    `Interrupted` on SIGINT or SIGTERM, after the step was finished and saved.
    """
    accelerator, log = parts.accelerator, parts.log
    trained = [parameter for group in parts.optimizer.param_groups for parameter in group["params"]]
    saved_step, readings = at.step, _Readings(accelerator)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    ahead = prepared_ahead(
        lambda step: prepare_step(parts.table, parts.train_rows, settings, step, rank=rank, ranks=ranks),
        range(at.step, steps),
    )
    with _signals() as received, closing(ahead):
        for work in ahead:
            rate = learning_rate(settings, work.step, steps)
            for group in parts.optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(random_seed(settings.seed, work.step, rank))
            parts.nats.train()
            nats = accumulate_gradients(parts, work.batches, work.n_targets)
            norm = cast(Tensor, accelerator.clip_grad_norm_(trained, settings.max_grad_norm or math.inf))
            readings.add(work, nats, norm)
            done, last = work.step + 1, work.step + 1 == steps
            logs, saves = last or done % run.logging_steps == 0, last or _is_due(done, run.save_steps)
            evaluates = bool(len(parts.held_out_rows)) and (last or _is_due(done, run.eval_steps))
            if parts.looks_each_step or logs or saves or evaluates or (received and ranks == 1):
                broken = readings.read(at, stop_wanted=bool(received))
                if broken:
                    if saved_step < at.step:
                        parts.save(at)
                    raise _not_finite(broken, parts.table, run)
            else:
                readings.hold_back(parts.optimizer)
            parts.optimizer.step()
            parts.optimizer.zero_grad()
            readings.count_time(at)
            log.advance(done)
            if logs:
                readings.tell(log, at, steps, rate, peak_memory_gib(accelerator.device))
            if evaluates:
                at.eval_loss = evaluate_loss(parts, settings)
                log.record(done, {"eval_loss": at.eval_loss})
                log.say(f"step {done:>5}  held-out loss {at.eval_loss:.4f}")
            if saves or readings.stop:
                parts.save(at)
                saved_step = done
            if readings.stop and not last:
                raise Interrupted(received[0] if received else signal.SIGTERM, done)
            readings.restart_clock()
    return at


def _is_due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def accumulate_gradients(parts: Parts, batches: Sequence[Batch], n_targets: int) -> Tensor:
    """Add up the gradients of a step over this rank's batches and all ranks; return this rank's summed loss in nats.

    Data-parallel averaging divides by the ranks, so each rank multiplies by them first.
    """
    accelerator = parts.accelerator
    total = torch.zeros((), device=accelerator.device)
    for number, batch in enumerate(batches):
        is_last = number == len(batches) - 1
        with nullcontext() if is_last else accelerator.no_sync(parts.nats):
            nats = parts.nats(batch.to(accelerator.device))
            accelerator.backward(nats * (accelerator.num_processes / max(1, n_targets)))
        total += nats.detach()
    return total


@torch.no_grad()
def evaluate_loss(parts: Parts, settings: TrainConfig) -> float:
    """Give the mean loss of the held-out rows in nats per target token."""
    accelerator, rows = parts.accelerator, parts.held_out_rows
    parts.nats.eval()
    total = torch.zeros((), device=accelerator.device)
    nats = accelerator.unwrap_model(parts.nats)  # data-parallel forwards would wait for ranks with more rows
    rank, ranks = accelerator.process_index, accelerator.num_processes
    for first in range(0, len(rows), _EVALUATED_TOGETHER):
        some = rows[first : first + _EVALUATED_TOGETHER]
        for batch in make_batches(parts.table, some, settings, rank=rank, ranks=ranks):
            total += nats(batch.to(accelerator.device))
    return float(sum_over_ranks(accelerator, total)) / max(1, parts.table.count_targets(rows))


def sum_over_ranks(accelerator: Accelerator, tensor: Tensor) -> Tensor:
    """Add a tensor up over all processes; each gets the sum."""
    return cast(Tensor, accelerator.reduce(tensor))


@dataclass(frozen=True)
class _Reading:
    """Loss in nats a target and gradient norm of a computed step."""

    work: StepWork
    loss: float
    norm: float


class _Readings:
    """Losses and norms of computed steps: on the device until they are read, then summed until they are told."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.unread: list[tuple[StepWork, Tensor, Tensor]] = []
        self.stop = False
        self.clock = time.perf_counter()
        self._clear()

    def _clear(self) -> None:
        self.nats, self.targets, self.tokens, self.seconds, self.norm = 0.0, 0, 0, 0.0, 0.0

    def add(self, work: StepWork, nats: Tensor, norm: Tensor) -> None:
        """Take in this rank's summed loss and the gradient's norm of a step."""
        self.unread.append((work, nats, norm))

    def hold_back(self, optimizer: Any) -> None:
        """Make the coming update do nothing, on the device, if this or an unread earlier step is not finite.

        AdamW's fused kernels take `found_inf` for it, as `torch.amp.GradScaler` does for float16.
        """
        values = torch.stack([value for _, nats, norm in self.unread for value in (nats, norm)])
        optimizer.optimizer.found_inf = (~values.isfinite().all()).float()

    def read(self, at: Position, *, stop_wanted: bool) -> _Reading | None:
        """Bring what is unread to the host and move `at` on; return the first step that is not finite, if any."""
        works = [work for work, _, _ in self.unread]
        mine = torch.stack([nats for _, nats, _ in self.unread])
        counts = torch.tensor([*(work.computed_tokens for work in works), int(stop_wanted)], dtype=mine.dtype)
        summed = sum_over_ranks(self.accelerator, torch.cat([mine, counts.to(mine.device)])).tolist()
        norms = torch.stack([norm for _, _, norm in self.unread]).tolist()
        self.unread.clear()
        self.stop = summed[-1] > 0
        for number, (work, norm) in enumerate(zip(works, norms, strict=True)):
            loss = summed[number] / max(1, work.n_targets)
            if not (math.isfinite(loss) and (math.isfinite(norm) or self.accelerator.scaler is not None)):
                return _Reading(work, loss, norm)
            at.step, at.loss = work.step + 1, loss
            at.target_tokens += work.n_targets
            at.computed_tokens += round(summed[len(works) + number])
            self.nats += summed[number]
            self.targets += work.n_targets
            self.tokens += work.n_tokens
            self.norm = norm
        return None

    def count_time(self, at: Position) -> None:
        """Add the time since the clock was started."""
        now = time.perf_counter()
        at.seconds += now - self.clock
        self.seconds += now - self.clock
        self.clock = now

    def restart_clock(self) -> None:
        """Leave out the time since it was last counted: it went into evaluating or saving."""
        self.clock = time.perf_counter()

    def tell(self, log: RunLog, at: Position, steps: int, rate: float, memory_gib: float) -> None:
        """Write the means since the last time to the log and the screen."""
        loss, speed = self.nats / max(1, self.targets), self.tokens / max(self.seconds, 1e-9)
        log.record(
            at.step,
            {"loss": loss, "learning_rate": rate, "grad_norm": self.norm, "tokens_per_second": speed,
             "target_tokens": at.target_tokens, "computed_tokens": at.computed_tokens, "seconds": at.seconds,
             "memory_gib": memory_gib},
        )  # fmt: skip
        log.say(
            f"step {at.step:>5}/{steps}  loss {loss:.4f}  lr {rate:.2e}  {speed:,.0f} tokens/s  "
            f"{memory_gib:.2f} GiB  left {format_seconds(log.eta_seconds())}"
        )
        self._clear()


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


def _not_finite(broken: _Reading, table: TokenTable, run: RunConfig) -> UserError:
    rows, step = table.rows[broken.work.rows], broken.work.step
    shown = ", ".join(map(str, rows[:20].tolist())) + (", ..." if len(rows) > 20 else "")
    return UserError(
        f"step {step + 1}: the loss is {broken.loss:.4g} and the gradient's norm {broken.norm:.4g}",
        where=f"rows {shown} (0-based, in the data file)",
        why="training cannot go on from values that are not finite; the weights from before this step are kept"
        + (f" in {run.output_dir}/checkpoint-{step}" if step else ""),
        fix="look at these rows; lower --learning_rate; use --dtype float32 or bfloat16 instead of float16",
    )
