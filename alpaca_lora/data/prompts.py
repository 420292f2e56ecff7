"""Turn an example into segments of text. The same object renders training rows, questions and the chat template."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, Protocol

from alpaca_lora.data.examples import Example, Turn
from alpaca_lora.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = "chat"
_KEYS = ("description", "prompt_input", "prompt_no_input", "response_split")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a row's text.

    `is_target`: its tokens are trained. `is_markup`: it comes from a template, so special tokens written in it are
    special; elsewhere they are plain text.
    """

    text: str
    is_target: bool = False
    is_markup: bool = False


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
        content, where = (_template_folder() / f"{name}.json").read_text(encoding="utf-8"), name
    else:
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(
                f"there is no prompt template {name}",
                fix=f"--prompt_template_name {' | '.join([*template_names(), CHAT_TEMPLATE])}, or a path to a file",
            )
        content, where = path.read_text(encoding="utf-8"), str(path)
    return TemplatePrompt(where, content, str(tokenizer.eos_token))


class TemplatePrompt:
    """A four-key template file: `description`, `prompt_input`, `prompt_no_input`, `response_split`.

    Further turns repeat the prompt after the answer's end-of-sequence; a system text stands before the first prompt,
    a blank line between.
    """

    def __init__(self, name: str, content: str, eos_token: str) -> None:
        try:
            template = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"the template is not JSON: {error.msg}", where=f"{name}:{error.lineno}") from error
        if not isinstance(template, dict) or any(not isinstance(template.get(key), str) for key in _KEYS):
            found = ", ".join(map(str, template)) if isinstance(template, dict) else type(template).__name__
            raise UserError("the template lacks keys", where=name, why=f"found {found}; expected {', '.join(_KEYS)}")
        self.name = name
        self.fingerprint = content
        self._eos = Segment(eos_token, is_target=True, is_markup=True)
        self._with_input = _pieces(template["prompt_input"], {"instruction", "input"}, name)
        self._without_input = _pieces(template["prompt_no_input"], {"instruction"}, name)
        for pieces in (self._with_input, self._without_input):
            if template["response_split"] not in pieces[-1][0]:
                raise UserError(
                    "a prompt does not end with the response marker",
                    where=name,
                    why=f"response_split {template['response_split']!r} must follow the last field",
                )

    def render(self, turns: Sequence[Turn], system: str, *, open_ended: bool) -> list[Segment]:
        segments = [Segment(f"{system}\n\n")] if system else []
        for number, turn in enumerate(turns):
            segments.append(Segment(self._question(turn)))
            if not (open_ended and number == len(turns) - 1):
                segments += [Segment(turn.output, is_target=True), self._eos]
        return segments

    def _question(self, turn: Turn) -> str:
        values = {"instruction": turn.instruction, "input": turn.input, "": ""}
        pieces = self._with_input if turn.input else self._without_input
        return "".join(literal + values[name] for literal, name in pieces)

    def jinja(self) -> str:
        question = f"{{% if message['input'] %}}{_jinja(self._with_input)}{{% else %}}{_jinja(self._without_input)}"
        return (
            "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
            '{{ message[\'content\'] + "\\n\\n" }}'
            f"{{% elif message['role'] == 'user' %}}{question}{{% endif %}}"
            "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
        )


def _pieces(template: str, fields: set[str], where: str) -> list[tuple[str, str]]:
    """Split a format string into (literal, field name) pairs; the last field name is empty."""
    try:
        pieces = [(literal, name or "") for literal, name, _, _ in Formatter().parse(template)]
    except ValueError as error:
        raise UserError(f"a brace in the template is not closed: {error}", where=where) from error
    found = [name for _, name in pieces if name]
    if set(found) != fields or len(found) != len(fields):
        raise UserError(
            f"a prompt uses the fields {found}", where=where, why=f"expected each of {sorted(fields)} once"
        )
    return pieces if not pieces[-1][1] else [*pieces, ("", "")]


def _jinja(pieces: list[tuple[str, str]]) -> str:
    names = {"instruction": "message['content']", "input": "message['input']"}
    parts = []
    for literal, name in pieces:
        parts += [json.dumps(literal, ensure_ascii=False)] if literal else []
        parts += [names[name]] if name else []
    return "{{ " + " + ".join(parts) + " }}"


class ChatPrompt:
    """A tokenizer's chat template, rendered with marks in the users' places so that text and markup stay apart.

    A template that rewrites contents beyond stripping them cannot be told apart and is refused, row by row checked
    against the plain rendering. The end-of-turn token after an answer is trained with it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        if not tokenizer.chat_template:
            raise UserError(
                "the tokenizer has no chat template",
                where=str(tokenizer.name_or_path),
                fix=f"--prompt_template_name {' | '.join(template_names())}, or use an instruction-tuned base",
            )
        self.name = CHAT_TEMPLATE
        self.fingerprint = str(tokenizer.chat_template)
        self._tokenizer = tokenizer
        specials = sorted(tokenizer.all_special_tokens, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, specials)))

    def jinja(self) -> str:
        return self.fingerprint

    def render(self, turns: Sequence[Turn], system: str, *, open_ended: bool) -> list[Segment]:
        contents = [system] if system else []
        messages = [{"role": "system", "content": "\ue0000\ue001"}] if system else []
        for number, turn in enumerate(turns):
            texts = [f"{turn.instruction}\n\n{turn.input}" if turn.input else turn.instruction, turn.output]
            for role, text in zip(("user", "assistant"), texts, strict=True):
                if not (open_ended and number == len(turns) - 1 and role == "assistant"):
                    messages.append({"role": role, "content": f"\ue000{len(contents)}\ue001"})
                    contents.append(text)
        marked = self._apply(messages, open_ended)
        plain = self._apply([{**m, "content": contents[i]} for i, m in enumerate(messages)], open_ended)
        pieces = re.split("\ue000(\\d+)\ue001", marked)
        for values in (contents, [text.strip() for text in contents]):
            if "".join(p if i % 2 == 0 else values[int(p)] for i, p in enumerate(pieces)) == plain:
                answers = {i for i, message in enumerate(messages) if message["role"] == "assistant"}
                return self._segments(pieces, values, answers)
        raise UserError(
            "this chat template rewrites what users write, so prompt and answer cannot be told apart",
            where=f"chat template of {self._tokenizer.name_or_path}, text {contents[0][:80]!r}",
            fix=f"--prompt_template_name {' | '.join(template_names())}",
        )

    def _segments(self, pieces: list[str], values: list[str], answers: set[int]) -> list[Segment]:
        """Alternate markup and contents; an answer's target runs on to the first special token after it."""
        segments: list[Segment] = []
        after_answer = False
        for position, piece in enumerate(pieces):
            if position % 2:
                after_answer = int(piece) in answers
                segments.append(Segment(values[int(piece)], is_target=after_answer))
                continue
            if after_answer:
                end = self._special.search(piece)
                if end is None and position == len(pieces) - 1:
                    segments.append(Segment(piece + str(self._tokenizer.eos_token), is_target=True, is_markup=True))
                    continue
                if end is not None:
                    segments.append(Segment(piece[: end.end()], is_target=True, is_markup=True))
                    piece = piece[end.end() :]
            segments.append(Segment(piece, is_markup=True))
        return [segment for segment in segments if segment.text]

    def _apply(self, messages: list[dict[str, str]], open_ended: bool) -> str:
        try:
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_ended)
        except Exception as error:  # templates raise jinja2's errors, and their own, for roles they do not know
            raise UserError(f"the chat template refuses a conversation: {error}") from error
        return str(text)
