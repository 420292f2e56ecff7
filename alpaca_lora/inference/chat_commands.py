"""The commands of the chat in the terminal."""

from __future__ import annotations

import re

from alpaca_lora.errors import UserError
from alpaca_lora.inference.chat_screen import Screen
from alpaca_lora.inference.settings import SamplingConfig
from alpaca_lora.inference.talk import Talk

_HELP = """\
/adapter             list the adapters
/adapter NAME        answer with this one from now on; base: with none
/compare [NAME ...]  ask the base and all adapters, or these, the last question
/retry               answer the last question again; above temperature 0, otherwise
/prompt              show the last prompt exactly as the model got it
/system TEXT         set the system text; without a text, clear it
/save FILE.jsonl     append the conversation to a file as a row to train on
/reset               forget the conversation
/help                this list
/quit                leave (or Ctrl-D); Ctrl-C stops an answer
A line that ends in a backslash goes on in the next one."""
_WITH_NAMES = ("/adapter", "/compare")


def respond(talk: Talk, line: str, sampling: SamplingConfig, screen: Screen) -> None:
    """Answer a question, or do what a line that begins with a slash says."""
    word, _, rest = line.partition(" ")
    rest = rest.strip()
    if not line.startswith("/"):
        if line:
            with screen.answering() as show:
                talk.answer(line, sampling, show)
    elif word == "/retry":
        with screen.answering() as show:
            talk.retry(sampling, show)
    elif word == "/compare":
        _compare(talk, rest.split(), sampling, screen)
    else:
        print(_quick(talk, word, rest))


def completions(talk: Talk, line: str) -> list[str]:
    """Give what the last word of a line can become: a command, or an adapter's name after one that takes it."""
    command, space, _ = line.partition(" ")
    if not space:
        commands = dict.fromkeys(re.findall(r"(?m)^/\w+", _HELP))
        return [f"{name} " for name in commands if line and name.startswith(line)]
    typed = line.rpartition(" ")[2]
    return [f"{name} " for name in talk.models.names if command in _WITH_NAMES and name.startswith(typed)]


def _quick(talk: Talk, word: str, rest: str) -> str:
    """Do what needs no answer of the model; give what there is to say."""
    match word:
        case "/adapter" if rest:
            talk.switch(rest)
            return f"{talk.active} answers now"
        case "/adapter":
            talk.models.refresh()
            return "\n".join(f"{'*' if name == talk.active else ' '} {name}" for name in talk.models.names)
        case "/system":
            talk.system = rest
            return "system text set" if rest else "system text cleared"
        case "/reset":
            talk.turns.clear()
            return "conversation forgotten"
        case "/prompt":
            return talk.last_prompt()
        case "/save":
            turns = len(talk.turns)
            return f"{turns} turn{'s' if turns != 1 else ''} appended to {talk.save(rest)} as one row"
        case "/help":
            return _HELP
        case _:
            return f"unknown command {word}\n{_HELP}"


def _compare(talk: Talk, names: list[str], sampling: SamplingConfig, screen: Screen) -> None:
    first: str | None = None
    for name, pieces in talk.compare(names, sampling):
        try:
            text = screen.compare(name, pieces, first)
        except UserError as error:
            print(error)
        else:
            first = text if first is None else first
