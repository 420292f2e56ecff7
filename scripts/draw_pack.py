"""Draw the rows of one step as they are computed: padded as in 2023, packed, and packed with shared prefixes.

    python scripts/draw_pack.py --output docs/guides/pack.png

The rows are those of one step over the bundled sample, tokenised for the embedded base; nothing is downloaded. Prints
the tokens that each way computes, and draws the three ways to one scale and who sees whom in the pack.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from alpaca_lora.config import BaseConfig, DataConfig, TrainConfig
from alpaca_lora.data.packing import Pack, Span, pack_rows
from alpaca_lora.data.tokens import TokenRow
from alpaca_lora.training.batches import padded_batches
from alpaca_lora.training.prepare import read_tokens
from alpaca_lora.training.schedule import rows_of_step

ROWS, MICRO_BATCH = 16, 8
STEP = 14
"""0-based; a step in which both of the sample's prompt heads are frequent."""
WIDTH, DPI, SHARPNESS = 900, 100, 2
"""Laid out in 900 pixels across and drawn with twice as many, for sharp screens."""
LEFT, LABEL, BAR = 14, 162, 30
HUES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito's, which the colour-blind tell apart: one for each prefix, the last for rows without one."""
INK, GREY, LINE = "#1a1a1a", "#595959", "#8c8c8c"
PREFIX, PROMPT, ANSWER, PADDING = 0, 1, 2, -1

Codes = NDArray[np.int64]
"""int64 (tokens), 3 * group + PREFIX, PROMPT or ANSWER; or PADDING."""


@dataclass(frozen=True)
class Strip:
    """Tokens computed one after the other, and the first and the end of each piece, by its row's number from 1.

    A prefix is a piece of no row, by a number below 1.
    """

    codes: Codes
    pieces: dict[int, tuple[int, int]]

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return len(self.codes)


@dataclass(frozen=True)
class Step:
    """The rows of one step, laid out in three ways."""

    real_tokens: int
    padded: Strip
    plain: Strip
    shared: Strip
    pack: Pack

    def ratio(self, strip: Strip) -> float:
        """Tokens computed for each real one."""
        return strip.tokens / self.real_tokens

    def lines(self) -> list[str]:
        """Say what each way computes."""
        strips = {"padded": self.padded, "plain": self.plain, "shared prefix": self.shared}
        return [
            f"{name:<13}  {strip.tokens:,} tokens computed for {self.real_tokens:,}, {self.ratio(strip):.2f} for each"
            for name, strip in strips.items()
        ]


def read_step(step: int) -> list[TokenRow]:
    """Read the sample and give the rows of a step in the run's own order, which is random."""
    table = read_tokens(DataConfig(data_path="sample"), BaseConfig(base_model="alpaca-tiny"))[3]
    return [table[int(row)] for row in rows_of_step(len(table), ROWS, TrainConfig().seed, step)]


def lay_out(rows: Sequence[TokenRow]) -> Step:
    """Lay rows out in the three ways; with packing all of them are one pack."""
    real_tokens = sum(len(row.input_ids) for row in rows)
    (pack,), (plain,) = (pack_rows(rows, real_tokens, share_prefix=share) for share in (True, False))
    prefixes = prefix_spans(pack)
    groups = [span.start for span in prefixes]
    numbers = iter(pack.rows.tolist())
    codes: dict[int, Codes] = {}
    shared: list[tuple[int, Codes]] = []
    for span in pack.spans:
        if span in prefixes:
            group = groups.index(span.start)
            shared.append((-1 - group, np.full(span.length, 3 * group + PREFIX)))
            continue
        number, group = next(numbers), groups.index(span.prefix_start) if span.prefix_length else len(HUES) - 1
        kinds = np.where(rows[number].is_target, ANSWER, PROMPT)
        kinds[: span.prefix_length] = PREFIX
        codes[number] = 3 * group + kinds
        shared.append((number, codes[number][span.prefix_length :]))
    padded: list[tuple[int, Codes]] = []
    for first in range(0, len(rows), MICRO_BATCH):
        (batch,) = padded_batches(rows[first : first + MICRO_BATCH], MICRO_BATCH)
        for number in range(first, first + len(batch.input_ids)):
            filled = np.full(batch.input_ids.shape[1], PADDING)
            filled[: len(codes[number])] = codes[number]
            padded.append((number, filled))
    return Step(real_tokens, _strip(padded), _strip([(row, codes[row]) for row in plain.rows]), _strip(shared), pack)


