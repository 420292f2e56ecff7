"""Segments to token ids and targets, what the cut-off cost, and a cache so that the same work is done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpaca_lora.config import DataConfig
from alpaca_lora.data.audit.counts import CleanLog
from alpaca_lora.data.cache import cache_file, cache_folder, read_arrays, write_arrays
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Example, Examples, Turn, parse_rows, read_examples
from alpaca_lora.data.files import content_fingerprint, parse_file
from alpaca_lora.data.prompts import Prompt, render_example
from alpaca_lora.data.segments import Segment
from alpaca_lora.errors import UserError

IGNORED = -100
"""Label of a token that is not trained, as in torch's cross entropy."""

_CHUNK_ROWS = 2000
_CACHE_VERSION = 2
_CACHE_FILES = 16


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row ready to train.

    Attributes:
        input_ids: int32 (tokens), ids with BOS first.
        is_target: bool (tokens), whether the token is trained.
        row: 0-based row number in the data file.
    """

    input_ids: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    row: int

    @property
    def labels(self) -> NDArray[np.int32]:
        """int32 (tokens), the ids where trained, -100 elsewhere."""
        return np.where(self.is_target, self.input_ids, np.int32(IGNORED)).astype(np.int32)


@dataclass(frozen=True)
class Ledger:
    """What became of every row: nothing is cut or dropped without being counted here."""

    rows_read: int = 0
    rows_unreadable: int = 0
    rows_too_long: int = 0
    """Dropped whole by `truncation: drop`."""
    rows_without_target: int = 0
    """Dropped because the cut left no token to train."""
    rows_kept: int = 0
    rows_cut: int = 0
    """Cut by `truncation: answer_tail`, those included that were then dropped without a target."""
    tokens_lost: int = 0
    """Behind the cut, of the rows cut."""
    answers_lost_whole: int = 0
    """Answers of the rows cut that lie behind the cut from their first token on."""
    eos_lost: int = 0
    """Rows whose closing end-of-sequence was cut: the model is not taught to stop there."""
    empty_answers: int = 0
    """Rows kept with an answer of no text, which teaches to stop at once."""
    tokens: int = 0
    """Of the rows kept, after the cut."""
    target_tokens: int = 0
    longest_row: int = 0
    """In tokens, before the cut."""


@dataclass(frozen=True)
class TokenTable:
    """All kept rows of one file, flat.

    Attributes:
        input_ids: int32 (all tokens).
        is_target: bool (all tokens).
        starts: int64 (rows + 1), row i is `starts[i]:starts[i + 1]`.
        rows: int64 (rows), 0-based row numbers in the file, or in the one that `data clean` would make of it.
        cleaning: what `--clean` did before.
    """

    input_ids: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    starts: NDArray[np.int64]
    rows: NDArray[np.int64]
    ledger: Ledger
    data_sha256: str
    cleaning: CleanLog | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> TokenRow:
        tokens = slice(int(self.starts[index]), int(self.starts[index + 1]))
        return TokenRow(self.input_ids[tokens], self.is_target[tokens], int(self.rows[index]))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 (rows), tokens of each row."""
        return np.diff(self.starts)

    def count_targets(self, rows: NDArray[np.int64]) -> int:
        """Count the target tokens of rows; a row's first token is predicted from nothing and never counts."""
        return sum(int(self[row].is_target[1:].sum()) for row in rows.tolist())


def encode_segments(encoder: TextEncoder, conversations: Sequence[list[Segment]]) -> Iterator[tuple[Any, list[Any]]]:
    """Tokenise each conversation's segments apart, so that the mask never depends on a measured length.

    Neighbouring pieces of plain text, all trained or all not, are joined first, as any other program joins them.
    Yields per conversation the pieces (segments, BOS first where the tokenizer begins texts with it) and their ids.
    """
    pieces = [_with_bos(encoder, _joined(segments)) for segments in conversations]
    texts = [piece.text for row in pieces for piece in row]
    starts = [start for row in pieces for start in encoder.at_start(row)]
    is_markup = [piece.is_markup for row in pieces for piece in row]
    ids = iter(encoder.encode(texts, starts, is_markup))
    for row in pieces:
        yield row, [next(ids) for _ in row]


