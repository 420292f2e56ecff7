"""Letters moved: words reversed, palindromes, upper and lower case; and sets: union, intersection, no duplicates."""

from __future__ import annotations

import re

from alpaca_lora.data.audit.answers.ordering import split_items
from alpaca_lora.data.audit.answers.question import Question, unknown_words, vocabulary
from alpaca_lora.data.audit.answers.verdict import ListTruth, TextTruth, Truth

_KNOWN = vocabulary(
    """reverse reversed backwards string word words letters letter characters order text spelled palindrome whether
    or not check is sentence phrase convert uppercase lowercase upper lower case change capital transform make
    rewrite original turn capitalize"""
)
_SETS = vocabulary(
    """union intersection remove duplicates duplicate a b x y common unique keep only delete repeated elements them
    two"""
)


def check_spelling(question: Question) -> Truth | None:
    """Answer one request on the letters of a word, or on one or two sets."""
    ask = question.ask
    if re.search(r"\bunion\b|\bintersection\b|\bduplicates?\b", ask):
        return _sets(question)
    if not re.search(r"\breverse|\bpalindrome|upper ?case|lower ?case", ask):
        return None
    text, around = _subject(question)
    if not text or unknown_words(around, _KNOWN) or len(text) > 200:
        return None
    if re.search(r"palindrome", around):
        return _palindrome(text, around)
    if "case" in around:
        upper, lower = re.search(r"upper ?case", around), re.search(r"lower ?case", around)
        if bool(upper) == bool(lower) or re.search(r"\bfirst\b|\bletters? of\b|title", around) or "\n" in text:
            return None
        right = text.upper() if upper else text.lower()
        return TextTruth("case", right, rf"(?i:{re.escape(text)})", exact=True)
    if (
        not re.fullmatch(r"[A-Za-z0-9]{3,30}", text)
        or text.isdigit()
        or not re.search(r"\bstring|\bword\b|\bletters|\bcharacters", around)
    ):
        return None
    return TextTruth(
        "reverse",
        text[::-1],
        rf"(?<![\w'])[A-Za-z0-9]{{{max(len(text) - 2, 3)},{len(text) + 2}}}(?![\w'])",
        asked=(text, "reversed", "reverse", "string", "letters", "word", "order", "backwards", "spelled"),
    )


def _subject(question: Question) -> tuple[str, str]:
    quotes = re.findall(r'"([^"]+)"|(?<!\w)\'([^\']+)\'(?!\w)', question.raw_ask)
    quoted = [one or two for one, two in quotes]
    if question.raw_data and not quoted:
        return re.sub(
            r"^(?:string|word|text|sentence)\s*[:=]\s*", "", question.raw_data.strip(), flags=re.IGNORECASE
        ).strip("\"' "), question.ask
    if len(quoted) == 1 and (not question.raw_data or question.raw_data.strip("\"' ") == quoted[0]):
        return quoted[0], question.ask.replace(quoted[0].lower(), " ")
    if ":" in question.raw_ask and not quoted:
        head, _, text = question.raw_ask.partition(":")
        return text.strip().rstrip("."), head.lower()
    return "", ""


def _palindrome(text: str, around: str) -> TextTruth | None:
    if not re.search(r"\bif\b|\bwhether\b|\bis\b|\bcheck\b|\bdetermine\b", around):
        return None
    letters = re.sub(r"[\W_]", "", text.lower())
    if len(letters) < 2:
        return None
    right = letters == letters[::-1]
    yes, no = (
        ("is a palindrome", "yes", "true", "palindrome"),
        ("not a palindrome", "no", "false", "not palindrome", "isn't a palindrome"),
    )
    pattern = (
        r"\bnot a palindrome\b|\bnot palindrome\b|\bisn't a palindrome\b|\bis a palindrome\b|"
        r"^(?:yes|no|true|false|palindrome)\b(?=[\s.]*$)"
    )
    answer = f'"{text}" is {"" if right else "not "}a palindrome.'
    return TextTruth("palindrome", (yes if right else no)[0], pattern, (yes if right else no)[1:], whole=answer)


def _sets(question: Question) -> ListTruth | None:
    text = question.raw_data or question.raw_ask
    around = question.ask if question.raw_data else re.sub(r"[\[{][^\]}]*[\]}]", " ", question.ask)
    groups = [split_items(group) for group in re.findall(r"[\[{]([^\[\]{}]+)[\]}]", text)]
    if unknown_words(around, _SETS) or (
        re.search(r"\w{3,}", re.sub(r"[\[{][^\]}]*[\]}]|\bsets?\b|\barray\b|\blist\b", " ", question.data)) and groups
    ):
        return None
    if "duplicate" in question.ask:
        items = groups[0] if len(groups) == 1 else split_items(text) if not groups and question.raw_data else []
        unique = tuple(dict.fromkeys(items))
        return (
            ListTruth("duplicates", unique, any_order=True)
            if 2 < len(items) < 40 and len(unique) > 2 and "remove" in question.ask
            else None
        )
    if len(groups) != 2:
        return None
    one, two = groups
    items = (
        [*one, *(item for item in two if item not in one)]
        if "union" in question.ask
        else [item for item in one if item in two]
    )
    return (
        ListTruth("set", tuple(items), any_order=True)
        if len(items) > 1 and ("union" in question.ask) != ("intersection" in question.ask)
        else None
    )
