"""The rows of one optimiser step to packs without padding, with the prefix that rows have in common stored once.

Under causal attention the hidden states of a common prefix are the same for every row that begins with it. One copy,
visible to those rows only, therefore gives the loss and gradients of the separate rows. Related work: prefix sharing
for preference pairs (arXiv 2410.20305) and for trees of agent turns (arXiv 2511.00413).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alpaca_lora.data.tokens import TokenRow

_EVEN_ENOUGH = 0.01
"""Ranks whose computed tokens differ by less than this share are left as they are."""
_EXCHANGES, _TRIED = 50, 16


class Span(NamedTuple):
    """Neighbouring tokens of a pack that see themselves causally, and all of one earlier span: their prefix.

    In tokens from the pack's start; `prefix_length` 0 where there is no prefix.
    """

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0


@dataclass(frozen=True)
class Pack:
    """Rows computed together as one sequence.

    Attributes:
        input_ids: int64 (tokens).
        position_ids: int64 (tokens), place of each token in its row; a row goes on behind its prefix.
        spans: the prefixes and the rows' own parts, in order; they cover the pack.
        predicted_at: int64 (targets), the token whose hidden state predicts the target.
        target_ids: int64 (targets).
        weights: float32 (targets), rows that train the target: above 1 only inside a prefix.
        rows: int64 (rows), indices of the rows given, in order of their spans.
    """

    input_ids: NDArray[np.int64]
    position_ids: NDArray[np.int64]
    spans: tuple[Span, ...]
    predicted_at: NDArray[np.int64]
    target_ids: NDArray[np.int64]
    weights: NDArray[np.float32]
    rows: NDArray[np.int64]


class Group(NamedTuple):
    """Rows that share their first `prefix` tokens."""

    rows: list[int]
    prefix: int


def pack_rows(
    rows: Sequence[TokenRow], tokens_per_pack: int, *, share_prefix: bool, rank: int = 0, ranks: int = 1
) -> list[Pack]:
    """Give the packs of one rank; a pure function of its arguments.

    Rows are grouped by common prefix, dealt over the ranks by computed tokens, and packed best fit first in decreasing
    order. A row longer than `tokens_per_pack` gets a pack of its own.
    """
    tokens = [row.input_ids for row in rows]
    fitting = [number for number, ids in enumerate(tokens) if len(ids) <= tokens_per_pack]
    groups = [Group([number], 0) for number, ids in enumerate(tokens) if len(ids) > tokens_per_pack]
    if share_prefix:
        groups += group_by_prefix(tokens, fitting, tokens_per_pack)
    else:
        groups += [Group([number], 0) for number in fitting]
    lengths = [len(ids) for ids in tokens]
    own = _deal(groups, lengths, ranks)[rank]
    return [_build(shelf.groups, rows) for shelf in _best_fit(own, lengths, tokens_per_pack)]


def group_by_prefix(tokens: Sequence[NDArray[np.int32]], rows: Sequence[int], tokens_per_pack: int) -> list[Group]:
    """Divide rows into groups with a common prefix so that the most tokens are saved.

    In lexicographic order the rows below any node of their prefix tree are neighbours. From the leaves upwards, the
    rows of a node become one group where that saves more than the best division of its children.
    """
    order = sorted(rows, key=lambda row: (tokens[row].astype(">i4").tobytes(), row))
    open_nodes: list[_Node] = []
    for number, row in enumerate(order):
        done = _Node(len(tokens[row]), number, number + 1, 0, [Group([row], 0)])
        following = order[number + 1] if number + 1 < len(order) else None
        depth = 0 if following is None else _common_length(tokens[row], tokens[following])
        while open_nodes and open_nodes[-1].depth > depth:
            node = open_nodes.pop()
            node.absorb(done)
            done = node.closed(order, tokens, tokens_per_pack)
        if open_nodes and open_nodes[-1].depth == depth:
            open_nodes[-1].absorb(done)
        else:
            done.depth = depth
            open_nodes.append(done)
    return open_nodes[0].groups if open_nodes else []


@dataclass
class _Node:
    """Part of the prefix tree: rows `first` to `end` of the order have their first `depth` tokens in common."""

    depth: int
    first: int
    end: int
    saved: int
    groups: list[Group]

    def absorb(self, child: _Node) -> None:
        self.end = child.end
        self.saved += child.saved
        self.groups.extend(child.groups)

    def closed(self, order: list[int], tokens: Sequence[NDArray[np.int32]], tokens_per_pack: int) -> _Node:
        rows = order[self.first : self.end]
        behind = sum(len(tokens[row]) for row in rows) - self.depth * len(rows)
        packs = max(1, math.ceil(behind / max(1, tokens_per_pack - self.depth)))
        saved = (len(rows) - packs) * self.depth
        if saved > self.saved:
            self.saved, self.groups = saved, [Group(rows, self.depth)]
        return self


def _common_length(left: NDArray[np.int32], right: NDArray[np.int32]) -> int:
    shorter = min(len(left), len(right))
    differ = left[:shorter] != right[:shorter]
    return int(differ.argmax()) if differ.any() else shorter


@dataclass
class _Shelf:
    """Rows that were put together so far, by group, and the tokens they cost."""

    tokens: int = 0
    rows: dict[int, list[int]] = field(default_factory=dict)
    prefixes: dict[int, int] = field(default_factory=dict)

    def cost(self, group: int, prefix: int, own: int) -> int:
        return own if group in self.rows else prefix + own

    def put(self, group: int, prefix: int, own: int, row: int) -> None:
        self.tokens += self.cost(group, prefix, own)
        self.rows.setdefault(group, []).append(row)
        self.prefixes[group] = prefix

    @property
    def groups(self) -> list[Group]:
        return [Group(rows, self.prefixes[group]) for group, rows in self.rows.items()]


def _deal(groups: Sequence[Group], lengths: Sequence[int], ranks: int) -> list[list[Group]]:
    """Deal rows over ranks so that each computes about as many tokens.

    Longest first, each to the rank that has the fewest tokens with it; then the fullest and the emptiest rank exchange
    rows as long as that brings them closer. Prefixes count once a rank, so the ranks are as even as the prefix is short
    beside a pack: a long one may have to stand in one pack more on one of them.
    """
    if ranks == 1:
        return [list(groups)]
    items = [(lengths[row] - group.prefix, row, number) for number, group in enumerate(groups) for row in group.rows]
    shelves = [_Shelf() for _ in range(ranks)]
    hands: list[list[_Item]] = [[] for _ in range(ranks)]
    for own, row, number in sorted(items, reverse=True):
        prefix = groups[number].prefix
        # Among equals the rank with fewer rows, so that none stays without: a row equal to another costs nothing.
        costs = [shelf.tokens + shelf.cost(number, prefix, own) for shelf in shelves]
        loads = list(zip(costs, map(len, hands), strict=True))
        rank = loads.index(min(loads))
        shelves[rank].put(number, prefix, own, row)
        hands[rank].append(_Item(own, row, number))
    prefixes = [group.prefix for group in groups]
    _even_out(hands, prefixes)
    return [_filled(hand, prefixes).groups for hand in hands]


class _Item(NamedTuple):
    own: int
    row: int
    group: int


def _filled(hand: Sequence[_Item], prefixes: Sequence[int]) -> _Shelf:
    """Put a rank's rows together."""
    shelf = _Shelf()
    for item in hand:
        shelf.put(item.group, prefixes[item.group], item.own, item.row)
    return shelf


