"""Pieces encoded apart make the row that SentencePiece and transformers make of the whole."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizer_folders import ODD, random_texts, reference, train_byte_level, train_sentencepiece, write_json
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.segments import Segment
from alpaca_lora.errors import UserError
from alpaca_lora.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def llama_style(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_sentencepiece(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_byte_level(tmp_path_factory.mktemp("byte-level"))


def edited(folder: Path, to: Path, **components: Any) -> PreTrainedTokenizerFast:
    """Save a tokenizer with other components in its tokenizer.json, and load it."""
    tokenizer, _ = load_tokenizer(folder)
    tokenizer.save_pretrained(to)
    state = json.loads((to / "tokenizer.json").read_text(encoding="utf-8"))
    write_json(to / "tokenizer.json", **state | components)
    return load_tokenizer(to)[0]


def plain(encoder: TextEncoder, texts: list[str], *, start: bool) -> list[list[int]]:
    count = len(texts)
    return [row.tolist() for row in encoder.encode(texts, [start] * count, [False] * count)]


def markup(encoder: TextEncoder, text: str, *, start: bool) -> list[int]:
    return encoder.encode([text], [start], [True])[0].tolist()


def own(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Encode as the tokenizer itself does, without BOS."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


# --- plain text --------------------------------------------------------------------------------------------------


def test_text_at_the_start_is_the_tokenizers_own(llama_style: Path, byte_level: Path) -> None:
    texts = [*ODD, *random_texts(500)]
    for folder in (llama_style, byte_level):
        tokenizer, _ = load_tokenizer(folder)
        assert plain(TextEncoder(tokenizer), texts, start=True) == [own(tokenizer, text) for text in texts]


def test_text_that_goes_on_is_the_tail_of_sentencepieces_encoding(llama_style: Path) -> None:
    texts = ["Hello", "the sun", " the", "  the", "7", "é", "\n", "sky\nthe"]
    pieces = reference(llama_style)
    head = pieces.encode("sun\n")
    joined = [pieces.encode("sun\n" + text) for text in texts]
    assert all(ids[: len(head)] == head for ids in joined)  # a line end is a byte token: nothing merges across it
    encoder = TextEncoder(load_tokenizer(llama_style)[0])
    assert plain(encoder, texts, start=False) == [ids[len(head) :] for ids in joined]
    assert plain(encoder, ["the"], start=True) != plain(encoder, ["the"], start=False)


def test_byte_level_text_is_the_same_anywhere(byte_level: Path) -> None:
    encoder = TextEncoder(load_tokenizer(byte_level)[0])
    texts = [*ODD, *random_texts(300)]
    assert plain(encoder, texts, start=True) == plain(encoder, texts, start=False)


def test_pieces_decode_to_the_whole(llama_style: Path, byte_level: Path) -> None:
    draw = random.Random(2)
    texts = [text.replace("▁", " ") for text in [*ODD, *random_texts(300)] if text]
    cuts = [draw.randint(1, len(text)) for text in texts]
    for folder in (llama_style, byte_level):
        tokenizer, _ = load_tokenizer(folder)
        encoder = TextEncoder(tokenizer)
        heads = plain(encoder, [text[:cut] for text, cut in zip(texts, cuts, strict=True)], start=True)
        tails = plain(encoder, [text[cut:] for text, cut in zip(texts, cuts, strict=True)], start=False)
        assert [tokenizer.decode(head + tail) for head, tail in zip(heads, tails, strict=True)] == texts


def test_many_texts_come_back_in_order(llama_style: Path) -> None:
    encoder = TextEncoder(load_tokenizer(llama_style)[0])
    texts = [f"the sun {number}" for number in range(2500)]
    starts = [number % 3 == 0 for number in range(2500)]
    marks = [number % 5 == 0 for number in range(2500)]
    one_by_one = [
        encoder.encode([text], [start], [mark])[0].tolist()
        for text, start, mark in zip(texts, starts, marks, strict=True)
    ]
    assert [row.tolist() for row in encoder.encode(texts, starts, marks)] == one_by_one


# --- special tokens that users write -----------------------------------------------------------------------------


def test_special_token_text_is_plain_text(llama_style: Path, byte_level: Path) -> None:
    for folder in (llama_style, byte_level):
        tokenizer, _ = load_tokenizer(folder)
        encoder = TextEncoder(tokenizer)
        special = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids("<|eot_id|>")}
        for token in tokenizer.added_tokens_encoder:
            texts = [token, f"the {token} sun", f"{token}{token}", f"<{token}>", f"\n{token}\n"]
            for start in (True, False):
                ids = plain(encoder, texts, start=start)
                assert not special & {index for row in ids for index in row}
                assert [tokenizer.decode(row).strip(" ") for row in ids] == [text.strip(" ") for text in texts]
            assert tokenizer.convert_tokens_to_ids(token) in markup(encoder, token, start=True)


def special_by_merges(*, ignore_merges: bool) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose merges put `</s>` together."""
    vocab = {text: index for index, text in enumerate(["<unk>", "<s>", "</s>", "<", "/", "s", ">", "</", "</s"])}
    merges = [("<", "/"), ("</", "s"), ("</s", ">")]
    backend = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", ignore_merges=ignore_merges))
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def test_merges_never_make_a_special_token_of_text() -> None:
    tokenizer = special_by_merges(ignore_merges=False)
    tokenizer.backend_tokenizer.encode_special_tokens = True
    assert own(tokenizer, "</s>") == [2]  # the trap: the library's own switch lets the merges through
    assert plain(TextEncoder(tokenizer), ["</s>"], start=True) == [[8, 6]]


