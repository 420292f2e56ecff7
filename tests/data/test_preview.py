"""The preview shows rows as they stand, and the counts in plain words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.text import Text
from small_tokenizers import BYTES_ONLY, llama3_style
from tokenizers import Tokenizer, decoders, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.preview import ledger_lines, row_text
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import Ledger, TokenRow, tokenize_examples

UNCUT = DataConfig(cutoff_len=100_000)
SHORT = "### Instruction:\n{}\n\n### Response:\n"


def a_row(example: Example, tokenizer: PreTrainedTokenizerFast, data: DataConfig = UNCUT) -> TokenRow:
    return tokenize_examples([example], load_prompt("alpaca_short", tokenizer), TextEncoder(tokenizer), data)[0]


def trained_characters(text: Text) -> str:
    """Collect what is shown on the colour of trained tokens."""
    return "".join(text.plain[span.start : span.end] for span in text.spans if "green" in str(span.style))


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Name it.", "Paris."),
        ("Name it.", " a space first,  two here, and last "),
        ("Name it.", "\n\tA line first\n"),
        (" Grüße, 好的 🙂", "é 好的 🙂👩‍👩‍👧 Ça"),
        ("Say </s> and <|eot_id|>", "</s><s> <|end_of_text|>"),
        ("a , b . c ' s", "It 's , as is n't ."),  # what a clean-up would change
        ("Nothing", ""),
        ("Space", " "),
    ],
)
def test_a_row_is_shown_as_it_stands(question: str, answer: str, tokenizer: PreTrainedTokenizerFast) -> None:
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    text = row_text(a_row(Example((Turn(question, "", answer),), "", 0), tokenizer), tokenizer)
    assert text.plain == f"{bos}{SHORT.format(question)}⟦{answer}{eos}⟧"
    assert trained_characters(text) == f"⟦{answer}{eos}⟧"


def test_turns_and_system_text_are_shown_as_they_stand(tokenizer: PreTrainedTokenizerFast) -> None:
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    row = a_row(Example((Turn("a", "", " b"), Turn(" c", "", "d ")), " Be brief.", 0), tokenizer)
    expected = f"{bos} Be brief.\n\n{SHORT.format('a')}⟦ b{eos}⟧{SHORT.format(' c')}⟦d {eos}⟧"
    assert row_text(row, tokenizer).plain == expected
    everything = replace(row, is_target=np.ones_like(row.is_target))
    assert row_text(everything, tokenizer).plain == "⟦" + expected.replace("⟦", "").replace("⟧", "") + "⟧"
    nothing = replace(row, is_target=np.zeros_like(row.is_target))
    assert row_text(nothing, tokenizer).plain == expected.replace("⟦", "").replace("⟧", "")


def test_a_space_that_a_template_begins_with_is_shown(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    template = {
        "description": "",
        "prompt_input": " Q {instruction} {input} A:",
        "prompt_no_input": " Q {instruction} A:",
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(template | {"response_split": "A:"}), encoding="utf-8")
    example = Example((Turn("a", "", "b"), Turn("c", "", "d")), "", 0)
    table = tokenize_examples([example], load_prompt(str(path), tokenizer), TextEncoder(tokenizer), UNCUT)
    bos, eos = str(tokenizer.bos_token), str(tokenizer.eos_token)
    assert row_text(table[0], tokenizer).plain == f"{bos} Q a A:⟦b{eos}⟧ Q c A:⟦d{eos}⟧"


def test_real_rows_are_shown_as_they_stand(real_llama: PreTrainedTokenizerFast, real_rows: list[Example]) -> None:
    rows = [replace(row, turns=(replace(row.turns[0], input=""),)) for row in real_rows[::2000]]
    table = tokenize_examples(rows, load_prompt("alpaca_short", real_llama), TextEncoder(real_llama), UNCUT)
    for index, row in enumerate(rows):
        expected = f"<s>{SHORT.format(row.turns[0].instruction)}⟦{row.turns[0].output}</s>⟧"
        assert row_text(table[index], real_llama).plain == expected.replace("\r", "␍")


def test_a_character_cut_in_two_garbles_nothing_else(llama: PreTrainedTokenizerFast) -> None:
    bytewise = llama3_style(vocab_size=BYTES_ONLY)
    example = Example((Turn("好", "", "好"),), "", 0)
    whole = len(a_row(example, llama).input_ids)
    for tokenizer, length in ((llama, whole), (bytewise, len(a_row(example, bytewise).input_ids))):
        row = a_row(example, tokenizer, replace(UNCUT, cutoff_len=length - 2))  # EOS and the last of three bytes
        shown = row_text(row, tokenizer).plain
        head = f"{tokenizer.bos_token}{SHORT.format('好')}⟦"
        assert shown.startswith(head)
        assert set(shown.removeprefix(head)) == {"�", "⟧"}


def test_a_tokenizer_that_marks_only_the_first_word(llama: PreTrainedTokenizerFast) -> None:
    """Newer conversions of LLaMA's vocabulary begin the text, but no section after a special token, with a space."""
    backend = Tokenizer.from_str(llama.backend_tokenizer.to_str())
    backend.normalizer = None  # pyright: ignore[reportAttributeAccessIssue]
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    replaced = decoders.Replace("▁", " ")
    backend.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    row = a_row(Example((Turn("a", "", " b"), Turn(" c", "", "d ")), "Be brief.", 0), tokenizer)
    expected = f"<s>Be brief.\n\n{SHORT.format('a')}⟦ b</s>⟧{SHORT.format(' c')}⟦d </s>⟧"
    assert row_text(row, tokenizer).plain == expected


def test_control_characters_are_shown_and_do_nothing(llama: PreTrainedTokenizerFast) -> None:
    row = a_row(Example((Turn("a\r\nb\x1b[31m\x07", "", "x\x00\ty"),), "", 0), llama)
    question = SHORT.format("a␍\nb␛[31m␇")
    assert row_text(row, llama).plain == f"<s>{question}⟦x␀\ty</s>⟧"


def test_the_counts_in_words() -> None:
    ledger = Ledger(
        rows_read=52_002,
        rows_unreadable=3,
        rows_too_long=4,
        rows_without_target=5,
        rows_kept=51_990,
        rows_cut=2_106,
        tokens_lost=148_888,
        answers_lost_whole=6,
        eos_lost=2_105,
        empty_answers=28,
        tokens=6_000_000,
        target_tokens=3_000_000,
        longest_row=1_305,
    )
    data = DataConfig(data_path="rows.json", cutoff_len=256)
    assert ledger_lines(ledger, data) == [
        "data    rows.json: 52,002 rows read, 51,990 kept",
        "tokens  6,000,000, of which 3,000,000 are trained (50.0 %)",
        "cut-off 256 tokens, longer rows are cut; the longest has 1,305",
        "cut     2,106 rows, 148,888 tokens lost, 6 whole answers, 2,105 rows without their end-of-sequence",
        "dropped 3 unreadable, 4 too long, 5 with no token left to train",
        "empty   28 rows kept with an answer of no text, which teaches to stop at once",
    ]
    assert "longer rows are dropped" in ledger_lines(ledger, replace(data, truncation="drop"))[2]
