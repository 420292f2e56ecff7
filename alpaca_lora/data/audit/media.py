"""Tasks about what is not in the row: pages behind an address, pictures and sounds."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.inputs import ADDRESS, WORD, lacks_material
from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote

_ABOUT_ADDRESSES = re.compile(
    r"\b(?:codes?|html|https?|programs?|programming|scripts?|regex|regular expressions?|api|crawler|scrape"
    r"|cite|citation|mla|apa"
    r"|hyperlinks?|button|append\w*|normali[sz]e|domain|uri|urls in|algorithm|function|snippet|broken"
    r"|https connection"
    r"|outside link|create a (?:url|link|bookmark)|string|bibliograph\w*|queries|sql|query|curl|schema|owner"
    r"|trust\w*|format\w*|classifier|click|block|upload\w*|launch|edit the link|choose one website)\b"
    r"|\burl\b(?! and\b|,| for\b| summar)",
    re.IGNORECASE,
)
_CLASSIFIES_SITE = re.compile(
    r"\b(?:classif\w+|categor\w+|determine the type|type of|write an? \w*\s?review|reliab\w+)\b", re.IGNORECASE
)
_HOME_PAGE = re.compile(r"\W*(?:[\w ]{0,20}:)?\s*(?:https?://)?(?:www\.)?[\w-]+\.\w+(?:\.\w+)?/?\W*", re.IGNORECASE)
_MEDIA = (
    r"(?:images?|pictures?|photos?|photographs?|paintings?|drawings?|videos?|recordings?|screenshots?|graphs?"
    r"|charts?|figures?"
    r"|diagrams?|maps?|illustrations?|cartoons?|memes?|gifs?|logos?|sketch(?:es)?|artworks?|infographics?"
    r"|sculptures?"
    r"|visuali[sz]ations?|comics?|comic strips?|graphics?|(?:audio|sound|video|film|movie|song"
    r"|music) ?(?:clips?|files?)"
    r"|pieces? of (?:art|music)|shapes?|floor plans?|songs?|trailers?|flags?|melod(?:y|ies))"
)
# fmt: off
_MEDIA_STEMS = (
    "image", "picture", "photo", "paint", "draw", "video", "record", "screenshot", "graph", "chart", "figure",
    "diagram", "map", "illustration", "cartoon", "meme", "gif", "logo", "sketch", "art", "sculpture", "visual",
    "comic", "clip", "piece", "shape", "floor", "song", "trailer", "flag", "melod",
)
# fmt: on
_POINTS_AT_MEDIA = re.compile(
    rf"\b(?:this|these|the (?:given|following|attached|provided|above|below|accompanying)|given (?:an?|the"
    rf"|these)|attached"
    rf"|below) (?:[\w'-]+ ){{0,2}}?{_MEDIA}\b|\bgiven {_MEDIA}\b"
    rf"|\b{_MEDIA} (?:below|above|attached|provided|shown|given)\b"
    rf"|\b(?:in|on|from) the (?:given |following |attached |provided )?{_MEDIA}\b",
    re.IGNORECASE,
)
_MEDIA_IS_TOLD = re.compile(
    r"[\"“‘:(]|\b(?:figures? of speech|list of|shapes? and|flag of|shapes? of an?|by [A-Z]\w+|of an? \w+"
    r"|of some \w+|called|named|titled|entitled|song lyrics|game|book"
    r"|ascii)\b|\b[a-z]+ (?:[A-Z]\w+ )+(?:painting|song|logo|flag)"
)


def _unseen_page(turn: TurnView) -> Iterator[Hit]:
    both = turn.input if turn.input else turn.instruction
    if "http" not in (low := both.lower()) and "www." not in low and "![" not in low and "<im" not in low:
        both = turn.instruction
        if "http" not in both and "www." not in both:
            return
    found = ADDRESS.search(both)
    if not found or _ABOUT_ADDRESSES.search(ADDRESS.sub("", turn.instruction)):
        return
    given = turn.input if both is turn.input else turn.instruction
    if both is turn.input and len(WORD.findall(ADDRESS.sub(" ", given))) > 25:
        return
    if both is turn.instruction and turn.input.strip() and not lacks_material(turn.input):
        return
    if _CLASSIFIES_SITE.search(turn.instruction) and _HOME_PAGE.fullmatch(given):
        return
    field = "input" if both is turn.input else "instruction"
    yield Hit(field, f"the task is about what is behind {quote(found[0])}, which is not in the row", 0.93, DROP)


def _missing_media(turn: TurnView) -> Iterator[Hit]:
    task = turn.instruction
    low = task.lower()
    if len(task) > 250 or not any(map(low.__contains__, _MEDIA_STEMS)) or not lacks_material(turn.input):
        return
    found = _POINTS_AT_MEDIA.search(task)
    if found and not _MEDIA_IS_TOLD.search(task):
        yield Hit("instruction", f"{quote(found[0])} is not in the row", 0.85, DROP)


UNSEEN_PAGE = Rule(
    "unseen-page",
    "defect",
    "the task is to read a page behind an address; its content is not in the row, so the answer is invented",
    find=_unseen_page,
    english_only=True,
    precision=29 / 30,
    read="30 of 266",
)
MISSING_MEDIA = Rule(
    "missing-media",
    "defect",
    "the task is about a picture, sound or chart that is not in the row",
    find=_missing_media,
    english_only=True,
    precision=29 / 30,
    read="30 of 129",
)