def prefix_spans(pack: Pack) -> list[Span]:
    """Give the spans that others see."""
    seen = {(span.prefix_start, span.prefix_length) for span in pack.spans if span.prefix_length}
    return [span for span in pack.spans if (span.start, span.length) in seen]


def _strip(pieces: Sequence[tuple[int, Codes]]) -> Strip:
    ends = np.cumsum([0, *(len(codes) for _, codes in pieces)]).tolist()
    bounds = pairwise(ends)
    placed = {int(row) + 1: place for (row, _), place in zip(pieces, bounds, strict=True)}
    return Strip(np.concatenate([codes for _, codes in pieces]), placed)


def colour(code: int) -> tuple[float, ...]:
    """Prefixes are dark, trained tokens full, other tokens pale, padding nearly white."""
    if code == PADDING:
        return to_rgb("#f4f4f4")
    red, green, blue = to_rgb(HUES[code // 3 % len(HUES)])
    towards, share = {PREFIX: (0.0, 0.5), PROMPT: (1.0, 0.68), ANSWER: (0.0, 0.0)}[code % 3]
    return tuple(part + share * (towards - part) for part in (red, green, blue))


def runs(codes: Codes) -> Iterator[tuple[int, int, int]]:
    """Give neighbouring tokens of one code: first, number, code."""
    bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for first, end in pairwise(bounds):
        if end > first:
            yield first, end - first, int(codes[first])


class Canvas:
    """A figure laid out in pixels from its upper left corner, with tokens to one scale."""

    def __init__(self, longest: int, pack: int) -> None:
        self.pixels = (WIDTH - LEFT - LABEL) / longest
        self.matrix_top = 332
        height = self.matrix_top + round(pack * self.pixels) + LEFT
        self.figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI * SHARPNESS, facecolor="white")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(height, 0))
        self.axes.set_axis_off()

    def x(self, token: float) -> float:
        """Place of a token."""
        return LEFT + token * self.pixels

    def text(self, x: float, y: float, text: str, size: float = 9.5, **settings: Any) -> None:
        """Write, by default from the left, around a height."""
        self.axes.text(x, y, text, **{"size": size, "color": INK, "va": "center_baseline", **settings})

    def line(self, *points: tuple[float, float], **settings: Any) -> None:
        """Draw a line through points."""
        xs, ys = zip(*points, strict=True)
        self.axes.plot(xs, ys, **{"color": LINE, "linewidth": 0.9, "solid_capstyle": "butt", **settings})

    def box(self, x: float, y: float, width: float, height: float, code: int) -> None:
        """Fill a rectangle in a code's colour, hatched for padding."""
        hatch = {"hatch": "//////", "edgecolor": "#c4c4c4"} if code == PADDING else {"edgecolor": "none"}
        self.axes.add_patch(Rectangle((x, y), width, height, facecolor=colour(code), linewidth=0, **hatch))

    def strip(self, y: float, title: str, step: Step, strip: Strip) -> None:
        """Draw one way to compute the rows: title, row numbers, tokens, counts."""
        name, _, meaning = title.partition(": ")
        self.text(LEFT, y, name, weight="bold", size=10.5)
        self.text(LEFT + 126, y, meaning, color=GREY)
        top = y + 30
        for first, length, code in runs(strip.codes):
            self.box(self.x(first), top, length * self.pixels, BAR, code)
        for number, (first, end) in strip.pieces.items():
            if number > 0:
                self.text(self.x((first + end) / 2), top - 8, str(number), 7, ha="center", color=GREY)
            self.line((self.x(first), top), (self.x(first), top + BAR), color="white", linewidth=1.2)
        right = self.x(strip.tokens) + 10
        self.text(right, top + 8, f"{strip.tokens:,} tokens", weight="bold")
        self.text(right, top + 23, f"{step.ratio(strip):.2f} for each real one", 8.5, color=GREY)

    def bracket(self, first: int, end: int, y: float, text: str, ink: Any = GREY) -> None:
        """Draw a bracket below tokens and say what they are."""
        left, right = self.x(first) + 1, self.x(end) - 1
        self.line((left, y), (left, y + 5), (right, y + 5), (right, y), color=ink)
        self.text(left, y + 14, text, 8, color=ink)


