"""Ollama's Modelfile: weights, the training's prompt as its template, where answers stop, the licence."""

from __future__ import annotations

import json
import re
from pathlib import Path

from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import Prompt, end_token
from alpaca_lora.data.segments import adds_bos
from alpaca_lora.errors import UserError
from alpaca_lora.export.gguf_model import context_tokens
from alpaca_lora.export.probes import Probe
from alpaca_lora.export.source import Source

_SYSTEM, _QUESTION, _ANSWER = "\ue000system\ue000", "\ue000question\ue000", "\ue000answer\ue000"
_SECOND = "\ue000second\ue000"
_CONTEXT = 4096
"""Tokens that Ollama makes room for at once: keys and values of a long context may need more memory than the file."""

_FIELDS = {_SYSTEM: "{{ .System }}", _QUESTION: "{{ .Prompt }}", _ANSWER: "{{ .Response }}"}


def go_template(source: Source) -> str:
    """Give the training's prompt as one of Ollama's Go templates; it repeats for each turn of a conversation.

    Ollama adds BOS itself, and the end-of-turn after `.Response` in the history. A question's input belongs to the
    question there: the template's head without an input is used.
    """
    body, with_system = _one_turn(source, ""), _one_turn(source, _SYSTEM)
    if not body or _SYSTEM not in with_system:
        raise UserError(
            "this chat template cannot be said in Ollama's template language",
            where=source.prompt.name,
            why="there a conversation is one text for each turn, repeated, and a system text before the first",
            fix="export gguf: llama.cpp reads the chat template as it is",
        )
    head, tail = _around_system(with_system, body)
    text = _escape(body)
    if head or tail:
        text = "{{ if .System }}" + _escape(head + _SYSTEM + tail) + "{{ end }}" + text
    for mark, name in _FIELDS.items():
        text = text.replace(mark, name)
    if '"""' in text:
        raise UserError(
            'the prompt holds """, which ends a text in a Modelfile', where=source.prompt.name, fix="export gguf"
        )
    return text


def _one_turn(source: Source, system: str) -> str:
    """Give all that a conversation of two turns holds before the second; empty where that begins otherwise."""
    bos = str(source.tokenizer.bos_token) if adds_bos(source.tokenizer) else ""
    turns = [Turn(_QUESTION, "", _ANSWER), Turn(_SECOND, "", "")]
    text = _text(source, turns, system).removeprefix(bos)
    head = _text(source, [Turn(_QUESTION, "", "")], "").removeprefix(bos).partition(_QUESTION)[0]
    before = text.partition(_SECOND)[0]
    return before.removesuffix(head) if before.endswith(head) and _QUESTION in before else ""


def _text(source: Source, turns: list[Turn], system: str) -> str:
    return "".join(segment.text for segment in source.prompt.render(turns, system, open_ended=True))


def _around_system(with_system: str, body: str) -> tuple[str, str]:
    """Split what a system text adds before the question into what stands before and behind it."""
    if not with_system.endswith(body):
        raise UserError("this chat template puts the system text into the question", fix="export gguf")
    head, _, tail = with_system.removesuffix(body).partition(_SYSTEM)
    return head, tail


def _escape(text: str) -> str:
    """Write braces that the prompt itself holds so that they do not act."""
    return text.replace("{{", '{{ "{{" }}')


def write_modelfile(source: Source, folder: Path, weights: str, adapter: str | None, temperature: float) -> None:
    """Write `Modelfile` beside the GGUF files it names."""
    stops = dict.fromkeys([end_token(source.prompt), *_turn_heads(source.prompt)])
    lines = [f"FROM ./{weights}", *([f"ADAPTER ./{adapter}"] if adapter else [])]
    lines += [f'TEMPLATE """{go_template(source)}"""']
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines += [f"PARAMETER temperature {temperature:g}", f"PARAMETER num_ctx {min(context_tokens(source), _CONTEXT)}"]
    lines += ['LICENSE """' + _licence_text(path) + '"""' for path in source.licences]
    (folder / "Modelfile").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _licence_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").replace('"""', "'''")


def _turn_heads(prompt: Prompt) -> list[str]:
    """Give what would begin a further turn: the line before the question, which no answer should write."""
    text = "".join(segment.text for segment in prompt.render([Turn(_QUESTION, "", "")], "", open_ended=True))
    before = [line for line in text[: text.index(_QUESTION)].splitlines() if line.strip()]
    return [before[-1]] if before and before[-1].startswith("###") else []


def modelfile_faults(path: Path, probes: list[Probe]) -> list[str]:
    """Render a Modelfile's template for each question without an input and compare with the training's prompt."""
    found = re.search(r'^TEMPLATE """(.*?)"""$', path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    if not found:
        return ["the Modelfile has no TEMPLATE"]
    template = re.sub(r"\{\{ if \.System \}\}.*?\{\{ end \}\}", "", found[1], flags=re.DOTALL)
    open_ended = template[: template.index("{{ .Response }}")].replace('{{ "{{" }}', "{{")
    return [
        f"{probe.name}: the Modelfile's template does not give the training's prompt"
        for probe in probes
        if not probe.question[1] and open_ended.replace("{{ .Prompt }}", probe.question[0]) != probe.text
    ]
