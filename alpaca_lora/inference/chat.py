"""Talk to a model in the terminal: a base, its adapters, several turns; or one answer with `--prompt`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpaca_lora.config import ChatConfig, SamplingConfig
from alpaca_lora.data.encoder import TextEncoder
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.prompts import Prompt, end_token, load_prompt
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.inference.generate import stream_text
from alpaca_lora.model.adapter_folder import adapter_prompt, find_adapter
from alpaca_lora.model.load import find_base, load_base_model, load_base_tokenizer
from alpaca_lora.model.lora import load_adapter, read_adapter_config, select_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BASE = "base"
_HELP = """\
/adapter            list the adapters      /adapter NAME   answer with this one (base: with none)
/system TEXT        set the system text    /reset          forget the conversation
/help               this list              /quit           leave (or Ctrl-D); Ctrl-C stops an answer"""


@dataclass
class Talk:
    """A conversation with one base model and the adapters loaded onto it.

    Attributes:
        base_name: the base model, as it was given or recorded.
        prompts: prompt format of each adapter by its name, and of the bare base.
        active: name of the adapter that answers, or `base`.
    """

    model: Any
    tokenizer: PreTrainedTokenizerFast
    encoder: TextEncoder
    prompts: dict[str, Prompt]
    base_name: str = ""
    active: str = BASE
    system: str = ""
    turns: list[Turn] = field(default_factory=list[Turn])

    def switch(self, name: str) -> None:
        """Answer with another adapter from now on."""
        if name not in self.prompts:
            raise UserError(f"there is no adapter {name}", fix=f"one of: {', '.join(self.prompts)}")
        if len(self.prompts) > 1:
            select_adapter(self.model, None if name == BASE else name)
        self.active = name

    def answer(self, instruction: str, sampling: SamplingConfig, show: Callable[[str], None], context: str = "") -> str:
        """Stream the answer to one more turn into `show`. The turn joins the conversation, even if Ctrl-C cuts it."""
        turn, text = Turn(instruction, context, ""), ""
        prompt = self.prompts[self.active]
        ids = encode_prompt(self.encoder, prompt, [*self.turns, turn], self.system)
        try:
            for piece in stream_text(self.model, self.tokenizer, ids, sampling, end=end_token(prompt)):
                text += piece
                show(piece)
        except KeyboardInterrupt:
            self.turns.append(replace(turn, output=text))
            raise
        self.turns.append(replace(turn, output=text))
        return text


def open_talk(config: ChatConfig) -> Talk:
    """Load the base and every adapter; the last one given is active."""
    folders, model_config = _adapter_folders(config.adapter), config.model
    if not model_config.base_model and folders:
        recorded = read_adapter_config(next(iter(folders.values())))
        name, revision = str(recorded.get("base_model_name_or_path") or ""), recorded.get("revision")
        model_config = replace(model_config, base_model=name, base_revision=model_config.base_revision or revision)
        if name:
            _note(f"the base model is {name}, as recorded with the adapter; --base_model gives another")
    place = find_base(model_config)
    tokenizer, mended = load_base_tokenizer(model_config, place)
    for note in mended:
        _note(note)
    model = load_base_model(model_config, place)
    prompts = {BASE: load_prompt(config.prompt_template_name or "alpaca", tokenizer)}
    for name, folder in folders.items():
        model = load_adapter(model, folder, name)
        prompts[name] = adapter_prompt(folder, tokenizer, config.prompt_template_name)
    model.eval()
    talk = Talk(model, tokenizer, TextEncoder(tokenizer), prompts, place.name)
    talk.switch([*prompts][-1])
    return talk


def chat(config: ChatConfig) -> None:
    """Talk in the terminal until /quit, or answer `--prompt` on standard output and leave."""
    if config.input and config.prompt is None:
        raise UserError("--input belongs to --prompt, and there is none", fix="--prompt TEXT --input TEXT")
    talk = open_talk(config)
    if config.prompt is not None:
        talk.answer(config.prompt, config.sampling, _show, config.input)
        print()
        return
    with suppress(ImportError):  # not on Windows
        import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  gives input() arrow keys and a history
    print(f"{talk.base_name} answers{f' with {talk.active}' if talk.active != BASE else ''}. /help lists the commands.")
    while (line := _read_line()) not in (None, "/quit"):
        try:
            _respond(talk, line or "", config.sampling)
        except KeyboardInterrupt:
            print(" [stopped]")
        except UserError as error:
            print(error)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _show(piece: str) -> None:
    print(piece, end="", flush=True)


def _read_line() -> str | None:
    """Read what the user types; None at the end of input."""
    while True:
        try:
            return input("\n> ").strip()
        except EOFError:
            print()
            return None
        except KeyboardInterrupt:
            print("\n/quit or Ctrl-D leaves")
        except UnicodeDecodeError as error:
            print(f"that line cannot be read: {error}")


def _respond(talk: Talk, line: str, sampling: SamplingConfig) -> None:
    if line.startswith("/"):
        print(_command(talk, line))
    elif line:
        talk.answer(line, sampling, _show)
        print()


def _command(talk: Talk, line: str) -> str:
    word, _, rest = line.partition(" ")
    if word == "/adapter" and rest:
        talk.switch(rest.strip())
        return f"{talk.active} answers now"
    if word == "/adapter":
        return "\n".join(f"{'*' if name == talk.active else ' '} {name}" for name in talk.prompts)
    if word == "/system":
        talk.system = rest.strip()
        return "system text set" if talk.system else "system text cleared"
    if word == "/reset":
        talk.turns.clear()
        return "conversation forgotten"
    return _HELP if word == "/help" else f"unknown command {word}\n{_HELP}"


def _adapter_folders(places: Sequence[str]) -> dict[str, Path]:
    """Find each adapter; it is called by the last part of its path or Hub id."""
    folders: dict[str, Path] = {}
    for place in places:
        name = Path(place).expanduser().absolute().name
        if name in (BASE, *folders):
            taken = "the bare base model" if name == BASE else "another adapter"
            raise UserError(f"the adapter {place} has the name of {taken}", fix="rename its folder")
        folders[name] = find_adapter(place)
    return folders
