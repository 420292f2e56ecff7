"""Folders as people upload them: the tokenizer of each is loaded right, mended with a note, or refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizer_folders import (
    ODD,
    random_texts,
    reference,
    train_byte_level,
    train_sentencepiece,
    with_bos,
    write_json,
)
from tokenizers import AddedToken, Tokenizer, models
from transformers import AutoTokenizer, LlamaTokenizer

from alpaca_lora.errors import UserError
from alpaca_lora.model.sentencepiece import from_sentencepiece
from alpaca_lora.model.tokenizer import load_tokenizer, tokenizer_fingerprint


@pytest.fixture(scope="module")
def llama_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with nothing but a SentencePiece BPE model."""
    return train_sentencepiece(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture
def folder(llama_style: Path, tmp_path: Path) -> Path:
    """Copy of the SentencePiece folder to spoil."""
    return Path(shutil.copytree(llama_style, tmp_path / "base"))


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a byte-level BPE tokenizer in the manner of Llama 3."""
    return train_byte_level(tmp_path_factory.mktemp("byte-level"))


# --- tokenizer.json beside tokenizer.model -----------------------------------------------------------------------


def test_what_transformers_derived_wrongly_is_rebuilt(folder: Path) -> None:
    backend = json.loads(from_sentencepiece(folder / "tokenizer.model").to_str())
    merges = [tuple(merge) for merge in backend["model"]["merges"]]
    derived = LlamaTokenizer(vocab=backend["model"]["vocab"], merges=merges)
    derived.add_tokens([AddedToken("<|im_start|>", special=True)])
    derived.save_pretrained(folder)
    expected = with_bos(reference(folder), ODD)
    assert AutoTokenizer.from_pretrained(folder)(ODD)["input_ids"] != expected  # the trap itself
    tokenizer, notes = load_tokenizer(folder)
    assert tokenizer(ODD)["input_ids"] == expected
    assert tokenizer.convert_tokens_to_ids("<|im_start|>") == 450
    assert notes[0] == "tokenizer.json encodes ' a' otherwise than tokenizer.model: rebuilt from tokenizer.model"


def test_a_right_tokenizer_json_is_kept_whatever_class_is_named(folder: Path) -> None:
    load_tokenizer(folder)[0].save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_json(folder / "tokenizer_config.json", **settings | {"tokenizer_class": "LlamaTokenizer"})
    tokenizer, notes = load_tokenizer(folder)
    assert tokenizer(ODD)["input_ids"] == with_bos(reference(folder), ODD)
    assert notes == []


def test_other_vocabularies_and_models_that_cannot_replace_it_leave_tokenizer_json_in_place(
    folder: Path, byte_level: Path
) -> None:
    shutil.copytree(byte_level, folder, dirs_exist_ok=True)
    tokenizer, notes = load_tokenizer(folder)
    assert tokenizer(ODD)["input_ids"] == AutoTokenizer.from_pretrained(byte_level)(ODD)["input_ids"]
    assert "different vocabularies" in notes[0]
    (folder / "tokenizer.model").write_text("aGVsbG8= 0\n", encoding="utf-8")  # tiktoken's, as with Llama 3
    tokenizer, notes = load_tokenizer(folder)
    assert not any("tokenizer.model" in note for note in notes)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="no SentencePiece model"):
        load_tokenizer(folder)


def test_a_unigram_model_beside_a_differing_tokenizer_json_is_named(tmp_path: Path) -> None:
    folder = train_sentencepiece(tmp_path, model_type="unigram", vocab_size=300)
    pieces = reference(folder)
    vocab = {pieces.id_to_piece(index): index for index in range(300)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.save(str(folder / "tokenizer.json"))
    _, notes = load_tokenizer(folder)
    assert "cannot replace it" in notes[0]
    assert notes[0].endswith("tokenizer.json is used")


# --- byte-level BPE ----------------------------------------------------------------------------------------------


def test_byte_level_bpe_loads_as_it_is(byte_level: Path, tmp_path: Path) -> None:
    texts = [*ODD, *random_texts(300), "a<|eot_id|> b"]
    expected = AutoTokenizer.from_pretrained(byte_level)(texts)["input_ids"]
    tokenizer, notes = load_tokenizer(byte_level)
    assert tokenizer(texts)["input_ids"] == expected
    assert notes == ["pad_token was '': now '<|end_of_text|>', which has a row in the model"]
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path)[0](texts)["input_ids"] == expected
    assert load_tokenizer(tmp_path)[1] == []


def test_vocabulary_and_merges_alone(byte_level: Path, tmp_path: Path) -> None:
    backend = json.loads((byte_level / "tokenizer.json").read_text(encoding="utf-8"))
    vocab = backend["model"]["vocab"] | {"<|endoftext|>": len(backend["model"]["vocab"])}
    write_json(tmp_path / "vocab.json", **vocab)
    merges = "\n".join(" ".join(merge) for merge in backend["model"]["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    write_json(tmp_path / "tokenizer_config.json", tokenizer_class="GPT2Tokenizer")
    tokenizer, _ = load_tokenizer(tmp_path)
    assert tokenizer(ODD)["input_ids"] == AutoTokenizer.from_pretrained(tmp_path)(ODD)["input_ids"]
    assert tokenizer.eos_token == "<|endoftext|>"


# --- old uploads -------------------------------------------------------------------------------------------------

EMPTY = {"bos_token": "", "eos_token": "", "unk_token": "", "tokenizer_class": "LLaMATokenizer"}


@pytest.mark.parametrize(
    ("config", "special_map", "mended"),
    [
        (EMPTY, {}, {"bos_token was ''", "eos_token was ''", "unk_token was ''", "pad_token was ''"}),
        (EMPTY, {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>"}, {"bos_token was '</s>'"}),
        ({"eos_token": {"content": "<unk>"}}, {}, {"eos_token was '<unk>'"}),
        ({"eos_token": None}, {}, {"eos_token was None"}),
        ({"bos_token": "<bos>", "eos_token": "<eos>"}, {}, {"bos_token was '<bos>'", "eos_token was '<eos>'"}),
        ({}, {"pad_token": "[PAD]"}, {"pad_token was '[PAD]': now '<unk>'"}),
    ],
)
def test_old_special_tokens_are_mended(
    folder: Path, config: dict[str, Any], special_map: dict[str, Any], mended: set[str]
) -> None:
    write_json(folder / "tokenizer_config.json", **config)
    write_json(folder / "special_tokens_map.json", **special_map)
    tokenizer, notes = load_tokenizer(folder)
    assert [tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id] == [1, 2, 0]
    assert (tokenizer.pad_token, tokenizer.pad_token_id, len(tokenizer)) == ("<unk>", 0, 450)
    assert tokenizer(ODD)["input_ids"] == with_bos(reference(folder), ODD)
    for text in mended:
        assert sum(note.startswith(text) for note in notes) == 1, notes


def test_a_padding_token_with_a_row_stays(folder: Path) -> None:
    write_json(folder / "added_tokens.json", **{"[PAD]": 450})
    write_json(folder / "special_tokens_map.json", pad_token="[PAD]")
    assert load_tokenizer(folder)[0].pad_token_id == 450
    write_json(folder / "config.json", vocab_size=451)
    assert load_tokenizer(folder)[0].pad_token_id == 450
    write_json(folder / "config.json", vocab_size=450)
    tokenizer, notes = load_tokenizer(folder)
    assert (tokenizer.pad_token_id, len(tokenizer)) == (0, 450)
    assert notes[0] == "left out added tokens without a row in the model: ids [450]"


def test_a_padding_token_in_tokenizer_json_without_a_row_is_replaced(folder: Path) -> None:
    tokenizer, _ = load_tokenizer(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    assert load_tokenizer(folder)[0].pad_token_id == 450
    write_json(folder / "config.json", vocab_size=450)
    tokenizer, notes = load_tokenizer(folder)
    assert tokenizer.pad_token_id == 0
    assert notes == [
        "pad_token was '[PAD]': now '<unk>', which has a row in the model",
        "tokens from id 450 to 450 have no row in the model",
    ]


def test_added_tokens_that_do_not_follow_are_refused(folder: Path) -> None:
    write_json(folder / "added_tokens.json", **{"[PAD]": 470})
    with pytest.raises(UserError, match=r"'\[PAD\]' should have id 470, but the next free one is 450"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("config", "generation", "warns"),
    [(1, None, True), (0, [0, 1], True), ([2, 7], None, False), (7, [2, 7], False), (None, None, False)],
)
def test_a_model_that_ends_elsewhere_is_reported(folder: Path, config: Any, generation: Any, warns: bool) -> None:
    write_json(folder / "config.json", vocab_size=450, eos_token_id=config)
    write_json(folder / "generation_config.json", eos_token_id=generation)
    notes = load_tokenizer(folder)[1]
    assert any("ends answers at id" in note and "used is 2 ('</s>')" in note for note in notes) == warns


def test_the_end_of_sequence_comes_from_the_model_where_the_tokenizer_names_none(
    byte_level: Path, tmp_path: Path
) -> None:
    shutil.copy(byte_level / "tokenizer.json", tmp_path)
    with pytest.raises(UserError, match="no end-of-sequence token"):
        load_tokenizer(tmp_path)
    end = AutoTokenizer.from_pretrained(byte_level).convert_tokens_to_ids("<|eot_id|>")
    write_json(tmp_path / "config.json", eos_token_id=end)
    assert load_tokenizer(tmp_path)[0].eos_token == "<|eot_id|>"
    write_json(tmp_path / "config.json", eos_token_id=end, vocab_size=end)
    with pytest.raises(UserError, match=f"has id {end}, but the model has {end} rows"):
        load_tokenizer(tmp_path)


# --- folders without a usable tokenizer --------------------------------------------------------------------------


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tokenizer") as error:
        load_tokenizer(tmp_path)
    assert "tokenizer.model" in error.value.why
    assert str(tmp_path) == error.value.where
    (tmp_path / "tokenizer.json").write_text('{"model": ', encoding="utf-8")
    with pytest.raises(UserError, match="broken"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[", encoding="utf-8")
    with pytest.raises(UserError, match="not JSON"):
        load_tokenizer(tmp_path)


def write_code(folder: Path, body: str) -> None:
    """Give the folder a tokenizer class of its own, which leaves a file behind when it runs."""
    (folder / "own.py").write_text(
        "from pathlib import Path\nfrom transformers import PreTrainedTokenizerFast\n"
        f"Path({str(folder / 'ran')!r}).touch()\n\nclass Own(PreTrainedTokenizerFast):\n    {body}\n",
        encoding="utf-8",
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings |= {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    write_json(folder / "tokenizer_config.json", **settings)


def test_a_folders_own_code_runs_only_when_asked_for(byte_level: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(byte_level, tmp_path / "trusted"))
    write_code(folder, "pass")
    expected = AutoTokenizer.from_pretrained(byte_level)(ODD)["input_ids"]
    assert load_tokenizer(folder)[0](ODD)["input_ids"] == expected
    assert not (folder / "ran").exists()
    assert load_tokenizer(folder, trust_remote_code=True)[0](ODD)["input_ids"] == expected
    assert (folder / "ran").exists()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UserError) as error:
        load_tokenizer(folder)
    assert "--trust_remote_code true" in error.value.fix


def test_code_that_changes_ids_is_refused(byte_level: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(byte_level, tmp_path / "changing"))
    write_code(folder, "def __call__(self, text, **more): return super().__call__(text.upper(), **more)")
    with pytest.raises(UserError, match="Own encodes in Python"):
        load_tokenizer(folder, trust_remote_code=True)


# --- fingerprint -------------------------------------------------------------------------------------------------


def test_the_fingerprint_survives_use_and_saving_and_sees_changes(llama_style: Path, tmp_path: Path) -> None:
    tokenizer, _ = load_tokenizer(llama_style)
    fingerprint = tokenizer_fingerprint(tokenizer)
    tokenizer(["a", "the sun"], padding=True, truncation=True, max_length=3)
    assert tokenizer_fingerprint(tokenizer) == fingerprint
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(load_tokenizer(tmp_path)[0]) == fingerprint
    assert tokenizer_fingerprint(AutoTokenizer.from_pretrained(tmp_path)) == fingerprint
    seen = {fingerprint}
    tokenizer.chat_template = "{{ messages }}"
    seen.add(tokenizer_fingerprint(tokenizer))
    tokenizer.pad_token = "</s>"
    seen.add(tokenizer_fingerprint(tokenizer))
    tokenizer.add_tokens(["<|new|>"])
    seen.add(tokenizer_fingerprint(tokenizer))
    assert len(seen) == 4
