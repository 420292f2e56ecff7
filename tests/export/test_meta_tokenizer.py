"""The tokenizer.model of Meta's format: copied, made from byte-level BPE, or refused."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import regex
import torch
from small_tokenizers import llama3_style, vocabulary_bytes
from tiny_models import tiny_model, write_adapter, write_base
from tokenizers import Tokenizer

from alpaca_lora.errors import UserError
from alpaca_lora.export.meta import check_meta, write_meta
from alpaca_lora.export.meta_tokenizer import tokenizer_model
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source

# as in Meta's llama3/llama/tokenizer.py
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("models") / "adapter", tiny_model(), str(base))


@pytest.fixture
def source(base: Path, adapter: Path) -> Source:
    return open_source(SourceConfig(base_model=str(base), adapter=str(adapter)))


def _write(source: Source, folder: Path, shards: int = 1, dtype: torch.dtype | None = None) -> list[int]:
    """Write an export; give the sizes that were reported."""
    folder.mkdir()
    sizes: list[int] = []
    write_meta(source, folder, shards=shards, dtype=dtype, advance=sizes.append)
    return sizes


def _shards(folder: Path) -> list[dict[str, torch.Tensor]]:
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pth"))]


ORDINARY = 373
"""Ordinary tokens of `_llama3_backend`: 380 less 7 special ones."""
END_OF_TEXT = ORDINARY + 1
NAMED_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def _llama3_backend(**changes: Any) -> Tokenizer:
    """Give Llama 3's kind of tokenizer with its special tokens where Llama 3 has them: after the ordinary ones."""
    state = json.loads(llama3_style(bos=False, vocab_size=380).backend_tokenizer.to_str())
    added = {token["content"] for token in state["added_tokens"]}
    ordinary = [
        token for token in sorted(state["model"]["vocab"], key=state["model"]["vocab"].get) if token not in added
    ]
    state["model"]["vocab"] = {token: index for index, token in enumerate(ordinary)}
    for place, token in enumerate(state["added_tokens"]):
        token["id"] = len(ordinary) + place
    state["model"] |= changes
    return Tokenizer.from_str(json.dumps(state))


def _with_tokenizer(source: Source, folder: Path, backend: Tokenizer) -> Source:
    """Give a source whose base folder has this tokenizer.json and no tokenizer.model."""
    copy = folder / "base"
    shutil.copytree(source.place.folder, copy)
    (copy / "tokenizer.model").unlink()
    backend.save(str(copy / "tokenizer.json"))
    for path in (copy / "config.json", copy / "generation_config.json"):
        # an id that a config names becomes a special token, and ordinary ones begin at 0 in Llama 3
        path.write_text(json.dumps(json.loads(path.read_text()) | dict.fromkeys(NAMED_IDS, END_OF_TEXT)))
    place = {"base_model": str(copy), "adapter": str(source.adapter.folder)}
    return open_source(SourceConfig(**place, allow_base_mismatch=True))


def _merge_by_rank(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Encode as tiktoken: of all neighbours that make a token, join those that make the one of lowest rank."""
    parts = [bytes([byte]) for byte in word]
    while word not in ranks or len(parts) > 1:
        joined = [(ranks.get(parts[n] + parts[n + 1], len(ranks)), n) for n in range(len(parts) - 1)]
        rank, place = min(joined, default=(len(ranks), 0))
        if rank == len(ranks):
            break
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return [ranks[part] for part in parts]


def test_byte_level_tokens_are_written_by_rank(source: Source, tmp_path: Path) -> None:
    made = _with_tokenizer(source, tmp_path, _llama3_backend())
    sizes = _write(made, tmp_path / "out", shards=2)
    lines = (tmp_path / "out" / "tokenizer.model").read_text().splitlines()
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines}
    assert list(ranks) == vocabulary_bytes(made.tokenizer)[: len(ranks)]
    assert list(ranks.values()) == list(range(ORDINARY))
    text = "Write a response to the instruction: Grüße aus Köln, 你好!\n\n  3.1415 tasks"
    words = regex.findall(WORDS, text)
    encoded = [token for word in words for token in _merge_by_rank(word.encode(), ranks)]
    assert encoded == made.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(encoded) < len(text)
    first = _shards(tmp_path / "out")[0]
    assert first["tok_embeddings.weight"].shape == (200, 64)
    assert len(sizes) == 2 * len(first)


def test_the_bases_own_original_file_is_preferred(source: Source, tmp_path: Path) -> None:
    made = _with_tokenizer(source, tmp_path, _llama3_backend())
    (made.place.folder / "original").mkdir()
    (made.place.folder / "original" / "tokenizer.model").write_bytes(b"IQ== 0\n")
    assert tokenizer_model(made.place.folder, made.tokenizer) == b"IQ== 0\n"


def _swapped_merges() -> Tokenizer:
    merges = json.loads(_llama3_backend().to_str())["model"]["merges"]
    return _llama3_backend(merges=[merges[1], merges[0], *merges[2:]])


def _fewer_merges() -> Tokenizer:
    return _llama3_backend(merges=json.loads(_llama3_backend().to_str())["model"]["merges"][:-1])


def _other_words() -> Tokenizer:
    state = json.loads(_llama3_backend().to_str())
    state["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\s+|\S+"
    return Tokenizer.from_str(json.dumps(state))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: llama3_style(bos=False, vocab_size=380).backend_tokenizer, "not numbered 0, 1, 2"),
        (_swapped_merges, "merges are not in the order of the ids"),
        (_fewer_merges, "tokens that no merge makes"),
        (_other_words, "another pattern than Llama 3's"),
    ],
)
def test_a_byte_level_tokenizer_that_readers_would_take_otherwise_is_refused(
    source: Source, tmp_path: Path, make: Any, message: str
) -> None:
    made = _with_tokenizer(source, tmp_path, make())
    with pytest.raises(UserError, match=message):
        check_meta(made, 1)


def test_a_token_outside_the_alphabet_is_refused(source: Source, tmp_path: Path) -> None:
    state = json.loads(_llama3_backend(ignore_merges=True).to_str())
    state["model"]["vocab"]["你"] = len(state["model"]["vocab"])
    for token in state["added_tokens"]:
        token["id"] += 1
    made = _with_tokenizer(source, tmp_path, Tokenizer.from_str(json.dumps(state)))
    with pytest.raises(UserError, match="outside the alphabet of bytes"):
        check_meta(made, 1)


def test_a_sentencepiece_tokenizer_without_its_file_is_refused(source: Source, tmp_path: Path) -> None:
    made = _with_tokenizer(source, tmp_path, source.tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match=r"no tokenizer\.model") as raised:
        _write(made, tmp_path / "out")
    assert "original upload" in raised.value.fix
    assert list((tmp_path / "out").iterdir()) == []
