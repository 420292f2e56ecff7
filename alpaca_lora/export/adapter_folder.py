"""The adapter as others want it: weights in safetensors, config, tokenizer, prompt, card; nothing of the run's own."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from alpaca_lora.export.source import Advance, Source
from alpaca_lora.model.adapter_folder import TEMPLATE_FILE
from alpaca_lora.model.lora import read_tensors
from alpaca_lora.training.card import model_card

_PATHS = ("base_model", "data_path", "output_dir", "resume_from_checkpoint", "prompt_template_name")
"""Keys of a run's record that may hold a folder of the machine it ran on."""


def adapter_bytes(source: Source) -> int:
    """Give the bytes of the adapter's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in read_tensors(source.adapter.folder).values())


def write_adapter_folder(source: Source, folder: Path, advance: Advance) -> None:
    """Write the adapter for PEFT: a pickled one becomes safetensors, folders of this machine become their names."""
    tensors = {name: tensor.contiguous() for name, tensor in read_tensors(source.adapter.folder).items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = source.adapter.settings | {
        "base_model_name_or_path": source.base_name, "revision": source.place.commit, "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")
    source.tokenizer.save_pretrained(folder)
    template = source.adapter.folder / TEMPLATE_FILE
    if template.is_file():
        shutil.copyfile(template, folder / TEMPLATE_FILE)
    if "finished" in source.adapter.record:
        record = without_folders(source.adapter.record)
        (folder / "run.json").write_text(json.dumps(record, indent=1, ensure_ascii=False), encoding="utf-8")
        (folder / "README.md").write_text(model_card(record), encoding="utf-8")
    advance(adapter_bytes(source))


def without_folders(record: dict[str, Any]) -> dict[str, Any]:
    """Give a run's record with the last part of each path that points into this machine; Hub ids stay."""
    kept: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            kept[key] = without_folders(value)
        elif key in _PATHS and isinstance(value, str) and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", value):
            kept[key] = Path(value).name
        else:
            kept[key] = value
    return kept
