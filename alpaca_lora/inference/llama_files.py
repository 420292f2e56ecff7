"""The GGUF files that llama.cpp is to serve: what they say of themselves, and whether they are what was asked for."""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpaca_lora.errors import UserError
from alpaca_lora.export.gguf_model import adapter_sha256
from alpaca_lora.export.report import RECORD
from alpaca_lora.inference.models import BASE, Prompts
from alpaca_lora.model.load import load_model_config

_FORMATS: Mapping[int, str] = {
    0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_SHORT = 16


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file says of itself.

    Attributes:
        fields: its metadata by GGUF's names; of an array of numbers, or of more than 16 strings, only its length.
    """

    path: Path
    fields: Mapping[str, Any]

    @property
    def is_adapter(self) -> bool:
        """Whether it holds an adapter alone."""
        return self.fields.get("general.type") == "adapter"

    @property
    def adapter_sha256(self) -> str:
        """SHA-256 of the adapter in it; empty where there is none, or another program wrote the file."""
        return str(self.fields.get("alpaca_lora.adapter_sha256", ""))

    @property
    def is_bare_base(self) -> bool:
        """Whether this package wrote it without any adapter."""
        return "alpaca-lora" in (self.fields.get("general.tags") or []) and not self.adapter_sha256

    @property
    def tokens(self) -> int:
        """Entries of its vocabulary."""
        found = self.fields.get("tokenizer.ggml.tokens", 0)
        return found if isinstance(found, int) else len(found)

    @property
    def context(self) -> int:
        """Tokens that the model was made for."""
        return int(self._own("context_length"))

    @property
    def cached_bytes(self) -> int:
        """What the keys and values of one token take in float16, llama.cpp's default."""
        heads = self._own("attention.head_count")
        size = self._own("embedding_length") // heads
        sizes = self._own("attention.key_length", size) + self._own("attention.value_length", size)
        return int(2 * self._own("block_count") * self._own("attention.head_count_kv", heads) * sizes)

    def _own(self, name: str, default: int | None = None) -> int:
        found = self.fields.get(f"{self.fields.get('general.architecture')}.{name}", default)
        if found is None:
            raise UserError(f"the GGUF file does not say its {name}", where=str(self.path), fix="export it again")
        return int(found)


def read_gguf_file(path: Path) -> GgufFile:
    """Read a GGUF file's metadata; raise `UserError` for what is no such file.

    The gguf package's own reader takes ten seconds for a vocabulary of 128,000, this a tenth of one.
    """
    if not path.is_file():
        raise UserError(f"the file {path} does not exist", fix="alpaca-lora export gguf writes one")
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return GgufFile(path, _fields(content))
    except (ValueError, struct.error, KeyError) as error:  # ValueError: an empty file, or text that is no UTF-8
        raise UserError("this is no GGUF file, or it is cut off", where=str(path), fix="export it again") from error


def _fields(content: mmap.mmap) -> dict[str, Any]:
    """Read all keys and values, as ggml's docs/gguf.md lays them out."""
    place = 0

    def number(form: str) -> Any:
        nonlocal place
        (value,) = struct.unpack_from(f"<{form}", content, place)
        place += struct.calcsize(f"<{form}")
        return value

    def text() -> bytes:
        nonlocal place
        size = number("Q")
        place += size
        return content[place - size : place]

    def value(kind: int) -> Any:
        nonlocal place
        if kind == _STRING:
            return text().decode()
        if kind != _ARRAY:
            return number(_FORMATS[kind])
        kind, count = number("I"), number("Q")
        if kind in _FORMATS:
            place += count * struct.calcsize(f"<{_FORMATS[kind]}")
            return count
        values = [text() if kind == _STRING else value(kind) for _ in range(count)]
        return [item.decode() for item in values] if kind == _STRING and count <= _SHORT else count

    if content[:4] != b"GGUF" or struct.unpack_from("<I", content, 4)[0] not in (2, 3):
        raise ValueError
    place = 16
    return {text().decode(): value(number("I")) for _ in range(number("Q"))}


def check_files(prompts: Prompts, gguf: str, gguf_lora: Sequence[str]) -> tuple[GgufFile, list[GgufFile], list[str]]:
    """Read the model's file and its adapters' files; refuse what are not the base and adapters that were named.

    Returns:
        the model's file, the adapters' files, and what a user should know, a line each.
    """
    if not gguf:
        raise UserError("llama.cpp needs a GGUF file", fix="--gguf FILE; alpaca-lora export gguf writes one")
    model, adapters = read_gguf_file(Path(gguf).expanduser()), list(prompts.folders.items())
    loras = [read_gguf_file(Path(path).expanduser()) for path in gguf_lora]
    if model.is_adapter:
        raise UserError(f"{gguf} holds an adapter alone", fix="give it to --gguf_lora, and the base's file to --gguf")
    expected = {len(prompts.tokenizer), load_model_config(prompts.model_config, prompts.place).vocab_size}
    if model.tokens not in expected:
        raise UserError(
            f"the file has a vocabulary of {model.tokens}, the base model {prompts.base_name} of {max(expected)}",
            where=gguf, why="tokens would mean something else", fix="give the file that was exported from this base",
        )  # fmt: skip
    notes = _check_loras(model, loras, adapters) if loras else _check_merged(model, adapters)
    return model, loras, notes


def _check_loras(model: GgufFile, loras: list[GgufFile], adapters: list[tuple[str, Path]]) -> list[str]:
    if len(loras) != len(adapters):
        raise UserError(
            f"there are {len(loras)} files in --gguf_lora and {len(adapters)} adapters",
            fix="give one file for each --adapter, in the same order; --adapter_dir does not go with them",
        )
    if model.adapter_sha256:
        raise UserError(
            "an adapter is merged into this file already", where=str(model.path),
            fix="with --gguf_lora give the base's file: export ollama --merged=False writes one",
        )  # fmt: skip
    notes: list[str] = []
    for file, (name, folder) in zip(loras, adapters, strict=True):
        if not file.is_adapter:
            raise UserError("this is a whole model, no adapter", where=str(file.path), fix="export gguf-lora")
        notes += _check_adapter(file, name, folder)
    return notes


def _check_merged(model: GgufFile, adapters: list[tuple[str, Path]]) -> list[str]:
    if len(adapters) > 1:
        raise UserError(
            f"one GGUF file holds one model, and there are {len(adapters)} adapters",
            fix="give one --adapter, or the base's file to --gguf and each adapter's to --gguf_lora",
        )
    if adapters and model.is_bare_base:
        raise UserError(
            f"the file is the bare base, without the adapter {adapters[0][0]}", where=str(model.path),
            fix="give the adapter's own file to --gguf_lora, or the merged model's to --gguf",
        )  # fmt: skip
    if adapters:
        return _check_adapter(model, *adapters[0])
    if model.adapter_sha256:
        raise UserError(
            "an adapter is merged into this file", where=str(model.path), why=f"{BASE} would answer as it does",
            fix="name it with --adapter, so that it is asked as it was trained",
        )  # fmt: skip
    return []


def _check_adapter(file: GgufFile, name: str, folder: Path) -> list[str]:
    """Refuse a file that holds another adapter, or failed its verification; say what is not known of it."""
    held, record = file.adapter_sha256, _record(file)
    if held and held != adapter_sha256(folder):
        raise UserError(
            f"the file does not hold the adapter {name}", where=str(file.path),
            why="it was exported from another one, or the adapter was trained further since", fix="export it again",
        )  # fmt: skip
    notes = [] if held else [f"{file.path.name} does not say which adapter it holds; {name} is believed"]
    if record is None:
        check = f"alpaca-lora verify {file.path} --adapter {folder}"
        return [*notes, f"{file.path.name} has no {RECORD} beside it: nobody compared it with {name}; {check}"]
    if record.get("verified") is not True:
        faults = record.get("faults") or ["it does not say why"]
        raise UserError(
            f"the file is not the trained model: {faults[0]}", where=str(file.path.with_name(RECORD)),
            fix="export it again",
        )  # fmt: skip
    return notes


def _record(file: GgufFile) -> dict[str, Any] | None:
    """Read the verification that lies beside a file, if it is that file's."""
    path = file.path.with_name(RECORD)
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict):
        return None
    found: dict[str, Any] = record
    own = (found.get("file"), found.get("adapter_sha256")) == (file.path.name, file.adapter_sha256)
    return found if own else None