def draw(step: Step) -> Figure:
    """Draw the three strips, and below the last, token under token, who sees whom in it."""
    canvas = Canvas(step.padded.tokens, step.shared.tokens)
    canvas.strip(16, "Padded (2023): each row is filled up to the longest of its micro-batch", step, step.padded)
    for batch in range(0, ROWS, MICRO_BATCH):
        pieces = [step.padded.pieces[number] for number in range(batch + 1, batch + MICRO_BATCH + 1)]
        first, end = pieces[0][0], pieces[-1][1]
        canvas.bracket(first, end, 80, f"micro-batch of {MICRO_BATCH} rows, {pieces[0][1] - first} tokens each")
    canvas.strip(128, "Plain packing: no padding, but each row still brings its own copy of its head", step, step.plain)
    canvas.strip(222, "Shared prefix: each head is computed once, and its rows all see that one", step, step.shared)
    for span in prefix_spans(step.pack):
        ends = [other.start + other.length for other in step.pack.spans if other[2:] == span[:2]]
        ink = colour(int(step.shared.codes[span.start]))
        canvas.bracket(span.start, max(ends), 286, f"head of {span.length}, for {len(ends)} rows", ink)
    draw_sight(canvas, step)
    write_notes(canvas, step)
    return canvas.figure


def draw_sight(canvas: Canvas, step: Step) -> None:
    """Draw the pack's attention: a line for each token, in the colours of the tokens it sees."""
    top, pixels = canvas.matrix_top, canvas.pixels
    size, codes = step.shared.tokens * pixels, step.shared.codes
    canvas.axes.add_patch(Rectangle((LEFT, top), size, size, facecolor="white", edgecolor=LINE, linewidth=0.8))
    for span in step.pack.spans:
        end = span.start + span.length
        for first, length, code in runs(codes[span.start : end]):
            left, right = span.start + first, span.start + first + length
            corners = [(left, left), (right, right), (right, end), (left, end)]
            xs, ys = zip(*((canvas.x(x), top + y * pixels) for x, y in corners), strict=True)
            canvas.axes.fill(xs, ys, facecolor=colour(code), edgecolor=colour(code), linewidth=0.3)
        for first, length, code in runs(codes[span.prefix_start : span.prefix_start + span.prefix_length]):
            x, y = canvas.x(span.prefix_start + first), top + span.start * pixels
            canvas.box(x, y, length * pixels, span.length * pixels, code)
    for number, (first, end) in step.shared.pieces.items():
        if number > 0:
            y = top + first * pixels - 6
            canvas.text(canvas.x((first + end) / 2), y, str(number), 7, ha="center", color=GREY)


def write_notes(canvas: Canvas, step: Step) -> None:
    """Explain colours and attention, to the right of it."""
    left, top = canvas.x(step.shared.tokens) + 36, canvas.matrix_top
    spans, size = step.pack.spans, step.shared.tokens
    seen = sum(span.length * span.prefix_length + span.length * (span.length + 1) // 2 for span in spans)
    canvas.text(left, top + 8, "Who sees whom in the shared-prefix pack", weight="bold", size=10.5)
    notes = (
        "Each line is a token that looks; what it sees is coloured, as in the strip above.",
        "Columns: a head is seen by all of its own rows, and by no others.",
        "Staircase: within its row, a token sees itself and what comes before it.",
        f"White: not seen. Of {size * size:,} pairs {seen:,} are seen, {100 * seen / size**2:.1f} %.",
    )
    for number, note in enumerate(notes):
        canvas.text(left, top + 38 + 22 * number, note, 9)
    canvas.text(left, top + 158, "Colours", weight="bold", size=10.5)
    groups = sorted({code // 3 for code in step.shared.codes.tolist()})
    legend = (
        (PREFIX, "head: the tokens with which all rows of its colour begin"),
        (PROMPT, "rest of the prompt: computed, not trained"),
        (ANSWER, "answer: trained"),
        (PADDING, "padding: computed for nothing"),
    )
    for number, (kind, meaning) in enumerate(legend):
        y = top + 188 + 24 * number
        for place, group in enumerate(groups):
            canvas.box(left + 18 * place, y - 7, 18, 14, kind if kind == PADDING else 3 * group + kind)
        canvas.text(left + 18 * len(groups) + 10, y, meaning, 9)
    source = f"{ROWS} rows of the bundled sample, numbered above the strips; all to one scale."
    canvas.text(left, top + 290, source, 9, color=GREY)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 64 colours, which is a quarter of the file that matplotlib writes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    image.quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Draw, write the picture, print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    parser.add_argument("--step", type=int, default=STEP, help="which step's rows, 0-based")
    arguments = parser.parse_args()
    step = lay_out(read_step(arguments.step))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save(draw(step), arguments.output)
    print(*step.lines(), sep="\n")


if __name__ == "__main__":
    main()
