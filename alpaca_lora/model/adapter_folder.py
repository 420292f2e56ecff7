"""Where an adapter lies on this machine, and the prompt format it was trained with."""

from __future__ import annotations

import json
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
    if own := _chat_template(folder):
        speaker = copy(tokenizer)  # another adapter on the same base may have another template
        speaker.chat_template = own
        return load_prompt(CHAT_TEMPLATE, speaker)
    return load_prompt("alpaca", tokenizer)


def has_prompt(folder: Path) -> bool:
    """Say whether an adapter's folder tells its prompt format."""
    return (folder / TEMPLATE_FILE).is_file() or bool(_chat_template(folder))


def has_tokenizer(folder: Path) -> bool:
    """Say whether an adapter's folder holds a whole tokenizer."""
    return (folder / "tokenizer.json").is_file()


def _chat_template(folder: Path) -> str:
    """Read the chat template beside an adapter: a file of its own, or a key of the tokenizer's settings as of old."""
    own, settings = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    if not settings.is_file():
        return ""
    try:
        found = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    except ValueError as error:
        raise UserError(f"the file is not JSON: {error}", where=str(settings), fix="copy it again") from error
    return found if isinstance(found, str) else ""
