"""Every option exists once, says what it means, and is read by the code it claims to steer."""

from __future__ import annotations

import ast
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora import config
from alpaca_lora.data import settings as data_settings
from alpaca_lora.data.atlas import settings as atlas_settings
from alpaca_lora.data.audit import settings as audit_settings
from alpaca_lora.data.review import settings as review_settings
from alpaca_lora.export import settings as export_settings
from alpaca_lora.inference import settings as inference_settings
from alpaca_lora.options import flatten

PACKAGE = Path(config.__file__).parent
MODULES = (config, atlas_settings, audit_settings, data_settings, export_settings, inference_settings, review_settings)
FILES = [Path(str(module.__file__)) for module in MODULES]
CONFIGS = [
    thing
    for module in MODULES
    for thing in vars(module).values()
    if dataclasses.is_dataclass(thing) and getattr(thing, "__module__", "") == module.__name__
]
VERB_CONFIGS = [
    thing
    for thing in CONFIGS
    if any(field.default_factory is not dataclasses.MISSING for field in dataclasses.fields(thing))
]


def _flags(owner: Any) -> list[str]:
    """List a config's flags, those of its groups included."""
    flags: list[str] = []
    for field in dataclasses.fields(owner):
        group = field.default_factory
        flags += _flags(group) if dataclasses.is_dataclass(group) else [field.name]
    return flags


def _attributes_read(text: str) -> set[str]:
    return {
        node.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def _documented(text: str) -> dict[str, set[str]]:
    """Give the fields of each class that are followed by a text."""
    found: dict[str, set[str]] = {}
    for owner in ast.walk(ast.parse(text)):
        if isinstance(owner, ast.ClassDef):
            found[owner.name] = {
                ast.unparse(node.target)
                for node, after in zip(owner.body, owner.body[1:], strict=False)
                if isinstance(node, ast.AnnAssign)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            }
    return found


def test_the_configs_are_found() -> None:
    assert {owner.__name__ for owner in VERB_CONFIGS} >= {"FinetuneConfig", "ChatConfig", "PreviewConfig"}
    assert "cutoff_len" in _flags(config.FinetuneConfig)


def test_every_option_is_read_outside_the_settings() -> None:
    read: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path not in FILES:
            read |= _attributes_read(path.read_text(encoding="utf-8"))
    flags = {flag for owner in CONFIGS for flag in _flags(owner)}
    assert sorted(flags - read) == []


def test_every_option_is_documented() -> None:
    documented: dict[str, set[str]] = {}
    for path in FILES:
        documented |= _documented(path.read_text(encoding="utf-8"))
    missing = [
        f"{owner.__name__}.{field.name}"
        for owner in CONFIGS
        for field in dataclasses.fields(owner)
        if not dataclasses.is_dataclass(field.default_factory)
        and not any(field.name in documented.get(parent.__name__, ()) for parent in owner.__mro__)
    ]
    assert missing == []


@pytest.mark.parametrize("owner", VERB_CONFIGS, ids=lambda owner: owner.__name__)
def test_no_verb_has_two_options_of_one_name(owner: Any) -> None:
    assert [flag for flag, count in Counter(_flags(owner)).items() if count > 1] == []


def test_flattened_settings_are_all_the_flags() -> None:
    assert list(flatten(config.FinetuneConfig())) == _flags(config.FinetuneConfig)


def test_writing_an_option_is_not_reading_it() -> None:
    assert _attributes_read("self.a = other.b") == {"b"}
    assert _documented("class A:\n    x: int = 1\n    'text'\n    y: int = 2") == {"A": {"x"}}
