"""Which tokens are trained, and what the cut-off cost: against bytes read off the tokens, and worked by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from conversations import CONVERSATIONS, TRICKY, text_of
from small_tokenizers import BYTES_ONLY, llama3_style, vocabulary_bytes
from transformers import PreTrainedTokenizerFast

from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.prompts import Prompt, load_prompt, template_names
from alpaca_lora.data.tokens import Ledger, TokenRow, load_tokens, tokenize_examples
from alpaca_lora.errors import UserError

UNCUT = DataConfig(cutoff_len=100_000)
ANSWERS = [
    *("Paris.", "a", "7", ":", "42 is it", "Ça va", "好的", "🙂 yes", "é", "\u200bx", "x=1\r\n", "trailing  ", ""),
    *(" one space", "   three", "\nline", "\n\nlines", "\ttab", " ", "\n", "Response:", *TRICKY),
]


def some_rows() -> list[Example]:
    """Give rows with answers that begin in many ways, contexts, system texts, and earlier turns."""
    rows = [("", [Turn("Say it.", "", answer)]) for answer in ANSWERS]
    rows += [("", [Turn(text, text, text)]) for text in TRICKY]
    rows += [("Be kind.", [Turn("a", "", one), Turn("b", "", two)]) for one, two in pairwise(ANSWERS)]
    rows += list(CONVERSATIONS.values())
    return [Example(tuple(turns), system, number) for number, (system, turns) in enumerate(rows)]


def stretches(row: TokenRow, meanings: list[bytes]) -> list[tuple[str, bool]]:
    """Give what trained and untrained tokens stand for, in turn, a piece for each change."""
    pieces: list[tuple[bytes, bool]] = []
    for token, is_target in zip(row.input_ids.tolist(), row.is_target.tolist(), strict=True):
        if not pieces or pieces[-1][1] != is_target:
            pieces.append((b"", is_target))
        pieces[-1] = (pieces[-1][0] + meanings[token], is_target)
    return [(piece.decode(), is_target) for piece, is_target in pieces]


def check_masks(examples: Iterable[Example], prompt: Prompt, tokenizer: PreTrainedTokenizerFast) -> None:
    """Check that prompts are untrained and whole, and answers with their EOS trained and whole."""
    meanings = vocabulary_bytes(tokenizer)
    space = " " if "▁" in tokenizer.get_vocab() else ""  # begins every section for SentencePiece
    eos = str(tokenizer.eos_token)
    examples = list(examples)
    table = tokenize_examples(examples, prompt, TextEncoder(tokenizer), UNCUT)
    assert table.rows.tolist() == [example.row for example in examples]
    for index, example in enumerate(examples):
        expected: list[tuple[str, bool]] = []
        context = str(tokenizer.bos_token) + space + (f"{example.system}\n\n" if example.system else "")
        for turn in example.turns:
            question = text_of(prompt.render([turn], "", open_ended=True))
            expected += [(context + question, False), (turn.output + eos, True)]
            context = space
        row = table[index]
        assert stretches(row, meanings) == expected
        first = meanings[row.input_ids[row.is_target][0]]
        assert first
        assert (example.turns[0].output + eos).encode().startswith(first)
        assert row.input_ids[-1] == tokenizer.eos_token_id
        assert row.is_target[-1]
        assert np.array_equal(row.labels, np.where(row.is_target, row.input_ids, -100))


@pytest.mark.parametrize("name", template_names())
def test_exactly_the_answers_and_their_eos_are_trained(name: str, tokenizer: PreTrainedTokenizerFast) -> None:
    check_masks(some_rows(), load_prompt(name, tokenizer), tokenizer)


@pytest.mark.parametrize("name", template_names())
def test_exactly_the_answers_of_real_rows_are_trained(
    name: str, real_llama: PreTrainedTokenizerFast, real_rows: list[Example]
) -> None:
    check_masks(real_rows[::100], load_prompt(name, real_llama), real_llama)


def test_a_mask_that_is_off_by_one_is_found(llama: PreTrainedTokenizerFast) -> None:
    """The check above sees what the original's measured prompt length gets wrong."""
    table = tokenize_examples(some_rows()[:1], load_prompt("alpaca", llama), TextEncoder(llama), UNCUT)
    row, meanings = table[0], vocabulary_bytes(llama)
    wrong = replace(row, is_target=np.roll(row.is_target, -1))
    assert stretches(row, meanings)[-1] == ("Paris.</s>", True)
    assert stretches(wrong, meanings)[-2:] == [("\nParis.", True), ("</s>", False)]


