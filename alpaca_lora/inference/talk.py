"""A conversation with one base model and its adapters, and what can be done with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.answerer import Answerer, open_answerer
from alpaca_lora.inference.engine import Request
from alpaca_lora.inference.generate import Answer, answer_room
from alpaca_lora.inference.models import BASE, Models, show_notes
from alpaca_lora.inference.settings import ChatConfig, SamplingConfig


@dataclass
class Talk:
    """A conversation of one user.

    Attributes:
        models: the base and its adapters.
        answerer: computes the answers.
        active: name of the adapter that answers, or `base`.
        asked: what the last answer of the conversation was asked with.
        tries: how often the last question was answered again.
    """

    models: Models
    answerer: Answerer
    active: str
    system: str = ""
    turns: list[Turn] = field(default_factory=list[Turn])
    asked: Request | None = None
    tries: int = 0

    def switch(self, name: str) -> None:
        """Answer with another adapter from now on."""
        self.models.refresh()
        self.models.select(name)
        self.active = name

    def answer(self, instruction: str, sampling: SamplingConfig, show: Callable[[str], None], context: str = "") -> str:
        """Stream the answer to one more turn into `show`. The turn joins the conversation, even if Ctrl-C cuts it."""
        text = self._answer(Turn(instruction, context, ""), self.turns, sampling, show)
        self.tries = 0
        return text

    def retry(self, sampling: SamplingConfig, show: Callable[[str], None]) -> str:
        """Answer the last question again, with another draw; the new answer takes the old one's place."""
        turn, before = self._last_question(), self.turns[:-1]
        self.tries += 1
        return self._answer(turn, before, replace(sampling, seed=sampling.seed + self.tries), show)

    def compare(self, names: Sequence[str], sampling: SamplingConfig) -> Iterator[tuple[str, Iterator[str]]]:
        """Let the base and the named adapters, all if none is named, answer the last question from the same seed.

        Yields each one's name with the pieces of its answer, the base's first. The conversation stays as it is.
        """
        self.models.refresh()
        question = [*self.turns[:-1], self._last_question()]
        bare = [BASE] if BASE in self.models.names else []
        compared = [*dict.fromkeys([*bare, *(names or self.models.names)])]
        requests = [self.models.request(name, question, sampling, system=self.system) for name in compared]
        if len(requests) < 2:
            raise UserError(
                f"there is only {compared[0]} to compare",
                fix="name an adapter, or start with several of --adapter, or --adapter_dir, and no --merge_adapter",
            )
        for name, request in zip(compared, requests, strict=True):
            yield name, self._pieces(request)

    def last_prompt(self) -> str:
        """Give the exact text that the last answer was asked with, special tokens included."""
        if self.asked is None:
            raise UserError("nothing was asked yet", fix="ask something first")
        return self.models.show(self.asked)

    def save(self, file: str) -> Path:
        """Append the conversation to a file of training rows."""
        if not self.turns:
            raise UserError("the conversation is empty", fix="ask something first")
        path = Path(file).expanduser()
        if path.suffix != ".jsonl":
            raise UserError("rows are appended to a file whose name ends in .jsonl", fix="/save FILE.jsonl")
        row = json.dumps(training_row(self.turns, self.system), ensure_ascii=False).encode()
        try:
            with path.open("a+b") as rows:
                rows.seek(max(0, rows.seek(0, os.SEEK_END) - 1))
                is_open = rows.read() not in (b"", b"\n")
                rows.write((b"\n" if is_open else b"") + row + b"\n")
        except OSError as error:
            raise UserError(f"the conversation cannot be saved: {error.strerror}", where=str(path)) from error
        return path

    def _last_question(self) -> Turn:
        if not self.turns:
            raise UserError("there is no question yet", fix="ask something first")
        return replace(self.turns[-1], output="")

    def _answer(self, turn: Turn, before: Sequence[Turn], sampling: SamplingConfig, show: Callable[[str], None]) -> str:
        request = self.models.request(self.active, [*before, turn], sampling, system=self.system)
        pieces, text = self._pieces(request), ""
        self.asked = request
        try:
            for piece in pieces:
                text += piece
                show(piece)
        except KeyboardInterrupt:
            self.turns = [*before, replace(turn, output=text)]
            raise
        self.turns = [*before, replace(turn, output=text)]
        return text

    def _pieces(self, request: Request) -> Iterator[str]:
        self.models.select(request.model)
        answer_room(self.models.model, len(request.ids), request.sampling)
        with closing(self.answerer.steps(request, Answer())) as steps:
            yield from filter(None, steps)


def training_row(turns: Sequence[Turn], system: str = "") -> dict[str, list[dict[str, str]]]:
    """Put a conversation into the `messages` shape of training data."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        question = "\n\n".join(filter(None, [turn.instruction, turn.input]))
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": turn.output}]
    return {"messages": messages}


def open_talk(config: ChatConfig) -> Talk:
    """Load the base and every adapter that was named; the last one is active."""
    models = Models(config.model, config.adapters)
    show_notes(models.notes)
    return Talk(models, open_answerer(models, 1), models.first)
