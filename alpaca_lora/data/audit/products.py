"""Tasks to make a thing that were answered by saying what it should be like."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Hit, Rule, quote

_PICTURES = (
    r"logo|poster|flyer|brochure|banner|illustration|image|picture|photo|drawing|painting|mural|sculpture"
    r"|collage|t-shirt|icon|avatar|mascot|storyboard|animation|video|sound effect|song|infographic"
    r"|diagram|flow ?chart|chart|graph|mind ?map|visuali[sz]ation|billboard|cover|mock-?up|wireframe"
)
_OTHERS = (
    r"(?:(?:web|home)(?:site|page)|(?:web ?)?(?:site|page)|app|application|interface|UI|GUI|dashboard|software|program"
    r"|(?:chat)?bot|spreadsheet|script|card|invitation|newsletter|survey|questionnaire|presentation|power ?point"
    r"|slide ?show|form)(?!s? design)|algorithm|(?:AI|learning|predicti(?:ve|on)|classification|forecasting) model"
    r"|database(?: system)?|schema|blueprint|prototype|API|layout|template"
)
_MAKE = re.compile(
    r"\W*(?:please )?(?:design|create|generate|build|construct|develop|make|produce|write|draw|sketch|compose"
    r"|implement|program|code|prepare|draft|set up|put together)\s+"
    r"(?:(?!(?:for|that|to|of|with|about|which|using|from|in|on|and|based|where|by|as|list"
    r"|loyalty|reward\w*|exercise|workout|training|fitness|mentor\w*|business|pricing|description|idea|name|title)\b)"
    rf"[\w'\"-]+\s+){{0,6}}(?P<thing>(?P<picture>{_PICTURES})|{_OTHERS})s?\b"
    r"(?! (?:description|idea|name|title|concept|review|pitch|proposal|proposing|feature))",
    re.IGNORECASE,
)
_OF_IT = r"(?:the|this|my|your|an?|our|one)\s+(?P<subject>[^.\n:;]{2,90}?)\s"
_WISHED = re.compile(
    rf"\W*(?:{_OF_IT}(?:should|could|would|will|must|can|may|might|needs? to|(?:is|was|has been) (?:\w+ly )?(?:designed"
    r"|created|built|generated|developed))"
    r"|I(?:'d| would| will|'ve| have)? ?(?:create|design|build|develop|generate|propose|make|implement|construct)d?)\b",
    re.IGNORECASE,
)
_SHOWN = re.compile(
    rf"\W*{_OF_IT}(?:features?|featuring|depict(?:s|ing)|show(?:s|ing)|consist(?:s|ing)|compris(?:es|ing)|includes?|is"
    r"|has|with|of|that)\b",
    re.IGNORECASE,
)
_IS_THERE = re.compile(
    r"\n\s*(?:\d+[.):]|[-*•#|<{]|step|def |slide|class |import |select |create )|```|->|[{|]|\bsteps?\b|\bloop"
    r"|\b(?:start|begin|first)(?:s|ly)?\b",
    re.IGNORECASE,
)
"""Steps, items, code or tables: the answer made something."""


def _described(turn: TurnView) -> Iterator[Hit]:
    """Find what is told of and not made. The rows stay: what they say is seldom false, only no answer."""
    asked = _MAKE.match(turn.instruction)
    if not asked:
        return
    found = _WISHED.match(turn.output) or (_SHOWN.match(turn.output) if asked["picture"] else None)
    if not found or _IS_THERE.search(turn.output):
        return
    subject, thing = found["subject"], asked["thing"].lower()
    if subject and not any(name in subject.lower() for name in (thing, "design", "layout")):
        return
    yield Hit("output", f"{quote(found[0])} tells of the {thing} that was to be made", 0.9)


DESCRIBED_PRODUCT = Rule(
    "described-product",
    "defect",
    "asked to make a page, program, survey or logo, the output only says what it should be like",
    find=_described,
    english_only=True,
    precision=38 / 40,
    read="40 of 408",
)
