"""What can be counted in a given text: words, letters, vowels, characters, one word or letter, items of a list."""

from __future__ import annotations

import re
from fractions import Fraction

from alpaca_lora.data.audit.answers.question import Question, unknown_words
from alpaca_lora.data.audit.answers.verdict import NumberTruth

_COUNT = re.compile(r"\bhow many\b|\bcount\b|\bnumber of\b|\blength of\b|\bword count\b|\bletter count\b")
_KNOWN = frozenset(
    [
        "count",
        "counts",
        "many",
        "number",
        "total",
        "words",
        "word",
        "letters",
        "letter",
        "characters",
        "character",
        "vowels",
        "vowel",
        "consonants",
        "consonant",
        "sentences",
        "sentence",
        "string",
        "phrase",
        "text",
        "paragraph",
        "passage",
        "appear",
        "appears",
        "occur",
        "occurs",
        "occurrences",
        "occurrence",
        "times",
        "time",
        "instances",
        "contains",
        "contain",
        "found",
        "present",
        "used",
        "there",
        "elements",
        "items",
        "distinct",
        "unique",
        "length",
        "task",
        "need",
        "you",
        "its",
        "has",
        "have",
        'containing"s',
        "included",
        "including",
        "spaces",
        "whitespaces",
        "punctuation",
        "long",
    ]
)
_WORD = re.compile(r"[A-Za-z0-9]+(?:['’-][A-Za-z0-9]+)*")


def check_counting(question: Question) -> NumberTruth | None:
    """Answer one count in one text that stands in quotes, after a colon, or in the input."""
    if not _COUNT.search(question.ask):
        return None
    found = _text_in(question)
    if found is None:
        return None
    text, around, quoted = found
    if unknown_words(around, _KNOWN):
        return None
    if re.search(r"\bdistinct\b|\bunique\b|\bdifferent\b|\bsyllab|\bparagraphs\b", around):
        return None
    values = _count(text, around, quoted)
    if values is None:
        return None
    kind, value, others = values
    return NumberTruth("count", Fraction(value), tuple(Fraction(other) for other in others)) if kind else None


def _text_in(question: Question) -> tuple[str, str, str] | None:
    """Give the text that is counted in, the words around it, and what the question quotes to be counted."""
    quotes = re.findall(r'"([^"]+)"|(?<!\w)\'([^\']+)\'(?!\w)', question.raw_ask)
    quotes = [one or two for one, two in quotes]
    around = re.sub(r'"[^"]+"|(?<!\w)\'[^\']+\'(?!\w)', " ", question.ask)
    named = re.search(r"\bletters? ([a-z])\b(?!')", around)
    wanted = ""
    if named:
        wanted, around = named[1], around[: named.start(1)] + " " + around[named.end(1) :]
    if question.raw_data:
        if len(quotes) + bool(named) > 1:
            return None
        text = re.sub(
            r"^(?:sentence|string|text|phrase|word|paragraph|passage)\s*[:=]\s*",
            "",
            question.raw_data,
            flags=re.IGNORECASE,
        )
        return _bare(text), around, wanted or (quotes[0] if quotes else "")
    if quotes:
        text = max(quotes, key=len)
        rest = [quote for quote in quotes if quote != text]
        if len(rest) + bool(named) > 1:
            return None
        return _bare(text), around.replace(":", " "), wanted or (rest[0] if rest else "")
    if ":" in question.raw_ask or "\n" in question.raw_ask:
        head, text = re.split(r":|\n", question.raw_ask, maxsplit=1)
        return (_bare(text), head.lower(), wanted) if text.strip() else None
    return None


def _bare(text: str) -> str:
    text = text.strip()
    return (
        text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" and text.count(text[0]) == 2 else text
    )


def _count(text: str, around: str, quoted: str) -> tuple[str, int, tuple[int, ...]] | None:
    words = _WORD.findall(text)
    if quoted:
        return _occurrences(text, words, around, quoted)
    topics = {
        topic
        for topic in ("words", "vowels", "consonants", "sentences", "letters", "characters")
        if re.search(rf"\b{topic}\b", around)
    }
    if "word count" in around:
        topics = {"words"}
    if topics == {"words"} and not re.search(r"\btimes\b|\bunique|containing|\bletter", around):
        hyphens = sum(word.count("-") for word in words)
        return "words", len(words), ((len(words) + hyphens, len(text.split())) if hyphens else (len(text.split()),))
    if len(topics) != 1:
        return None
    lower = text.lower()
    if topics == {"vowels"}:
        return "vowels", sum(lower.count(vowel) for vowel in "aeiou"), (sum(lower.count(vowel) for vowel in "aeiouy"),)
    if topics == {"consonants"}:
        letters = sum(letter.isalpha() for letter in lower)
        vowels = sum(lower.count(vowel) for vowel in "aeiou")
        return "consonants", letters - vowels, (letters - vowels - lower.count("y"),)
    if topics == {"letters"}:
        return "letters", sum(letter.isalpha() for letter in text), (len(text), len(re.sub(r"\s", "", text)))
    if topics == {"characters"}:
        stops = len(re.sub(r"\W", "", text))
        return (
            "characters",
            len(text),
            (
                len(re.sub(r"\s", "", text)),
                stops,
                sum(letter.isalpha() for letter in text),
                len(text) - text.count(".") if text.endswith(".") else len(text),
            ),
        )
    return None


def _occurrences(text: str, words: list[str], around: str, quoted: str) -> tuple[str, int, tuple[int, ...]] | None:
    quoted = quoted.strip()
    if len(quoted) == 1 and quoted.isalpha():
        return "letter", text.lower().count(quoted.lower()), (text.count(quoted),)
    if quoted.isalpha() and re.search(r"\bword\b", around) and not re.search(r"containing|contain\b|substring", around):
        fold = [word.lower() for word in words]
        return "word", fold.count(quoted.lower()), (words.count(quoted), text.lower().count(quoted.lower()))
    return None
