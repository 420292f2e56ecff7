"""Checkpoints: whole or absent whatever moment the process dies at, rotated, compared."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alpaca_lora.errors import UserError
from alpaca_lora.training.checkpoint import (
    Progress,
    check_same_run,
    clear_leftovers,
    find_checkpoint,
    list_checkpoints,
    load_optimizer,
    read_progress,
    save_checkpoint,
    write_file,
)

IDENTITY: dict[str, Any] = {"seed": 1, "lora_r": 4}


def make_optimizer(steps: int) -> tuple[torch.optim.AdamW, dict[torch.Tensor, str]]:
    torch.manual_seed(steps)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimizer.step()
    return optimizer, {parameters[0]: "a", parameters[1]: "b"}


def save(folder: Path, step: int, *, keep: int = 0) -> Path:
    optimizer, names = make_optimizer(step)
    tensors = {name: parameter.detach() for parameter, name in names.items()}
    progress = Progress(step, IDENTITY, 1.5, 10 * step, 12 * step, 0.5, None, {})
    return save_checkpoint(
        folder, progress, lambda path: save_file(tensors, path / "adapter.safetensors"), optimizer, names, keep=keep
    )


def test_what_was_saved_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path, 3)
    assert path == tmp_path / "checkpoint-3"
    assert read_progress(path) == Progress(3, IDENTITY, 1.5, 30, 36, 0.5, None, {})
    before, names = make_optimizer(3)
    after, after_names = make_optimizer(0)
    load_optimizer(path, after, after_names, 3)
    for old, new in zip(names, after_names, strict=True):
        with torch.no_grad():
            new.copy_(old)
        old.grad, new.grad = torch.ones_like(old), torch.ones_like(new)
    before.step()
    after.step()
    for old, new in zip(names, after_names, strict=True):
        assert torch.equal(old, new)


def test_the_newest_are_kept_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (8, 9, 10, 11):
        save(tmp_path, step, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-11"]
    assert find_checkpoint("auto", tmp_path) == tmp_path / "checkpoint-11"


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may catch it."""


def is_whole(path: Path) -> bool:
    step = read_progress(path).step
    optimizer, names = make_optimizer(0)
    load_optimizer(path, optimizer, names, step)
    return set(load_file(path / "adapter.safetensors")) == {"a", "b"}


@pytest.mark.parametrize("again", [False, True], ids=["new step", "same step again"])
def test_killed_at_any_file_operation_a_whole_checkpoint_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Stop the save at its k-th change to the disk, for every k; what was saved before or the new one must be there."""
    limit, calls = 0, 0

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == limit:
                raise Killed(name)
            return real(*args, **kwargs)

        return call

    finished = False
    while not finished:
        limit, calls = limit + 1, 0
        folder = tmp_path / str(limit)
        save(folder, 1)
        with monkeypatch.context() as patch:
            for owner, name in (
                (os, "rename"),
                (os, "replace"),
                (os, "unlink"),
                (os, "rmdir"),
                (os, "fsync"),
                (os, "mkdir"),
            ):
                patch.setattr(owner, name, counted(name, getattr(owner, name)))
            calls = 0
            try:
                save(folder, 1 if again else 2, keep=1)
                finished = True
            except Killed:
                pass
        assert all(is_whole(path) for path in list_checkpoints(folder))
        clear_leftovers(folder)
        left = list_checkpoints(folder)
        assert left
        assert all(is_whole(path) for path in left)
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in left)
    assert limit > 8  # the loop did stop it at many places


def test_a_folder_without_its_state_is_no_checkpoint(tmp_path: Path) -> None:
    path = save(tmp_path, 2)
    (path / "state.json").unlink()
    assert find_checkpoint("auto", tmp_path) is None
    with pytest.raises(UserError, match="no checkpoint"):
        read_progress(path)


def test_a_missing_path_is_an_error_and_a_run_folder_names_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_progress(tmp_path / "nowhere")
    save(tmp_path, 4)
    with pytest.raises(UserError, match="checkpoint-4"):
        read_progress(tmp_path)


def test_a_new_run_does_not_overwrite_an_old_one(tmp_path: Path) -> None:
    assert find_checkpoint(None, tmp_path) is None
    save(tmp_path, 4)
    with pytest.raises(UserError, match="--resume_from_checkpoint auto"):
        find_checkpoint(None, tmp_path)


def test_a_changed_run_is_refused_with_the_difference() -> None:
    assert check_same_run(IDENTITY, dict(IDENTITY), allow_changed=False) == []
    changed = {"seed": 2, "lora_r": 4, "new": True}
    with pytest.raises(UserError) as error:
        check_same_run(IDENTITY, changed, allow_changed=False)
    assert "seed: 1 -> 2" in str(error.value)
    assert "new: None -> True" in str(error.value)
    assert "lora_r" not in str(error.value)
    assert check_same_run(IDENTITY, changed, allow_changed=True) == ["seed: 1 -> 2", "new: None -> True"]


def test_write_file_leaves_the_old_text_when_it_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    write_file(path, "old")

    def die(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(Killed):
        write_file(path, "new")
    assert path.read_text() == "old"
    shutil.rmtree(tmp_path)
