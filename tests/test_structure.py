"""The project keeps its own rules: who may import whom, sizes, names, docstrings."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from house_rules import (
    Source,
    forbidden_calls,
    heavy_imports,
    import_cycles,
    peft_imports,
    too_long,
    undocumented,
    upward_imports,
)

ROOT = Path(__file__).parents[1]

ANSWERS = """algebra arithmetic averages check counting dates expressions geometry judge judge_lists notations
numerals ordering points prices question rule series spelling units verdict whole_numbers"""
AUDIT = """changes clean contradictions counts diff duplicates leakage marks mending on_the_fly privacy products
questions rank ranker ranker_features scripts spans statistics writing"""
ATLAS = "build embedding islands page projection run words"
# A module imports its own layer and lower ones, never a higher one. Every module stands here, or the test fails.
LAYERS = {
    "errors": 0,
    "options": 0,
    "config": 0,
    "export/settings": 1,
    "export/disk": 1,
    "hub": 1,
    "data/files": 1,
    "data/examples": 1,
    "data/cache": 1,
    "data/segments": 1,
    "data/chat_prompt": 1,
    "data/prompts": 1,
    "data/encoder": 2,
    "data/tokens": 2,
    "data/preview": 2,
    "data/packing": 2,
    "data/settings": 1,
    "data/registry": 2,
    "data/download": 2,
    "data/lengths": 4,
    "data/audit/settings": 1,
    "data/audit/actions": 2,
    **dict.fromkeys((f"data/audit/answers/{name}" for name in ANSWERS.split()), 2),
    **dict.fromkeys((f"data/audit/{name}" for name in AUDIT.split()), 2),
    "data/audit/catalogue": 2,
    "data/audit/characters": 2,
    "data/audit/check": 2,
    "data/audit/constraints": 2,
    "data/audit/enrich": 2,
    "data/audit/inputs": 2,
    "data/audit/language": 2,
    "data/audit/markers": 2,
    "data/audit/media": 2,
    "data/audit/merged": 2,
    "data/audit/outputs": 2,
    "data/audit/report": 2,
    "data/audit/rows": 2,
    "data/audit/rules": 2,
    "data/audit/stop_cuts": 2,
    "data/audit/tags": 2,
    "data/audit/zeros": 2,
    "data/review/settings": 1,
    "data/atlas/settings": 1,
    **dict.fromkeys((f"data/atlas/{name}" for name in ATLAS.split()), 2),
    **dict.fromkeys(("data/review/app", "data/review/run"), 6),
    "model/device": 2,
    "training/schedule": 2,
    "model/sentencepiece": 2,
    "model/tokenizer": 3,
    "model/load": 3,
    "model/lora_linear": 2,
    "model/lora": 3,
    "model/adapter_folder": 3,
    "training/checkpoint": 3,
    "training/runlog": 3,
    "training/card": 3,
    "model/attention": 3,
    "training/batches": 3,
    "training/loss": 3,
    "training/pack_check": 3,
    "training/probe": 3,
    "training/plan": 3,
    "training/prepare": 4,
    "training/loop": 4,
    "inference/settings": 1,
    "inference/sampling": 3,
    "inference/beams": 3,
    "inference/text": 3,
    "inference/prompt_cache": 3,
    "inference/generate": 4,
    "inference/engine": 4,
    "inference/compiled": 5,
    "inference/answerer": 5,
    "inference/models": 5,
    "inference/torch_engine": 5,
    "inference/llama_files": 6,
    "inference/llama_server": 6,
    "inference/llama_engine": 6,
    "inference/vllm": 6,
    "evaluation/exact_match": 5,
    "export/adapter": 5,
    "export/merge": 5,
    "export/source": 5,
    "export/card": 5,
    "export/hf": 5,
    "export/meta": 5,
    "export/meta_reader": 5,
    "export/meta_tokenizer": 5,
    "export/gguf_types": 5,
    "export/gguf_vocab": 5,
    "export/gguf_model": 5,
    "export/gguf_lora": 5,
    "export/adapter_folder": 5,
    "export/ollama": 5,
    "export/push": 5,
    "export/probes": 5,
    "export/readers": 5,
    "export/llama_cpp": 5,
    "export/compare": 5,
    "export/kinds": 5,
    "export/weights": 5,
    "export/verify": 6,
    "export/report": 6,
    "export/place": 6,
    "export/run": 6,
    "training/run": 6,
    "inference/differences": 1,
    "inference/talk": 6,
    "inference/chat_input": 6,
    "inference/chat_screen": 6,
    "inference/chat_commands": 6,
    "inference/chat": 6,
    "inference/page/app": 6,
    "inference/page/chat": 6,
    "inference/page/compare": 6,
    "inference/page/controls": 6,
    "inference/page/examples": 6,
    "inference/page/growing": 6,
    "inference/page/instruct": 6,
    "inference/page/labels": 6,
    "inference/page/run": 6,
    "inference/page/votes": 6,
    "inference/serve/refusal": 6,
    "inference/serve/asked": 6,
    "inference/serve/answered": 6,
    "inference/serve/answers": 6,
    "inference/serve/metrics": 6,
    "inference/serve/access": 6,
    "inference/serve/app": 6,
    "inference/serve/listener": 6,
    "inference/serve/run": 6,
    "original": 6,
    "original_exports": 6,
    "demo": 7,
    "doctor": 7,
    "recipe": 1,
    "data/commands": 7,
    "cli": 7,
    "__main__": 7,
}
LIGHT_MODULES = {name for name, layer in LAYERS.items() if layer <= 1} | {
    "original",
    "original_exports",
    "cli",
    "__main__",
}
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|NotImple" + r"mentedError)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work|root|home|Users)/|[A-Z]:\\Users")
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".json", ".yml", ".yaml", ".jinja", ""}


def _read(folder: Path, pattern: str) -> list[Source]:
    return [
        Source(path.relative_to(folder).with_suffix("").as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(pattern))
    ]


def _package() -> list[Source]:
    return [source for source in _read(ROOT / "alpaca_lora", "**/*.py") if not source.name.endswith("__init__")]


def _all_python() -> list[Source]:
    folders = ("alpaca_lora", "tests", "scripts", "benchmarks")
    return [
        source for pattern in ("*.py", *(f"{folder}/**/*.py" for folder in folders)) for source in _read(ROOT, pattern)
    ]


# --- the rules hold ----------------------------------------------------------------------------------------------


def test_lower_layers_never_import_higher_ones() -> None:
    assert upward_imports(_package(), LAYERS) == []


def test_every_module_of_the_table_exists() -> None:
    assert set(LAYERS) - {source.name for source in _package()} == set()


def test_no_import_cycles() -> None:
    assert import_cycles(_package(), LAYERS) == []


def test_light_modules_import_no_heavy_library() -> None:
    assert heavy_imports(_package(), LAYERS, LIGHT_MODULES) == []


def test_only_one_module_imports_peft() -> None:
    assert peft_imports(_package()) == []


def test_packages_hold_nothing_but_their_docstring() -> None:
    for path in (ROOT / "alpaca_lora").rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, (ast.Expr, ast.Assign)) for node in body), path


def test_modules_and_functions_are_short() -> None:
    assert too_long(_all_python()) == []


def test_what_is_public_has_a_docstring() -> None:
    assert undocumented(_package()) == []


def test_nothing_dangerous_is_called() -> None:
    assert forbidden_calls(_all_python()) == []


def test_nothing_is_left_unfinished() -> None:
    assert [source.name for source in _all_python() if UNFINISHED.search(source.text)] == []


def test_names_say_something() -> None:
    tops = ("alpaca_lora", "tests", "scripts", "benchmarks", "recipes", "docs")
    paths = [path for top in tops for path in (ROOT / top).rglob("*")]
    assert [path for path in paths if path.stem.lower() in BANNED_NAMES] == []


def test_no_machine_paths() -> None:
    tops = ("*", "alpaca_lora/**/*", "tests/**/*", "scripts/**/*", "benchmarks/**/*", "recipes/**/*", "docs/**/*")
    files = {path for top in tops for path in ROOT.glob(top) if path.is_file() and path.suffix in TEXT_SUFFIXES}
    assert len(files) > 20
    assert [path for path in sorted(files) if MACHINE_PATH.search(path.read_text(encoding="utf-8"))] == []


# --- the rules catch what they should ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("violations", "expected"),
    [
        (upward_imports([Source("a", "def f():\n    from alpaca_lora.b import x")], {"a": 0, "b": 1}), "imports b"),
        (upward_imports([Source("a", "from alpaca_lora import b")], {"a": 0, "b": 1}), "imports b"),
        (upward_imports([Source("new", "")], {}), "not in the layer table"),
        (
            import_cycles(
                [Source("a", "import alpaca_lora.b"), Source("b", "from alpaca_lora.a import x")], {"a": 0, "b": 0}
            ),
            "a -> b -> a",
        ),
        (
            heavy_imports(
                [
                    Source("a", "from alpaca_lora.b import x"),
                    Source("b", "try:\n    import torch\nexcept OSError: ..."),
                ],
                {"a": 0, "b": 0},
                {"a"},
            ),
            "importing a imports torch, in b",
        ),
        (peft_imports([Source("a", "def f():\n    import peft.utils")]), "a"),
        (too_long([Source("a", "def f():\n" + "    pass\n" * 60)]), "f has 61 lines"),
        (too_long([Source("a", "x = 1\n" * 301)]), "301 lines"),
        (undocumented([Source("a", '"""A."""\ndef f(): ...')]), "f has no docstring"),
        (forbidden_calls([Source("a", "torch.load(f)")]), "calls torch.load"),
        (forbidden_calls([Source("a", "from os import *")]), "imports *"),
    ],
)
def test_a_broken_rule_is_found(violations: list[str], expected: str) -> None:
    assert len(violations) == 1
    assert expected in violations[0]


def test_imports_in_functions_and_for_types_are_light() -> None:
    text = "if TYPE_CHECKING:\n    import torch\ndef f():\n    import peft"
    assert heavy_imports([Source("a", text)], {"a": 0}, {"a"}) == []
