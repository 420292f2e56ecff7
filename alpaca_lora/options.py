"""What every settings class is made with: flat flags, whole numbers, and the refusal of a value out of range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter, Token

from alpaca_lora.errors import UserError


def _whole(kind: object, tokens: Sequence[Token]) -> int:
    """Refuse 8.5 where cyclopts would take 8."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number") from None


Whole = Annotated[int, Parameter(converter=_whole)]

flat = Parameter(name="*")
"""Marks a settings class whose fields are flags of their own, without a prefix."""


def require(config: object, **rules: tuple[bool, str]) -> None:
    """Raise `UserError` for the first setting whose rule does not hold; a rule is (holds, what is allowed)."""
    for name, (holds, allowed) in rules.items():
        if not holds:
            raise UserError(f"--{name} is {getattr(config, name)!r}", fix=f"give --{name} a value {allowed}")


def flatten(config: Any) -> dict[str, Any]:
    """Give one flat dict of a config's settings, keyed by flag name; the groups themselves vanish."""
    settings: dict[str, Any] = {}
    for key, value in asdict(config).items():
        settings.update(value if isinstance(value, dict) else {key: value})
    return settings