def test_a_tokenizer_that_cannot_keep_them_apart_is_refused() -> None:
    with pytest.raises(UserError, match="'<s>' from the same text"):
        TextEncoder(special_by_merges(ignore_merges=True))


# --- markup ------------------------------------------------------------------------------------------------------

TURNS = ["<s>the sun</s>the sky", "the</s> sun", "</s>", "the sun", "", " </s></s>  the", "\n</s>\nthe<s>"]


def test_markup_at_the_start_is_the_tokenizers_own(llama_style: Path, byte_level: Path) -> None:
    for folder in (llama_style, byte_level):
        tokenizer, _ = load_tokenizer(folder)
        encoder = TextEncoder(tokenizer)
        for text in [*TURNS, *(text.replace("</s>", "<|eot_id|>") for text in TURNS)]:
            assert markup(encoder, text, start=True) == own(tokenizer, text)


def test_markup_that_goes_on_leaves_out_only_the_first_mark(llama_style: Path) -> None:
    tokenizer, _ = load_tokenizer(llama_style)
    encoder = TextEncoder(tokenizer)
    for text in TURNS:
        assert markup(encoder, text, start=False) == own(tokenizer, "\n" + text)[2:]  # after the mark and the line end


def metaspace(scheme: str) -> dict[str, Any]:
    step = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}
    return {"normalizer": None, "pre_tokenizer": step}


def test_after_a_special_token_the_tokenizers_own_rule_holds(llama_style: Path, tmp_path: Path) -> None:
    row = [Segment("<s>", is_markup=True), Segment("the sun"), Segment("sky", is_target=True)]
    row += [Segment("</s>", is_markup=True), Segment(""), Segment("the sky"), Segment("</s>the", is_markup=True)]
    row += [Segment("\nthe"), Segment("<s>")]
    prefix_again = [True, True, False, False, True, True, False, False, False]
    prefix_first = [True, True, *[False] * 7]
    tokenizers = {
        "prepend": (load_tokenizer(llama_style)[0], prefix_again),
        "always": (edited(llama_style, tmp_path / "always", **metaspace("always")), prefix_again),
        "first": (edited(llama_style, tmp_path / "first", **metaspace("first")), prefix_first),
        "never": (edited(llama_style, tmp_path / "never", **metaspace("never")), prefix_first),
    }
    for name, (tokenizer, expected) in tokenizers.items():
        encoder = TextEncoder(tokenizer)
        assert encoder.bos == "<s>"
        assert encoder.at_start(row) == expected, name
        turns = row[1:4:2] + row[5:6]  # one text, a special token, another text
        ids = encoder.encode(
            [piece.text for piece in turns], encoder.at_start(turns), [piece.is_markup for piece in turns]
        )
        assert [index for part in ids for index in part.tolist()] == own(tokenizer, "the sun</s>the sky"), name


def test_metaspace_and_byte_level_prefixes_are_left_out_where_text_goes_on(
    llama_style: Path, byte_level: Path, tmp_path: Path
) -> None:
    never = TextEncoder(edited(llama_style, tmp_path / "never", **metaspace("never")))
    for scheme in ("always", "first"):
        encoder = TextEncoder(edited(llama_style, tmp_path / scheme, **metaspace(scheme)))
        assert plain(encoder, ODD, start=False) == plain(never, ODD, start=False)
        assert plain(encoder, ["the"], start=True) != plain(encoder, ["the"], start=False)
    step = json.loads(pre_tokenizers.ByteLevel(add_prefix_space=True).__getstate__())
    encoder = TextEncoder(edited(byte_level, tmp_path / "space", pre_tokenizer=step))
    assert plain(encoder, ["the"], start=True) == plain(encoder, [" the"], start=False)
    assert plain(encoder, ["the"], start=True) != plain(encoder, ["the"], start=False)


def test_a_special_token_that_takes_the_spaces_before_it(llama_style: Path) -> None:
    tokenizer, _ = load_tokenizer(llama_style)
    tokenizer.add_tokens([AddedToken("<|end|>", special=True, lstrip=True, normalized=False)], special_tokens=True)
    encoder = TextEncoder(tokenizer)
    assert markup(encoder, "the  <|end|>sun", start=False) == own(tokenizer, "\nthe  <|end|>sun")[2:]


def test_no_bos_where_the_tokenizer_adds_none(llama_style: Path, tmp_path: Path) -> None:
    encoder = TextEncoder(edited(llama_style, tmp_path, post_processor=None))
    assert encoder.bos == ""
    assert encoder.at_start([Segment("", is_markup=True), Segment("the"), Segment("sun")]) == [True, True, False]
