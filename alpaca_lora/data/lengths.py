"""`data lengths`: how long rows are, and what that costs when they are padded or packed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from alpaca_lora.config import DataConfig
from alpaca_lora.data.packing import pack_rows
from alpaca_lora.data.preview import clean_lines
from alpaca_lora.data.settings import LengthsConfig
from alpaca_lora.data.tokens import TokenRow, TokenTable
from alpaca_lora.errors import UserError
from alpaca_lora.training.prepare import print_lines, read_tokens
from alpaca_lora.training.runlog import format_seconds
from alpaca_lora.training.schedule import rows_of_step

LIMITS = (256, 512, 1024)
MICRO_BATCHES = (4, 8, 16)
_UNCUT = 2**31 - 1
_BAR = 40
_BINS = 16


@dataclass(frozen=True)
class Packed:
    """What packing the steps of one epoch gives.

    Attributes:
        computed: tokens computed for each real one.
        fill: computed tokens for each that the packs have room for.
    """

    packs: int
    computed: float
    fill: float


def lengths(config: LengthsConfig, console: Console | None = None) -> None:
    """Read a data file with a base's tokenizer; print and draw its lengths and what they cost."""
    console = console or Console()
    _, _, _, table, notes = read_tokens(replace(config.data, cutoff_len=_UNCUT), config.model)
    rows = cut_rows(table, config.data)
    print_lines(console, *(f"note    {note}" for note in notes), *clean_lines(table.cleaning))
    print_lines(console, *length_lines(table, rows, config))
    print_lines(console, "", *histogram_lines(table.lengths))
    if config.picture:
        print_lines(console, "", f"drawn   {draw_lengths(table.lengths, config.data.cutoff_len, config.picture)}")


def cut_rows(table: TokenTable, data: DataConfig) -> list[TokenRow]:
    """Give the rows as they are trained: cut at `cutoff_len`, or without the longer ones."""
    cutoff, rows = data.cutoff_len, [table[number] for number in range(len(table))]
    if data.truncation == "drop":
        kept = [row for row in rows if len(row.input_ids) <= cutoff]
    else:
        cut = [TokenRow(row.input_ids[:cutoff], row.is_target[:cutoff], row.row) for row in rows]
        kept = [row for row in cut if row.is_target[1:].any()]
    if not kept:
        raise UserError("no row has a token left to train", fix=f"raise --cutoff_len (now {cutoff})")
    return kept


def length_lines(table: TokenTable, rows: Sequence[TokenRow], config: LengthsConfig) -> list[str]:
    """Say totals, quantiles, shares over limits, and what padding, packs and an epoch cost.

    Args:
        table: all rows, uncut.
        rows: those to train, cut.
    """
    every = table.lengths
    middle, p95, p99 = (f"{value:,.0f}" for value in np.percentile(every, (50, 95, 99)))
    limits = sorted({*LIMITS, config.data.cutoff_len})
    over = ", ".join(f"{limit:,}: {100 * (every > limit).mean():.2f} %" for limit in limits)
    trained = table.ledger.target_tokens
    share = f"{100 * trained / every.sum():.1f} %"
    lines = [
        f"tokens  {every.sum():,} in {len(every):,} rows",
        f"trained {trained:,} of them ({share}), {trained / len(every):.1f} a row",
        f"length  mean {every.mean():,.1f}, median {middle}, p95 {p95}, p99 {p99}, max {every.max():,}",
        f"over    {over}",
        f"below, rows are as they are trained: cut-off {config.data.cutoff_len:,}, {config.data.truncation}",
    ]
    cut = np.array([len(row.input_ids) for row in rows])
    for size in MICRO_BATCHES:
        found, expected = padding_waste(cut, size, config.seed), expected_waste(cut, size)
        lines.append(
            f"padded  {100 * found:.1f} % wasted in random micro-batches of {size} ({100 * expected:.1f} % expected)"
        )
    for label, share_prefix in (("packed", False), ("shared", True)):
        packed = pack_epoch(rows, config, share_prefix=share_prefix)
        how = "a common prefix computed once a pack" if share_prefix else "each row with its own prefix"
        lines.append(
            f"{label}  {packed.computed:.3f} tokens computed for each, packs {100 * packed.fill:.1f} % full "
            f"({packed.packs:,} of {config.tokens_per_pack:,}); {how}"
        )
    if config.tokens_per_second:
        seconds = config.num_epochs * cut.sum() / config.tokens_per_second
        lines.append(
            f"time    {format_seconds(seconds)} for {config.num_epochs:g} epochs of {cut.sum():,} tokens "
            f"at {config.tokens_per_second:,g} a second"
        )
    return lines


