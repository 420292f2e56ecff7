"""Checkpoints: written whole or not at all, rotated, found again, and compared before a run goes on from one."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from alpaca_lora.errors import UserError

_NAME = re.compile(r"checkpoint-(\d+)")
_STATE, _OPTIMIZER = "state.json", "optimizer.safetensors"
_LOG, _RUN = "log.jsonl", "run.json"
DEMO_MARK = "demo.txt"
"""Marks a folder as the demo's own, which the next demo may replace."""

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """What a run needs besides weights and optimiser to go on: row order and random state follow from the step.

    Attributes:
        step: optimiser steps done.
        identity: settings, data hash and base that decide the result; compared on resume.
        seconds: training time spent so far.
        target_tokens, computed_tokens: target tokens trained and tokens computed so far.
        loss, eval_loss: nats per target token of the last step, and of the last evaluation.
        scaler: state of float16's loss scaling; empty in other arithmetic.
    """

    step: int
    identity: dict[str, Any]
    seconds: float
    target_tokens: int
    computed_tokens: int
    loss: float
    eval_loss: float | None
    scaler: dict[str, Any]


def checkpoint_path(output_dir: Path, step: int) -> Path:
    """Give the folder of a step's checkpoint."""
    return output_dir / f"checkpoint-{step}"