def _joined(segments: list[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if last and last.is_target == segment.is_target and not (last.is_markup or segment.is_markup):
            joined[-1] = Segment(last.text + segment.text, segment.is_target)
        else:
            joined.append(segment)
    return joined


def _with_bos(encoder: TextEncoder, segments: list[Segment]) -> list[Segment]:
    if not encoder.bos or (segments[0].is_markup and segments[0].text.startswith(encoder.bos)):
        return segments
    return [Segment(encoder.bos, is_markup=True), *segments]


def encode_prompt(encoder: TextEncoder, prompt: Prompt, turns: Sequence[Turn], system: str = "") -> list[int]:
    """Give the ids of a conversation whose last answer is still to come: what training saw before the answer."""
    segments = prompt.render(turns, system, open_ended=True)
    _, ids = next(encode_segments(encoder, [segments]))
    return [int(token) for piece in ids for token in piece]


def tokenize_examples(
    examples: Sequence[Example], prompt: Prompt, encoder: TextEncoder, data: DataConfig, *, sha256: str = ""
) -> TokenTable:
    """Tokenise, mask and cut every example; count what was lost."""
    counts = dict.fromkeys((field.name for field in fields(Ledger)), 0)
    ids: list[NDArray[np.int32]] = []
    masks: list[NDArray[np.bool_]] = []
    rows: list[int] = []
    for first in range(0, len(examples), _CHUNK_ROWS):
        chunk = examples[first : first + _CHUNK_ROWS]
        encoded = encode_segments(encoder, [_render(prompt, example) for example in chunk])
        for example, (pieces, piece_ids) in zip(chunk, encoded, strict=True):
            kept = _cut_row(pieces, piece_ids, data, counts)
            if kept is not None:
                ids.append(kept[0])
                masks.append(kept[1])
                rows.append(example.row)
                counts["empty_answers"] += any(not turn.output.strip() for turn in example.turns)
    counts.update(rows_read=len(examples), rows_kept=len(rows))
    if not rows:
        raise UserError(
            "no row has a token left to train",
            why=f"{counts['rows_too_long']} rows are too long, {counts['rows_without_target']} have no target left",
            fix=f"raise --cutoff_len (now {data.cutoff_len}); the longest row has {counts['longest_row']} tokens",
        )
    flat, targets = np.concatenate(ids), np.concatenate(masks)
    counts.update(tokens=len(flat), target_tokens=int(targets.sum()))
    starts = np.concatenate([[0], np.cumsum([len(row) for row in ids])]).astype(np.int64)
    return TokenTable(flat, targets, starts, np.array(rows, dtype=np.int64), Ledger(**counts), sha256)


def _render(prompt: Prompt, example: Example) -> list[Segment]:
    try:
        return render_example(prompt, example)
    except UserError as error:
        where = f"row {example.row} (0-based); {error.where}"
        raise UserError(error.what, where=where, why=error.why, fix=error.fix) from error


def _cut_row(
    pieces: list[Segment], piece_ids: list[Any], data: DataConfig, counts: dict[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.bool_]] | None:
    lengths = [len(ids) for ids in piece_ids]
    total, cutoff = sum(lengths), data.cutoff_len
    counts["longest_row"] = max(counts["longest_row"], total)
    if total > cutoff and data.truncation == "drop":
        counts["rows_too_long"] += 1
        return None
    ids = np.concatenate([np.asarray(ids, dtype=np.int32) for ids in piece_ids])
    mask = np.repeat([piece.is_target or data.train_on_inputs for piece in pieces], lengths)
    if total > cutoff:
        ends = np.cumsum(lengths)
        targets = [number for number, piece in enumerate(pieces) if piece.is_target and lengths[number]]
        answers = [number for number in targets if not pieces[number].is_markup]
        counts["rows_cut"] += 1
        counts["tokens_lost"] += total - cutoff
        counts["answers_lost_whole"] += sum(int(ends[number]) - lengths[number] >= cutoff for number in answers)
        counts["eos_lost"] += int(bool(targets) and int(ends[targets[-1]]) > cutoff)
        ids, mask = ids[:cutoff], mask[:cutoff]
    if not mask[1:].any():
        counts["rows_without_target"] += 1
        return None
    return ids, mask


def load_tokens(data: DataConfig, prompt: Prompt, encoder: TextEncoder) -> TokenTable:
    """Read, clean where asked for, check, render and tokenise a data file, or take the same result from the cache.

    The cache is keyed by the content of everything that decides the result: rows, template, tokenizer and settings.
    Hub data sets are read through `datasets`, which has a cache of its own, before the key is known.
    """
    if not data.clean:
        read = partial(read_examples, data.data_path, shape=data.data_shape, on_bad_rows=data.on_bad_rows)
        return _load(data, prompt, encoder, read, content_fingerprint(data.data_path), Path(data.data_path).suffix)
    from alpaca_lora.data.audit.on_the_fly import clean_data  # all rules, which other runs do not need

    content, log = clean_data(data)

    def read_cleaned() -> Examples:
        return parse_rows(parse_file(content, Path(f"{data.data_path} (cleaned)")), shape=data.data_shape)

    table = _load(data, prompt, encoder, read_cleaned, log.sha256, ".json")
    return replace(table, data_sha256=log.data_sha256, cleaning=log)


def _load(
    data: DataConfig, prompt: Prompt, encoder: TextEncoder, read: Callable[[], Examples], sha256: str, suffix: str
) -> TokenTable:
    examples = None if sha256 else read()
    path = _cache_file(data, examples.fingerprint if examples else sha256, suffix, prompt, encoder)
    cached = _read_cache(path)
    if cached is not None:
        return cached
    examples = examples or read()
    table = tokenize_examples(examples.examples, prompt, encoder, data, sha256=examples.fingerprint)
    ledger = replace(table.ledger, rows_read=examples.rows_read, rows_unreadable=examples.rows_bad)
    table = replace(table, ledger=ledger)
    arrays = {name: getattr(table, name) for name in _ARRAYS}
    path = _cache_file(data, table.data_sha256, suffix, prompt, encoder)  # the file may have changed since
    write_arrays(
        path, keep=_CACHE_FILES, ledger=json.dumps(asdict(table.ledger)), data_sha256=table.data_sha256, **arrays
    )
    return table


_KEY_FIELDS = ("data_shape", "on_bad_rows", "cutoff_len", "truncation", "train_on_inputs")
_ARRAYS = ("input_ids", "is_target", "starts", "rows")


def _cache_file(data: DataConfig, sha256: str, suffix: str, prompt: Prompt, encoder: TextEncoder) -> Path:
    """Give the place of a table in the cache; the file's suffix decides how it is parsed."""
    settings = {name: getattr(data, name) for name in _KEY_FIELDS}
    key = [_CACHE_VERSION, settings, suffix.lower(), sha256, prompt.fingerprint, encoder.fingerprint]
    return cache_file(cache_folder(), key)


def _read_cache(path: Path) -> TokenTable | None:
    arrays = read_arrays(path, (*_ARRAYS, "ledger", "data_sha256"))
    if arrays is None:
        return None
    columns: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    try:
        ledger = Ledger(**json.loads(str(arrays["ledger"])))
    except (ValueError, TypeError):
        return None  # written by another version
    return TokenTable(**columns, ledger=ledger, data_sha256=str(arrays["data_sha256"]))
