"""Tasks to make a thing that were answered by saying what it should be like."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import Hit, Rule, quote

_PICTURES = (
    r"logo|poster|flyer|brochure|banner|illustration|image|picture|photo|drawing|painting|mural|sculpture"
    r"|collage|t-shirt|icon|avatar|mascot|storyboard|animation|video|sound effect|song|infographic"
    r"|diagram|flow ?chart|chart|graph|histogram|mind ?map|visuali[sz]ation|visual representation|3D model|word cloud"
    r"|gif|billboard|cover|mock-?up|wireframe|artwork|piece of art|meme|comic strip|cartoon|floor ?plan"
)
_OTHERS = (
    r"(?:(?:web|home)(?:site|page)|(?:web ?)?(?:site|page)|app|application|interface|UI|GUI|dashboard|software|program"
    r"|(?:chat)?bot|spreadsheet|script|card|invitation|newsletter|survey|questionnaire|presentation|power ?point"
    r"|slide ?show|form)(?!s? design)|algorithm|(?:AI|learning|predicti(?:ve|on)|classification|forecasting) model"
    r"|database(?: system)?|schema|blueprint|prototype|API|layout|template"
)
_MAKE = re.compile(
    r"\W*(?:please |can you |you (?:need|are asked|have) to |(?:given|using|based on) [^,.]{3,80}, (?:please )?)?"
    r"(?:re-?)?(?:design|create|generate|build|construct|develop|make|produce|write|draw|sketch|compose"
    r"|implement|program|code|prepare|draft|set up|put together|come up with)\s+"
    r"(?:an? (?:[\w-]+ )?(?:design for|example of) )?"
    r"(?:(?!(?:for|that|to|of|with|about|which|using|from|in|on|and|based|where|by|as|list"
    r"|given|practical|loyalty|reward\w*|exercise|workout|training|fitness|mentor\w*|business|pricing|description|idea|name|title)\b)"
    rf"[\w'\"-]+\s+){{0,6}}(?P<thing>(?P<picture>{_PICTURES})|{_OTHERS})s?\b"
    r"(?! (?:description|idea|name|title|concept|review|pitch|proposal|proposing|feature))",
    re.IGNORECASE,
)
_OF_IT = r"(?:the|this|my|your|an?|our|one)\s+(?P<subject>[^.\n:;]{2,90}?)\s"
_WISHED = re.compile(
    rf"\W*(?:{_OF_IT}(?:should|could|would|will|must|can|may|might|needs? to|(?:is|was|has been) (?:\w+ly )?(?:designed"
    r"|created|built|generated|developed))"
    r"|I(?:'d| would| will|'ve| have)? ?(?:(?:create|design|develop|generate|propose|suggest|make|implement"
    r"|construct)(?:e?d)?|made|build|built|drew))\b",
    re.IGNORECASE,
)
_SHOWN = re.compile(
    rf"\W*{_OF_IT}(?:features?|featuring|depict(?:s|ing)|show(?:s|ing)|consist(?:s|ing)|compris(?:es|ing)|includes?|is"
    r"|illustrat(?:es|ing)|display(?:s|ing)|compar(?:es|ing)|highlight(?:s|ing)|with|has|of|that)\b",
    re.IGNORECASE,
)
_SKETCHED = re.compile(
    r"\W*an?\s+(?P<subject>[^.\n:;]{2,60}?)\s(?:featuring|showing|displaying|containing|with|that)\b", re.IGNORECASE
)
_REPEATED = re.compile(
    r"\W*(?:design|create|draw|make|build|develop|generate) (?:an?|the)\s+(?P<subject>[^.\n:;]{2,60})", re.IGNORECASE
)
"""The task given back as an order to somebody else."""
_KINDS = (
    ("page", "site"),
    ("app",),
    ("database",),
    ("model",),
    ("bot",),
    ("interface", "ui", "gui"),
    ("chart", "graph", "visual", "histogram", "plot"),
    ("logo", "icon", "poster", "t-shirt", "banner", "art", "painting", "image"),
)
"""Names for one thing."""
_IS_THERE = re.compile(
    r"\n\s*(?:\d+[.):]|[-*•#|<{]|step|def |slide|class |import |select |create |\w+ = )|```|->|[{|]",
    re.IGNORECASE,
)
"""Items, code or tables: the answer made something."""
_IN_STEPS = re.compile(r"algorithm|flow ?chart|diagram|storyboard|animation|video|presentation|slide ?show")
_STEPS = re.compile(r"\bsteps?\b|\bloop|\b(?:start|begin|first)(?:s|ly)?\b", re.IGNORECASE)


def _described(turn: TurnView) -> Iterator[Hit]:
    """Find what is told of and not made. The rows stay: what they say is seldom false, only no answer."""
    asked = _MAKE.match(turn.instruction)
    if not asked:
        return
    shown = _SHOWN if asked["picture"] else _SKETCHED
    found = _WISHED.match(turn.output) or shown.match(turn.output) or _REPEATED.match(turn.output)
    if not found or _IS_THERE.search(turn.output):
        return
    subject, thing = found["subject"], asked["thing"].lower()
    if _IN_STEPS.search(thing) and _STEPS.search(turn.output):
        return
    names = [thing, *(name for kind in _KINDS if any(map(thing.__contains__, kind)) for name in kind)]
    if found.re is not _REPEATED:
        names += ["design", "layout"]
    if subject and not any(map(subject.lower().__contains__, names)):
        return
    yield Hit("output", f"{quote(found[0])} tells of the {thing} that was to be made", 0.9)


DESCRIBED_PRODUCT = Rule(
    "described-product",
    "defect",
    "asked to make a page, program, survey or logo, the output only says what it should be like",
    find=_described,
    english_only=True,
    precision=176 / 184,
    read="184 of 551",
)
