"""Tasks that no text answers: what needs the live web, what needs hands, and the refusals they were met with."""

from __future__ import annotations

import re
from collections.abc import Iterator

from alpaca_lora.data.audit.rows import TurnView
from alpaca_lora.data.audit.rules import DROP, Hit, Rule, quote

# fmt: off
_LIVE_WORDS = (
    "search", "online", "web", "internet", "google", "current", "today", "latest", "real-time", "realtime",
    "live", "up-to-date", "recent", "right", "now", "weather", "temperature", "stock", "near", "news",
    "trending", "time", "tonight", "tomorrow", "price", "twitter", "president", "restaurant", "hotel", "convert",
    "money", "currenc",
)
# fmt: on
_SEARCHES = re.compile(
    r"\b(?:search (?:the |on the )?(?:web|internet|google|online)|(?:search(?! (?:quer|term|engine))|look up"
    r"|look for|browse|retrieve"
    r"|fetch)\b[^.?]{0,80}\b(?:online|on the (?:web|internet)"
    r"|from (?:the )?(?:web|internet)|on google)|(?:do|perform|perfom|conduct|run) an? (?:(?:online|web"
    r"|internet|google) search|search query)|find out online|search for (?:the )?(?:latest|current)"
    r"|(?<!to )search for (?:some )?information"
    r"|(?:find|get) [^.?]{0,50}\b(?:on the (?:web|internet)|from (?:the )?(?:web|internet))"
    r"|predict (?:what )?the (?:future )?weather)\b",
    re.IGNORECASE,
)
_LIVE = re.compile(
    r"\b(?:(?<!can )(?:find|get|look up|locate|search for|cite)\b[^.?]{0,30}\b(?:news articles?"
    r"|recent articles?|articles? (?:about|related|discussing|on) the (?:latest|current|recent))"
    r"|forecast for (?:the )?(?:next|coming|this|tomorrow)|upcoming weather|weather tomorrow|(?:weather"
    r"|forecast) (?:is|will be) (?:like )?(?:in|at|for|tomorrow)"
    r"|weather in \w+ (?:for|over) the next|current(?:ly)? (?:\w+ )?(?:net worth|president|song|record holder"
    r"|market situation|top news)|current net worth"
    r"|query the current|search for (?:an? |the |some )?(?:news|latest)|latest (?:version of"
    r"|smartphone|information about|updates?|movie|\w+ movie)"
    r"|(?:gather|collect|find|get) (?:some |the )?(?:recent|current|latest) (?:data|statistics|figures)|search volume"
    r"|most recent updates|summari[sz]e (?:the|a) (?:recent|latest|current) (?:news|us |presidential)"
    r"|top news story)\b|"
    r"\b(?:find (?:an? |two |three |\d )?(?:online )?(?:article|source|news)s?\b[^.?]{0,60}\b(?:online|recent"
    r"|news)|(?:find|select|pick|summari[sz]e|choose|analy[sz]e|read) a (?:recent"
    r"|current) (?:news )?(?:article|event|story)"
    r"|who is the current (?:president|prime minister|ceo|governor|mayor|world)|(?:current"
    r"|latest) (?:president|prime minister|ceo|population|status of|unemployment|inflation|gdp)"
    r"|(?:recent|latest|current) (?:news|events?|headlines?) (?:about|on|in|from|related)"
    r"|(?:current|today's|latest|real-?time|live|up-to-date) (?:\w+ ){0,3}?(?:price|prices|value"
    r"|exchange rates?|weather|temperature|stock|"
    r"stocks|news|headlines?|market cap\w*|time|score|scores|rate of|traffic)\b(?! (?:zone|management|series"
    r"|events? that)|,)"
    r"|(?:price|value|worth) of [^.?]{2,40} (?:today|right now|currently|at the moment)|stock price (?:of|for)"
    r"|(?:weather|temperature)(?: (?:like|forecast|report))?(?: \w+)? (?:in|for|at) [^.?]{2,40}\b(?:today"
    r"|tomorrow|now|this week(?:end)?|currently|tonight)"
    r"|(?:what is|what's|how is|check|find out|tell me|get|give me|show me|look up) (?:the )?(?:current )?weather\b"
    r"|weather forecast for|(?:today|tomorrow)'s weather|what time is it|what is the (?:current )?(?:date"
    r"|time)\b(?= ?(?:today|now|in|\?|\.|$))"
    r"|(?<!best )near(?:by|est| me)\b[^.?]{0,30}\b(?:restaurants?|hotels?|hospital|store|shop|park|coffee shop"
    r"|gas station|library|atm)"
    r"|(?:restaurants?|hotels?|stores?|shops?|gas stations?|movie theaters?|events?) (?:near(?:by| me)"
    r"|in my area|close to me)"
    r"|news (?:article|story|stories|headlines?) (?:from|of|about)[^.?]{0,40}\b(?:today|this week|past week"
    r"|last week)"
    r"|(?:top|trending|latest|breaking) (?:\w+ ){0,2}(?:on twitter|headlines|news stor\w+)\b"
    r"|trending (?:right now|today)"
    r"|showing (?:at|in) [^.?]{0,40}theat|(?:happening|playing|events?) (?:in [^.?]{2,30} )?(?:today|tonight"
    r"|this weekend))",
    re.IGNORECASE,
)
_PLACES = re.compile(
    r"\A(?!.*\b(?:query|sql|names? for|translat\w+|sentence|reviews?|menu|code|function|program|script|slogan"
    r"|tagline|app|application)\b)"
    r".*?\b(?P<place>(?:restaurant|hotel|caf[eé]|coffee shop)s? (?:near|close to|around)\b"
    r"|(?:nearest|closest|nearby) [\w ]{0,20}?(?:restaurant|hotel|caf[eé]|coffee shop)s?"
    r"|(?:best|top|popular|recommended|[\w-]+[ -]rated) (?:[\w-]+ ){0,2}(?:restaurant|hotel)s?)\b",
    re.IGNORECASE,
)
_CURRENCY = re.compile(
    r"(?<!\w)(?:(?P<aud>australian dollars?|aud)|(?P<cad>canadian dollars?|cad)|(?P<usd>dollars?|usd|us\$|\$)"
    r"|(?P<eur>euros?|eur|€)|(?P<gbp>gbp|british pounds?|pounds? sterling|£)|(?P<jpy>yen|jpy|¥)|(?P<inr>rupees?|inr|₹)"
    r"|(?P<cny>yuan|rmb|cny)|(?P<mxn>pesos?|mxn)|(?P<btc>bitcoins?|btc))(?!\w)",
    re.IGNORECASE,
)
_EXCHANGES = re.compile(
    r"\A\W*(?:please )?(?:convert|exchange|change|calculate|find|how (?:much|many))\b", re.IGNORECASE
)
_RATE_IS_GIVEN = re.compile(r"=\s*\d|\brate\b", re.IGNORECASE)
_MAKES_TEXT = re.compile(
    r"\b(?:write|compose|generate|create|design|build|develop|construct|program|function|script|code|query"
    r"|queries|sentence|story|poem|dialogue|conversation"
    r"|tips?|how (?:can|could|do|would|should|to)|explain|method|strateg\w+|ways?|advice|question|app"
    r"|application|classify|rewrite|edit|translate|suggest"
    r"|algorithm|system|given the|given a list|assistant|bot|chatbot|website|sql|affect\w*|impact\w*"
    r"|predict\w*|argument|if|brainstorm|survey|essay)\b",
    re.IGNORECASE,
)
_TELLS_CLIMATE = re.compile(
    r"\b(?:weather|climate|temperatures?)\b.*\b(?:typically|usually|generally|ranges)\b", re.IGNORECASE
)
_SOME_DAY = re.compile(r"\b(?:today|tonight|tomorrow|upcoming|next|now|this week)\b", re.IGNORECASE)
_AGES = re.compile(
    r"\b(?:latest|current|recent|today|tomorrow|now|news|prices?|near\w*|reviews?|rated|ratings?|articles?|websites?"
    r"|tutorial|sources?|sales|weather|popular|licen[cs]e|sound effect)\b",
    re.IGNORECASE,
)
_WAS_SEARCHED = re.compile(r"https?:|\bwww\.|\b(?:found|searching|according to|retrieved)\b|\$\d", re.IGNORECASE)
_CLAIMS = re.compile(
    r"\A\W*(?:(?:(?:ok|okay|sure|done|using \w+)[,.!] )?I(?:'ve"
    r"| have) (?:now |successfully |just )?(?P<verb>booked|sent|ordered|scheduled|set|added"
    r"|reserved|played|called|emailed|purchased|bought"
    r"|posted|uploaded|downloaded|saved|turned|opened|clicked|placed|submitted|deleted|updated|installed"
    r"|made a (?:chart|reservation)|created a)\b"
    r"|(?:the|your) [\w ]{2,40}(?:has|have) (?:now )?been (?:successfully )?(?:booked|sent|ordered|scheduled"
    r"|set|reserved|posted|uploaded|saved|turned"
    r"|opened|placed|submitted|deleted|updated|installed|launched|edited|added|downloaded|replaced|deployed"
    r"|configured|connected|printed|trained)\b"
    r"|(?:(?:ok|okay|sure|done|using \w+)[,.!] )?I (?:trained|conducted|interviewed|deployed|installed|measured"
    r"|recreated|built|baked|cooked|planted|recorded|tested|surveyed|downloaded|uploaded|booked|ordered)\b"
    r"|I will (?:build|bake|cook|plant|paint|draw|record|book|order|install|conduct) (?:an?|the)\b"
    r"|the (?:document|file|database|list|calendar|table) now (?:includes|contains|has)\b)",
    re.IGNORECASE,
)
_DONE = re.compile(
    r"\A\W*(?:(?:successfully )?(?P<did>\w+ed)\b (?:an?|the|\w+ in)\b"
    r"|[\w' .-]{2,60}? (?:has|have) (?:now )?been (?:successfully )?(?P<was>\w+ed)\b)[^:\n\"“;]*\Z",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z]+")