def _even_out(hands: list[list[_Item]], prefixes: Sequence[int]) -> None:
    """Exchange one row, or none, of the fullest rank for one, or none, of the emptiest while it narrows their gap."""
    for _ in range(_EXCHANGES):
        loads = [_filled(hand, prefixes).tokens for hand in hands]
        full, empty = hands[loads.index(max(loads))], hands[loads.index(min(loads))]
        gap = max(loads) - min(loads)
        if gap <= _EVEN_ENOUGH * max(loads):
            return
        # What matters is the difference of own tokens: nearest to half of the gap; prefixes are counted afterwards.
        pairs = [(give, take) for give in (*full, None) for take in (*empty, None) if give or take]
        pairs.sort(key=lambda pair: abs(gap - 2 * ((pair[0].own if pair[0] else 0) - (pair[1].own if pair[1] else 0))))
        for give, take in pairs[:_TRIED]:
            left = [item for item in full if item is not give] + ([take] if take else [])
            right = [item for item in empty if item is not take] + ([give] if give else [])
            if left and right and abs(_filled(left, prefixes).tokens - _filled(right, prefixes).tokens) < gap:
                full[:], empty[:] = left, right
                break
        else:
            return


def _best_fit(groups: Sequence[Group], lengths: Sequence[int], tokens_per_pack: int) -> list[_Shelf]:
    """Put each row where it adds the fewest tokens and leaves the least room; the largest group and row first."""
    shelves: list[_Shelf] = []
    by_size = sorted(groups, key=lambda group: -sum(lengths[row] for row in group.rows))
    for number, (rows, prefix) in enumerate(by_size):
        for row in sorted(rows, key=lambda row: -lengths[row]):
            own = lengths[row] - prefix
            best, key = None, (math.inf, math.inf)
            for shelf in shelves:
                cost = shelf.cost(number, prefix, own)
                room = tokens_per_pack - shelf.tokens - cost
                if room >= 0 and (cost, room) < key:
                    best, key = shelf, (cost, room)
            if best is None:
                best = _Shelf()
                shelves.append(best)
            best.put(number, prefix, own, row)
    return shelves


