"""What real bases and adapters of other people bring along: code, end tokens, tokenizers, cards, names."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small_tokenizers import llama3_style
from tiny_models import tiny_model, write_adapter, write_base
from transformers import AutoModelForCausalLM

from alpaca_lora.errors import UserError
from alpaca_lora.export import run
from alpaca_lora.export.kinds import named_files
from alpaca_lora.export.ollama import write_modelfile
from alpaca_lora.export.run import export_hf
from alpaca_lora.export.settings import HfExportConfig, SourceConfig, TargetConfig
from alpaca_lora.export.source import open_source

QUIET = Console(quiet=True)
pytestmark = pytest.mark.usefixtures("few_questions")
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def trained(tmp_path: Path) -> SourceConfig:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", tiny_model(), str(base))
    return SourceConfig(base_model=str(base), adapter=str(adapter))


def _hf(source: SourceConfig, output: Path, dtype: Any = "auto") -> Path:
    return export_hf(HfExportConfig(source=source, target=TargetConfig(output=str(output)), dtype=dtype), QUIET)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_code_that_comes_with_a_base_is_not_run(trained: SourceConfig, tmp_path: Path) -> None:
    base, trace = Path(trained.base_model), tmp_path / "it ran"
    settings = _json(base / "config.json") | {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}
    (base / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (base / "evil.py").write_text(f"open({str(trace)!r}, 'w')\nclass Evil: ...\n", encoding="utf-8")
    output = _hf(trained, tmp_path / "out")
    assert not trace.exists()
    assert not (output / "evil.py").exists()


def test_answers_end_where_a_chat_template_ends_them(tmp_path: Path) -> None:
    tokenizer = llama3_style(specials_last=True, chat_template=CHAT)
    shape = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id}
    shape["eos_token_id"] = tokenizer.eos_token_id
    tiny_model(**shape).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", tiny_model(**shape), str(tmp_path / "base"))
    source = SourceConfig(base_model=str(tmp_path / "base"), adapter=str(adapter), prompt_template_name="chat")
    output = _hf(source, tmp_path / "out")
    ends = sorted([tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.eos_token_id])
    assert _json(output / "config.json")["eos_token_id"] == ends
    assert _json(output / "generation_config.json")["eos_token_id"] == ends
    model: Any = AutoModelForCausalLM.from_pretrained(output)
    assert model.generation_config.eos_token_id == ends
    # ChatML has a line break behind its end token: the next turn of a conversation must have it too.
    write_modelfile(open_source(source), tmp_path, "x.gguf", None, 0)
    text = (tmp_path / "Modelfile").read_text(encoding="utf-8")
    assert '<|im_start|>assistant\n{{ .Response }}<|im_end|>\n"""' in text


def test_an_adapters_own_tokenizer_is_the_one_that_is_exported(tmp_path: Path) -> None:
    """As after TRL's `setup_chat_format`: two tokens more, for rows that the base has in reserve."""
    base = write_base(tmp_path / "base", vocab_size=410)
    adapter = write_adapter(tmp_path / "adapter", tiny_model(vocab_size=410), str(base))
    source = SourceConfig(base_model=str(base), adapter=str(adapter))
    tokenizer = open_source(source).tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(adapter)
    opened = open_source(source)
    assert any("the adapter has a tokenizer of its own" in note for note in opened.notes)
    assert opened.tokenizer.convert_tokens_to_ids("<|im_end|>") in opened.end_ids
    assert "<|im_start|>" in (opened.prompt.jinja())


def test_that_no_prompt_is_recorded_is_said(trained: SourceConfig) -> None:
    assert any("no prompt template is recorded" in note for note in open_source(trained).notes)


def test_a_small_change_on_a_16_bit_base_is_exported_to_the_bit(tmp_path: Path) -> None:
    """Most of it falls between the numbers that bfloat16 has; the export is right all the same, and says how much."""
    model = tiny_model()
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base")
    source_base = write_base(tmp_path / "other")
    (tmp_path / "base" / "tokenizer.model").write_bytes((source_base / "tokenizer.model").read_bytes())
    adapter = write_adapter(tmp_path / "adapter", tiny_model(), str(tmp_path / "base"), lora_r=1, lora_alpha=1)
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / "adapter_model.safetensors")
    small = {name: tensor * (0.01 if "lora_B" in name else 1) for name, tensor in weights.items()}
    save_file(small, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    output = _hf(SourceConfig(base_model=str(tmp_path / "base"), adapter=str(adapter)), tmp_path / "out")
    record = _json(output / "verification.json")
    assert (record["verified"], record["weights"]["exact"]) == (True, True)
    assert record["weights"]["shares"][0] < 0.95


def test_a_folder_of_somebody_elses_named_failed_is_left_alone(
    trained: SourceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "out.failed"
    mine.mkdir()
    (mine / "precious.txt").write_text("mine", encoding="utf-8")
    monkeypatch.setattr(run, "write_hf", _scaled(run.write_hf))
    for _ in range(2):
        with pytest.raises(UserError, match="the export is not the trained model") as caught:
            _hf(trained, tmp_path / "out")
        assert "out.failed2" in caught.value.where
    assert (mine / "precious.txt").read_text(encoding="utf-8") == "mine"


def _scaled(write: Any) -> Any:
    def wrong(source: Any, folder: Path, **options: Any) -> None:
        layers = {name: _twice(layer) for name, layer in source.adapter.layers.items()}
        object.__setattr__(source.merged, "adapter", _with_layers(source.adapter, layers))
        write(source, folder, **options)
        object.__setattr__(source.merged, "adapter", source.adapter)

    return wrong


def _twice(layer: Any) -> Any:
    from dataclasses import replace

    return replace(layer, scaling=layer.scaling * 2)


def _with_layers(adapter: Any, layers: Any) -> Any:
    from dataclasses import replace

    return replace(adapter, layers=layers)


def test_cards_and_licences_may_hold_anything(trained: SourceConfig, tmp_path: Path) -> None:
    base = Path(trained.base_model)
    (base / "README.md").write_text("---\nlicense: [a\n: x\n---", encoding="utf-8")
    (base / "LICENSE").write_bytes('"""hello"""\nFROM x\ncaf\xe9'.encode("latin-1"))
    source = open_source(trained, "mine")
    assert source.licence == ""
    write_modelfile(source, tmp_path, "mine-Q8_0.gguf", None, 0)
    assert named_files(tmp_path / "Modelfile") == [tmp_path / "mine-Q8_0.gguf"]


def test_a_hub_base_gives_a_file_a_plain_name(trained: SourceConfig) -> None:
    from dataclasses import replace

    source = open_source(trained)
    hub = replace(source, place=replace(source.place, name="owner/some-base", commit="0" * 40))
    assert (hub.base_name, hub.base_stem) == ("owner/some-base", "some-base")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_sigterm_leaves_nothing_behind(trained: SourceConfig, tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom alpaca_lora.export import run\nfrom alpaca_lora.cli import dispatch, run_reporting\n"
        "def slow(source, folder, **options):\n    (folder / 'half').write_text('x')\n    time.sleep(60)\n"
        "run.write_hf = slow\nsys.exit(run_reporting(lambda: dispatch(sys.argv[1:])))\n"
    )
    words = ["export", "hf", "--base_model", trained.base_model, "--adapter", trained.adapter]
    process = subprocess.Popen([sys.executable, "-c", code, *words, "--output", str(tmp_path / "o"), "--verify=False"])
    while not (tmp_path / ".o.partial" / "half").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert not (tmp_path / ".o.partial").exists()
