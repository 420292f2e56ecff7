"""The picture of a pack is drawn from the packs that training computes, and says their token counts."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alpaca_lora.config import BaseConfig, DataConfig, TrainConfig
from alpaca_lora.data.packing import pack_rows
from alpaca_lora.data.tokens import TokenRow
from alpaca_lora.training.batches import padded_batches
from alpaca_lora.training.prepare import read_tokens
from alpaca_lora.training.schedule import rows_of_step

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def draw_pack() -> Any:
    """The script, which lives beside the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        import draw_pack

        yield draw_pack


def step_rows(step: int) -> list[TokenRow]:
    table = read_tokens(DataConfig(data_path="sample"), BaseConfig(base_model="alpaca-tiny"))[3]
    return [table[int(row)] for row in rows_of_step(len(table), 16, TrainConfig().seed, step)]


def expected_counts(rows: list[TokenRow]) -> list[int]:
    """Tokens computed: padded in eights in the order given, packed, packed with shared prefixes."""
    eights = [padded_batches(rows[first : first + 8], 8) for first in (0, 8)]
    packs = [pack_rows(rows, 2048, share_prefix=share) for share in (False, True)]
    return [
        sum(batch.input_ids.numel() for batches in eights for batch in batches),
        *(sum(len(pack.input_ids) for pack in packed) for packed in packs),
    ]


def test_the_command_draws_the_documented_picture_and_prints_its_counts(
    draw_pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made" / "pack.png"
    monkeypatch.setattr("sys.argv", ["draw_pack.py", "--output", str(path)])
    draw_pack.main()
    printed = re.findall(r"^(.+?)  +([\d,]+) tokens computed for ([\d,]+), ", capsys.readouterr().out, re.M)
    rows = step_rows(14)
    assert [name for name, _, _ in printed] == ["padded", "plain", "shared prefix"]
    assert [int(count.replace(",", "")) for _, count, _ in printed] == expected_counts(rows)
    assert {int(real.replace(",", "")) for _, _, real in printed} == {sum(len(row.input_ids) for row in rows)}
    with Image.open(path) as image, Image.open(ROOT / "docs" / "guides" / "pack.png") as shown:
        assert image.size == shown.size == (1800, 1344)
    assert path.stat().st_size < 150_000


@pytest.mark.parametrize("step", [0, 3])
def test_every_token_stands_once_in_each_strip(draw_pack: Any, step: int) -> None:
    """Answers are never shared, so each strip has all of them; what else differs is padding or copies of a prefix."""
    rows = step_rows(step)
    laid_out = draw_pack.lay_out(rows)
    assert [strip.tokens for strip in (laid_out.padded, laid_out.plain, laid_out.shared)] == expected_counts(rows)
    answers = sum(int(row.is_target.sum()) for row in rows)
    for strip in (laid_out.padded, laid_out.plain, laid_out.shared):
        is_token = strip.codes != draw_pack.PADDING
        assert int((is_token & (strip.codes % 3 == draw_pack.ANSWER)).sum()) == answers
        assert sorted(number for number in strip.pieces if number > 0) == list(range(1, 17))
    assert int((laid_out.padded.codes != draw_pack.PADDING).sum()) == laid_out.real_tokens
    prefixes = [span.length for span in draw_pack.prefix_spans(laid_out.pack)]
    assert prefixes
    assert int((laid_out.shared.codes % 3 == draw_pack.PREFIX).sum()) == sum(prefixes)
    assert np.array_equal(np.unique(laid_out.plain.codes), np.unique(laid_out.shared.codes))
