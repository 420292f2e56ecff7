"""The model card: what an adapter is, how it was made, how to use it; written from the run's own record."""

from __future__ import annotations

import json
from typing import Any

from alpaca_lora.data.audit.counts import Counts


def model_card(record: dict[str, Any]) -> str:
    """Write the README of an adapter's folder from its `run.json`."""
    settings, ledger = record["settings"], record["ledger"]
    held_out = "none held out" if record["eval_loss"] is None else f"{record['eval_loss']:.4f} nats per token"
    front = ["---", "library_name: peft", "pipeline_tag: text-generation", "tags: [lora, alpaca-lora]"]
    if record["base_commit"]:
        front.insert(1, f"base_model: {json.dumps(record['base_model'])}")
    commit = f" at {record['base_commit']}" if record["base_commit"] else ""
    split = f"{record['rows_trained']:,} trained on, {record['rows_held_out']:,} held out"
    dropout, layers = settings["lora_dropout"], ", ".join(settings["lora_target_modules"])
    schedule = f"peak learning rate {settings['learning_rate']:g}, seed {settings['seed']}"
    return "\n".join(
        [
            *front,
            "---",
            f"# LoRA adapter for {record['base_model']}",
            "",
            "Trained with Alpaca-LoRA; every setting, version and count is in `run.json`, the losses in `log.jsonl`.",
            "",
            "| | |",
            "|---|---|",
            f"| base model | {record['base_model']}{commit} |",
            f"| data | {record['data_path']} (sha256 {record['data_sha256'][:16]}...) |",
            *_cleaned(record.get("cleaning")),
            f"| rows | {split}, {ledger['rows_cut']:,} cut at {settings['cutoff_len']} tokens |",
            f"| adapter | rank {settings['lora_r']}, alpha {settings['lora_alpha']}, dropout {dropout}, {layers} |",
            f"| training | {record['steps']:,} steps of {settings['batch_size']} rows, {schedule} |",
            f"| last loss | {record['loss']:.4f} nats per token |",
            f"| held-out loss | {held_out} |",
            "",
            "## Use",
            "",
            "```",
            f"alpaca-lora chat --base_model {record['base_model']} --adapter PATH_OF_THIS_FOLDER",
            "```",
            "",
            "Other programs should prompt it through `chat_template.jinja`, which renders the prompt of the training.",
            "Prompt template: `" + settings["prompt_template_name"] + "`.",
            "",
        ]
    )


def _cleaned(cleaning: dict[str, Any] | None) -> list[str]:
    if cleaning is None:
        return []
    counts = Counts.of_record(cleaning)
    return [f"| cleaned | {counts}, by `--clean`; each change is in `{cleaning['log']}` |"]
