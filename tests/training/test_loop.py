"""The loop against transformers' Trainer, and its own promises: batches, clipping, stops, saves."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from rich.console import Console
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from alpaca_lora.config import LoraConfig, Packing, RunConfig, TrainConfig
from alpaca_lora.data.tokens import Ledger, TokenTable
from alpaca_lora.errors import Interrupted, UserError
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.model.lora import attach_adapter
from alpaca_lora.training.batches import make_batches
from alpaca_lora.training.loop import Parts, Position, evaluate_loss, train
from alpaca_lora.training.loss import TargetNats, base_of
from alpaca_lora.training.runlog import RunLog, read_log
from alpaca_lora.training.schedule import rows_of_step

N_ROWS, STEPS = 40, 8
LORA = LoraConfig(lora_r=4, lora_alpha=8)
TRAIN = TrainConfig(
    batch_size=8, packing="none", micro_batch_size=2, learning_rate=3e-3, lr_schedule="cosine", warmup_steps=0,
    weight_decay=0.01, max_grad_norm=0.5, seed=11,
)  # fmt: skip


def make_model(lora: LoraConfig = LORA) -> Any:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return attach_adapter(LlamaForCausalLM(config).requires_grad_(False), lora, seed=5)


def make_table() -> TokenTable:
    """Rows of 6 to 30 tokens whose target counts differ as widely."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(6, 31, N_ROWS)
    ids = rng.integers(3, 97, lengths.sum()).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    mask = np.concatenate([np.arange(n) >= rng.integers(1, n) for n in lengths])
    return TokenTable(ids, mask, starts, np.arange(N_ROWS) + 1000, Ledger(), "0" * 64)


def run_ours(
    tmp_path: Path, settings: TrainConfig = TRAIN, *, lora: LoraConfig = LORA, run: RunConfig | None = None,
    held: np.ndarray | None = None, save: Any = None, model: Any = None, looks_each_step: bool = True,
) -> tuple[Any, list[dict[str, Any]]]:  # fmt: skip
    model = model or make_model(lora)
    run = run or RunConfig(output_dir=str(tmp_path), logging_steps=1)
    accelerator = Accelerator(cpu=True)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=settings.weight_decay, fused=True)
    nats, optimizer = accelerator.prepare(TargetNats(model), optimizer)
    tmp_path.mkdir(exist_ok=True)
    with RunLog(tmp_path, steps=STEPS, start_step=0, is_main=True, console=Console(quiet=True)) as log:
        held = np.arange(0) if held is None else held
        parts = Parts(
            accelerator, nats, optimizer, make_table(), np.arange(N_ROWS), held, save or (lambda at: None), log,
            looks_each_step,
        )  # fmt: skip
        with attending_packs(base_of(model)) if settings.packing != "none" else nullcontext():
            train(parts, settings, run, STEPS, Position())
    return model, read_log(tmp_path)


class InOurOrder(Dataset[dict[str, torch.Tensor]]):
    """Our steps' rows, one after another, for a Trainer that does not shuffle."""

    def __init__(self) -> None:
        self.table = make_table()
        self.order = np.concatenate([rows_of_step(N_ROWS, TRAIN.batch_size, TRAIN.seed, step) for step in range(STEPS)])

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        row = self.table[int(self.order[index])]
        return {"input_ids": torch.from_numpy(row.input_ids).long(), "labels": torch.from_numpy(row.labels).long()}


def collate(rows: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    def pad(key: str, value: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence([row[key] for row in rows], batch_first=True, padding_value=value)

    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    input_ids = pad("input_ids", 0)
    mask = torch.arange(input_ids.shape[1])[None] < lengths[:, None]
    return {"input_ids": input_ids, "labels": pad("labels", -100), "attention_mask": mask.long()}


def run_trainer(tmp_path: Path) -> tuple[Any, list[dict[str, float]]]:
    model = make_model()
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "trainer"), per_device_train_batch_size=4, gradient_accumulation_steps=2,
        max_steps=STEPS, learning_rate=TRAIN.learning_rate, lr_scheduler_type="cosine", warmup_steps=0,
        weight_decay=TRAIN.weight_decay, max_grad_norm=TRAIN.max_grad_norm, logging_steps=1, save_strategy="no",
        report_to="none", use_cpu=True, seed=TRAIN.seed, train_sampling_strategy="sequential", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=InOurOrder(), data_collator=collate)
    trainer.train()
    return model, [record for record in trainer.state.log_history if "loss" in record]


