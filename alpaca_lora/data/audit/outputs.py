"""Outputs that are no answer: empty, a null marker, a picture that is not there, the input given back unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import DROP, Fix, Hit, Rule, quote

_MARKER = re.compile(
    r"\W*(?:no[\s_-]?output|no[\s_-]?input)\b(?: (?:required|needed|necessary|expected|possible"
    r"|available))?[>\]}\"`.]*",
    re.IGNORECASE,
)
_NULL = re.compile(r"\W*(?:n/a|nan|null|nil|undefined|not applicable)\W*|\W*n/a \(.*", re.IGNORECASE)
_LABEL = re.compile(r"\A\s*(?:(?:Output|Response):)?\s*", re.IGNORECASE)
_NO_ANSWER = re.compile(
    r"\A\W*\Z|\A[(\-,–]|\b(?:cannot|can't|can not|not (?:possible|suitable|expected)|unable|as compilation"
    r"|visual task)\b|<output|<img",
    re.IGNORECASE,
)
_HEAD = 160
"""Characters in which a refusal shows itself; further on the same words belong to an answer."""
_ASKS_FOR_MARKER = re.compile(r"\b(?:input|output|null|missing|n/a)\b", re.IGNORECASE)
_PICTURE_WORD = (
    r"image|picture|photo\w*|poster|logo|video|audio|graph\w*|(?:\w+[ -])?charts?|diagram\w*|illustration"
    r"|drawing|screenshot|collage"
    r"|infographic|painting|comic|cartoon|design|map|mind ?map|sketch|gif|meme|musical notes|spreadsheet"
    r"|excel sheet|structure|sheet music"
)
_ASKS_FOR_INPUT = re.compile(r"\binput for (?:the|this|an?)\b", re.IGNORECASE)
_IMAGE_LINK = re.compile(
    r"!\[[^\]\n]*\]\s?[(\[]|\bimgur\.com/|<img\b|\.(?:png|jpe?g|gif)\b(?=[)\s\"']|\Z)", re.IGNORECASE
)
_STANDS_FOR_IMAGE = re.compile(
    rf"[\[<(]\s*(?:(?:insert|output|image|see|attached|a|an|the|cropped|edited|vector"
    rf"|generated)\b[^\[\]<>()\n]*\b(?:{_PICTURE_WORD})\b"
    rf"|(?:{_PICTURE_WORD})\b)[^\[\]<>\n]*[\]>)]\.?",
    re.IGNORECASE,
)
_NOTHING_ELSE = re.compile(
    rf"\W*?[\[<(](?=[^\n]*\b(?:{_PICTURE_WORD}|visuali[sz]ation|graphical|animation|rendering|word cloud"
    r"|wireframe|attachment|goes here|song|presentation|puzzle)\b)"
    r"[A-Za-z0-9][^\[\]<>{}=|\n]{3,150}\s[^\[\]<>{}=|\n]+[\]>)]\W*",
    re.IGNORECASE,
)
"""The whole output, in brackets."""
_ONLY_TALKS_ABOUT_IT = re.compile(r"\s*(?:\Z|(?:the|this|an?|caption|in this)\b)", re.IGNORECASE)
_MARKUP_ASKED = re.compile(
    r"\b(?:html|css|markdown|code|codes|web ?(?:page|site)s?|tags?|link|links|email|e-mail|newsletter|template"
    r"|react|latex|url|urls|svg|file"
    r"|files|script|program|function|regex|python|java|javascript|php|tweet|wiki|data structure|json|xml|sql"
    r"|command)\b",
    re.IGNORECASE,
)
_ASKS_EDIT = re.compile(
    r"\A\W*(?:please |can you |given [\w ,]+, )?(?:edit|rewrite|re-write|rephrase|reword|paraphrase|correct"
    r"|fix|sort|arrange|rearrange|reorder"
    r"|re-order|alphabetize|improve|simplify|shorten|summari[sz]e|condense|translate|convert|transform|modify"
    r"|change|revise|reverse|replace|match"
    r"|organi[sz]e|order|rank|adjust|insert|deleted?|remove|restructure|divide|minimi[sz]e"
    r"|identify the correct order)\b",
    re.IGNORECASE,
)
_ABOUT_SIGNS = re.compile(
    r"\b(?:punctuat\w+|capital\w*|case|upper-?case|lower-?case|caps|period|comma|spaces?|titles?)\b", re.IGNORECASE
)
_MAY_STAY = re.compile(
    r"\b(?:if (?:necessary|needed|required|any|there|it)|check|whether|any (?:errors?|mistakes?)|should there"
    r"|where)\b",
    re.IGNORECASE,
)


def _empty(turn: TurnView) -> Iterator[Hit]:
    if not turn.output.strip():
        yield Hit("output", "the output is empty", 1.0, DROP)


def _null(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    head = text[:40].lower()
    if not ("put" in head or "n/a" in head or "null" in head or "nan" in head or "nil" in head or "applicable" in head):
        return
    if _NULL.fullmatch(text):
        if not _ASKS_FOR_MARKER.search(turn.instruction):
            yield Hit("output", f"the output is only {quote(text)}", 0.9, DROP)
        return
    found = _MARKER.match(text)
    if not found or text.startswith(" is ", found.end()):
        return
    rest = text[found.end() :]
    if found.end() < len(text) and not rest.strip(" \n\t>.\"'`"):
        rest = ""
    if not rest:
        if not _ASKS_FOR_INPUT.search(turn.instruction):
            yield Hit("output", f"the output is only {quote(text)}", 1.0, DROP)
    elif _NO_ANSWER.search(rest[:_HEAD]) or "output" in found[0].lower():
        yield Hit("output", f"the output is {quote(text)}", 0.95, DROP)
    else:
        answer = _LABEL.sub("", rest, count=1)
        yield Hit("output", f"the answer stands after {quote(found[0])}", 0.95, Fix("set", answer))


def _fake_media(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    if "[" not in text and "<" not in text and "(" not in text and "imgur" not in text:
        return
    found = _IMAGE_LINK.search(text) or _NOTHING_ELSE.fullmatch(text) or _STANDS_FOR_IMAGE.match(text)
    if found and found.re is _STANDS_FOR_IMAGE and not _ONLY_TALKS_ABOUT_IT.match(text, found.end()):
        return
    if found and not _MARKUP_ASKED.search(turn.instruction):
        yield Hit("output", f"{quote(found[0])} stands for a picture or sound that is not there", 0.95, DROP)


def _unchanged(turn: TurnView) -> Iterator[Hit]:
    given, answer = turn.input, turn.output
    if len(given) < 12 or abs(len(given) - len(answer)) > 4 or given[:3] != answer[:3]:
        return
    if given.strip(" .\n") != answer.strip(" .\n"):
        return
    task = turn.instruction
    if _ASKS_EDIT.search(task) and not _MAY_STAY.search(task) and not _ABOUT_SIGNS.search(task):
        yield Hit("output", f"the output gives the input back unchanged: {quote(answer)}", 0.75)


EMPTY_OUTPUT = Rule(
    "empty-output",
    "defect",
    "the output holds nothing but white space",
    find=_empty,
    precision=1.0,
    read="all 28",
)
NULL_OUTPUT = Rule(
    "null-output",
    "defect",
    "the output says that there is none, such as <nooutput> or N/A, where an answer is due",
    find=_null,
    precision=1.0,
    read="all 93",
)
FAKE_MEDIA = Rule(
    "fake-media",
    "defect",
    "the output pretends to hold a picture or a sound, as a dead link or a placeholder",
    find=_fake_media,
    english_only=True,
    precision=1.0,
    read="47 of 93",
)
UNCHANGED = Rule(
    "unchanged-edit",
    "tag",
    "asked to edit, sort or match, the output is the input: nothing was done, or there was nothing to do",
    find=_unchanged,
    english_only=True,
    precision=1.0,
    read="all 36",
)
