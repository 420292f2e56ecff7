"""All rules that come with the package, those of a user's file, and the choice among them."""

from __future__ import annotations

import runpy
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_args

from alpaca_lora.data.audit import (
    actions,
    characters,
    constraints,
    contradictions,
    duplicates,
    inputs,
    markers,
    media,
    merged,
    outputs,
    privacy,
    products,
    scripts,
    stop_cuts,
    tags,
)
from alpaca_lora.data.audit.answers.rule import WRONG_ANSWER
from alpaca_lora.data.audit.rules import Rule, Severity
from alpaca_lora.errors import UserError

BUILTIN: tuple[Rule, ...] = (
    markers.NO_INPUT,
    markers.MARKER_IN_INPUT,
    merged.MERGED,
    stop_cuts.STOP_CUT,
    outputs.EMPTY_OUTPUT,
    outputs.NULL_OUTPUT,
    WRONG_ANSWER,
    media.UNSEEN_PAGE,
    inputs.PLACEHOLDER_INPUT,
    inputs.DESCRIBED_INPUT,
    media.MISSING_MEDIA,
    outputs.FAKE_MEDIA,
    products.DESCRIBED_PRODUCT,
    actions.LIVE_WEB,
    actions.INVENTED_PRICE,
    inputs.MISSING_INPUT,
    actions.PRETENDED_ACTION,
    actions.REFUSAL,
    tags.LEAKED_PROMPT,
    characters.CONTROL,
    characters.MARKS,
    characters.BACKSLASH,
    outputs.UNCHANGED,
    constraints.WORD_LIMIT,
    constraints.ITEM_COUNT,
    constraints.BROKEN_JSON,
    constraints.BROKEN_PYTHON,
    constraints.MAXIMUM_FROM_ZERO,
    tags.ASKS_PICTURE,
    tags.NAME_GAP,
    duplicates.EXACT_DUPLICATE,
    duplicates.NEAR_DUPLICATE,
    contradictions.CONTRADICTION,
    privacy.EMAIL,
    privacy.PHONE,
    privacy.CARD,
    privacy.IBAN,
    privacy.SECRET,
    scripts.UNASKED_SCRIPT,
)


def choose_rules(rules: Sequence[Rule], only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Rule]:
    """Give the rules asked for, or all that are on by default; raise `UserError` for an id that no rule has."""
    ids = [rule.id for rule in rules]
    for flag, names in (("--only", only), ("--skip", skip)):
        for name in names:
            if name not in ids:
                near = get_close_matches(name, ids, n=1)
                raise UserError(
                    f"{flag}: no rule is called {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                    fix=f"the rules are {', '.join(ids)}",
                )
    return [rule for rule in rules if (rule.id in only if only else rule.default) and rule.id not in skip]


def with_own_rules(path: str) -> tuple[Rule, ...]:
    """Give the package's rules and those in the list RULES of a user's Python file, which is run."""
    if not path:
        return BUILTIN
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"the rules file {path} does not exist", fix="give --rules a Python file with a list named RULES"
        )
    try:
        found: Any = runpy.run_path(str(file)).get("RULES")
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise UserError(f"the rules file stops with {type(error).__name__}: {error}", where=path) from error
    if not isinstance(found, (list, tuple)) or not all(isinstance(rule, Rule) for rule in cast("list[object]", found)):
        raise UserError("the rules file has no list RULES of Rule(...)", where=path, fix=_EXAMPLE)
    own = tuple(cast("list[Rule]", found))
    taken = {rule.id for rule in BUILTIN}
    for rule in own:
        if rule.id in taken:
            raise UserError(f"two rules are called {rule.id!r}", where=path, fix="give it another id")
        if (rule.find is None) == (rule.find_all is None):
            raise UserError(f"the rule {rule.id!r} needs either find or find_all", where=path, fix=_EXAMPLE)
        if rule.severity not in get_args(Severity):
            what = f"the rule {rule.id!r} has the severity {rule.severity!r}"
            raise UserError(what, where=path, fix=f"make it one of {', '.join(get_args(Severity))}")
        taken.add(rule.id)
    return (*BUILTIN, *own)


_EXAMPLE = (
    'RULES = [Rule("shouting", "tag", "the output is in capitals", find=FUNCTION)], FUNCTION(turn) yielding Hit(...)'
)
