"""A recipe: a YAML file with a verb's settings, below the flags on the command line."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from alpaca_lora.errors import UserError


def take_recipe(arguments: list[str]) -> tuple[list[str], Path | None]:
    """Take the recipe out of `VERB recipe.yaml --flag ...`: the first word after the verb that is no flag."""
    for place in (1, 2):
        if len(arguments) > place and arguments[place].endswith((".yaml", ".yml")):
            return [*arguments[:place], *arguments[place + 1 :]], Path(arguments[place]).expanduser()
        if len(arguments) <= place or arguments[place].startswith("-"):
            break
    return arguments, None


def read_recipe(path: Path, verb: str, known: Collection[str]) -> dict[str, Any]:
    """Read a recipe's settings for a verb; raise `UserError` for a key that is not among the known ones."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        settings, tree = yaml.safe_load(text) or {}, yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"the recipe is not YAML: {error}", where=str(path)) from error
    if tree is not None and not isinstance(tree, yaml.MappingNode):
        raise UserError("the recipe is not a list of `flag: value` lines", where=str(path))
    seen = set[str]()
    for key, value in tree.value if tree else ():
        if key.value in seen:
            raise UserError(f"the recipe gives {key.value!r} twice", where=f"{path}:{key.start_mark.line + 1}")
        if isinstance(value, yaml.MappingNode):
            raise UserError(
                f"the recipe's {key.value!r} holds settings of its own; a recipe is flat",
                where=f"{path}:{key.start_mark.line + 1}",
                fix="move them to the left edge: the keys are the flags' names",
            )
        seen.add(key.value)
    for key in settings:
        if known and key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise UserError(
                f"the recipe has an unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                where=str(path),
                fix=f"alpaca-lora {verb} --help lists the keys: they are the flags' names",
            )
    return {str(key): value for key, value in settings.items()}
