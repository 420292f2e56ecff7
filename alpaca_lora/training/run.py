"""One fine-tuning run from settings to a saved, reloaded and compared adapter."""

from __future__ import annotations

import json
import warnings
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from rich.console import Console

from alpaca_lora.config import FinetuneConfig
from alpaca_lora.data.prompts import CHAT_TEMPLATE
from alpaca_lora.errors import UserError
from alpaca_lora.model.adapter_folder import TEMPLATE_FILE
from alpaca_lora.model.attention import attending_packs
from alpaca_lora.model.device import keep_freed_memory, pick_device, pick_dtype
from alpaca_lora.model.load import EMBEDDED, load_base_model
from alpaca_lora.model.lora import attach_adapter, check_trained, load_weights, reload_error, save_adapter
from alpaca_lora.options import flatten
from alpaca_lora.training.card import model_card
from alpaca_lora.training.checkpoint import (
    Progress,
    check_same_run,
    checkpoint_path,
    clear_leftovers,
    find_checkpoint,
    load_optimizer,
    read_progress,
    save_checkpoint,
    set_aside_later,
    write_folder,
)
from alpaca_lora.training.loop import Parts, Position, train
from alpaca_lora.training.loss import TargetNats, base_of, projection_error
from alpaca_lora.training.pack_check import PACKINGS, choose_packing
from alpaca_lora.training.plan import Plan
from alpaca_lora.training.prepare import Prepared, prepare, print_lines, tell_data, tell_plan
from alpaca_lora.training.runlog import RunLog, cleaning_record, draw_loss, format_seconds, versions
from alpaca_lora.training.schedule import total_steps

RUN_FILE = "run.json"


def finetune(config: FinetuneConfig, console: Console | None = None) -> Path:
    """Fine-tune, save, reload, compare; return the folder of the adapter.

    Raises:
        UserError: for everything a user can cause or mend.
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was saved.
    """
    output_dir = Path(config.run.output_dir).expanduser()
    device = pick_device(config.model.device)
    dtype = pick_dtype(config.model.dtype, device)
    if device.type == "cpu":
        keep_freed_memory()
    accelerator = _accelerator(device, dtype)
    console = (console or Console()) if accelerator.is_main_process else Console(quiet=True)
    if config.train.batch_size < accelerator.num_processes:
        raise UserError(
            f"--batch_size {config.train.batch_size} is less than the {accelerator.num_processes} processes",
            fix=f"--batch_size {accelerator.num_processes} or more, or start fewer processes",
        )
    with accelerator.main_process_first():
        clear_leftovers(output_dir)
        checkpoint = find_checkpoint(config.run.resume_from_checkpoint, output_dir)
        progress = read_progress(checkpoint) if checkpoint else None
        ready = prepare(config, processes=accelerator.num_processes)
    tell_data(config, ready, console)
    if progress:
        changed = check_same_run(progress.identity, ready.identity, allow_changed=config.run.allow_changed)
        print_lines(console, f"resume  from {checkpoint}", *(f"changed {line}" for line in changed))
    plan = tell_plan(config, ready, console) if accelerator.is_main_process else None
    model = _load_model(config, ready)
    config = _fit_to_model(config, ready, model, accelerator, plan, console)
    optimizer, names = _make_optimizer(config, model)
    position = Position()
    if checkpoint and progress:
        load_weights(model, checkpoint)
        load_optimizer(checkpoint, optimizer, names, progress.step)
        position = Position(
            progress.step, progress.target_tokens, progress.computed_tokens, progress.seconds, progress.loss,
            progress.eval_loss,
        )  # fmt: skip
        if accelerator.scaler is not None and progress.scaler:
            accelerator.scaler.load_state_dict(progress.scaler)
    if config.run.dry_run:
        print_lines(console, "dry run: everything up to the first step went well; nothing was trained or written")
        return output_dir
    if accelerator.is_main_process:
        output_dir.mkdir(parents=True, exist_ok=True)
        if checkpoint and checkpoint.parent.resolve() == output_dir.resolve():
            later = set_aside_later(output_dir, position.step)
            print_lines(console, *(f"set aside a later checkpoint as {path.name}" for path in later))
    accelerator.wait_for_everyone()
    position = _train(config, ready, model, accelerator, console, position, optimizer, names)
    if accelerator.is_main_process:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*Already found a `peft_config`.*")
            _finish(config, ready, model, output_dir, position, console)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return output_dir