@pytest.mark.parametrize("packing", ["none", "plain", "shared_prefix"])
def test_eight_updates_equal_the_trainers(tmp_path: Path, packing: Packing) -> None:
    ours, our_log = run_ours(tmp_path / "ours", replace(TRAIN, packing=packing, tokens_per_pack=64))
    theirs, their_log = run_trainer(tmp_path)
    assert len(our_log) == len(their_log) == STEPS
    for mine, reference in zip(our_log, their_log, strict=True):
        assert mine["learning_rate"] == pytest.approx(reference["learning_rate"], rel=1e-9)
        assert mine["loss"] == pytest.approx(reference["loss"], abs=1e-6)
        assert mine["grad_norm"] == pytest.approx(reference["grad_norm"], abs=1e-6)
    grown = [float(p.detach().abs().max()) for name, p in ours.named_parameters() if "lora_B" in name]
    assert min(grown) > 5e-3  # every B moved: the comparison is not of a standstill
    for (name, mine), (_, reference) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("micro_batch_size", [1, 4, 8])
def test_losses_do_not_depend_on_the_micro_batch(tmp_path: Path, micro_batch_size: int) -> None:
    _, reference = run_ours(tmp_path / "two")
    _, log = run_ours(tmp_path / "other", replace(TRAIN, micro_batch_size=micro_batch_size))
    for found, expected in zip(log, reference, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], abs=1e-6)


def test_evaluation_is_the_mean_over_target_tokens_and_changes_nothing(tmp_path: Path) -> None:
    held = np.array([3, 17, 30])
    run = RunConfig(output_dir=str(tmp_path), logging_steps=1, eval_steps=3)
    evaluated, log = run_ours(tmp_path / "a", run=run, held=held, lora=replace(LORA, lora_dropout=0.3))
    plain, _ = run_ours(tmp_path / "b", lora=replace(LORA, lora_dropout=0.3))
    for mine, reference in zip(evaluated.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, reference)  # dropout's random numbers are the step's own, whatever ran between
    assert [record["step"] for record in log if "eval_loss" in record] == [3, 6, 8]
    table, nats, n_targets = make_table(), 0.0, 0
    evaluated.eval()
    for row in held.tolist():
        ids, labels = (
            torch.from_numpy(table[row].input_ids)[None].long(),
            torch.from_numpy(table[row].labels)[None].long(),
        )
        count = int((labels[:, 1:] != -100).sum())
        nats += float(evaluated(input_ids=ids, labels=labels).loss.detach()) * count
        n_targets += count
    assert log[-1]["eval_loss"] == pytest.approx(nats / n_targets, rel=1e-5)


def test_zero_max_grad_norm_switches_clipping_off(tmp_path: Path) -> None:
    clipped, log = run_ours(tmp_path / "a", replace(TRAIN, max_grad_norm=1e-3))
    free, _ = run_ours(tmp_path / "b", replace(TRAIN, max_grad_norm=0))
    large, _ = run_ours(tmp_path / "c", replace(TRAIN, max_grad_norm=1e9))
    assert all(record["grad_norm"] > 1e-3 for record in log)
    pairs = list(zip(clipped.parameters(), free.parameters(), large.parameters(), strict=True))
    assert any(not torch.equal(a, b) for a, b, _ in pairs)
    assert all(torch.equal(b, c) for _, b, c in pairs)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(tmp_path: Path) -> None:
    saved: list[int] = []
    model = make_model()
    bad_after = 3

    def poison(module: Any, args: Any, output: torch.Tensor) -> torch.Tensor:
        poison.calls += 1  # type: ignore[attr-defined]
        return output * float("nan") if poison.calls > 4 * bad_after else output  # type: ignore[attr-defined]

    poison.calls = 0  # type: ignore[attr-defined]
    layer = model.get_base_model().lm_head
    layer.register_forward_hook(poison)
    with pytest.raises(UserError) as error:
        run_ours(tmp_path, model=model, save=lambda at: saved.append(at.step))
    rows = 1000 + rows_of_step(N_ROWS, TRAIN.batch_size, TRAIN.seed, bad_after)
    assert "step 4" in str(error.value)
    assert ", ".join(map(str, rows)) in str(error.value)
    assert "checkpoint-3" in str(error.value)
    assert saved == [bad_after]
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_reading_losses_only_when_they_are_told_changes_nothing(tmp_path: Path) -> None:
    """A card is not made to wait for the host: every third step is looked at, the log's means are over three."""
    run = RunConfig(output_dir=str(tmp_path), logging_steps=3)
    rare, rare_log = run_ours(tmp_path / "rare", run=run, looks_each_step=False)
    often, log = run_ours(tmp_path / "often", run=run)
    assert [record["step"] for record in rare_log] == [3, 6, 8]
    for key in ("loss", "grad_norm", "target_tokens", "computed_tokens"):
        assert [record[key] for record in rare_log] == [record[key] for record in log]
    assert all(torch.equal(a, b) for a, b in zip(rare.parameters(), often.parameters(), strict=True))


