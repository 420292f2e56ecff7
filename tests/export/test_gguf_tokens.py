"""llama.cpp encodes with an exported vocabulary as training does: both kinds of BPE, on odd texts and on real rows."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from small_tokenizers import llama3_style
from tiny_models import tiny_model, write_adapter
from tokenizer_folders import ODD, random_texts, train_sentencepiece

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import read_examples
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import encode_segments
from alpaca_lora.errors import UserError
from alpaca_lora.export.gguf_model import write_gguf
from alpaca_lora.export.gguf_vocab import read_vocabulary
from alpaca_lora.export.llama_cpp import LlamaCpp
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source
from alpaca_lora.model.tokenizer import load_tokenizer

SHARED = Path(__file__).parents[3] / "shared"


def _source(folder: Path, **shape: Any) -> Source:
    """Make a small base around the tokenizer that lies in the folder already, and an adapter for it."""
    model = tiny_model(**shape)
    model.save_pretrained(folder)
    adapter = write_adapter(folder / "adapter", model, str(folder))
    return open_source(SourceConfig(base_model=str(folder), adapter=str(adapter)))


def _sentencepiece(folder: Path) -> Source:
    train_sentencepiece(folder)
    return _source(folder, vocab_size=450)


def _without_its_file(folder: Path) -> Source:
    """A SentencePiece vocabulary of which only tokenizer.json is left: the scores come from the order of merges."""
    train_sentencepiece(folder)
    load_tokenizer(folder)[0].save_pretrained(folder)
    (folder / "tokenizer.model").unlink()
    return _source(folder, vocab_size=450)


def _byte_level(folder: Path) -> Source:
    tokenizer = llama3_style(specials_last=True)
    tokenizer.save_pretrained(folder)
    return _source(
        folder, vocab_size=len(tokenizer) + 3, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )


def _byte_level_without_bos(folder: Path) -> Source:
    tokenizer = llama3_style(bos=False)
    tokenizer.save_pretrained(folder)
    return _source(
        folder, vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )


@pytest.fixture(
    params=[_sentencepiece, _without_its_file, _byte_level, _byte_level_without_bos], ids=lambda make: make.__name__
)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[tuple[Source, LlamaCpp]]:
    source = request.param(tmp_path)
    path = tmp_path / "model.gguf"
    write_gguf(source, source.merged, path, "f16", lambda size: None)
    with LlamaCpp(path, source.config.vocab_size) as program:
        yield source, program


def test_texts_are_encoded_alike(opened: tuple[Source, LlamaCpp]) -> None:
    source, program = opened
    # llama.cpp reads a text up to its first NUL.
    texts = [text for text in [*ODD, *random_texts(300)] if "\x00" not in text]
    # llama.cpp gives no tokens at all, not even BOS, for an empty text.
    differing = [text for text in texts if text and program.tokenize(text, plain=True) != _plain(source, text)]
    assert differing == []


def _plain(source: Source, text: str) -> list[int]:
    return list(source.tokenizer(text, split_special_tokens=True)["input_ids"])


def test_special_tokens_act_only_where_they_are_markup(opened: tuple[Source, LlamaCpp]) -> None:
    source, program = opened
    eos = str(source.tokenizer.eos_token)
    acting = program.tokenize(f"a{eos}", plain=False)
    plain = program.tokenize(f"a{eos}", plain=True)
    assert acting == list(source.tokenizer(f"a{eos}")["input_ids"])
    assert acting[-1] == source.tokenizer.eos_token_id
    assert source.tokenizer.eos_token_id not in plain[1:]


def test_a_word_pattern_without_a_name_is_refused(tmp_path: Path) -> None:
    tokenizer = llama3_style(specials_last=True)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{N}+"
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(json.dumps(state))
    with pytest.raises(UserError, match="way to split words is not known here"):
        read_vocabulary(tokenizer, tmp_path, len(tokenizer))


def test_rows_without_a_token_become_padding(tmp_path: Path) -> None:
    tokenizer = llama3_style(specials_last=True)
    vocabulary = read_vocabulary(tokenizer, tmp_path, len(tokenizer) + 2)
    assert vocabulary.tokens[-2:] == [f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]"]
    assert [kind.name for kind in vocabulary.kinds[-3:]] == ["CONTROL", "UNUSED", "UNUSED"]
    assert vocabulary.kinds[0].name == "NORMAL"


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the data to measure with is not here")
def test_five_thousand_real_rows(tmp_path: Path) -> None:
    """Whole rows of the Stanford data and of Chinese ones, as the template renders them, with LLaMA's own tokenizer."""
    (tmp_path / "tokenizer.model").write_bytes((SHARED / "tokenizer" / "llama2_tokenizer.model").read_bytes())
    source = _source(tmp_path, vocab_size=32000)
    english = read_examples(str(SHARED / "data" / "alpaca_data.json")).examples[::13]
    rows = [*english[:4000], *read_examples(str(SHARED / "data" / "alpaca_zh_demo.json")).examples]
    prompt, encoder = load_prompt("alpaca", source.tokenizer), TextEncoder(source.tokenizer)
    rendered = [prompt.render(row.turns, row.system, open_ended=True) for row in rows]
    texts = ["".join(segment.text for segment in segments) for segments in rendered]
    answers = [row.turns[-1].output for row in rows]
    trained = [[int(token) for ids in pieces for token in ids] for _, pieces in encode_segments(encoder, rendered)]
    write_gguf(source, source.merged, tmp_path / "model.gguf", "f16", lambda size: None)
    differing = 0
    with LlamaCpp(tmp_path / "model.gguf", 32000) as program:
        for text, answer, ids in zip(texts, answers, trained, strict=True):
            differing += program.tokenize(text, plain=True) != ids
            differing += program.tokenize(text + answer, plain=True) != _plain(source, text + answer)
    assert (len(rows), differing) == (5000, 0)