def _accelerator(device: torch.device, dtype: torch.dtype) -> Accelerator:
    """Give the run's accelerator; what an earlier run in this process left behind would keep its precision."""
    AcceleratorState._reset_state()  # pyright: ignore[reportPrivateUsage]
    mixed = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
    return Accelerator(mixed_precision=mixed, cpu=device.type == "cpu")


def _load_model(config: FinetuneConfig, ready: Prepared) -> Any:
    base = load_base_model(config.model, ready.place)
    rows = base.get_input_embeddings().weight.shape[0]
    largest = int(ready.table.input_ids.max())
    if largest >= rows:
        raise UserError(
            f"the tokenizer gives token id {largest}, but the model has only {rows} embeddings",
            where=str(ready.place.folder),
            fix="use the tokenizer that belongs to this model",
        )
    probe = torch.from_numpy(ready.table[0].input_ids[:64].astype(np.int64))[None].to(base.device)
    error = projection_error(base, probe)
    if error > 1e-2:
        raise UserError(
            f"{type(base).__name__} makes its logits in a way this program does not know (difference {error:.2g})",
            where=str(ready.place.folder),
            fix="use a model of the Llama, Mistral, Qwen, Gemma, Cohere or Granite families",
        )
    return attach_adapter(base, config.lora, seed=config.train.seed)


def _fit_to_model(
    config: FinetuneConfig, ready: Prepared, model: Any, accelerator: Accelerator, plan: Plan | None, console: Console
) -> FinetuneConfig:
    """Choose a packing that the model can compute, and let the planned layers give up their activations.

    All processes do the same: the least packing that any of them found, and what the first one planned.
    """
    packing, notes = choose_packing(model, ready.table, plan.packing if plan else config.train.packing)
    print_lines(console, *(f"note    {note}" for note in notes))
    packing = PACKINGS[_largest(accelerator, PACKINGS.index(packing))]
    if every := _largest(accelerator, plan.checkpoint_every if plan else 0):
        base_of(model).activation_checkpointing_enable(every_n_layers=every)
    return replace(config, train=replace(config.train, packing=packing))


def _largest(accelerator: Accelerator, number: int) -> int:
    """Give the largest of all processes' numbers."""
    own = torch.tensor([number], device=accelerator.device)
    return int(cast(torch.Tensor, accelerator.gather(own)).max())


def _make_optimizer(config: FinetuneConfig, model: Any) -> tuple[torch.optim.AdamW, dict[torch.Tensor, str]]:
    """Make AdamW over the adapter (arXiv 1711.05101); return it with the name of each trained parameter."""
    names = {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}
    train = config.train
    fused = model.device.type in ("cpu", "cuda")
    return torch.optim.AdamW(names, lr=train.learning_rate, weight_decay=train.weight_decay, fused=fused), names


def _train(
    config: FinetuneConfig,
    ready: Prepared,
    model: Any,
    accelerator: Accelerator,
    console: Console,
    position: Position,
    optimizer: torch.optim.AdamW,
    names: dict[torch.Tensor, str],
) -> Position:
    output_dir = Path(config.run.output_dir).expanduser()
    steps = total_steps(len(ready.train_rows), config.train)
    nats, prepared = accelerator.prepare(TargetNats(model), optimizer)

    def save(at: Position) -> None:
        if accelerator.is_main_process:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler is not None else {}
            state = Progress(
                at.step, ready.identity, at.seconds, at.target_tokens, at.computed_tokens, at.loss, at.eval_loss, scaler
            )
            path = save_checkpoint(
                output_dir, state, lambda folder: _write_adapter(config, ready, model, folder), optimizer, names,
                keep=config.run.save_total_limit,
            )  # fmt: skip
            log.say(f"saved   {path}")
        accelerator.wait_for_everyone()

    log = RunLog(
        output_dir, steps=steps, start_step=position.step, is_main=accelerator.is_main_process, console=console
    )
    if cleaning := ready.table.cleaning:
        log.keep_cleaning(cleaning)
    parts = Parts(
        accelerator, nats, prepared, ready.table, ready.train_rows, ready.held_out_rows, save, log,
        looks_each_step=accelerator.device.type != "cuda" or accelerator.scaler is not None,
    )  # fmt: skip
    run_name = config.run.run_name or output_dir.name
    with log, attending_packs(base_of(model)) if config.train.packing != "none" else nullcontext():
        log.open_trackers(config.run.report_to, project=config.run.project, run_name=run_name, settings=flatten(config))
        return train(parts, config.train, config.run, steps, position)


