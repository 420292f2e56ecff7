"""Talk to a model in the terminal: a base, its adapters, several turns; or one answer with `--prompt`."""

from __future__ import annotations

from functools import partial

from alpaca_lora.errors import UserError
from alpaca_lora.inference.chat_commands import completions, respond
from alpaca_lora.inference.chat_input import LineReader
from alpaca_lora.inference.chat_screen import Screen
from alpaca_lora.inference.models import BASE
from alpaca_lora.inference.settings import ChatConfig
from alpaca_lora.inference.talk import open_talk


def chat(config: ChatConfig) -> None:
    """Talk in the terminal until /quit, or answer `--prompt` on standard output and leave."""
    if config.input and config.prompt is None:
        raise UserError("--input belongs to --prompt, and there is none", fix="--prompt TEXT --input TEXT")
    talk = open_talk(config)
    if config.prompt is not None:
        talk.answer(config.prompt, config.sampling, _show, config.input)
        print()
        return
    screen, reader = Screen(), LineReader(partial(completions, talk))
    answering = f" with {talk.active}" if talk.active != BASE else ""
    print(f"{talk.models.base_name} answers{answering}. /help lists the commands.")
    while (line := reader.read()) not in (None, "/quit"):
        try:
            respond(talk, line or "", config.sampling, screen)
        except KeyboardInterrupt:
            print("[stopped]")
        except UserError as error:
            print(error)


def _show(piece: str) -> None:
    print(piece, end="", flush=True)
