"""Where an adapter lies on this machine, and the prompt format it was trained with."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING

from alpaca_lora.data.prompts import CHAT_TEMPLATE, Prompt, load_prompt
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATE_FILE = "prompt_template.json"
"""The template's own text, saved beside the adapter so that chat renders the very prompt of training."""


def find_adapter(place: str) -> Path:
    """Give the local folder of an adapter, from a path or a Hub id (downloaded, or taken from the cache)."""
    folder = Path(place).expanduser()
    if folder.is_dir():
        return folder
    if place.count("/") > 1 or place.startswith((".", "/", "~")):
        raise UserError(f"the adapter folder {place} does not exist", fix="give an existing folder or a Hub id")
    from alpaca_lora.hub import fetch_adapter

    return fetch_adapter(place).folder


def adapter_prompt(folder: Path, tokenizer: PreTrainedTokenizerFast, wanted: str | None) -> Prompt:
    """Give the prompt format an adapter was trained with, from its folder; `alpaca` where none is recorded."""
    recorded = folder / TEMPLATE_FILE
    if wanted:
        return load_prompt(wanted, tokenizer)
    if recorded.is_file():
        return load_prompt(str(recorded), tokenizer)
    own = folder / "chat_template.jinja"
    if own.is_file():
        speaker = copy(tokenizer)  # another adapter on the same base may have another template
        speaker.chat_template = own.read_text(encoding="utf-8")
        return load_prompt(CHAT_TEMPLATE, speaker)
    return load_prompt("alpaca", tokenizer)
