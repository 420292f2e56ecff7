"""The guide's commands parse with today's flags, and what it lists is what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora.cli import read_command
from alpaca_lora.inference.serve.asked import MESSAGES, ChatAsked, TextAsked
from alpaca_lora.inference.serve.metrics import Metrics
from alpaca_lora.inference.settings import QueueConfig, ServeConfig

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "serve.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (alpaca-lora .*)$", GUIDE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command: str) -> None:
    read_command(shlex.split(command)[1:])


def test_every_parameter_is_named() -> None:
    named = set(re.findall(r"[a-z_]+", GUIDE))
    groups = {"functions", "function_call", "tool_choice", "top_logprobs", "modalities", "prediction"}  # "and the like"
    known = {name for asked in (ChatAsked, TextAsked) for name in asked.model_fields}
    assert known - named - groups == {"reasoning_effort", "verbosity", "web_search_options"}
    assert f"{MESSAGES} at most" in GUIDE


def test_defaults_are_the_settings() -> None:
    settings = {**vars(ServeConfig()), **vars(QueueConfig())}
    shown = re.findall(r"`--(slots|queue|max_answer_tokens|max_body_kib) (\d+)`", GUIDE)
    assert len(shown) == 4
    assert all(settings[name] == int(value) for name, value in shown)


def test_every_metric_is_named() -> None:
    engine: Any = type("Idle", (), {"waiting": 0, "active": 0})()
    metrics = Metrics(engine)
    families = re.findall(r"^# TYPE (\S+) ", metrics.text().decode(), re.M)
    assert len(families) > 5
    assert [name for name in families if not name.endswith("_created") and f"`{name}`" not in GUIDE] == []
