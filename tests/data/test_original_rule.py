"""Ids and labels against the rule of the original finetune.py of 2023, written down here in a few lines."""

from __future__ import annotations

from collections import Counter

import pytest
from transformers import PreTrainedTokenizerFast

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.tokens import tokenize_examples
from alpaca_lora.errors import UserError

WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
    "response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
)
WITHOUT_INPUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)
ROWS = [
    Turn("Name the capital of France.", "", "Paris."),
    Turn("Sort these numbers.", "14, 3, 15", "3, 14, 15"),
    Turn("Say nothing.", "", ""),
    Turn("Traduis : Grüße aus Köln!", "好的 🙂", " Ça va\n\nbien {merci}"),
    Turn(
        "Write a poem about a fox.", "", "The quick brown fox jumps over the lazy dog, and over eleven wizards.\n" * 3
    ),
    Turn("Shorten this text. " * 12, "The quick brown fox. " * 20, "A fox."),
]


def original_rule(
    tokenizer: PreTrainedTokenizerFast, row: Turn, cutoff_len: int, *, train_on_inputs: bool
) -> tuple[list[int], list[int]]:
    """Tokenise the whole; end with EOS if there is room; do not train as many tokens as the prompt alone has."""

    def tokenize(text: str, *, add_eos: bool) -> list[int]:
        ids = list(tokenizer(text, truncation=True, max_length=cutoff_len, padding=False)["input_ids"])
        if add_eos and ids[-1] != tokenizer.eos_token_id and len(ids) < cutoff_len:
            ids.append(tokenizer.eos_token_id)
        return ids

    prompt = (WITH_INPUT if row.input else WITHOUT_INPUT).format(instruction=row.instruction, input=row.input)
    ids = tokenize(prompt + row.output, add_eos=True)
    untrained = 0 if train_on_inputs else len(tokenize(prompt, add_eos=False))
    return ids, [-100] * untrained + ids[untrained:]


def compare(
    tokenizer: PreTrainedTokenizerFast,
    encoder: TextEncoder,
    rows: list[Turn],
    cutoff_len: int,
    *,
    train_on_inputs: bool,
) -> Counter[str]:
    """Check every row; count what kinds of rows there were."""
    data = DataConfig(cutoff_len=cutoff_len, train_on_inputs=train_on_inputs)
    examples = [Example((row,), "", number) for number, row in enumerate(rows)]
    expected = [original_rule(tokenizer, row, cutoff_len, train_on_inputs=train_on_inputs) for row in rows]
    with_target = [number for number, (_, labels) in enumerate(expected) if set(labels) != {-100}]
    if not with_target:
        with pytest.raises(UserError, match="no row has a token left to train"):
            tokenize_examples(examples, load_prompt("alpaca", tokenizer), encoder, data)
        return Counter(prompt_too_long=len(rows))
    table = tokenize_examples(examples, load_prompt("alpaca", tokenizer), encoder, data)
    # The original kept rows without a target: they cost time and teach nothing. Ours are dropped and counted.
    assert table.rows.tolist() == with_target
    assert table.ledger.rows_without_target == len(rows) - len(with_target)
    for index, number in enumerate(with_target):
        ids, labels = expected[number]
        assert table[index].input_ids.tolist() == ids
        assert table[index].labels.tolist() == labels
    ended = sum(table[index].input_ids[-1] == tokenizer.eos_token_id for index in range(len(table)))
    assert table.ledger.eos_lost == len(rows) - ended
    return Counter(
        prompt_too_long=len(rows) - len(with_target),
        cut=len(with_target) - ended,
        whole=ended,
        without_input=sum(not row.input for row in rows),
    )


@pytest.mark.parametrize("train_on_inputs", [False, True])
def test_ids_and_labels_are_the_originals_at_every_cut_off(
    llama: PreTrainedTokenizerFast, train_on_inputs: bool
) -> None:
    encoder = TextEncoder(llama)
    lengths = [len(original_rule(llama, row, 10_000, train_on_inputs=True)[0]) for row in ROWS]
    prompts = [original_rule(llama, row, 10_000, train_on_inputs=False)[1].count(-100) for row in ROWS]
    near = {length + more for length in [*lengths, *prompts] for more in (-2, -1, 0, 1)}
    seen: Counter[str] = Counter()
    for cutoff_len in sorted(near | {8, 64, 256, 512}):
        seen += compare(llama, encoder, ROWS, cutoff_len, train_on_inputs=train_on_inputs)
    kinds = {"cut", "whole", "without_input"} | (set() if train_on_inputs else {"prompt_too_long"})
    assert {kind for kind, count in seen.items() if count > 20} == kinds


@pytest.mark.parametrize("train_on_inputs", [False, True])
def test_ids_and_labels_of_real_rows_are_the_originals(
    real_llama: PreTrainedTokenizerFast, real_rows: list[Example], train_on_inputs: bool
) -> None:
    rows = [example.turns[0] for example in real_rows[::60]]
    rows += [example.turns[0] for example in real_rows if len(example.turns[0].input) > 1000]
    specials = ("<s>", "</s>", "<unk>")  # acted in the original; here they are plain text
    rows = [row for row in rows if not any(text in f"{row.instruction}{row.input}{row.output}" for text in specials)]
    seen = compare(real_llama, TextEncoder(real_llama), rows, 256, train_on_inputs=train_on_inputs)
    assert seen["whole"] > 700
    assert seen["cut"] > 30
    assert (seen["prompt_too_long"] > 0) != train_on_inputs
