"""One base model and the adapters that can answer with it, loaded when they are first asked."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import Prompt, end_token, load_prompt
from alpaca_lora.data.segments import Segment
from alpaca_lora.data.tokens import encode_segments
from alpaca_lora.errors import UserError
from alpaca_lora.inference.compiled import check_compilable
from alpaca_lora.inference.engine import Request
from alpaca_lora.inference.prompt_cache import encode_with_heads
from alpaca_lora.inference.settings import AdaptersConfig, SamplingConfig
from alpaca_lora.model.adapter_folder import adapter_prompt, find_adapter
from alpaca_lora.model.load import BasePlace, find_base, load_base_model, load_base_tokenizer
from alpaca_lora.model.lora import load_adapter, read_adapter_config, select_adapter
from alpaca_lora.model.lora_linear import remove_adapters

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BASE = "base"
"""What the bare base model is called among the adapters."""

_DEPTH = 3
_LOG = logging.getLogger(__name__)


class Prompts:
    """How each adapter is asked: its prompt format and the tokenizer, without any weights.

    Attributes:
        base_name: the base model, as it was given or recorded.
        folders: where each adapter lies, by its name.
        note: what a user should know, a line each.
    """

    def __init__(self, model: ModelConfig, adapters: AdaptersConfig) -> None:
        self.notes: list[str] = []
        self._config = adapters
        self.folders = _named_folders(adapters.adapter)
        self._given = list(self.folders)
        if adapters.adapter_dir:
            self._take(find_adapters(Path(adapters.adapter_dir).expanduser()))
        self.model_config = self._with_recorded_base(model)
        self.place: BasePlace = find_base(self.model_config)
        self.base_name = self.place.name
        self.tokenizer: PreTrainedTokenizerFast
        self.tokenizer, mended = load_base_tokenizer(self.model_config, self.place)
        self.notes += mended
        self.encoder = TextEncoder(self.tokenizer)
        self._prompts = {BASE: load_prompt(adapters.prompt_template_name or "alpaca", self.tokenizer)}
        for name in self._given:
            self.prompt(name)
        if adapters.merge_adapter and (len(adapters.adapter) != 1 or adapters.adapter_dir):
            raise UserError("--merge_adapter takes one adapter", fix="give one --adapter, and no --adapter_dir")

    @property
    def names(self) -> list[str]:
        """Names of all that can answer: the base first, unless the one adapter is merged into it."""
        return [*([] if self._config.merge_adapter else [BASE]), *self.folders]

    @property
    def first(self) -> str:
        """Name of the one that answers where none is named: the last adapter given."""
        return [BASE, *self._given][-1]

    def refresh(self) -> None:
        """Look into `adapter_dir` again: runs may have written new checkpoints since. What is known stays known."""
        if self._config.adapter_dir:
            with suppress(UserError):  # the folder is gone
                self._take(find_adapters(Path(self._config.adapter_dir).expanduser()))

    def _take(self, found: dict[str, Path]) -> None:
        known = {folder.resolve() for folder in self.folders.values()}
        new = {name: folder for name, folder in found.items() if folder.resolve() not in known}
        self.folders = self.folders | {name: new[name] for name in new if name not in self.folders}

    def prompt(self, name: str) -> Prompt:
        """Give the prompt format of an adapter or the base; raise `UserError` for a name that is not there."""
        if name not in self.names:
            raise UserError(f"there is no adapter {name}", fix=f"one of: {', '.join(self.names)}")
        if name not in self._prompts:
            self._prompts[name] = adapter_prompt(self.folders[name], self.tokenizer, self._config.prompt_template_name)
        return self._prompts[name]

    def request(
        self, name: str, turns: Sequence[Turn], sampling: SamplingConfig, *, system: str = "", stop: Sequence[str] = ()
    ) -> Request:
        """Put a conversation whose last answer is to come into the prompt that this adapter was trained with."""
        prompt = self.prompt(name)
        ids, heads = encode_with_heads(self.encoder, prompt, turns, system)
        return Request(name, ids, sampling, heads, end_token(prompt), stop)

    def raw_request(self, name: str, text: str, sampling: SamplingConfig, *, stop: Sequence[str] = ()) -> Request:
        """Let an adapter go on with a text as it is, without its prompt format. Special tokens in it are plain text."""
        self.prompt(name)
        _, ids = next(encode_segments(self.encoder, [[Segment(text)]]))
        return Request(name, [int(token) for piece in ids for token in piece], sampling, stop=stop)

    def show(self, request: Request) -> str:
        """Give the exact text of a request's prompt, special tokens included."""
        return str(self.tokenizer.decode(list(request.ids), clean_up_tokenization_spaces=False))

    def _with_recorded_base(self, model: ModelConfig) -> ModelConfig:
        if model.base_model or not self.folders:
            return model
        recorded = read_adapter_config(next(iter(self.folders.values())))
        name, revision = str(recorded.get("base_model_name_or_path") or ""), recorded.get("revision")
        if name:
            self.notes.append(f"the base model is {name}, as recorded with the adapter; --base_model gives another")
        return replace(model, base_model=name, base_revision=model.base_revision or revision)


