"""Ollama's Modelfile: its template is the training's prompt, also over several turns, and it names what is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from small_tokenizers import llama3_style
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.data.examples import Turn
from alpaca_lora.export.ollama import go_template, write_modelfile
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import Source, open_source

CHAT = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def _render(template: str, **values: str) -> str:
    """Work out a Go template as its documentation says, as far as ours go: fields, `if`, and quoted text."""
    kept = re.sub(
        r"\{\{ if \.(\w+) \}\}(.*?)\{\{ end \}\}", lambda m: m[2] if values[m[1]] else "", template, flags=re.DOTALL
    )
    return re.sub(r'\{\{ (?:\.(\w+)|"(.*?)") \}\}', lambda m: values[m[1]] if m[1] else m[2], kept)


def _source(folder: Path, **settings: Any) -> Source:
    base = write_base(folder / "base")
    adapter = write_adapter(folder / "adapter", tiny_model(), str(base))
    return open_source(SourceConfig(base_model=str(base), adapter=str(adapter), **settings), "mine")


def _chat_source(folder: Path) -> Source:
    tokenizer = llama3_style(specials_last=True, chat_template=CHAT, eos_token="<|eot_id|>")
    shape = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
    shape["bos_token_id"] = tokenizer.bos_token_id
    tiny_model(**shape).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    adapter = write_adapter(folder / "adapter", tiny_model(**shape), str(folder / "base"))
    return open_source(
        SourceConfig(base_model=str(folder / "base"), adapter=str(adapter), prompt_template_name="chat"), "mine"
    )


def _trained(source: Source, turns: list[Turn], system: str, *, open_ended: bool) -> str:
    text = "".join(segment.text for segment in source.prompt.render(turns, system, open_ended=open_ended))
    bos = str(source.tokenizer.bos_token)
    return text.removeprefix(bos)


@pytest.mark.parametrize("make", [_source, lambda f: _source(f, prompt_template_name="vigogne"), _chat_source])
@pytest.mark.parametrize("system", ["", "Be brief."])
def test_the_template_renders_the_trainings_conversation(make: Any, system: str, tmp_path: Path) -> None:
    source = make(tmp_path)
    template = go_template(source)
    first, second = Turn("Hi {{ you }}?", "", "Hello!"), Turn("And now?", "", "")
    # Ollama renders each turn, the system text with the first, and stops before .Response for the open one.
    history = _render(template, System=system, Prompt=first.instruction, Response=first.output)
    head = template[: template.index("{{ .Response }}")]
    opened = _render(head, System="", Prompt=second.instruction)
    assert history + opened == _trained(source, [first, second], system, open_ended=True)


def test_the_modelfile_names_its_files_and_where_answers_end(tmp_path: Path) -> None:
    source = _source(tmp_path)
    (source.place.folder / "LICENSE").write_text("Do as you like.\n", encoding="utf-8")
    write_modelfile(source, tmp_path, "base-Q8_0.gguf", "mine-LORA-F32.gguf", 0.5)
    lines = (tmp_path / "Modelfile").read_text(encoding="utf-8")
    assert lines.startswith('FROM ./base-Q8_0.gguf\nADAPTER ./mine-LORA-F32.gguf\nTEMPLATE """')
    assert f'PARAMETER stop "{source.tokenizer.eos_token}"' in lines
    assert 'PARAMETER stop "### Instruction:"' in lines
    assert "PARAMETER temperature 0.5\nPARAMETER num_ctx 256" in lines
    assert 'LICENSE """Do as you like.\n"""' in lines
    write_modelfile(source, tmp_path, "mine-Q8_0.gguf", None, 0)
    assert "ADAPTER" not in (tmp_path / "Modelfile").read_text(encoding="utf-8")
