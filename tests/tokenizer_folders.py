"""Tokenizers to test with, trained on the spot: SentencePiece BPE as LLaMA's, byte-level BPE as Llama 3's."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

ODD = [
    "",
    " ",
    "  ",
    " " * 37,
    "Hello",
    " Hello",
    "Hello  world",
    "   the sky is blue   ",
    "\n",
    "\n\n the\tsun\r\n",
    "the\u00a0sun\u200b\ufeff\u2028",
    "\x00\x01\x1f\x7f",
    "▁the▁▁sun",
    "🙂👩‍👩‍👧 the",
    "你好,世界。",
    "e\u0301 é Größe",
    "3.14159 and 27",
    "<0x0A> <|x|> [INST]",
    "the" * 50,
]


def random_texts(count: int) -> list[str]:
    draw = random.Random(1)
    signs = [
        "the ",
        "sun",
        " ",
        "  ",
        "\n",
        "\t",
        "a",
        "e",
        "=",
        "7",
        "é",
        "好",
        "🙂",
        "▁",
        "\x00",
        "\u200b",
        "<",
        "/s>",
    ]
    texts = ["".join(draw.choices(signs, k=draw.randrange(24))) for _ in range(count)]
    return [text for text in texts if "</s>" not in text]


def plain_text(count: int = 3000) -> list[str]:
    draw = random.Random(0)
    words = [a + b for a in ("sun", "the", "sky", "mo", "gre", "tra", "wa", "lo") for b in ("", "n", "en", "ter", "s")]
    spaces = [" " * draw.choice([1, 2, 4, 8, 13]) for _ in range(count)]
    return [
        " ".join(draw.choices(words, k=12)).capitalize() + f"{space}{number}." for number, space in enumerate(spaces)
    ]


def train_sentencepiece(folder: Path, **settings: Any) -> Path:
    """Train a model with LLaMA's settings, unless others are given, as `tokenizer.model` of a new folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    llama = {
        "model_type": "bpe",
        "vocab_size": 450,
        "byte_fallback": True,
        "split_digits": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "allow_whitespace_only_pieces": True,
        "minloglevel": 2,
    }
    sentences = iter(plain_text())
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=sentences, model_writer=model, **llama | settings)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return folder


def set_scores(path: Path, pieces: list[str], score: float) -> None:
    """Give pieces of a `tokenizer.model` another score: the float after the text, in its serialised form."""
    data = path.read_bytes()
    for piece in pieces:
        text = piece.encode()
        head, key, rest = data.partition(b"\x0a" + bytes([len(text)]) + text + b"\x15")
        data = head + key + struct.pack("<f", score) + rest[4:]
    path.write_bytes(data)


def reference(folder: Path) -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def with_bos(processor: sentencepiece.SentencePieceProcessor, texts: Sequence[str]) -> list[list[int]]:
    """Encode texts as SentencePiece does, BOS first."""
    return [[processor.bos_id(), *ids] for ids in processor.encode(list(texts))]


def train_byte_level(folder: Path) -> Path:
    """Train a byte-level BPE tokenizer in the manner of Llama 3 and save it."""
    backend = Tokenizer(models.BPE(ignore_merges=True))
    digits = pre_tokenizers.Split(Regex(r"\p{N}{1,3}| ?\p{L}+|\s+"), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(plain_text(), trainer)
    backend.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"])
    begin = ("<|begin_of_text|>", backend.token_to_id("<|begin_of_text|>"))
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[begin]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>"
    ).save_pretrained(folder)
    return folder


def write_json(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