class Models(Prompts):
    """The same with weights: one base in memory, its adapters on it, one of them active. Not for several threads.

    Attributes:
        active: name of the one that answers now.
        compiles: whether the step of one token is to be compiled.
    """

    def __init__(self, model: ModelConfig, adapters: AdaptersConfig) -> None:
        super().__init__(model, adapters)
        self._merged = adapters.merge_adapter
        if self._merged and self.model_config.quantization != "none":
            raise UserError(
                "--merge_adapter: a quantised base would round the adapter away",
                fix="--quantization none, or without --merge_adapter",
            )
        self.model: Any = load_base_model(self.model_config, self.place)
        self._loaded: set[str] = set()
        self.active = BASE
        self.compiles = adapters.compile_step
        for name in self._given:
            self._load(name)
        if self._merged:
            self.model = self.model.merge_and_unload(safe_merge=True)
        else:
            self.select(self.first)
        if self.compiles:
            check_compilable(len(self.folders), merged=self._merged, device=self.model.device)

    def select(self, name: str) -> None:
        """Answer with another adapter from now on; load it where it is not yet. The base stays as it is."""
        self.prompt(name)
        if name == self.active or self._merged:
            return
        if name != BASE and name not in self._loaded:
            self._load(name)
        if self._loaded:
            select_adapter(self.model, None if name == BASE else name)
        self.active = name

    def _load(self, name: str) -> None:
        recorded = read_adapter_config(self.folders[name]).get("base_model_name_or_path")
        if recorded and recorded != self.base_name:
            _LOG.warning("the adapter %s was trained on %s, the base here is %s", name, recorded, self.base_name)
        try:
            self.model = load_adapter(self.model, self.folders[name], name).eval()
        except BaseException:  # Ctrl-C too
            if self._loaded:
                select_adapter(self.model, None if self.active == BASE else self.active)
            else:
                remove_adapters(self.model)
            raise
        self._loaded.add(name)
        self.active = name


def show_notes(notes: Sequence[str]) -> None:
    """Write what a user should know to standard error."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def find_adapters(folder: Path) -> dict[str, Path]:
    """Find every adapter in a folder, its subfolders down to three deep included; named by the path below it."""
    if not folder.is_dir():
        raise UserError(f"the folder {folder} does not exist", where="--adapter_dir", fix="give an existing folder")
    found: dict[str, Path] = {}
    for depth in range(_DEPTH + 1):
        for file in sorted(folder.glob("*/" * depth + "adapter_config.json")):
            place = file.parent.relative_to(folder).as_posix()
            name = folder.absolute().name if place == "." else place
            if name != BASE:
                found[name] = file.parent
    return found


def _named_folders(places: Sequence[str]) -> dict[str, Path]:
    """Find each adapter; it is called by the last part of its path or Hub id."""
    folders: dict[str, Path] = {}
    for place in places:
        name = Path(place).expanduser().absolute().name
        if name in (BASE, *folders):
            taken = "the bare base model" if name == BASE else "another adapter"
            raise UserError(f"the adapter {place} has the name of {taken}", fix="rename its folder")
        folders[name] = find_adapter(place)
    return folders
