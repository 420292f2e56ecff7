"""The model card of a merged model: what it is, how it was trained, how to prompt and run it; no path of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from alpaca_lora.data.audit.counts import Counts
from alpaca_lora.export.source import Source
from alpaca_lora.model.adapter_folder import TEMPLATE_FILE

_LICENCE_KEYS = ("license", "license_name", "license_link")
_USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

path = "FOLDER_OR_HUB_ID_OF_THIS_MODEL"
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path{trust})
chat = [{{"role": "user", "content": "Name three primary colours."}}]
inputs = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
answer = model.generate(**inputs, max_new_tokens=256)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
```

As a server with the OpenAI API, which applies the chat template on `/v1/chat/completions`:

```
vllm serve FOLDER_OR_HUB_ID_OF_THIS_MODEL{flag}
```"""


def merged_card(source: Source, *, dtype: str, kind: str) -> str:
    """Write the README of a merged model's folder, from the base, the adapter's settings and the run's record.

    Args:
        dtype: precision of the merged weights, such as `bfloat16`.
        kind: the export's verb, `hf`.
    """
    trusts = "auto_map" in source.settings
    use = _USE.format(trust=", trust_remote_code=True" if trusts else "", flag=" --trust-remote-code" if trusts else "")
    return "\n".join(
        [
            "---",
            yaml.safe_dump(_front_matter(source), sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            f"# {source.name}",
            "",
            f"{source.base_name} with a LoRA adapter merged into its weights (`alpaca-lora export {kind}`).",
            f"The adapter was added in float32, the result cast once to {dtype}; what it leaves alone is the base's.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {key} | {text} |" for key, text in _facts(source, dtype)),
            "",
            "## Prompt",
            "",
            "`chat_template.jinja`, which the tokenizer loads, renders the prompt of the training. Send turns of the",
            f"roles `user` and `assistant` through it. Prompt template: `{_template_name(source)}`.",
            "",
            "## Use",
            "",
            use,
            "",
            "## Verification",
            "",
            "`verification.json` says how this model, reloaded from its files, was compared with the trained one.",
            "",
        ]
    )


def _front_matter(source: Source) -> dict[str, Any]:
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if source.place.commit:
        front |= {"base_model": source.place.name, "base_model_relation": "finetune"}
    front["tags"] = ["alpaca-lora", "merged-lora"]
    return front | _base_licence(source.card)


def _base_licence(front: dict[str, Any]) -> dict[str, Any]:
    """Give the licence fields of the base's card."""
    return {key: front[key] for key in _LICENCE_KEYS if _is_text(front.get(key))}


def _is_text(value: Any) -> bool:
    return bool(value) and all(isinstance(part, str) for part in (value if isinstance(value, list) else [value]))


def _facts(source: Source, dtype: str) -> list[tuple[str, str]]:
    """List what is known of the training; an adapter of another program has no record, a checkpoint only a part."""
    record, place = source.adapter.record, source.place
    settings = record.get("settings", record)
    facts = [
        ("base model", f"{source.base_name} at {place.commit}" if place.commit else source.base_name),
        ("adapter", _adapter(source.adapter.settings)),
        ("precision", f"{dtype}; trained on a base in {_training_precision(record, settings)}"),
    ]
    if "learning_rate" not in settings:
        facts[-1] = ("precision", dtype)
        return [*facts, ("training", "by another program; no record came with the adapter")]
    if "data_sha256" in record:
        facts.append(("data", f"{_data_name(record.get('data_path'))}sha256 {record['data_sha256']}"))
    if record.get("cleaning"):
        facts.append(("cleaned", f"{Counts.of_record(record['cleaning'])}, by `--clean`"))
    if "rows_trained" in record:
        split = f"{record['rows_trained']:,} trained on, {record['rows_held_out']:,} held out"
        facts.append(("rows", f"{split}, {record['ledger']['rows_cut']:,} cut at {settings['cutoff_len']} tokens"))
    steps = f"{record['steps']:,} steps of" if "steps" in record else "a checkpoint; steps of"
    rate = f"peak learning rate {settings['learning_rate']:g}, seed {settings['seed']}"
    facts.append(("training", f"{steps} {settings['batch_size']} rows, {rate}"))
    for key, name in (("loss", "last loss"), ("eval_loss", "held-out loss")):
        if record.get(key) is not None:
            facts.append((name, f"{record[key]:.4f} nats per token"))
    return facts


def _adapter(settings: dict[str, Any]) -> str:
    targets = settings.get("target_modules") or []
    listed = f"`{targets}`" if isinstance(targets, str) else ", ".join(sorted(targets))
    kind = "DoRA" if settings.get("use_dora") else "rsLoRA" if settings.get("use_rslora") else "LoRA"
    dropout = settings.get("lora_dropout", 0)
    return f"{kind}, rank {settings.get('r')}, alpha {settings.get('lora_alpha')}, dropout {dropout}, on {listed}"


def _training_precision(record: dict[str, Any], settings: dict[str, Any]) -> str:
    quantization = settings.get("quantization", "none")
    return str(record.get("dtype", "an unknown precision")) if quantization == "none" else str(quantization)


def _data_name(data_path: str | None) -> str:
    """Name the data with a comma behind, without this machine's folders: a file's own name, a Hub id whole."""
    if not data_path:
        return ""
    is_id = re.fullmatch(r"[\w-]+/[\w-]+", data_path)
    return f"{data_path if is_id else Path(data_path).name}, "


def _template_name(source: Source) -> str:
    """Name the template; one read back from the adapter's folder is called there what it was called in training."""
    name = source.prompt.name
    if Path(name).name == TEMPLATE_FILE:
        record = source.adapter.record
        name = str(record.get("settings", record).get("prompt_template_name") or "recorded with the adapter")
    return Path(name).name