def list_checkpoints(output_dir: Path) -> list[Path]:
    """List whole checkpoints, oldest step first."""
    found = [(int(match[1]), path) for path in output_dir.glob("checkpoint-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found) if (path / _STATE).is_file()]


def write_folder(final: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a folder under a temporary name, sync it to the disk, and move it to its final name.

    A process killed at any moment leaves either no folder of the final name or the whole one.
    """
    temporary = final.with_name(f".{final.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    fill(temporary)
    for path in [*temporary.rglob("*"), temporary]:
        _sync(path)
    if final.exists():
        replaced = final.with_name(f".{final.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
        temporary.rename(final)
        shutil.rmtree(replaced)
    else:
        temporary.rename(final)
    _sync(final.parent)


def clear_leftovers(output_dir: Path) -> None:
    """Remove what a killed process left half-written, and put back a folder it was about to replace."""
    for path in output_dir.glob(".*.replaced"):
        final = path.with_name(path.name.removeprefix(".").removesuffix(".replaced"))
        if final.exists():
            shutil.rmtree(path)
        else:
            path.rename(final)
    for path in output_dir.glob(".*.partial"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_file(path: Path, text: str) -> None:
    """Write a text file atomically."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)


def _sync(path: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open folders, and flushes on rename
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save_checkpoint(
    output_dir: Path,
    progress: Progress,
    save_weights: Callable[[Path], None],
    optimizer: torch.optim.Optimizer,
    names: dict[torch.Tensor, str],
    *,
    keep: int,
) -> Path:
    """Write `checkpoint-STEP` and remove the oldest beyond `keep` (0 keeps all).

    Args:
        save_weights: writes the adapter into the folder it is given.
        names: name of each trained parameter, under which its AdamW moments are stored.
    """

    def fill(folder: Path) -> None:
        save_weights(folder)
        save_file(optimizer_tensors(optimizer, names), folder / _OPTIMIZER)
        (folder / _OPTIMIZER).chmod(0o644)
        (folder / _STATE).write_text(json.dumps(vars(progress), indent=1, sort_keys=True), encoding="utf-8")

    path = checkpoint_path(output_dir, progress.step)
    write_folder(path, fill)
    others = [other for other in list_checkpoints(output_dir) if other != path]
    for old in others[: len(others) + 1 - keep] if keep else []:
        doomed = old.with_name(f".{old.name}.partial")  # a half-removed checkpoint must not look like a whole one
        old.rename(doomed)
        shutil.rmtree(doomed)
    return path


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[torch.Tensor, str]) -> dict[str, torch.Tensor]:
    """Give AdamW's moments as named tensors: `exp_avg.NAME` and `exp_avg_sq.NAME`, float32; its step is the run's."""
    return {
        f"{moment}.{names[parameter]}": state[moment].detach().cpu().contiguous()
        for parameter, state in optimizer.state.items()
        for moment in _MOMENTS
    }


def load_optimizer(folder: Path, optimizer: torch.optim.Optimizer, names: dict[torch.Tensor, str], step: int) -> None:
    """Put a checkpoint's moments back into AdamW, bit for bit."""
    try:
        tensors = load_file(folder / _OPTIMIZER)
        moments = {parameter: [tensors[f"{moment}.{name}"] for moment in _MOMENTS] for parameter, name in names.items()}
    except (OSError, SafetensorError, KeyError) as error:
        raise _broken(folder, _OPTIMIZER, error) from error
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            for moment, tensor in zip(_MOMENTS, moments[parameter], strict=True):
                state[moment] = tensor.to(parameter.device)
            state["step"] = torch.tensor(float(step), device=parameter.device if group.get("fused") else "cpu")


def read_progress(folder: Path) -> Progress:
    """Read a checkpoint's state; raise `UserError` where the folder is none."""
    if not folder.is_dir():
        raise UserError(
            f"the checkpoint {folder} does not exist",
            where="--resume_from_checkpoint",
            fix="give the path of a checkpoint-STEP folder, or auto for the newest in --output_dir",
        )
    if not (folder / _STATE).is_file():
        inside = list_checkpoints(folder)
        raise UserError(
            f"{folder} is no checkpoint: it has no {_STATE}",
            where="--resume_from_checkpoint",
            fix=f"--resume_from_checkpoint {inside[-1]}" if inside else "give the path of a checkpoint-STEP folder",
        )
    try:
        return Progress(**json.loads((folder / _STATE).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise _broken(folder, _STATE, error) from error


def _broken(folder: Path, name: str, error: Exception) -> UserError:
    earlier = [path for path in list_checkpoints(folder.parent) if path != folder]
    return UserError(
        f"the checkpoint's {name} cannot be read: {type(error).__name__}: {error}",
        where=str(folder / name),
        why="it is broken, or was written by another version",
        fix=f"--resume_from_checkpoint {earlier[-1]}" if earlier else "start the run anew",
    )


def set_aside_later(output_dir: Path, step: int) -> list[Path]:
    """Rename checkpoints after `step` to `abandoned-checkpoint-N`: the run goes on from before them, another way."""
    aside: list[Path] = []
    for path in list_checkpoints(output_dir):
        if int(path.name.rpartition("-")[2]) > step:
            target = path.with_name(f"abandoned-{path.name}")
            shutil.rmtree(target, ignore_errors=True)
            aside.append(path.rename(target))
    return aside


def find_checkpoint(wanted: str | None, output_dir: Path) -> Path | None:
    """Resolve `--resume_from_checkpoint`: a path, `auto` for the newest in `output_dir` or none, None for a new run.

    A new run into a folder that holds checkpoints is refused, so that nobody's work is overwritten by mistake.
    """
    found = list_checkpoints(output_dir)
    if wanted == "auto":
        return found[-1] if found else None
    if wanted:
        return Path(wanted).expanduser()
    if found:
        raise UserError(
            f"{output_dir} already holds {len(found)} checkpoints, the newest {found[-1].name}",
            why="a new run would overwrite an unfinished or finished one",
            fix="--resume_from_checkpoint auto to go on, another --output_dir, or remove the folder",
        )
    if output_dir.is_dir():
        names = {path.name for path in output_dir.iterdir()}
        if names and (_RUN in names or not names & {_LOG, DEMO_MARK}):
            found = "a finished run" if _RUN in names else f"other files, such as {min(names)}"
            raise UserError(
                f"{output_dir} already holds {found}",
                why="the run's files would overwrite some of them",
                fix="give --output_dir a new or empty folder, or remove this one",
            )
    elif output_dir.exists():
        raise UserError(f"--output_dir {output_dir} is a file", fix="give --output_dir a folder")
    return None


def check_same_run(before: dict[str, Any], now: dict[str, Any], *, allow_changed: bool) -> list[str]:
    """List what differs between a checkpoint's identity and the present run; refuse unless `allow_changed`."""
    keys = [*now, *(key for key in before if key not in now)]
    changed = [f"{key}: {before.get(key)!r} -> {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)]
    if changed and not allow_changed:
        raise UserError(
            "this run is not the one the checkpoint came from: " + "; ".join(changed),
            where="--resume_from_checkpoint",
            why="the result would be neither the old run's nor the new one's",
            fix="restore the settings and data, or add --allow_changed to go on all the same",
        )
    return changed