_TEXT_TASK = re.compile(
    r"\b(?:sentence|write|compose|generate|rewrite|replace the|verb|tense|paraphrase|translate|email|letter"
    r"|dialogue|conversation|response|story|convert|passive"
    r"|active|grammar\w*|rephrase|form|explain|describe|discuss|define|classify|identify|name)\b",
    re.IGNORECASE,
)
_MODEL_CANNOT = re.compile(
    r"\b(?:cannot|can't|can not|unable to|not (?:able|possible|suitable)|beyond|does not meet"
    r"|do not have)\b[^\n]{0,120}\b(?:GPT|language model|the model|AI model|as an AI)\b"
    r"|\b(?:GPT|language model|the model|AI model|as an AI|models?)\b[^\n]{0,80}\b(?:cannot|can't|unable"
    r"|not able|not possible|not suitable|do not have the)\b",
    re.IGNORECASE,
)
_TASK_CANNOT = re.compile(
    r"\A\W*(?:sorry,? (?:but )?(?:the|this) (?:task|instruction|request)\b|(?:this|the) (?:task|instruction"
    r"|request|type of (?:task|instruction))\b[^.\n]{0,40}"
    r"\b(?:cannot|can't|is not (?:possible|suitable))|unable to (?:perform|complete|fulfil)"
    r"|this is not a suitable)",
    re.IGNORECASE,
)
_I_CANNOT = re.compile(
    r"\A\W*(?:(?:I'm |I am )?sorry,? (?:but )?|unfortunately,? )?I(?:'m| am)? (?:cannot|can't|can not"
    r"|unable to|not able to) (?P<verb>\w+)",
    re.IGNORECASE,
)
_ABOUT_MODELS = re.compile(
    r"\b(?:GPT\S*|AI|models?|chatbot|bot|assistant|inappropriate|cannot|can't|instruction|limitations?"
    r"|refus\w+|decline)\b"
)
_LONGEST_REFUSAL = 400
_FIRST_LINE = 142
_SUM_OF_MONEY = re.compile(rf"[^\n]{{0,{_FIRST_LINE - 2}}}?(?P<sum>\$\d(?:[\d,.]*\d)?)")
_ASKS_PRICE = re.compile(r"\b(?:price|cost|fee|salary|fare|worth|how much)\b", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_HEDGES = re.compile(
    r"\b(?:rang\w+|approximate\w*|around|about|roughly|depend\w*|estimate\w*|between|average|typical\w*|usually"
    r"|var(?:y|ies)|example|such as)\b|\$[\d,.]+ ?(?:-|–|to) ?\$?\d",
    re.IGNORECASE,
)
"""A price range or a guess said to be one is no invention."""


def _live_web(turn: TurnView) -> Iterator[Hit]:
    """Find what needs the live web; a search whose answer is a lasting fact is told of, and the row stays."""
    task = turn.instruction
    low = task.lower()
    if len(task) > 200 or not any(map(low.__contains__, _LIVE_WORDS)):
        return
    searched = _SEARCHES.search(task) if "user" not in low else None
    found = searched or (None if _MAKES_TEXT.search(task) else _LIVE.search(task))
    if found and not (_TELLS_CLIMATE.search(turn.output[:120]) and not _SOME_DAY.search(task)):
        lasts = searched and not _AGES.search(task) and not _WAS_SEARCHED.search(turn.output)
        yield Hit(
            "instruction", f"{quote(found[0])} needs the live web", 0.6 if lasts else 0.85, None if lasts else DROP
        )
    elif found := _PLACES.match(task):
        yield Hit("instruction", f"{quote(found['place'])} needs the live web", 0.7)
    elif _EXCHANGES.match(task) and not _RATE_IS_GIVEN.search(asked := f"{task} {turn.input[:100]}"):
        named = {found.lastgroup for found in _CURRENCY.finditer(f"{asked} {turn.output[:100]}")}
        if len(named) > 1 and _DIGIT.search(asked):
            yield Hit(
                "output", f"{quote(turn.output)} takes a rate of exchange that nothing in the row gives", 0.85, DROP
            )


def _invented_price(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    if "$" not in text[:_FIRST_LINE] or len(text) > _LONGEST_REFUSAL or _DIGIT.search(turn.instruction + turn.input):
        return
    found = _SUM_OF_MONEY.match(text)
    if found and _ASKS_PRICE.search(turn.instruction) and not _HEDGES.search(text):
        yield Hit("output", f"nothing in the row gives the price {quote(found['sum'])}", 0.9, DROP)


def _pretended_action(turn: TurnView) -> Iterator[Hit]:
    found = _CLAIMS.match(turn.output)
    if not found and (done := _DONE.match(turn.output)):
        orders = [verb.removesuffix("e") + "ed" for verb in _WORD.findall(turn.instruction[:40].lower())[:2]]
        found = done if (done["did"] or done["was"]).lower() in orders else None
    if found and len(turn.output) < _LONGEST_REFUSAL and not _TEXT_TASK.search(turn.instruction):
        yield Hit("output", f"{quote(found[0])} claims an action that no text can do", 0.85, DROP)


def _refusal(turn: TurnView) -> Iterator[Hit]:
    text = turn.output
    if len(text) > _LONGEST_REFUSAL:
        return
    low = text.lower()
    if "can" not in low and "not" not in low and "unable" not in low and "sorry" not in low:
        return
    if _ABOUT_MODELS.search(turn.instruction):
        return
    if found := _TASK_CANNOT.match(text) or _MODEL_CANNOT.search(text):
        yield Hit("output", f"{quote(found[0])} refuses the task", 0.95, DROP)
    elif (found := _I_CANNOT.match(text)) and found["verb"].lower() in turn.instruction.lower().split()[:2]:
        yield Hit("output", f"{quote(found[0])} refuses the task", 0.9, DROP)


LIVE_WEB = Rule(
    "live-web",
    "defect",
    "the task needs the live web: a search, today's weather, news, prices or rates, a place to eat",
    find=_live_web,
    english_only=True,
    precision=59 / 63,
    read="63 of 177",
)
INVENTED_PRICE = Rule(
    "invented-price",
    "defect",
    "asked for a price that nothing in the row gives, the output names one to the cent or the dollar",
    find=_invented_price,
    english_only=True,
    precision=22 / 23,
    read="all 23",
)
PRETENDED_ACTION = Rule(
    "pretended-action",
    "defect",
    "the output claims to have booked, sent or opened something",
    find=_pretended_action,
    english_only=True,
    precision=35 / 36,
    read="all 36",
)
REFUSAL = Rule(
    "refusal",
    "defect",
    "the output refuses the task, mostly as a language model",
    find=_refusal,
    english_only=True,
    precision=1.0,
    read="all 36",
)
