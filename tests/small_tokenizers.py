"""Two small tokenizers made on the spot: LLaMA's kind (SentencePiece BPE) and Llama 3's (byte-level BPE)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from alpaca_lora.model.tokenizer import load_tokenizer

_CORPUS = """\
Below is an instruction that describes a task, paired with an input that provides further context.
Write a response that appropriately completes the request.
### Instruction: Name the capital of France. ### Input: Answer in one word. ### Response: Paris.
Ci-dessous se trouve une instruction qui décrit une tâche. Écrivez une réponse qui complète la demande.
The quick brown fox jumps over the lazy dog while eleven wizards mix potions in jars.
Sort these numbers: 3, 14, 15, 92, 65. A day has 24 hours, and a year has 365 days.
def add(a, b): return a + b  # braces { } and [ ] and < > too
Grüße aus Köln! ¿Qué tal? Ça va bien, merci. What is the opposite of hot? It is cold.
"""

_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def llama_style(folder: Path) -> PreTrainedTokenizerFast:
    """Train a SentencePiece BPE model with LLaMA's settings, byte fallback included, and load it from its file."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(_CORPUS.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    return load_tokenizer(folder)[0]


BYTES_ONLY = 263
"""A vocabulary size of `llama3_style` that leaves no room for merges: each byte is a token."""


def llama3_style(
    *, bos: bool = True, vocab_size: int = 500, specials_last: bool = False, **settings: Any
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE with Llama 3's word pattern and header tokens; with `bos` it begins every text.

    Llama 3 has its special tokens last: with `specials_last`, beyond `vocab_size`.
    """
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    names = ["begin_of_text", "end_of_text", "start_header_id", "end_header_id", "eot_id", "im_start", "im_end"]
    specials = [f"<|{name}|>" for name in names]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[] if specials_last else specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_CORPUS.splitlines(keepends=True), trainer)
    backend.add_special_tokens(specials)
    if bos:
        first = "<|begin_of_text|>"
        backend.post_processor = processors.TemplateProcessing(
            single=f"{first}:0 $A:0", special_tokens=[(first, backend.token_to_id(first))]
        )
    specials = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **(specials | settings))


def vocabulary_bytes(tokenizer: PreTrainedTokenizerFast) -> list[bytes]:
    """Give what each token stands for, from its name alone: no decoder of the tokenizer is asked."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    alphabet = {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}
    added = tokenizer.get_added_vocab()
    is_sentencepiece = "<0x00>" in tokenizer.get_vocab()

    def meaning(token: str) -> bytes:
        if token in added:
            return token.encode()
        if is_sentencepiece:
            return bytes([int(token[3:5], 16)]) if token.startswith("<0x") else token.replace("▁", " ").encode()
        return bytes(alphabet[character] for character in token)

    return [meaning(token) for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