def padding_waste(row_lengths: NDArray[np.int64], size: int, seed: int) -> float:
    """Give the share of computed tokens that is padding, in seeded random micro-batches padded to their longest row."""
    order = np.random.default_rng(seed).permutation(row_lengths)
    batches = np.split(order, range(size, len(order), size))
    return 1 - int(order.sum()) / sum(int(batch.max()) * len(batch) for batch in batches)


def expected_waste(row_lengths: NDArray[np.int64], size: int) -> float:
    """Give the same share as it is over all orders.

    Of the C(n, m) micro-batches of m rows, C(i, m) lie among the i shortest; that gives the mean of the longest.
    """
    ordered, n = np.sort(row_lengths), len(row_lengths)
    size = min(size, n)
    shortest = np.arange(n + 1)[:, None] - np.arange(size)
    within = np.prod(np.maximum(shortest, 0) / (n - np.arange(size)), axis=1)
    return 1 - float(ordered.mean() / (np.diff(within) * ordered).sum())


def pack_epoch(rows: Sequence[TokenRow], config: LengthsConfig, *, share_prefix: bool) -> Packed:
    """Pack the steps of one epoch as training does; rows beyond the last whole step are left out."""
    size = min(config.batch_size, len(rows))
    real = computed = packs = 0
    for step in range(len(rows) // size):
        chosen = [rows[row] for row in rows_of_step(len(rows), size, config.seed, step).tolist()]
        made = pack_rows(chosen, config.tokens_per_pack, share_prefix=share_prefix)
        real += sum(len(row.input_ids) for row in chosen)
        computed += sum(len(pack.input_ids) for pack in made)
        packs += len(made)
    return Packed(packs, computed / real, computed / packs / config.tokens_per_pack)


def histogram(row_lengths: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Count rows in bins of one width, a power of two, about 16 of them up to the 99th percentile.

    Returns the width in tokens and the counts; bin i holds lengths from i * width to below (i + 1) * width.
    """
    width = 2 ** math.ceil(math.log2(max(1.0, float(np.percentile(row_lengths, 99)) / _BINS)))
    return width, np.bincount(row_lengths // width)


def histogram_lines(row_lengths: NDArray[np.int64]) -> list[str]:
    """Draw the histogram in text; what lies beyond the 99th percentile shares the last line."""
    width, counts = histogram(row_lengths)
    last = int(np.percentile(row_lengths, 99)) // width + 1
    lines = [(f"{place * width:,}-{(place + 1) * width - 1:,}", count) for place, count in enumerate(counts[:last])]
    lines.append((f"{last * width:,} or more", counts[last:].sum()))
    most = max(count for _, count in lines)
    return [f"{name:>15} {'█' * math.ceil(_BAR * count / most):<{_BAR}} {count:>7,}" for name, count in lines]


def draw_lengths(row_lengths: NDArray[np.int64], cutoff: int, path: str) -> Path:
    """Draw the histogram with median, 95th percentile and cut-off, but without its last thousandth; return the path."""
    from matplotlib.figure import Figure

    width, counts = histogram(row_lengths)
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.bar(np.arange(len(counts)) * width, counts, width=width, align="edge", color="#9db8d9", edgecolor="white")
    median, p95, far = np.percentile(row_lengths, (50, 95, 99.9))
    marks = [(median, f"median {median:,.0f}", "-"), (p95, f"95th percentile {p95:,.0f}", "--")]
    if cutoff < row_lengths.max():
        marks.append((cutoff, f"cut-off {cutoff:,}: {100 * (row_lengths > cutoff).mean():.2f} % are longer", ":"))
    for place, label, style in marks:
        axes.axvline(float(place), linestyle=style, color="#333333", label=label)
    axes.set(xlabel="tokens in a row", ylabel="rows", xlim=(0, 1.08 * max(far, marks[-1][0])))
    axes.set_title(f"{len(row_lengths):,} rows, {row_lengths.sum():,} tokens, the longest row {row_lengths.max():,}")
    axes.legend(framealpha=1, edgecolor="none")  # a line may pass behind it
    target = Path(path).expanduser()
    try:
        figure.savefig(target, format="png")
    except OSError as error:
        raise UserError(
            f"the picture cannot be written: {error.strerror}", where=path, fix="give --picture another place"
        ) from error
    return target
