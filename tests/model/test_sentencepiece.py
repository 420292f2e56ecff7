"""A folder with `tokenizer.model` alone gives SentencePiece's ids, before and after saving."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizer_folders import ODD, random_texts, reference, set_scores, train_sentencepiece, with_bos, write_json
from transformers import AutoTokenizer

from alpaca_lora.errors import UserError
from alpaca_lora.model.tokenizer import adds_bos, load_tokenizer

SHARED = Path(__file__).parents[3] / "shared"
LLAMA_MODEL = SHARED / "tokenizer" / "llama2_tokenizer.model"
STANFORD_ROWS = SHARED / "data" / "alpaca_data.json"


@pytest.fixture(scope="module")
def llama_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with nothing but a SentencePiece BPE model."""
    return train_sentencepiece(tmp_path_factory.mktemp("llama") / "base")


@pytest.fixture
def folder(llama_style: Path, tmp_path: Path) -> Path:
    """Copy of the SentencePiece folder to spoil."""
    return Path(shutil.copytree(llama_style, tmp_path / "base"))


def test_ids_are_those_of_sentencepiece_before_and_after_saving(llama_style: Path, tmp_path: Path) -> None:
    texts = [*ODD, *random_texts(1500)]
    expected = with_bos(reference(llama_style), texts)
    tokenizer, notes = load_tokenizer(llama_style)
    tokenizer.save_pretrained(tmp_path)
    # a model's config in the folder is what makes transformers choose LlamaTokenizer
    write_json(tmp_path / "config.json", model_type="llama", vocab_size=450, eos_token_id=2)
    again, notes_again = load_tokenizer(tmp_path)
    for found in (tokenizer, AutoTokenizer.from_pretrained(tmp_path), again):
        assert found(texts)["input_ids"] == expected
        assert adds_bos(found)
        assert [found.bos_token_id, found.eos_token_id, found.unk_token_id, len(found)] == [1, 2, 0, 450]
    assert notes == ["pad_token was '': now '<unk>', which has a row in the model"]
    assert notes_again == []


@pytest.mark.skipif(not (LLAMA_MODEL.is_file() and STANFORD_ROWS.is_file()), reason="needs ../shared")
def test_no_difference_on_5000_real_rows(tmp_path: Path) -> None:
    shutil.copy(LLAMA_MODEL, tmp_path / "tokenizer.model")
    rows = json.loads(STANFORD_ROWS.read_text(encoding="utf-8"))[:5000]
    texts = [f"{row['instruction']}\n\n{row['input']}\n\n{row['output']}" for row in rows] + ODD + random_texts(1000)
    expected = with_bos(reference(tmp_path), texts)
    tokenizer, _ = load_tokenizer(tmp_path)
    tokenizer.save_pretrained(tmp_path / "saved")
    for found in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / "saved")):
        assert sum(ids != right for ids, right in zip(found(texts)["input_ids"], expected, strict=True)) == 0


def test_text_comes_back_whole(llama_style: Path) -> None:
    tokenizer, _ = load_tokenizer(llama_style)
    texts = [*ODD, *random_texts(200)]
    ids = tokenizer(texts)["input_ids"]
    expected = [text.replace("▁", " ") for text in texts]  # SentencePiece's own sign for a space
    assert [tokenizer.decode(row, skip_special_tokens=True) for row in ids] == expected


def test_a_model_without_dummy_prefix(tmp_path: Path) -> None:
    folder = train_sentencepiece(tmp_path, add_dummy_prefix=False)
    tokenizer, _ = load_tokenizer(folder)
    assert tokenizer(ODD)["input_ids"] == with_bos(reference(folder), ODD)
    assert tokenizer.decode(tokenizer(" a")["input_ids"], skip_special_tokens=True) == " a"


def test_a_model_without_byte_fallback_or_bos(tmp_path: Path) -> None:
    folder = train_sentencepiece(tmp_path, byte_fallback=False, vocab_size=200, bos_id=-1, eos_id=1, pad_id=2)
    tokenizer, notes = load_tokenizer(folder)
    assert tokenizer(ODD)["input_ids"] == reference(folder).encode(ODD)
    assert (tokenizer.bos_token, tokenizer.pad_token, notes) == (None, "<pad>", [])
    assert not adds_bos(tokenizer)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model_type": "unigram", "vocab_size": 300}, "not a BPE model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "rewrites text"),
        ({"remove_extra_whitespaces": True}, "rewrites text"),
        ({"treat_whitespace_as_suffix": True}, "ends of words"),
        ({"user_defined_symbols": ["<|im_start|>"]}, "user-defined"),
    ],
)
def test_a_model_that_cannot_be_carried_over_is_refused(tmp_path: Path, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as error:
        load_tokenizer(train_sentencepiece(tmp_path, **settings))
    assert "tokenizer.model" in error.value.where
    assert "tokenizer.json" in error.value.fix


def test_runs_of_spaces_may_share_a_score_as_llamas_do(folder: Path) -> None:
    path = folder / "tokenizer.model"
    pieces = [reference(folder).id_to_piece(index) for index in range(450)]
    runs = [piece for piece in pieces if set(piece) == {"▁"} and len(piece) > 1]
    assert len(runs) > 3
    set_scores(path, runs, -1e9)
    texts = [
        *(" " * count for count in range(60)),
        *(f"the{' ' * count}sun" for count in range(60)),
        *random_texts(300),
    ]
    tokenizer, _ = load_tokenizer(folder)
    assert tokenizer(texts)["input_ids"] == with_bos(reference(folder), texts)


def test_other_equal_scores_are_refused(folder: Path) -> None:
    pieces = [reference(folder).id_to_piece(index) for index in range(450)]
    words = [piece for piece in pieces if len(piece) == 3 and piece.strip("▁").isalpha()]
    set_scores(folder / "tokenizer.model", words[:2], -50.5)
    with pytest.raises(UserError, match="share a score"):
        load_tokenizer(folder)
