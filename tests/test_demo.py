"""The demo: its recipe, its folder, and what it shows of the embedded base."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from alpaca_lora.cli import read_command
from alpaca_lora.demo import claim_folder, demo_config, held_out_questions, measure, next_commands
from alpaca_lora.errors import UserError
from alpaca_lora.options import flatten
from alpaca_lora.training.checkpoint import DEMO_MARK
from alpaca_lora.training.run import finetune

RECIPE = Path(__file__).parents[1] / "recipes" / "alpaca-tiny.yaml"


def test_the_recipe_is_the_demos() -> None:
    _, bound = read_command(["finetune", str(RECIPE), "--output_dir", "anywhere"])
    assert flatten(bound.arguments["config"]) == flatten(demo_config("anywhere", 42))


def test_the_next_commands_parse() -> None:
    for command in next_commands("somewhere"):
        read_command(command.split()[1:])


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "run.json").write_text("{}")
    with pytest.raises(UserError, match="not made by a demo"):
        claim_folder(mine)
    assert (mine / "run.json").exists()
    with pytest.raises(UserError, match="not made by a demo"):
        claim_folder(mine / "run.json")


def test_an_earlier_demos_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    claim_folder(folder)
    (folder / "log.jsonl").write_text("old")
    claim_folder(folder)
    assert [path.name for path in folder.iterdir()] == [DEMO_MARK]


def test_the_base_does_not_follow_instructions() -> None:
    before = measure(None)
    assert len(before.expected) == len(held_out_questions()) >= 150
    assert before.share <= 0.05


@pytest.mark.slow
def test_tuning_brings_out_what_the_base_knows(tmp_path: Path) -> None:
    """The issue's bar for one seed; `scripts/measure_tiny.py` measures three."""
    finetune(demo_config(str(tmp_path / "out"), 1), Console(quiet=True))
    assert measure(tmp_path / "out").share >= 0.8
