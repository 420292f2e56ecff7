"""What is exported: base, adapter, tokenizer and prompt, found, checked against each other, not yet in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from alpaca_lora.data.prompts import Prompt, end_token
from alpaca_lora.errors import UserError
from alpaca_lora.export.adapter import Adapter, read_adapter
from alpaca_lora.export.merge import Merged, open_merged
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.model.adapter_folder import adapter_prompt, find_adapter, has_prompt, has_tokenizer
from alpaca_lora.model.load import BasePlace, base_fingerprint, find_base, load_base_tokenizer, load_model_config
from alpaca_lora.model.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Advance = Callable[[int], None]
"""Called with the bytes that were just written."""

_LICENCES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


@dataclass(frozen=True)
class Source:
    """A trained model to export.

    Attributes:
        settings: the base's `config.json`, as it stands there.
        config: the same as transformers reads it, with every default filled in.
        tokenizer: the base's, mended, with the chat template that renders `prompt`.
        name: what the model is called in cards, metadata and file names.
        trust_remote_code: the user allowed code that comes with the base to be run.
    """

    place: BasePlace
    adapter: Adapter
    merged: Merged
    settings: dict[str, Any]
    config: Any
    tokenizer: PreTrainedTokenizerFast
    prompt: Prompt
    name: str
    notes: list[str]
    trust_remote_code: bool

    @property
    def licences(self) -> list[Path]:
        """List the base's licence files."""
        return sorted(path for pattern in _LICENCES for path in self.place.folder.glob(pattern) if path.is_file())

    @property
    def licence(self) -> str:
        """Give the licence that the base's model card names; empty where there is none."""
        found = self.card.get("license")
        return found if isinstance(found, str) else ""

    @property
    def card(self) -> dict[str, Any]:
        """Give what the base's model card says for programs; nothing where it has none, or one that cannot be read."""
        from huggingface_hub import metadata_load

        try:
            return metadata_load(self.place.folder / "README.md") or {}
        except (OSError, ValueError, yaml.YAMLError):
            return {}

    @property
    def end_ids(self) -> list[int]:
        """Give the ids that end an answer: what training taught to write there, and what the base names."""
        generation = self.place.folder / "generation_config.json"
        named = json.loads(generation.read_text(encoding="utf-8")) if generation.is_file() else {}
        declared = [self.settings.get("eos_token_id"), named.get("eos_token_id")]
        flat = [index for part in declared for index in (part if isinstance(part, list) else [part])]
        taught = self.tokenizer.convert_tokens_to_ids(end_token(self.prompt))
        return sorted({index for index in [*flat, taught, self.tokenizer.eos_token_id] if isinstance(index, int)})

    @property
    def base_stem(self) -> str:
        """Name the base in a file's name."""
        return Path(self.base_name).name

    @property
    def base_name(self) -> str:
        """Name the base without this machine's folders."""
        return self.place.name if self.place.commit else Path(self.place.name).name


def open_source(config: SourceConfig, name: str | None = None) -> Source:
    """Find base and adapter and check that they belong together; read no weight of the base yet."""
    if not config.adapter:
        raise UserError(
            "no adapter given", fix="--adapter FOLDER, the output_dir of a finished run or one of its checkpoints"
        )
    adapter = read_adapter(find_adapter(config.adapter))
    config = _with_recorded_base(config, adapter)
    place = find_base(config)
    notes = _check_identity(config, adapter, place)
    tokenizer, mended = load_base_tokenizer(config, place)
    if has_tokenizer(adapter.folder):
        own, _ = load_tokenizer(adapter.folder)
        if own.get_vocab() != tokenizer.get_vocab():
            tokenizer = own
            mended = [f"the adapter has a tokenizer of its own, with {len(own)} entries: it is used, not the base's"]
    if not config.prompt_template_name and not has_prompt(adapter.folder):
        mended.append(
            "no prompt template is recorded with the adapter: alpaca is used, --prompt_template_name names another"
        )
    prompt = adapter_prompt(adapter.folder, tokenizer, config.prompt_template_name)
    tokenizer.chat_template = prompt.jinja()
    settings: dict[str, Any] = json.loads((place.folder / "config.json").read_text(encoding="utf-8"))
    merged = open_merged(place.folder, adapter)
    architecture = load_model_config(config, place)
    _check_rows(tokenizer, merged, architecture, place)
    named = name or Path(config.adapter).expanduser().resolve().name
    if Path(named).name != named:
        raise UserError(f"--name is {named!r}, and files are named by it", fix="give a name without slashes")
    return Source(
        place, adapter, merged, settings, architecture, tokenizer, prompt, named, notes + mended,
        config.trust_remote_code,
    )  # fmt: skip


def _with_recorded_base(config: SourceConfig, adapter: Adapter) -> SourceConfig:
    if config.base_model:
        return config
    recorded, revision = adapter.settings.get("base_model_name_or_path"), adapter.settings.get("revision")
    return replace(config, base_model=str(recorded or ""), base_revision=config.base_revision or revision)


def _check_identity(config: SourceConfig, adapter: Adapter, place: BasePlace) -> list[str]:
    """Compare the base with what the adapter's record says of it; return what a user should know."""
    trained_on = adapter.settings.get("base_model_name_or_path")
    if not adapter.base_fingerprint:
        return [f"the adapter has no record of its base's weights; its config names {trained_on}"]
    if base_fingerprint(place) == adapter.base_fingerprint:
        return []
    found = f"{place.name} is not the base this adapter was trained on: its config or weights have another fingerprint"
    if config.allow_base_mismatch:
        return [f"{found}; exported nevertheless (--allow_base_mismatch)"]
    raise UserError(
        found,
        where=str(adapter.folder),
        why=f"it was trained on {trained_on} with the fingerprint {adapter.base_fingerprint[:12]}...",
        fix="give --base_model that very model, or --allow_base_mismatch if you know that the weights are the same",
    )


def _check_rows(tokenizer: PreTrainedTokenizerFast, merged: Merged, config: Any, place: BasePlace) -> None:
    rows = int(config.get_text_config().vocab_size)
    if len(tokenizer) > rows:
        raise UserError(
            f"the tokenizer has {len(tokenizer)} entries, the model only {rows} embeddings",
            where=str(place.folder),
            why="programs that run the export read past the end of the table, or refuse it",
            fix="use the tokenizer that belongs to this very model",
        )
    for name, shape in merged.shapes.items():
        if name.endswith(("embed_tokens.weight", "lm_head.weight")) and shape[0] != rows:
            raise UserError(
                f"{name} has {shape[0]} rows, but config.json says {rows}",
                where=str(place.folder),
                fix="download the model again; all of its files must be of one model",
            )


def text_config(source: Source) -> Any:
    """Give the part of the config that describes the language model."""
    return source.config.get_text_config()


def rope(source: Source) -> dict[str, Any]:
    """Give the rotary embedding's parameters: `rope_theta`, `rope_type` and those of its type."""
    parameters: dict[str, Any] = dict(text_config(source).rope_parameters)
    return parameters