def test_a_gradient_that_is_not_finite_is_held_back_until_it_is_read(tmp_path: Path) -> None:
    """NaN in the gradient of step 4, seen at step 6: named as step 4's, with the weights of three steps untouched."""
    model, saved = make_model(), []
    calls = 0

    def poison(gradient: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return gradient * float("nan") if calls == 4 * 3 + 1 else gradient  # 4 micro-batches a step

    next(p for name, p in model.named_parameters() if "lora_B" in name).register_hook(poison)
    run = RunConfig(output_dir=str(tmp_path), logging_steps=6, save_steps=0)
    with pytest.raises(UserError, match="step 4:"):
        run_ours(tmp_path / "bad", run=run, model=model, save=lambda at: saved.append(at.step), looks_each_step=False)
    assert saved == [3]
    good = make_model()
    with pytest.raises(Interrupted):
        run_ours(tmp_path / "good", run=run, model=good, save=_stop_after_three(good))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), good.parameters(), strict=True))


def _stop_after_three(model: Any) -> Any:
    """Ask the run to stop in its third step; give a save that does nothing."""
    calls = 0

    def interrupt(gradient: torch.Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 4 * 2 + 1:
            os.kill(os.getpid(), signal.SIGTERM)

    next(p for name, p in model.named_parameters() if "lora_B" in name).register_hook(interrupt)
    return lambda at: None


def test_computed_tokens_are_counted(tmp_path: Path) -> None:
    table = make_table()
    rows = [rows_of_step(N_ROWS, TRAIN.batch_size, TRAIN.seed, step) for step in range(STEPS)]
    for packing in ("none", "plain"):
        settings = replace(TRAIN, packing=packing)
        _, log = run_ours(tmp_path / packing, settings)
        batches = [batch for step in rows for batch in make_batches(table, step, settings)]
        assert log[-1]["computed_tokens"] == sum(batch.input_ids.numel() for batch in batches)
    assert log[-1]["computed_tokens"] == sum(int(table.lengths[step].sum()) for step in rows)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_stops(tmp_path: Path, number: int) -> None:
    saved: list[int] = []
    model = make_model()
    calls = 0

    def interrupt(module: Any, args: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the second of step 2's four micro-batches
            os.kill(os.getpid(), number)

    model.get_base_model().lm_head.register_forward_hook(interrupt)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stop:
        run_ours(tmp_path, model=model, save=lambda at: saved.append(at.step))
    assert (stop.value.step, stop.value.signal_number, saved) == (2, number, [2])
    assert signal.getsignal(number) is before


def test_saves_at_the_steps_asked_for_and_at_the_end(tmp_path: Path) -> None:
    for every, expected in ((3, [3, 6, 8]), (0, [8]), (4, [4, 8])):
        saved: list[int] = []
        run = RunConfig(output_dir=str(tmp_path), save_steps=every)
        run_ours(tmp_path / str(every), run=run, save=lambda at, saved=saved: saved.append(at.step))
        assert saved == expected


def test_evaluate_loss_of_no_rows_is_zero(tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    nats = accelerator.prepare(TargetNats(make_model()))
    log = RunLog(tmp_path, steps=1, start_step=0, is_main=True, console=Console(quiet=True))
    parts = Parts(accelerator, nats, None, make_table(), np.arange(3), np.arange(0), lambda at: None, log)
    assert evaluate_loss(parts, TRAIN) == 0
