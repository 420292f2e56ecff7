"""Inputs that only stand for a text, and tasks about a text that was never given."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.markers import is_no_input
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote

ADDRESS = re.compile(
    r"<?\bhttps?:\\?/?/?\S+|\bwww\.\w\S+|!\[[^\]]*\]\s?[\[(][^\])]*[\])]|<(?:img|image)\b[^>]*(?:src|url)=[^>]*>?",
    re.IGNORECASE,
)
WORD = re.compile(r"\w+")
_THINGS = (
    r"image|picture|photos?|photograph|painting|drawing|video|audio|sound|song|article|text|paragraph|document"
    r"|file|passage|excerpt"
    r"|essay|story|poem|graph|chart|figure|map|recording|clip|screenshot|data|dataset|table|diagram|logo"
    r"|website|web ?page|pdf|csv"
    r"|music|graphic|visuali[sz]ation|report|email|letter|review|speech|transcript|shape|design|artwork|gif"
    r"|cartoon|comic|illustration"
    r"|sketch|lyrics|link|url|attach\w*|insert|upload\w*|paste|included?|provided|minutes|excel|spreadsheet"
    r"|scene|product|news"
    r"|corpus|family tree|musical note|location|jpe?g|png"
)
_PLACEHOLDER = re.compile(
    rf"[\[<{{(](?=[^\[\]<>{{}}()\n]*\b(?:{_THINGS})\b)[^\[\]<>{{}}()\n=;\"]{{2,90}}[\]>}})]", re.IGNORECASE
)
_ATTACHED = re.compile(
    rf"\W*(?:(?:see )?attach(?:ed|ment)?\b[\w ]{{0,40}}|(?:insert|paste|upload"
    rf"|add)(?:ed)? [\w ]{{0,40}}(?:here)?|(?:photo|picture|image|painting) of [\w ,]+|[\w-]+\.(?:jpe?g|png"
    rf"|gif|csv|pdf|docx?|xlsx?|mp3|wav|mp4)"
    rf"|(?:{_THINGS})s?(?: (?:text|here|link|content|file|attached|below|above))?)\W*",
    re.IGNORECASE,
)
_WORDS_AS_MATERIAL = re.compile(
    r"\b(?:words?|noun|verb|synonym\w*|antonym\w*|spell\w*|rhym\w*|define|definition|plural|generate|create"
    r"|write|design|topic|compose"
    r"|translate|meaning|term|metaphor|categori\w+|classify the following into|group|items?|pronounce"
    r"|syllable\w*|letters?|notebook|program|script|code|title|gift|unscramble|draw|idea|prefix|suffix)\b",
    re.IGNORECASE,
)
_ITS_WORDS_SUFFICE = re.compile(r"\b(?:techniques?|algorithm|type of machine learning task)\b", re.IGNORECASE)
_LABEL_WORDS = 5


def _nothing_but(text: str, pattern: re.Pattern[str]) -> bool:
    """Say whether a text holds the pattern and hardly a word else."""
    rest = pattern.sub(" ", text)
    return rest != text and len(WORD.findall(rest)) <= _LABEL_WORDS


def lacks_material(text: str) -> bool:
    """Say whether an input is empty or only points at material that is elsewhere."""
    if not text.strip() or is_no_input(text):
        return True
    return len(text) < 1000 and bool(
        _nothing_but(text, ADDRESS) or _nothing_but(text, _PLACEHOLDER) or _ATTACHED.fullmatch(text)
    )


def _placeholder(turn: TurnView) -> Iterator[Hit]:
    text = turn.input
    if not 3 < len(text) < 300 or is_no_input(text) or "://" in text:
        return
    found = _PLACEHOLDER.search(text)
    if found and (found[0] in turn.instruction or found[0].count(",") > 1 or "</" in text):
        return
    fix = None if _ITS_WORDS_SUFFICE.search(turn.instruction) else DROP
    if found and _nothing_but(text, _PLACEHOLDER):
        yield Hit("input", f"the input is only the placeholder {quote(text)}", 0.95, fix)
    elif _ATTACHED.fullmatch(text) and not _WORDS_AS_MATERIAL.search(turn.instruction):
        yield Hit("input", f"the input {quote(text)} stands for something that is not in the row", 0.9, fix)


_TEXTS = (
    r"(?:sentences?|texts?|paragraphs?|articles?|passages?|lists?|words|phrases?|stor(?:y|ies)|poems?|code"
    r"|code snippet|data|dataset|data set|table|numbers"
    r"|essays?|emails?|letters?|reviews?|expressions?|equations?|statements?|quotes?|documents?|reports?"
    r"|tweets?|conversations?|dialogues?|song|lyrics"
    r"|excerpt|speech|headlines?|blog post|recipe|string|array|prompt|items|animals|cities|countries|products?"
    r"|facts|movie|book|questions?"
    r"|proverb|idiom|joke|plot|argument|formula|problem|sequence|series|ingredients|scenario)"
)
_POINTERS = ("given", "following", "provided", "above", "below", "attached", "this ", "these ")
_POINTS_AT_TEXT = re.compile(
    rf"\b(?:the|these|this) (?:given|following|provided|above|below"
    rf"|attached) (?:[\w'-]+ ){{0,2}}?{_TEXTS}\b(?! of\b)"
    r"|\bthis (?:sentence|paragraph|article|passage|poem|text|excerpt|essay|speech|letter|email|dataset|table"
    r"|code|quote|story|tweet|review|equation|list|song)\b"
    rf"|\b{_TEXTS} (?:below|above|provided)\b(?! by)|\ba given (?:sentence|paragraph|article|passage|story"
    rf"|list) (?:and|in)\b"
    r"|\b(?:the adjective|the noun|the verb|the subject) in a given sentence\b",
    re.IGNORECASE,
)
_HOLDS_TEXT = re.compile(
    r"[:\"“”‘`=_|\d]|\n|'[\w ,.]{3,}'|\w, \w[\w ]*,|http|[.?!] [A-Z]| [-–] |\b(?i:functions?|program|algorithm"
    r"|script|method|model|query|app|application|system"
    r"|regex|true or false|procedure|how (?:to|can|do|would)|given that|tell|called|about \w+|titled|bot|tool"
    r"|code (?:to|that)|GPT|steps)\b"
)


_SUMS_UP_UNSEEN = re.compile(
    r"\b(?:summari[sz]e|summary of|opinion (?:on|of|about)) the (?:(?:news|given|following) )?(?:article|paper|report"
    r"|study|essay|speech|blog post|story|passage)(?: (?:on|about)\b[^:\"“\n]*|\W*)\Z"
    r"|\A(?!.*\b(?:imagine|your|you are|create|generate|come up)\b).*\b(?:protagonist|antagonist|villain|setting"
    r"|themes?|moral|plot|main characters?|narrator|climax|hero) (?:of|in) (?:the|this) (?:story|book|novel|poem|play"
    r"|film|movie)\W*\Z",
    re.IGNORECASE,
)


def _missing_input(turn: TurnView) -> Iterator[Hit]:
    task = turn.instruction
    if len(task) > 150 or (turn.input.strip() and not is_no_input(turn.input)):
        return
    found = _SUMS_UP_UNSEEN.search(task)
    if not found and any(map(task.lower().__contains__, _POINTERS)) and (found := _POINTS_AT_TEXT.search(task)):
        found = None if _HOLDS_TEXT.search(task.strip().rstrip(".")) else found
    if found:
        yield Hit("instruction", f"{quote(found[0])} is nowhere in the row", 0.8, DROP)


_WRITINGS = (
    r"articles?|news|recording|report|document|essay|post|paper|study|podcast|interview|lecture|talk|editorial"
    r"|case study"
)
_TOLD = re.compile(
    r"\W*(?:(?:this is )?(?:the|this|an?) )?(?:(?:following|given|entire|full|whole|new|recent|short|news|research"
    r"|scientific|academic|blog|opinion|magazine|newspaper|online|example|sample|stock market|\d+[- ]word) ){0,3}"
    rf"(?:(?:{_WRITINGS}|story|book|novel|passage|poem|movie|film|video|texts?|speech|letter|review|chart|graph|song"
    r"|conversation|transcript|chapter|documentary)"
    r"(?:,? (?:is )?(?:titled|entitled|called) (?P<title>\S[^\n]{3,80}?))?"
    r"(?:,? (?:(?:is|was|that is|which is) )?(?:about|describ(?:es|ing)|examin(?:es|ing)|discuss(?:es|ing)|on|regarding"
    r"|explor(?:es|ing)|detail(?:s|ing)|provides|covers|looks at|explains|talks about|focuses on|outlines|deals with"
    r"|highlights|investigates|follows|the story of|of an?)\b.{3,}|\W*)"
    rf"|(?:{_WRITINGS})(?:(?:,? (?:is |was )?(?:titled|entitled|called):?|(?: title| name)?:)? [\"“‘'][^\"”\n]{{5,120}}"
    r"[\"”’'](?: by [A-Z][\w. ]+)?|(?: title| name)?: (?!.*\b(?:is|are|was|were|has|have|finds?|found|says?)\b)"
    r"[^\n.:,]{5,90})\W*)",
    re.IGNORECASE,
)
"""A text that says what another text is about, or only how it is called."""
_NEEDS_THE_TEXT = re.compile(
    r"\b(?:summari[sz]\w+|summary|transcri\w+|(?:key|main) (?:points?|takeaways?|findings?|ideas?|arguments?)"
    r"|highlights|outline|analy[sz]e|evaluate|critique|review|assess|(?P<judges>rate|score)|proofread|feedback|extract"
    r"|quotes?|point of view|author's opinion|(?P<theme>themes?)(?! mentioned))\b",
    re.IGNORECASE,
)
_TITLE_DOES = re.compile(
    r"\b(?:titles?|headlines?|classif\w+|categor\w+|genre|tags?|hashtags?|questions?|premise"
    r"|(?:write|compose) an? [\w ]*(?:review|introduct\w+)|(?:this|following) (?:sentence|statement)|ending|techniques"
    r"|language|poem)\b",
    re.IGNORECASE,
)
_LONGEST_TELLING = 30
"""Words; a longer account of a text is an abstract, which can be summed up."""
_DATA_TOLD = re.compile(
    r"\W*(?:(?:the|this|an?) )?(?:[\w'-]+ ){0,3}(?:data ?set|data|table|survey results?|spreadsheet|chart|graph)s?\s"
    r"(?:is a survey|contain(?:s|ing)|includ(?:es|ing)|with|about|on|of|showing)\b[^\n;:]{3,}",
    re.IGNORECASE,
)
_NEEDS_THE_DATA = re.compile(
    r"\A(?!.*\b(?:how|models?|techniques?|methods?|algorithm|plan|bias|system|schema|query|code|program|function|script"
    r"|visuali[sz]\w+|quality|type)\b).*\b(?:insights?|mean|median|average|predicts?|data story|summari[sz]e|summary"
    r"|analy[sz]e|conclusions?|trends?|formula)\b",
    re.IGNORECASE | re.DOTALL,
)
_TELLS_HOW = re.compile(
    r"\b(?:(?:can|could|should|would|must) (?:be|\w+)|to (?:calculate|compute|find|analy[sz]e))\b", re.IGNORECASE
)
_MANY_NUMBERS = re.compile(r"(?:\d[\d.]*\D+){3}\d")


def _described_input(turn: TurnView) -> Iterator[Hit]:
    text = turn.input.strip()
    if not 3 < len(text) < 400:
        return
    asked = _NEEDS_THE_TEXT.search(turn.instruction)
    if asked and _TOLD.fullmatch(text) and not _TITLE_DOES.search(turn.instruction):
        needs_no_words = asked["judges"] or asked["theme"]
        most = _LONGEST_TELLING if needs_no_words else min(_LONGEST_TELLING, len(turn.output.split()))
        if len(text.split()) <= most:
            fix = None if asked["theme"] else DROP
            yield Hit("input", f"{quote(text)} only says what the text is about, so the answer is invented", 0.9, fix)
        return
    told = _NEEDS_THE_DATA.match(turn.instruction) and _DATA_TOLD.fullmatch(text)
    if told and not _MANY_NUMBERS.search(text) and not _TELLS_HOW.search(turn.output):
        yield Hit("input", f"{quote(text)} only says what data there is, so the answer is invented", 0.85, DROP)


PLACEHOLDER_INPUT = Rule(
    "placeholder-input",
    "defect",
    "the input only stands for something that was to be put in, such as [Insert article]",
    find=_placeholder,
    english_only=True,
    precision=1.0,
    read="30 of 149",
)
MISSING_INPUT = Rule(
    "missing-input",
    "defect",
    "the task speaks of a given text, and none is given",
    find=_missing_input,
    english_only=True,
    precision=1.0,
    read="all 25",
)
DESCRIBED_INPUT = Rule(
    "described-input",
    "defect",
    "asked to sum up, transcribe or judge a text or data, the input only says what they are about",
    find=_described_input,
    english_only=True,
    precision=89 / 92,
    read="all 92",
)
