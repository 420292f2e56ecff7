"""The card of a merged model: front matter the Hub reads, what is known of the training, a snippet that runs."""

from __future__ import annotations

import json
import re
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import LlamaForCausalLM

from alpaca_lora.config import LoraConfig
from alpaca_lora.export.card import merged_card
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source
from alpaca_lora.model.adapter_folder import TEMPLATE_FILE
from alpaca_lora.model.load import BasePlace
from alpaca_lora.model.lora import adapter_tensors, attach_adapter, save_adapter

COMMIT = "0123456789abcdef0123456789abcdef01234567"
RECORD: dict[str, Any] = {
    "dtype": "bfloat16",
    "base_commit": None,
    "data_path": "/data/someone/private/rows.json",
    "data_sha256": "ab" * 32,
    "rows_trained": 1980,
    "rows_held_out": 20,
    "ledger": {"rows_cut": 3},
    "settings": {
        "learning_rate": 0.0003,
        "seed": 42,
        "batch_size": 128,
        "cutoff_len": 512,
        "quantization": "nf4",
        "prompt_template_name": "/data/someone/templates/short.json",
    },
    "steps": 1234,
    "loss": 1.23456,
    "eval_loss": 1.5,
}


@pytest.fixture(scope="module")
def adapter(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an adapter as another program leaves it: no record, no template."""
    model = attach_adapter(LlamaForCausalLM.from_pretrained(tiny_llama), LoraConfig(lora_r=4, lora_alpha=8), seed=0)
    for name, tensor in adapter_tensors(model).items():
        if ".lora_B." in name:
            tensor.fill_(0.01)
    folder = tmp_path_factory.mktemp("runs") / "my-adapter"
    save_adapter(model, folder, base_name=str(tiny_llama), base_revision=None)
    return folder


@pytest.fixture(scope="module")
def source(adapter: Path, tiny_llama: Path) -> Source:
    return open_source(SourceConfig(adapter=str(adapter), base_model=str(tiny_llama)))


def with_record(source: Source, record: dict[str, Any]) -> Source:
    return replace(source, adapter=replace(source.adapter, record=record))


def card_of(source: Source, dtype: str = "bfloat16") -> tuple[dict[str, Any], str]:
    """Give the front matter and the text."""
    _, front, text = merged_card(source, dtype=dtype, kind="hf").split("---\n", 2)
    return yaml.safe_load(front), text


def facts_of(text: str) -> dict[str, str]:
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", text, re.MULTILINE)
    return dict(rows)


def test_the_front_matter_is_what_the_hub_asks_for(source: Source) -> None:
    front, text = card_of(source)
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["alpaca-lora", "merged-lora"],
    }
    assert text.startswith("# my-adapter\n")


def test_a_base_of_the_hub_is_named_with_its_commit(source: Source) -> None:
    place = BasePlace("lab/base", source.place.folder, COMMIT)
    front, text = card_of(replace(source, place=place))
    assert (front["base_model"], front["base_model_relation"]) == ("lab/base", "finetune")
    assert facts_of(text)["base model"] == f"lab/base at {COMMIT}"


@pytest.mark.parametrize(
    ("readme", "expected"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n", {"license": "apache-2.0"}),
        (
            "---\nlicense: other\nlicense_name: 'llama: 3'\nlicense_link: LICENSE\n---\n",
            {"license": "other", "license_name": "llama: 3", "license_link": "LICENSE"},
        ),
        ("---\nlicense: [mit, apache-2.0]\n---\n", {"license": ["mit", "apache-2.0"]}),
        ("---\nlicense: {a: b}\n---\n", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\n- license\n---\n", {}),
        ("No front matter.\n", {}),
    ],
)
def test_the_licence_is_that_of_the_base(
    source: Source, tmp_path: Path, readme: str, expected: dict[str, object]
) -> None:
    (tmp_path / "README.md").write_text(readme, encoding="utf-8")
    front, _ = card_of(replace(source, place=BasePlace("base", tmp_path, None)))
    assert {key: value for key, value in front.items() if key.startswith("license")} == expected


def test_the_table_tells_the_run(source: Source) -> None:
    _, text = card_of(with_record(source, RECORD), "float16")
    facts = facts_of(text)
    targets = ", ".join(sorted(source.adapter.settings["target_modules"]))
    assert facts == {
        "base model": Path(source.place.name).name,
        "adapter": f"LoRA, rank 4, alpha 8, dropout {source.adapter.settings['lora_dropout']}, on {targets}",
        "precision": "float16; trained on a base in nf4",
        "data": f"rows.json, sha256 {'ab' * 32}",
        "rows": "1,980 trained on, 20 held out, 3 cut at 512 tokens",
        "training": "1,234 steps of 128 rows, peak learning rate 0.0003, seed 42",
        "last loss": "1.2346 nats per token",
        "held-out loss": "1.5000 nats per token",
    }


def test_a_cleaning_before_the_training_is_named(source: Source) -> None:
    names = ("rows_in", "rows_out", "changed", "dropped", "recovered", "marked")
    cleaning = dict(zip(names, (2100, 2000, 30, 110, 10, 5), strict=True)) | {"rules": {}, "sha256": "", "log": ""}
    assert "cleaned" not in facts_of(card_of(with_record(source, RECORD | {"cleaning": None}))[1])
    facts = facts_of(card_of(with_record(source, RECORD | {"cleaning": cleaning}))[1])
    expected = "2,100 rows in, 2,000 out: 30 changed, 110 dropped, 10 recovered and put at the end, by `--clean`"
    assert facts["cleaned"] == expected


def test_the_name_of_a_hub_data_set_is_whole(source: Source) -> None:
    _, text = card_of(with_record(source, RECORD | {"data_path": "lab/instructions"}))
    assert facts_of(text)["data"].startswith("lab/instructions, sha256 ")


def test_a_checkpoint_tells_what_its_identity_holds(source: Source) -> None:
    identity = RECORD["settings"] | {"dtype": "float32", "data_sha256": "cd" * 32, "quantization": "none"}
    del identity["prompt_template_name"]
    facts = facts_of(card_of(with_record(source, identity))[1])
    assert facts["precision"] == "bfloat16; trained on a base in float32"
    assert facts["data"] == f"sha256 {'cd' * 32}"
    assert facts["training"] == "a checkpoint; steps of 128 rows, peak learning rate 0.0003, seed 42"
    assert "rows" not in facts


def test_an_adapter_of_another_program_is_called_that(source: Source) -> None:
    facts = facts_of(card_of(source)[1])
    assert facts["training"] == "by another program; no record came with the adapter"
    assert set(facts) == {"base model", "adapter", "precision", "training"}


@pytest.mark.parametrize(
    ("record", "named"),
    [(RECORD, "short.json"), ({"settings": RECORD["settings"] | {"prompt_template_name": None}}, "")],
)
def test_a_recorded_template_is_called_what_the_training_called_it(
    source: Source, adapter: Path, tmp_path: Path, record: dict[str, Any], named: str
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "with-template")
    text = (Path(__file__).parents[2] / "alpaca_lora/assets/templates/alpaca_short.json").read_text(encoding="utf-8")
    (folder / TEMPLATE_FILE).write_text(text, encoding="utf-8")
    opened = open_source(SourceConfig(adapter=str(folder), base_model=source.place.name))
    _, card = card_of(with_record(opened, record | {"data_path": None}))
    assert f"Prompt template: `{named or 'recorded with the adapter'}`." in card


def test_no_path_of_this_machine_is_told(source: Source, adapter: Path) -> None:
    for record in ({}, RECORD):
        card = merged_card(with_record(source, record), dtype="bfloat16", kind="hf")
        assert re.findall(r"(?<![\w.:/])[~]?/(?!v1/)[\w./-]+|[A-Z]:\\", card) == []
        for folder in (source.place.folder, adapter, Path("/data/someone/private")):
            assert str(folder) not in card
            assert folder.parent.name not in card


@pytest.mark.slow
def test_the_snippet_runs(source: Source, tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(tiny_llama, tmp_path / "exported")
    source.tokenizer.save_pretrained(folder)
    (snippet,) = re.findall(r"```python\n(.*?)```", merged_card(source, dtype="float32", kind="hf"), re.DOTALL)
    script = snippet.replace('"FOLDER_OR_HUB_ID_OF_THIS_MODEL"', json.dumps(str(folder)))
    assert script != snippet
    program = tmp_path / "snippet.py"
    program.write_text(script.replace("=256", "=4"), encoding="utf-8")
    runpy.run_path(str(program))
    assert capsys.readouterr().out.strip()


def test_a_model_with_code_of_its_own_says_that_it_must_be_trusted(source: Source) -> None:
    _, plain = card_of(source)
    _, text = card_of(replace(source, settings=source.settings | {"auto_map": {"AutoModelForCausalLM": "code.Model"}}))
    assert "from_pretrained(path, trust_remote_code=True)" in text
    assert "OF_THIS_MODEL --trust-remote-code\n" in text
    assert "trust" not in plain