def _write_adapter(config: FinetuneConfig, ready: Prepared, model: Any, folder: Path) -> None:
    name = ready.place.name if ready.place.commit or ready.place.name == EMBEDDED else str(ready.place.folder.resolve())
    save_adapter(model, folder, base_name=name, base_revision=ready.place.commit)
    (folder / "chat_template.jinja").write_text(ready.prompt.jinja(), encoding="utf-8")
    if config.data.prompt_template_name != CHAT_TEMPLATE:
        (folder / TEMPLATE_FILE).write_text(ready.prompt.fingerprint, encoding="utf-8")


def _finish(
    config: FinetuneConfig, ready: Prepared, model: Any, output_dir: Path, position: Position, console: Console
) -> None:
    """Write the adapter's folder, reload the adapter through PEFT, compare, and only then give it its final name."""
    check_trained(model)
    record = _run_record(config, ready, position)
    probe = torch.from_numpy(ready.table[0].input_ids.astype(np.int64))[None].to(model.device)

    def fill(folder: Path) -> None:
        _write_adapter(config, ready, model, folder)
        error = reload_error(model, folder, probe)
        if error > 0:
            raise UserError(
                f"the saved adapter is not the trained one: its logits differ by {error:.3g} after reloading",
                why="it was therefore not put in place",
                fix=f"the weights are safe in {checkpoint_path(output_dir, position.step)}; please report this",
            )
        ready.tokenizer.chat_template = ready.prompt.jinja()
        ready.tokenizer.save_pretrained(folder)
        (folder / RUN_FILE).write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / "README.md").write_text(model_card(record), encoding="utf-8")

    staged = output_dir / "final"
    write_folder(staged, fill)
    (output_dir / RUN_FILE).unlink(missing_ok=True)  # present only beside the adapter it describes
    for path in sorted(staged.iterdir(), key=lambda path: path.name == RUN_FILE):
        path.replace(output_dir / path.name)
    staged.rmdir()
    curve = draw_loss(output_dir)
    print_lines(
        console,
        f"adapter {output_dir}: reloaded through PEFT, logits equal; loss {position.loss:.4f}"
        + (f", held out {position.eval_loss:.4f}" if position.eval_loss is not None else "")
        + f", {format_seconds(position.seconds)} of training; curve {curve.name}",
    )


def _run_record(config: FinetuneConfig, ready: Prepared, position: Position) -> dict[str, Any]:
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "base_model": ready.place.name,
        "dtype": ready.identity["dtype"],
        "device": ready.identity["device"],
        "base_commit": ready.place.commit,
        "base_fingerprint": ready.identity["base_fingerprint"],
        "data_path": config.data.data_path,
        "data_sha256": ready.table.data_sha256,
        "cleaning": ready.table.cleaning and cleaning_record(ready.table.cleaning),
        "rows_trained": len(ready.train_rows),
        "rows_held_out": len(ready.held_out_rows),
        "ledger": asdict(ready.table.ledger),
        "settings": flatten(config),
        "steps": position.step,
        "target_tokens_trained": position.target_tokens,
        "tokens_computed": position.computed_tokens,
        "loss": position.loss,
        "eval_loss": position.eval_loss,
        "seconds": round(position.seconds, 1),
        "versions": versions(),
        "notes": ready.notes,
    }