def test_special_tokens_in_users_text_stay_text(tokenizer: PreTrainedTokenizerFast) -> None:
    tricky = "</s> <s> <unk> <|eot_id|> <|end_of_text|> <|begin_of_text|>"
    row = Example((Turn(tricky, tricky, tricky),), tricky, 0)
    for name in template_names():
        table = tokenize_examples([row], load_prompt(name, tokenizer), TextEncoder(tokenizer), UNCUT)
        acting = [int(token) for token in table.input_ids if int(token) in tokenizer.added_tokens_decoder]
        assert acting == [tokenizer.bos_token_id, tokenizer.eos_token_id]


def test_train_on_inputs_trains_every_token(tokenizer: PreTrainedTokenizerFast) -> None:
    prompt, encoder = load_prompt("alpaca", tokenizer), TextEncoder(tokenizer)
    rows = some_rows()
    answers = tokenize_examples(rows, prompt, encoder, UNCUT)
    everything = tokenize_examples(rows, prompt, encoder, replace(UNCUT, train_on_inputs=True))
    assert np.array_equal(answers.input_ids, everything.input_ids)
    assert everything.is_target.all()
    assert everything.ledger.target_tokens == everything.ledger.tokens == answers.ledger.tokens


# --- the ledger, worked by hand: every byte is a token -----------------------------------------------------------

SPARSE = {
    "description": "One letter before each field.",
    "prompt_input": "Q{instruction}I{input}A",
    "prompt_no_input": "Q{instruction}A",
    "response_split": "A",
}
LEDGER_ROWS = [  # with a cut-off of 9, | marks the cut
    Example((Turn("ab", "", "xyz"),), "", 0),  # BOS Q a b A x y z EOS
    Example((Turn("ab", "", "xyzw"),), "", 1),  # BOS Q a b A x y z w | EOS
    Example((Turn("ab", "", "wwwwwwww"),), "", 2),  # BOS Q a b A w w w w | w w w w EOS
    Example((Turn("abcdefgh", "", "x"),), "", 3),  # BOS Q a b c d e f g | h A x EOS
    Example((Turn("ab", "", ""),), "", 4),  # BOS Q a b A EOS
    Example((Turn("a", "", "b"), Turn("c", "", "dd")), "", 5),  # BOS Q a A b EOS Q c A | d d EOS
]


@pytest.fixture
def sparse(tmp_path: Path) -> tuple[Prompt, TextEncoder]:
    (tmp_path / "sparse.json").write_text(json.dumps(SPARSE), encoding="utf-8")
    tokenizer = llama3_style(vocab_size=BYTES_ONLY)
    return load_prompt(str(tmp_path / "sparse.json"), tokenizer), TextEncoder(tokenizer)


def balanced(ledger: Ledger) -> bool:
    dropped = ledger.rows_unreadable + ledger.rows_too_long + ledger.rows_without_target
    return ledger.rows_read == ledger.rows_kept + dropped


def test_ledger_of_cut_rows(sparse: tuple[Prompt, TextEncoder]) -> None:
    table = tokenize_examples(LEDGER_ROWS, *sparse, DataConfig(cutoff_len=9))
    assert table.rows.tolist() == [0, 1, 2, 4, 5]
    assert table.lengths.tolist() == [9, 9, 9, 6, 9]
    assert table.ledger == Ledger(
        rows_read=6,
        rows_without_target=1,
        rows_kept=5,
        rows_cut=4,
        tokens_lost=1 + 5 + 4 + 3,
        answers_lost_whole=2,
        eos_lost=4,
        empty_answers=1,
        tokens=42,
        target_tokens=4 + 4 + 4 + 1 + 2,
        longest_row=14,
    )
    assert balanced(table.ledger)


def test_ledger_of_dropped_rows(sparse: tuple[Prompt, TextEncoder]) -> None:
    table = tokenize_examples(LEDGER_ROWS, *sparse, DataConfig(cutoff_len=9, truncation="drop"))
    assert table.rows.tolist() == [0, 4]
    assert table.ledger == Ledger(
        rows_read=6, rows_too_long=4, rows_kept=2, empty_answers=1, tokens=15, target_tokens=5, longest_row=14
    )
    assert balanced(table.ledger)


