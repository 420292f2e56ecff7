"""What is worth knowing of a row, and no reason to drop it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote

_PICTURE = re.compile(
    r"\A\W*(?:draw|sketch|paint|illustrate|photograph)\b|\b(?:draw|sketch|paint|illustrate|design|create|make"
    r"|generate|produce|build|construct|render"
    r"|visuali[sz]e)\b[^.?\n]{0,60}\b(?:image|picture|photo(?:graph)?|poster|logo|drawing|illustration"
    r"|painting|diagram|flow ?chart|chart|graph"
    r"|info ?graphic|animation|video|3D model|mockup|wireframe|banner|flyer|brochure|visuali[sz]ation"
    r"|visual(?! studio)|cartoon|comic|sculpture|artwork|gif|meme"
    r"|mind ?map|word cloud|icon|graphic|storyboard|blueprint|floor ?plan|mascot|(?:piece|work) of art|symbol"
    r"|dashboard|user interface|t-shirt|pencil sketch|avatar|emoji|collage|flag|map)s?\b",
    re.IGNORECASE,
)
_NO_PICTURE = re.compile(
    r"\A\W*(?:describe|edit|rewrite|explain|classify|summari[sz]e)\b|\b(?:list of|captions?|materials|tools"
    r"|editing)\b|\?\s*\Z|\bcharacter sketch|\b(?:html|css|python|function)\b",
    re.IGNORECASE,
)
_PICTURE_VERBS = (
    "draw",
    "sketch",
    "paint",
    "illustrate",
    "photograph",
    "design",
    "create",
    "make",
    "generate",
    "produce",
    "build",
    "construct",
    "render",
    "visuali",
)
_NAME_GAP = re.compile(
    r"(?<![\w\])])\[(?:your|my|insert|recipient'?s?|sender'?s?|company|customer|employee|friend'?s?|product|client|manager"
    r"|hiring|first|last|phone|email|contact"
    r"|title|position|city|job|name|date|address|signature)(?: [^\]\n]{0,40})?\]",
    re.IGNORECASE,
)
_LEAKED = re.compile(
    r"--- README\.md|You are asked to come up with a set of|challenge the GPT model"
    r"|\bset of diverse task instructions|<\|(?:endoftext|im_start|im_end)\|>"
    r"|^### (?:Instruction|Response):",
    re.MULTILINE,
)


def _asks_picture(turn: TurnView) -> Iterator[Hit]:
    low = turn.instruction.lower()
    if (
        any(map(low.__contains__, _PICTURE_VERBS))
        and (found := _PICTURE.search(turn.instruction))
        and not _NO_PICTURE.search(turn.instruction)
    ):
        yield Hit("instruction", f"{quote(found[0])} asks for a picture", 0.85)


def _name_gap(turn: TurnView) -> Iterator[Hit]:
    if "[" in turn.output and (found := _NAME_GAP.search(turn.output)):
        yield Hit("output", f"{quote(found[0])} is left to be filled in", 0.9)


def _leaked_prompt(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    if (
        "README" in text
        or "asked to" in text
        or "GPT model" in text
        or "diverse task" in text
        or "<|" in text
        or "### " in text
    ) and (found := _LEAKED.search(text)):
        yield Hit("output", f"{quote(text[found.start() :])} is the generator's own prompt", 0.9, DROP)


ASKS_PICTURE = Rule(
    "asks-picture",
    "tag",
    "the task asks for a picture, which text can only describe or code",
    find=_asks_picture,
    english_only=True,
    precision=28 / 30,
    read="30 of 529",
)
NAME_GAP = Rule(
    "name-gap",
    "tag",
    "the output leaves a gap such as [Your Name]",
    find=_name_gap,
    english_only=True,
    precision=1.0,
    read="30 of 275",
)
LEAKED_PROMPT = Rule(
    "leaked-prompt",
    "defect",
    "the generator's prompt or a template's marker stands in the output",
    find=_leaked_prompt,
    english_only=True,
    precision=1.0,
    read="all 2",
)
