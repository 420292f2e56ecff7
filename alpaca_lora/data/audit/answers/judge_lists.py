"""Hold a list, or a spelling, that an output gives against the truth."""

from __future__ import annotations

import re
from itertools import pairwise

from alpaca_lora.data.audit.answers.judge import looks_like_code
from alpaca_lora.data.audit.answers.question import plain
from alpaca_lora.data.audit.answers.verdict import ListTruth, TextTruth, Verdict

_ITEM_EDGE = " \t\n\"'.*"


def judge_list(output: str, truth: ListTruth) -> Verdict | None:
    """Compare the list that `output` gives with the truth.

    Returns:
        None where the output holds other items than the truth (words spelled differently, say), or text around them
        that might matter.
    """
    text = plain(output)
    if not text.strip() or len(text) > 900 or looks_like_code(text):
        return None
    spans = _item_spans(text, truth)
    if spans is None:
        return None
    found = [_key(text[start:end]) for start, end in spans]
    accepted = [[_key(item) for item in items] for items in (truth.items, *truth.others)]
    shown = ", ".join(output[start:end] for start, end in spans)
    expected = ", ".join(truth.items)
    if found in accepted or (truth.any_order and sorted(found) == sorted(accepted[0])):
        return Verdict(truth.kind, expected, shown, True, output)
    if sorted(found) != sorted(accepted[0]):
        return _other_items(output, spans, found, truth, shown)
    written = {_key(text[start:end]): output[start:end] for start, end in spans}
    corrected, place = "", 0
    capital = (
        truth.kind in {"alphabet", "sort by length"}
        and sum(output[start].isupper() for start, _ in spans) == 1
        and output[spans[0][0]].isupper()
    )
    for number, ((start, end), item) in enumerate(zip(spans, accepted[0], strict=True)):
        word = written[item]
        if capital and number == 0:
            word = word[:1].upper() + word[1:]
        elif capital and not truth.items[number][:1].isupper():
            word = word[:1].lower() + word[1:]
        corrected += output[place:start] + word
        place = end
    return Verdict(truth.kind, expected, shown, False, corrected + output[place:])


def _key(item: str) -> str:
    bare = item.strip(_ITEM_EDGE).lower()
    return re.sub(r"(?<=\d),(?=\d{3})", "", bare)


def _item_spans(text: str, truth: ListTruth) -> list[tuple[int, int]] | None:
    """Find where the items stand: nothing but separators between them, and a lead that ends in a colon or a verb."""
    wanted = sorted({_key(item) for item in truth.items}, key=len, reverse=True)
    bounded = [rf"(?<![\w.-]){re.escape(item)}(?![\w]|\.\d)" for item in wanted]
    pattern = re.compile("|".join(bounded), re.IGNORECASE)
    spans = [match.span() for match in pattern.finditer(text)]
    numeric = all(re.fullmatch(r"-?[\d.,]+", item) for item in wanted)
    if numeric:
        spans = [match.span() for match in re.finditer(r"(?<![\w.])-?\d+(?:,\d{3}(?!\d))*(?:\.\d+)?(?![\w])", text)]
        spans = [
            span
            for span in spans
            if not re.match(r"[.)]\s+-?\d", text[span[1] :]) or not _is_number_of_line(text, span[0])
        ]
    if len(spans) < 2:
        return None
    count = len(truth.items)
    if len(spans) > count and not numeric:
        spans = spans[-count:]
    while numeric and len(spans) > count and re.search(r"[a-z:]", text[spans[0][1] : spans[1][0]], re.IGNORECASE):
        spans = spans[1:]  # a number of the words before the list
    gaps = [re.sub(r"\b(?:or )?[a-z] ?= ?", "", text[left[1] : right[0]]) for left, right in pairwise(spans)]
    if not all(re.fullmatch(r"[\s,;\"'.>\[\](){}*•-]*(?:and |then |\d+[.)] )?[\s\"'*-]*", gap) for gap in gaps):
        return None
    lead, tail = text[: spans[0][0]], text[spans[-1][1] :]
    if re.search(r"[A-Za-z]", tail) or re.search(r"\bnot\b|\balready\b|\bunsorted\b|\boriginal\b", lead):
        return None
    if re.search(r"\w", lead) and not re.search(r"(?:[:=]|\b(?:is|are|be)|1[.)])[\s\[\"'(*{-]*$", lead):
        return None
    return spans


def _is_number_of_line(text: str, start: int) -> bool:
    return start == 0 or text[text.rfind("\n", 0, start) + 1 : start].strip() == ""


def _other_items(
    output: str, spans: list[tuple[int, int]], found: list[str], truth: ListTruth, shown: str
) -> Verdict | None:
    """Call a list of numbers wrong that lost, gained or repeated one; say nothing on words, or on another list."""
    wanted = [_key(item) for item in truth.items]
    if truth.kind == "roots" and len(found) == 2 and all(re.fullmatch(r"-?\d+", item) for item in found):
        expected = " and ".join(truth.items)
        corrected = (
            output[: spans[0][0]]
            + truth.items[0]
            + output[spans[0][1] : spans[1][0]]
            + truth.items[1]
            + output[spans[1][1] :]
        )
        return Verdict(truth.kind, expected, shown, False, corrected)
    if not all(re.fullmatch(r"-?[\d.]+", item) for item in wanted + found):
        return None
    shared = len(set(found) & set(wanted))
    if shared < 3 or abs(len(found) - len(wanted)) > 2 or shared < len(set(wanted)) - 2:
        return None
    gap = output[spans[0][1] : spans[1][0]]
    corrected = output[: spans[0][0]] + gap.join(truth.items) + output[spans[-1][1] :]
    return Verdict(truth.kind, ", ".join(truth.items), shown, False, corrected)


def judge_text(output: str, truth: TextTruth) -> Verdict | None:
    """Compare the one word, date or code of the truth's pattern in `output` with the truth."""
    text = plain(output)
    if not text.strip() or len(text) > 400 or looks_like_code(text):
        return None
    flags = 0 if truth.exact else re.IGNORECASE
    hits = list(re.finditer(truth.pattern, text, flags))
    fold = str if truth.exact else str.lower
    asked = {fold(item) for item in truth.asked}
    if len(hits) > 1:
        hits = [hit for hit in hits if fold(hit.group()) not in asked]
    accepted = {fold(item) for item in (truth.value, *truth.others)}
    if len(hits) != 1:
        return None
    found = hits[0].group()
    if fold(found) in accepted:
        return Verdict(truth.kind, truth.value, found, True, output)
    prefix = found[:2] if re.match(r"0[xbo]", found) and not truth.value.startswith("0") else ""
    value = prefix + (truth.value.capitalize() if found[0].isupper() and found[1:].islower() else truth.value)
    corrected = truth.whole or output[: hits[0].start()] + value + output[hits[0].end() :]
    return Verdict(truth.kind, truth.value, found, False, corrected)
