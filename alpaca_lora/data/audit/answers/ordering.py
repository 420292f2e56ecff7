"""Lists put in order: ascending, descending, by the alphabet, by length, reversed, without duplicates."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.numerals import DIGITS, read_number
from alpaca_lora.data.audit.answers.question import Question, unknown_words
from alpaca_lora.data.audit.answers.verdict import ListTruth

_KNOWN = frozenset(
    [
        "sort",
        "sorted",
        "sorting",
        "arrange",
        "arranged",
        "order",
        "ordered",
        "rearrange",
        "re-arrange",
        "reorder",
        "rank",
        "organize",
        "organise",
        "put",
        "place",
        "ascending",
        "descending",
        "increasing",
        "decreasing",
        "alphabetical",
        "alphabetically",
        "alphabet",
        "numerical",
        "numerically",
        "smallest",
        "largest",
        "lowest",
        "highest",
        "least",
        "greatest",
        "biggest",
        "words",
        "word",
        "names",
        "name",
        "items",
        "animals",
        "fruits",
        "countries",
        "cities",
        "colors",
        "colours",
        "strings",
        "letters",
        "new",
        "re",
        "mixed",
        "random",
        "string",
        "straight",
        "array",
        "line",
        "comma",
        "separated",
        "reverse",
        "terms",
        "according",
        "english",
        "numbers",
        "unsorted",
        "lexicographical",
        "lexicographically",
        "nouns",
        "verbs",
        "adjectives",
        "objects",
        "size",
        "value",
        "sized",
        "sensible",
        "foods",
        "food",
        "vegetables",
        "months",
        "days",
        "sequence",
        "separate",
        'list"s',
        "title",
        "titles",
        "topics",
        "books",
        "languages",
        "states",
        "low",
        "high",
        "field",
        "small",
        "large",
        "length",
        "shortest",
        "longest",
    ]
)
_UP = re.compile(
    r"\bascending\b|\bincreasing\b|(?:smallest|lowest|least|low|small) (?:value |"
    r"number )?to (?:the )?(?:largest|highest|greatest|biggest|most|high|large)"
)
_DOWN = re.compile(
    r"\bdescending\b|\bdecreasing\b|(?:largest|highest|greatest|biggest|high|large) (?:value |"
    r"number )?to (?:the )?(?:smallest|lowest|least|low|small)"
)
_ALPHABET = re.compile(r"alphabetic|alphabet\b|lexicograph")
_SORT = re.compile(r"\b(?:sort|arrange|order|rank|organi[sz]e|put|place|alphabeti|rearrange|reorder|list)")
_NAME = re.compile(r"^[a-z ]*?[:=]\s*", re.IGNORECASE)


def split_items(text: str) -> list[str]:
    """Give the items of a list as written: by comma, by line, or, if numbers only, by space."""
    text = text.strip().rstrip(".").strip()
    text = re.sub(r"^[\[({]+|[\])}]+$", "", text).strip()
    text = text.strip('"') if text.count('"') == 2 and "," in text else text
    if "\n" in text and "," not in text:
        parts = text.split("\n")
    elif "," in text or ";" in text:
        parts = re.split(r"\s*[,;]\s*(?:and\s+|\n)?|\n", text)
        if len(parts) > 1 and re.search(r"\s(?:and|&)\s", parts[-1]):
            parts[-1:] = re.split(r"\s(?:and|&)\s", parts[-1], maxsplit=1)
    elif re.fullmatch(rf"-?(?:{DIGITS})(?:\s+-?(?:{DIGITS}))+", text):
        parts = text.split()
    else:
        parts = re.split(r"\s+and\s+", text)
    parts = [re.sub(r"^\s*(?:\d+[.)]\s+|[-*•]\s+)", "", part).strip(" \"'\n") for part in parts]
    return [part for part in parts if part]


def _source(question: Question) -> tuple[list[str], str] | None:
    if question.raw_data:
        text = question.raw_data
        label = _NAME.match(text)
        if label and not unknown_words(label.group().lower(), _KNOWN | {"arr", "nums"}):
            text = text[label.end() :]
        return split_items(text), question.ask
    bracket = re.search(r"[\[{(]([^\[\](){}]+)[\])}]", question.raw_ask)
    quoted = re.findall(r'"([^"]+)"', question.raw_ask)
    if bracket and bracket.group(1).count(","):
        head, text = question.raw_ask[: bracket.start()] + question.raw_ask[bracket.end() :], bracket.group(1)
    elif len(quoted) == 1 and "," in quoted[0]:
        head, text = question.raw_ask.replace(quoted[0], ""), quoted[0]
    elif len(quoted) > 1 and not re.search(r"[:]", question.raw_ask):
        return [item.strip(" ,") for item in quoted], re.sub(r'"[^"]+"', "", question.ask)
    elif ":" in question.raw_ask:
        head, _, text = question.raw_ask.partition(":")
    elif "\n" in question.raw_ask:
        head, _, text = question.raw_ask.partition("\n")
    else:
        match = re.search(rf"-?(?:{DIGITS})(?:(?:,|,? and)\s*-?(?:{DIGITS}))+", question.raw_ask)
        if not match:
            return None
        head, text = question.raw_ask[: match.start()] + question.raw_ask[match.end() :], match.group()
    return split_items(text), head.lower()


def numbers(items: list[str]) -> list[Fraction] | None:
    """Give the values of items that are all plain numbers, else None."""
    found = [re.fullmatch(rf"-?\s?(?:{DIGITS})", item) for item in items]
    return [read_number(match.group().replace(" ", "")) for match in found if match] if all(found) else None


def check_ordering(question: Question) -> ListTruth | None:
    """Answer one request to sort a given list; None where the order wanted is not one of letters, values or lengths."""
    if not _SORT.search(question.ask):
        return None
    source = _source(question)
    if source is None:
        return None
    items, around = source
    around = re.sub(r"\d+ (?=\w+)|[\"]", "", around)
    if len(items) < 3 or len(items) > 40 or unknown_words(around, _KNOWN) or re.search(r"[\d]", around):
        return None
    values = numbers(items)
    up, down, alphabet = _UP.search(around), _DOWN.search(around), _ALPHABET.search(around)
    if up and down:
        return None
    if values is not None and not alphabet and "length" not in around:
        return _by_value(items, values, around, bool(up), bool(down))
    if alphabet and values is None and "length" not in around:
        return _by_letters(items, around, bool(down))
    return _by_length(items, around) if values is None else None


def _by_value(items: list[str], values: list[Fraction], around: str, up: bool, down: bool) -> ListTruth | None:
    if not (up or down) and not re.search(r"\bsort|\border|\barrang", around):
        return None
    pairs = sorted(zip(values, items, strict=True), key=lambda pair: pair[0], reverse=down)
    unique = [item for index, (value, item) in enumerate(pairs) if index == 0 or pairs[index - 1][0] != value]
    others = (tuple(unique),) if len(unique) != len(items) else ()
    if not (up or down):
        others = (*others, tuple(item for _, item in pairs[::-1]))
    return ListTruth("sort", tuple(item for _, item in pairs), others)


def _by_letters(items: list[str], around: str, down: bool) -> ListTruth | None:
    if any(re.search(r"[\d:=]|[^\x00-\x7f]", item) or len(item) > 40 for item in items):
        return None
    backwards = down or bool(re.search(r"\breverse (?:order|alphabet)", around))
    if (backwards and "ascending" in around) or re.search(r"\breverse the\b|^reverse\b", around):
        return None
    orders = []
    keys = [
        lambda item: re.sub(r"[^a-z]", "", item.lower()),
        lambda item: item.lower(),
        lambda item: item,
        lambda item: re.sub(r"^(?:the|a|an) ", "", item.lower()),
        lambda item: (item.lower().split()[-1], item.lower()),
    ]
    for key in keys:
        order = tuple(sorted(items, key=key, reverse=backwards))
        if order not in orders:
            orders.append(order)
    first = tuple(sorted(items, key=str.lower, reverse=backwards))
    unique = tuple(dict.fromkeys(first))
    return ListTruth("alphabet", first, tuple(order for order in (*orders, unique) if order != first))


def _by_length(items: list[str], around: str) -> ListTruth | None:
    if "length" not in around and not re.search(r"shortest to (?:the )?longest|longest to (?:the )?shortest", around):
        return None
    if any(not item.isalpha() for item in items) or len({len(item) for item in items}) != len(items):
        return None
    down = bool(_DOWN.search(around) or re.search(r"longest to", around))
    order = tuple(sorted(items, key=len, reverse=down))
    clear = down or re.search(r"ascending|increasing|shortest to", around)
    return ListTruth("sort by length", order, () if clear else (order[::-1],))
