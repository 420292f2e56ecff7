"""Turn an example into segments of text. The same object renders training rows, questions and the chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Protocol

from alpaca_lora.data.chat_prompt import ChatPrompt
from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.data.segments import Segment, adds_bos, markup_segments, special_pattern
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = "chat"
_KEYS = ("description", "prompt_input", "prompt_no_input", "response_split")


class Prompt(Protocol):
    """What training, generation and saving need of a prompt format."""

    name: str
    fingerprint: str
    """Text that changes whenever the rendering does."""

    def render(self, turns: Sequence[Turn], system: str, *, open_ended: bool) -> list[Segment]:
        """Give the segments of a conversation; with `open_ended` the last turn's answer is still to come."""
        ...

    def jinja(self) -> str:
        """Give the chat template that renders this very prompt in other programs."""
        ...


def render_example(prompt: Prompt, example: Example) -> list[Segment]:
    """Give the segments of a training row: every answer, and the end-of-sequence after it, is a target."""
    return prompt.render(example.turns, example.system, open_ended=False)


def end_token(prompt: Prompt) -> str:
    """Give the token that training taught to write after an answer: EOS, or what a chat template ends a turn with."""
    segments = prompt.render([Turn("question", "", "answer")], "", open_ended=False)
    return [segment.text for segment in segments if segment.is_target][-1]


def template_names() -> list[str]:
    """List the built-in templates."""
    return sorted(path.name.removesuffix(".json") for path in _template_folder().iterdir())


def _template_folder() -> Any:
    return resources.files("alpaca_lora") / "assets" / "templates"


def load_prompt(name: str, tokenizer: PreTrainedTokenizerFast) -> Prompt:
    """Load a built-in template, a template file by path, or with `chat` the tokenizer's own chat template."""
    if name == CHAT_TEMPLATE:
        return ChatPrompt(tokenizer)
    if name in template_names():
        return TemplatePrompt(name, (_template_folder() / f"{name}.json").read_text(encoding="utf-8"), tokenizer)
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(
            f"there is no prompt template {name}",
            fix=f"--prompt_template_name {' | '.join([*template_names(), CHAT_TEMPLATE])}, or a path to a file",
        )
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the template is not UTF-8 text (byte {error.start})", where=str(path), fix="save it as UTF-8"
        ) from error
    return TemplatePrompt(str(path), content, tokenizer)


_Part = Segment | str
"""A template's own text, or the name of a field."""


class TemplatePrompt:
    """A four-key template file: `description`, `prompt_input`, `prompt_no_input`, `response_split`.

    Further turns repeat the prompt after the answer's end-of-sequence; a system text stands before the first prompt,
    a blank line between.
    """

    def __init__(self, name: str, content: str, tokenizer: PreTrainedTokenizerFast) -> None:
        try:
            template = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(
                f"the template is not JSON: {error.msg}", where=f"{name}:{error.lineno}", fix="mend that line"
            ) from error
        if not isinstance(template, dict) or any(not isinstance(template.get(key), str) for key in _KEYS):
            found = ", ".join(map(str, template)) if isinstance(template, dict) else type(template).__name__
            raise UserError(
                "the template needs four keys, each with a text",
                where=name,
                why=f"found {found}; expected {', '.join(_KEYS)}",
                fix="add the missing keys",
            )
        self.name = name
        self.fingerprint = content
        self._bos = str(tokenizer.bos_token) if adds_bos(tokenizer) else ""
        self._eos = Segment(str(tokenizer.eos_token), is_target=True, is_markup=True)
        self._parts: dict[bool, list[_Part]] = {}
        for key, fields in (("prompt_input", ["instruction", "input"]), ("prompt_no_input", ["instruction"])):
            where = f"{name}: {key}"
            parts = _parse(template[key], fields, special_pattern(tokenizer), where)
            _check(parts, template["response_split"], self._bos, where)
            self._parts["input" in fields] = parts

    def render(self, turns: Sequence[Turn], system: str, *, open_ended: bool) -> list[Segment]:
        segments = [Segment(f"{system}\n\n")] if system else []
        for number, turn in enumerate(turns):
            values = {"instruction": turn.instruction, "input": turn.input}
            for part in self._parts[bool(turn.input)]:
                segments.append(Segment(values[part]) if isinstance(part, str) else part)
            if not (open_ended and number == len(turns) - 1):
                segments += [Segment(turn.output, is_target=True), self._eos]
        return segments

    def jinja(self) -> str:
        bos = "{{ bos_token }}" if self._bos else ""
        with_input, without_input = _jinja(self._parts[True]), _jinja(self._parts[False])
        return (
            f"{bos}{{% for message in messages %}}{{% if message['role'] == 'system' %}}"
            "{% if message['content'] %}{{ message['content'] + \"\\n\\n\" }}{% endif %}"
            f"{{% elif message['role'] == 'user' %}}{{% if message['input'] %}}{with_input}{{% else %}}{without_input}"
            "{% endif %}{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
        )


def _parse(template: str, fields: list[str], special: re.Pattern[str], where: str) -> list[_Part]:
    """Split a format string into plain text, special tokens and fields."""
    parts: list[_Part] = []
    found: list[str] = []
    literal = ""
    try:
        for text, field, form, conversion in Formatter().parse(template):
            literal += text  # an escaped brace ends a text, and the next goes on
            if field is not None:
                parts += markup_segments(literal, special)
                parts.append(field)
                found.append(field + (f"!{conversion}" if conversion else "") + (f":{form}" if form else ""))
                literal = ""
    except ValueError as error:
        raise UserError(
            f"a brace of the prompt has no partner: {error}", where=where, fix="write {{ or }} for the sign itself"
        ) from error
    parts += markup_segments(literal, special)
    if sorted(found) != sorted(fields):
        listed = ", ".join(f"{{{field}}}" for field in found) or "none"
        expected = " and ".join(f"{{{field}}}" for field in fields)
        raise UserError(
            f"the prompt has the fields {listed}", where=where, why=f"expected {expected}, once", fix="mend the fields"
        )
    return parts


def _check(parts: list[_Part], marker: str, bos: str, where: str) -> None:
    last_field = max(number for number, part in enumerate(parts) if isinstance(part, str))
    own = [part for part in parts if isinstance(part, Segment)]
    ending = "".join(part.text for part in parts[last_field + 1 :] if isinstance(part, Segment))
    if marker not in ending:
        raise UserError(
            "the prompt does not end with the response marker",
            where=where,
            why=f"response_split {marker!r} must stand after the last field",
            fix="put it there, or correct response_split",
        )
    if any(part.is_markup and part.text == bos for part in own):
        raise UserError(
            f"the prompt holds the begin-of-sequence token {bos}",
            where=where,
            why="the tokenizer begins every row with it: it would stand there twice",
            fix="take it out of the template",
        )


def _jinja(parts: list[_Part]) -> str:
    names = {"instruction": "message['content']", "input": "message['input']"}
    texts = [names[part] if isinstance(part, str) else json.dumps(part.text, ensure_ascii=False) for part in parts]
    return "{{ " + " + ".join(texts) + " }}"