def test_ledger_when_inputs_are_trained_too(sparse: tuple[Prompt, TextEncoder]) -> None:
    table = tokenize_examples(LEDGER_ROWS, *sparse, DataConfig(cutoff_len=9, train_on_inputs=True))
    cut = tokenize_examples(LEDGER_ROWS, *sparse, DataConfig(cutoff_len=9)).ledger
    assert table.ledger == replace(cut, rows_kept=6, rows_without_target=0, tokens=51, target_tokens=51)
    assert balanced(table.ledger)


def test_rows_that_fit_lose_nothing(sparse: tuple[Prompt, TextEncoder]) -> None:
    for data in (DataConfig(cutoff_len=14), DataConfig(cutoff_len=14, truncation="drop")):
        ledger = tokenize_examples(LEDGER_ROWS, *sparse, data).ledger
        assert ledger == Ledger(
            rows_read=6,
            rows_kept=6,
            empty_answers=1,
            tokens=9 + 10 + 14 + 13 + 6 + 12,
            target_tokens=4 + 5 + 9 + 2 + 1 + 5,
            longest_row=14,
        )


def test_only_what_stands_behind_the_end_of_an_answer_is_lost() -> None:
    """Chat templates write a line break after the token that ends an answer; cutting it loses no end."""
    line = "'<|im_start|>' + message['role'] + message['content'] + '<|im_end|>\\n'"
    template = f"{{% for message in messages %}}{{{{ {line} }}}}{{% endfor %}}"
    tokenizer = llama3_style(vocab_size=BYTES_ONLY, chat_template=template)
    prompt, encoder, rows = load_prompt("chat", tokenizer), TextEncoder(tokenizer), LEDGER_ROWS[:1]
    whole = tokenize_examples(rows, prompt, encoder, UNCUT)
    cut = tokenize_examples(rows, prompt, encoder, DataConfig(cutoff_len=whole.ledger.tokens - 1)).ledger
    assert (cut.rows_cut, cut.tokens_lost, cut.eos_lost) == (1, 1, 0)
    assert cut.target_tokens == whole.ledger.target_tokens
    assert tokenize_examples(rows, prompt, encoder, DataConfig(cutoff_len=cut.tokens - 1)).ledger.eos_lost == 1


def test_a_dropped_row_with_an_empty_answer_is_not_counted_as_kept(sparse: tuple[Prompt, TextEncoder]) -> None:
    rows = [*LEDGER_ROWS[:1], Example((Turn("abcdefgh", "", ""),), "", 1)]
    ledger = tokenize_examples(rows, *sparse, DataConfig(cutoff_len=9)).ledger
    assert (ledger.rows_kept, ledger.rows_without_target, ledger.empty_answers) == (1, 1, 0)
    assert (ledger.answers_lost_whole, ledger.eos_lost) == (0, 1)


def test_unreadable_rows_are_counted(tmp_path: Path, sparse: tuple[Prompt, TextEncoder]) -> None:
    rows = [
        {"instruction": "ab", "output": "xyz"},
        {"instruction": "ab", "output": None},
        {"instruction": "", "output": "x"},
    ]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    data = DataConfig(data_path=str(path), cutoff_len=9)
    with pytest.raises(UserError, match="row 1 cannot be used"):
        load_tokens(data, *sparse)
    table = load_tokens(replace(data, on_bad_rows="skip"), *sparse)
    assert table.rows.tolist() == [0]
    assert (table.ledger.rows_read, table.ledger.rows_unreadable, table.ledger.rows_kept) == (3, 2, 1)
    assert balanced(table.ledger)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataConfig(cutoff_len=9), "0 rows are too long, 1 have no target left.*now 9.*the longest row has 13 tokens"),
        (DataConfig(cutoff_len=9, truncation="drop"), "1 rows are too long, 0 have no target left"),
    ],
)
def test_nothing_left_to_train_is_an_error(sparse: tuple[Prompt, TextEncoder], data: DataConfig, message: str) -> None:
    with pytest.raises(UserError, match=f"(?s)no row has a token left to train.*{message}"):
        tokenize_examples(LEDGER_ROWS[3:4], *sparse, data)


def test_a_row_its_chat_template_refuses_is_named() -> None:
    tokenizer = llama3_style()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['content'] | replace('bad', 'good') }}{{ eos_token }}{% endfor %}"
    )
    rows = [Example((Turn("fine", "", "yes"),), "", 6), Example((Turn("bad", "", "yes"),), "", 7)]
    with pytest.raises(UserError, match=r"row 7 \(0-based\)"):
        tokenize_examples(rows, load_prompt("chat", tokenizer), TextEncoder(tokenizer), UNCUT)