def _build(groups: Sequence[Group], rows: Sequence[TokenRow]) -> Pack:
    """Lay groups out one after the other: a prefix, then its rows' own tokens."""
    ids: list[NDArray[np.int32]] = []
    positions: list[NDArray[np.int64]] = []
    spans: list[Span] = []
    at: list[NDArray[np.int64]] = []
    targets: list[NDArray[np.int32]] = []
    weights: list[NDArray[np.float32]] = []
    start = 0

    def add(tokens: NDArray[np.int32], prefix_start: int, prefix: int, counts: NDArray[np.float32]) -> None:
        """Append tokens that stand behind `prefix` others; `counts`: rows that train each of them."""
        nonlocal start
        length = len(tokens)
        ids.append(tokens)
        positions.append(np.arange(prefix, prefix + length))
        spans.append(Span(start, length, prefix_start, prefix))
        before = np.arange(start - 1, start + length - 1)
        if length:
            before[0] = prefix_start + prefix - 1
        trained = np.flatnonzero(counts)
        trained = trained[(trained > 0) | (prefix > 0)]  # a row's first token is predicted from nothing
        at.append(before[trained])
        targets.append(tokens[trained])
        weights.append(counts[trained])
        start += length

    for members, prefix in groups:
        prefix_start = start
        if prefix:
            counts = np.stack([rows[row].is_target[:prefix] for row in members]).sum(axis=0).astype(np.float32)
            add(rows[members[0]].input_ids[:prefix], 0, 0, counts)
        for row in members:
            own = rows[row].is_target[prefix:].astype(np.float32)
            add(rows[row].input_ids[prefix:], prefix_start if prefix else 0, prefix, own)
    return Pack(
        input_ids=np.concatenate(ids).astype(np.int64),
        position_ids=np.concatenate(positions),
        spans=tuple(spans),
        predicted_at=np.concatenate(at),
        target_ids=np.concatenate(targets).astype(np.int64),
        weights=np.concatenate(weights),
        rows=np.array([row for members, _ in groups for row in members], dtype=np.int64),
    )
