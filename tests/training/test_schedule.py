"""Order of rows and learning rate against transformers' schedules and hand-worked cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import get_scheduler

from alpaca_lora.config import TrainConfig
from alpaca_lora.training.schedule import learning_rate, random_seed, rows_of_step, total_steps, warmup_count


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_learning_rate_after_warmup_is_transformers(name: str, warmup: int) -> None:
    train = TrainConfig(learning_rate=1e-3, lr_schedule=name, warmup_steps=float(warmup))  # pyright: ignore
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    reference_name = "constant_with_warmup" if name == "constant" else name
    scheduler = get_scheduler(reference_name, optimizer, num_warmup_steps=warmup, num_training_steps=20)
    for step in range(20):
        if step >= warmup:
            assert learning_rate(train, step, 20) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12)
        optimizer.step()
        scheduler.step()


def test_warmup_rises_evenly_to_the_peak_and_wastes_no_step() -> None:
    train = TrainConfig(learning_rate=0.4, lr_schedule="constant", warmup_steps=3)
    assert [learning_rate(train, step, 9) for step in range(5)] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])


def test_warmup_share() -> None:
    assert warmup_count(TrainConfig(warmup_steps=0.03), 1000) == 30
    assert warmup_count(TrainConfig(warmup_steps=0.03), 10) == 1
    assert warmup_count(TrainConfig(warmup_steps=0), 10) == 0
    assert warmup_count(TrainConfig(warmup_steps=100), 10) == 100


@pytest.mark.parametrize(("rows", "batch", "epochs", "most", "steps"), [
    (100, 10, 3, None, 30), (101, 10, 1, None, 11), (101, 10, 3, None, 31), (100, 10, 0.5, None, 5),
    (100, 10, 3, 7, 7), (100, 10, 3, 70, 30), (3, 8, 1, None, 1), (3, 8, 3, None, 2),
])  # fmt: skip
def test_total_steps(rows: int, batch: int, epochs: float, most: int | None, steps: int) -> None:
    assert total_steps(rows, TrainConfig(batch_size=batch, num_epochs=epochs, max_steps=most)) == steps


@pytest.mark.parametrize(("n_rows", "batch"), [(10, 3), (10, 5), (4, 10), (1, 2)])
def test_steps_walk_through_whole_epochs_without_a_gap(n_rows: int, batch: int) -> None:
    stream = np.concatenate([rows_of_step(n_rows, batch, 7, step) for step in range(12)])
    assert len(stream) == 12 * batch
    for epoch in range(len(stream) // n_rows):
        assert sorted(stream[epoch * n_rows : (epoch + 1) * n_rows]) == list(range(n_rows))


def test_order_depends_on_seed_and_epoch() -> None:
    first, second = rows_of_step(50, 50, 1, 0), rows_of_step(50, 50, 1, 1)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, rows_of_step(50, 50, 2, 0))
    assert np.array_equal(first, rows_of_step(50, 50, 1, 0))


def test_random_seed_differs_by_seed_step_and_rank() -> None:
    seeds = {random_seed(seed, step, rank) for seed in range(4) for step in range(4) for rank in range(4)}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert random_seed(1, 2, 3) == random_seed(1, 2, 3)
