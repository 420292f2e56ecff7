"""`data lengths`: every figure against a case worked by hand, a second way, or the real file's known figures."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from alpaca_lora.cli import dispatch
from alpaca_lora.config import DataConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example
from alpaca_lora.data.lengths import (
    cut_rows,
    draw_lengths,
    expected_waste,
    histogram,
    histogram_lines,
    length_lines,
    pack_epoch,
    padding_waste,
)
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.data.settings import LengthsConfig
from alpaca_lora.data.tokens import Ledger, TokenRow, TokenTable, tokenize_examples
from alpaca_lora.errors import UserError


def table_of(rows: list[list[int]], trained_from: int = 1) -> TokenTable:
    """Rows of token ids, trained from a place on."""
    flat = np.concatenate([np.array(row, dtype=np.int32) for row in rows])
    starts = np.cumsum([0, *(len(row) for row in rows)])
    mask = np.concatenate([np.arange(len(row)) >= trained_from for row in rows])
    ledger = Ledger(rows_read=len(rows), rows_kept=len(rows), tokens=len(flat), target_tokens=int(mask.sum()))
    return TokenTable(flat, mask, starts, np.arange(len(rows)), ledger, "")


def rows_of(*lengths: int) -> TokenTable:
    """Rows that begin differently, so that nothing is shared."""
    return table_of([[100 * (number + 1) + place for place in range(n)] for number, n in enumerate(lengths)])


def test_padding_in_every_order_averages_to_the_expected() -> None:
    lengths = np.array([1, 2, 2, 5, 9, 30])
    for size in (1, 2, 4, 6):
        longest = np.mean([max(batch) for batch in itertools.combinations(lengths.tolist(), size)])
        assert expected_waste(lengths, size) == pytest.approx(1 - lengths.mean() / longest)
    assert expected_waste(lengths, 1) == pytest.approx(0)
    assert expected_waste(lengths, 99) == pytest.approx(1 - 49 / (6 * 30))  # never more rows than there are


def test_padding_in_a_seeded_order() -> None:
    lengths = np.array([1, 3, 8])
    assert padding_waste(lengths, 3, seed=0) == pytest.approx(1 - 12 / 24)
    assert padding_waste(lengths, 1, seed=0) == 0
    # Two rows and one alone: 8 meets 1 or 3 and the other stands alone, or 1 meets 3 and 8 stands alone.
    possible = {1 - 12 / 19, 1 - 12 / 17, 1 - 12 / 14}
    found = {padding_waste(lengths, 2, seed=seed) for seed in range(30)}
    assert sorted(found) == pytest.approx(sorted(possible))
    assert padding_waste(lengths, 2, seed=5) == padding_waste(lengths, 2, seed=5)


def test_packs_share_a_prefix_worked_by_hand() -> None:
    head = list(range(10, 50))  # 40 tokens in common, and 10, 20 of their own
    rows = cut_rows(table_of([head + [1] * 10, head + [2] * 20]), DataConfig())
    config = LengthsConfig(batch_size=2, tokens_per_pack=100)
    shared = pack_epoch(rows, config, share_prefix=True)
    assert (shared.packs, shared.computed, shared.fill) == pytest.approx((1, 70 / 110, 0.7))
    plain = pack_epoch(rows, config, share_prefix=False)  # 50 + 60 do not fit into 100
    assert (plain.packs, plain.computed, plain.fill) == pytest.approx((2, 1.0, 110 / 200))


def test_both_ways_to_pack_are_told() -> None:
    head = list(range(10, 50))
    table = table_of([head + [1] * 10, head + [2] * 20])
    config = LengthsConfig(tokens_per_pack=100)
    lines = length_lines(table, cut_rows(table, config.data), config)
    assert [line.split(";")[0] for line in lines if line.startswith(("packed", "shared"))] == [
        "packed  1.000 tokens computed for each, packs 55.0 % full (2 of 100)",
        "shared  0.636 tokens computed for each, packs 70.0 % full (1 of 100)",
    ]


def test_only_rows_of_one_step_share_a_pack() -> None:
    rows = cut_rows(rows_of(20, 20, 20, 20), DataConfig())
    assert pack_epoch(rows, LengthsConfig(batch_size=2, tokens_per_pack=100), share_prefix=True).packs == 2
    assert pack_epoch(rows, LengthsConfig(batch_size=32, tokens_per_pack=100), share_prefix=True).packs == 1


def test_rows_are_cut_as_in_training() -> None:
    table = rows_of(5, 8, 12)
    assert [len(row.input_ids) for row in cut_rows(table, DataConfig(cutoff_len=8))] == [5, 8, 8]
    assert [row.row for row in cut_rows(table, DataConfig(cutoff_len=8, truncation="drop"))] == [0, 1]
    late = table_of([list(range(9)), list(range(20))], trained_from=8)
    with pytest.raises(UserError, match="no row has a token left to train"):
        cut_rows(late, DataConfig(cutoff_len=8))


def test_the_lines_worked_by_hand() -> None:
    table = rows_of(10, 20, 30, 310)
    config = LengthsConfig(data=DataConfig(cutoff_len=100), batch_size=4, num_epochs=2, tokens_per_second=4)
    lines = length_lines(table, cut_rows(table, config.data), config)
    assert lines[:4] == [
        "tokens  370 in 4 rows",
        "trained 366 of them (98.9 %), 91.5 a row",
        "length  mean 92.5, median 25, p95 268, p99 302, max 310",
        "over    100: 25.00 %, 256: 25.00 %, 512: 0.00 %, 1,024: 0.00 %",
    ]
    assert "cut-off 100, answer_tail" in lines[4]
    assert [line.split(" (")[0] for line in lines[5:8]] == [
        f"padded  60.0 % wasted in random micro-batches of {size}" for size in (4, 8, 16)
    ]  # 160 real of 4 x 100
    assert lines[8].startswith("packed  1.000 tokens computed for each, packs 7.8 % full (1 of 2,048)")
    assert lines[9].startswith("shared  1.000 tokens computed for each")
    assert lines[10] == "time    1 min 20 s for 2 epochs of 160 tokens at 4 a second"
    silent = length_lines(table, cut_rows(table, config.data), replace(config, tokens_per_second=None))
    assert not any(line.startswith("time") for line in silent)


def test_the_histogram_counts_every_row_once() -> None:
    lengths = np.array([3, 7, 8, 100, 120, 5000])
    width, counts = histogram(lengths)
    assert width == 512  # 99 % lie below 4,756; a sixteenth of that is 297
    assert counts.tolist() == [5, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    lines = histogram_lines(lengths)
    assert len(lines) == 11
    assert lines[0].split() == ["0-511", "█" * 40, "5"]
    assert lines[1].split() == ["512-1,023", "0"]
    assert lines[9].split() == ["4,608-5,119", "█" * 8, "1"]
    assert lines[10].split() == ["5,120", "or", "more", "0"]
    ones = np.ones(4, dtype=np.int64)
    assert histogram(ones)[0] == 1
    assert [line.split()[-1] for line in histogram_lines(ones)] == ["0", "4", "0"]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    lengths = np.array([10, 20, 30, 600])
    for cutoff in (512, 4096):
        path = draw_lengths(lengths, cutoff, str(tmp_path / f"{cutoff}.png"))
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size > 5000
    with pytest.raises(UserError, match="cannot be written"):
        draw_lengths(lengths, 512, str(tmp_path / "no" / "such.png"))


def test_the_verb_prints_draws_and_measures_before_the_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / "rows.json", tmp_path / "out.png"
    path.write_text(json.dumps([{"instruction": "Say it.", "output": "word " * n} for n in (1, 5, 900)]))
    words = ["data", "lengths", "--data_path", str(path), "--base_model", "alpaca-tiny", "--cutoff_len", "64"]
    dispatch([*words, "--picture", str(picture), "--tokens_per_second", "100"])
    printed = capsys.readouterr().out
    longest = int(printed.split("max ")[1].split("\n")[0].replace(",", ""))
    assert longest > 900
    assert "over    64: " in printed
    assert "█" in printed
    assert "time    " in printed
    assert picture.is_file()
    dispatch([*words, "--picture", ""])
    assert "drawn" not in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["batch_size", "tokens_per_pack", "num_epochs", "tokens_per_second"])
def test_impossible_settings_are_refused(flag: str) -> None:
    with pytest.raises(UserError, match=flag):
        LengthsConfig(**{flag: 0})


@pytest.mark.slow
def test_the_real_file_has_its_known_figures(real_llama: PreTrainedTokenizerFast, real_rows: list[Example]) -> None:
    uncut = DataConfig(cutoff_len=100_000)
    table = tokenize_examples(real_rows, load_prompt("alpaca", real_llama), TextEncoder(real_llama), uncut)
    some = [TokenRow(np.arange(9, dtype=np.int32), np.ones(9, dtype=np.bool_), 0)]
    lines = length_lines(table, some, LengthsConfig(data=uncut))
    assert lines[:3] == [
        "tokens  6,665,277 in 52,002 rows",
        "trained 3,409,496 of them (51.2 %), 65.6 a row",
        "length  mean 128.2, median 112, p95 242, p99 363, max 1,305",
    ]
    assert "256: 4.05 %, 512: 0.19 %" in lines[3]
    for size, percent in ((4, 35), (8, 45), (16, 54)):  # known of one order, and in whole per cents
        for waste in (padding_waste(table.lengths, size, seed=42), expected_waste(table.lengths, size)):
            assert 100 * waste == pytest.approx(percent, abs=0.8)
