"""The READMEs' commands are real: each parses with today's flags, both languages show the same, named files exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from alpaca_lora.cli import app, read_command
from alpaca_lora.original import finetune_settings, generate_settings
from alpaca_lora.original_exports import hf_settings, meta_settings

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")


def commands(name: str) -> list[str]:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.S)
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def blocks(name: str) -> list[str]:
    return re.findall(r"```.*?```", (ROOT / name).read_text(encoding="utf-8"), re.S)


def test_both_languages_show_the_same_commands_and_outputs() -> None:
    assert blocks(READMES[0]) == blocks(READMES[1])
    assert len(commands(READMES[0])) >= 9


@pytest.mark.parametrize("command", commands(READMES[0]))
def test_command_parses(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    split = shlex.split(command)
    environment = dict(word.split("=", 1) for word in split if re.fullmatch(r"[A-Z_]+=\S*", word))
    words = [word for word in split if not re.fullmatch(r"[A-Z_]+=\S*", word)]
    if words[0] == "pip":
        assert "torch==2.13.0" in words
        assert (ROOT / words[words.index("--constraint") + 1]).is_file()
    elif words[0] == "alpaca-lora":
        read_command(words[1:])
    elif "finetune.py" in words:
        finetune_settings(words[words.index("finetune.py") + 1 :], {})
    elif "export_hf_checkpoint.py" in words:
        hf_settings(words[words.index("export_hf_checkpoint.py") + 1 :], environment)
    elif "export_state_dict_checkpoint.py" in words:
        meta_settings(words[words.index("export_state_dict_checkpoint.py") + 1 :], environment)
    else:
        assert "generate.py" in words
        generate_settings(words[words.index("generate.py") + 1 :], {})


def test_every_verb_is_in_the_table() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    verbs = {name for name in app if not name.startswith("-")} - {"data"} | {"data preview"}
    for verb in verbs:
        assert f"| `alpaca-lora {verb}` |" in text


@pytest.mark.parametrize("name", READMES)
def test_files_and_make_targets_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for path in re.findall(r"\]\(([^)#:]+)\)|`((?:tests|scripts|recipes|docs)/[^`]+)`", text):
        assert (ROOT / (path[0] or path[1])).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (demo|test)\b", text)):
        assert re.search(rf"^{target}:", makefile, re.M)


def test_every_extra_is_described() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in READMES:
        table = re.search(r"\n\| (?:extra|附加项) \|.*?\n\n", (ROOT / name).read_text(encoding="utf-8"), re.S)
        assert table
        assert set(re.findall(r"`([a-z]+)`", re.sub(r"\| [^|]*\|$", "|", table[0], flags=re.M))) == set(extras)
