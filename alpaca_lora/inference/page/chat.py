"""A conversation of several turns, to be edited, tried again, and kept as a training row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.page.controls import Page, SamplingControls, answer_markdown, problem, refusal, status
from alpaca_lora.inference.page.growing import Click, grow
from alpaca_lora.inference.page.instruct import stop_button
from alpaca_lora.inference.page.labels import say
from alpaca_lora.inference.talk import training_row

_DOWNLOAD = """(text) => {
  if (!text) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "application/json"}));
  link.download = "conversation.json";
  link.click();
  URL.revokeObjectURL(link.href);
}"""
"""Saves in the browser: the server keeps no file of a conversation."""

_WHEN = "(...values) => [...values.slice(0, -1), performance.now()]"
"""Puts the time of a click, which only the browser knows, into the last of an event's inputs."""


class ChatTab:
    """The tab's controls and what they do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.turns = gr.State([])
        self.box = page.name(
            gr.Chatbot(editable="user", buttons=["copy"], height="55vh", layout="bubble", elem_id="conversation"),
            label="conversation",
        )
        self.line = gr.HTML(elem_id="chat-status")
        with gr.Row():
            self.message = page.name(
                gr.Textbox(lines=1, max_lines=8, scale=4, min_width=260, elem_id="message"),
                label="message", info="instruction_info",
            )  # fmt: skip
            with gr.Column(scale=1, min_width=200), gr.Row():
                send = page.name(gr.Button(variant="primary", min_width=90, elem_id="chat-send"), value="send")
                stop_button(page, "chat")
        with gr.Row():
            self.adapter = page.choose_adapter(page.models.first, "adapter", elem_id="chat-adapter")
            self.system = page.name(
                gr.Textbox(lines=1, max_lines=8, elem_id="system"), label="system", info="system_info"
            )
        with gr.Row():
            clear = page.name(gr.Button(size="sm", elem_id="clear"), value="clear")
            export = page.name(gr.Button(size="sm", elem_id="export"), value="export")
        self.sampling = SamplingControls(page, "chat", beams=1)
        self._connect(send, clear, export)

    def _connect(self, send: gr.Button, clear: gr.Button, export: gr.Button) -> None:
        self.clicked = gr.Number(visible="hidden")  # made last, as Gradio sorts an event's inputs by age
        inputs = {
            self.turns, self.message, self.adapter, self.system, self.page.language, *self.sampling.inputs,
            self.clicked,
        }  # fmt: skip
        changes: dict[str, Any] = {
            "outputs": [self.box, self.turns, self.line, self.message], "js": _WHEN, "show_progress": "hidden",
        }  # fmt: skip
        gr.on([send.click, self.message.submit], self._send, inputs, **changes)
        self.box.retry(self._retry, inputs, **changes)
        self.box.edit(self._edit, inputs, **changes)
        self.box.undo(self._undo, {self.turns, self.clicked}, **changes)
        gr.on([clear.click, self.box.clear], self._clear, {self.clicked}, queue=False, **changes)
        self.row = gr.Textbox(visible="hidden")
        export.click(
            self._export, {self.turns, self.system, self.page.language}, [self.row, self.line], show_progress="hidden"
        ).then(None, self.row, None, js=_DOWNLOAD)

    def _send(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        if not values[self.message].strip():
            yield {self.line: problem(say(values[self.page.language], "no_text"))}
            return
        yield from self._ask(values[self.turns], values[self.message], values, request, {self.message: ""})

    def _retry(self, values: dict[Any, Any], retry: gr.RetryData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        number = _turn(retry.index)
        yield from self._ask(values[self.turns][:number], values[self.turns][number][0], values, request, {})

    def _edit(self, values: dict[Any, Any], edit: gr.EditData, request: gr.Request) -> Iterator[dict[Any, Any]]:
        yield from self._ask(values[self.turns][: _turn(edit.index)], str(edit.value), values, request, {})

    def _undo(self, values: dict[Any, Any], undo: gr.UndoData, request: gr.Request) -> dict[Any, Any]:
        number = _turn(undo.index)
        question = values[self.turns][number][0]
        return self._withdraw(values[self.turns][:number], {self.message: question}, values, request)

    def _clear(self, values: dict[Any, Any], request: gr.Request) -> dict[Any, Any]:
        return self._withdraw([], {}, values, request)

    def _withdraw(
        self, kept: list[tuple[str, str]], more: dict[Any, Any], values: dict[Any, Any], request: gr.Request
    ) -> dict[Any, Any]:
        """Take back all but some turns. An answer that still grows ends with the same state, whichever comes last."""
        state = {self.box: _messages(kept), self.turns: kept, self.line: ""} | more
        return self.page.asked.withdraw(str(request.session_hash), "chat", values[self.clicked], state)

    def _export(self, values: dict[Any, Any]) -> dict[Any, Any]:
        row = exported(values[self.turns], values[self.system])
        return {self.row: row, self.line: "" if row else problem(say(values[self.page.language], "no_conversation"))}

    def _ask(
        self, before: Sequence[tuple[str, str]], question: str, values: dict[Any, Any], request: gr.Request, once: Any
    ) -> Iterator[dict[Any, Any]]:
        """Answer a question after some turns; `once` is set when it has been asked."""
        language, engine = values[self.page.language], self.page.engine
        try:
            turns = [Turn(asked, "", answer) for asked, answer in [*before, (question, "")]]
            sampling = self.sampling.read(values, language)
            asked = self.page.request(values[self.adapter], turns, sampling, values[self.system])
            click = Click(str(request.session_hash), "chat", values[self.clicked])
            for (one,) in grow(engine, [asked], self.page.asked, click):
                shown = one.text if values[self.sampling.stream] or one.finished or one.error else ""
                turns_now = [*before, (question, shown)]
                yield {
                    self.box: _messages(turns_now),
                    self.turns: turns_now,
                    self.line: status(one, engine, language),
                } | once
                once = {}
            last = None
            while (state := self.page.asked.instead(click)) is not last:
                yield (last := state)
        except UserError as error:
            yield {self.line: refusal(error, language)}


def exported(turns: Sequence[tuple[str, str]], system: str) -> str:
    """Write the answered turns as JSON that training reads: one row of `messages`. Empty where none is answered."""
    answered = [Turn(question, "", answer) for question, answer in turns if answer]
    return json.dumps([training_row(answered, system)], ensure_ascii=False, indent=2) if answered else ""


def _turn(index: int | tuple[int, int]) -> int:
    """Give the turn that a message belongs to: each has a question and an answer."""
    return (index if isinstance(index, int) else index[0]) // 2


def _messages(turns: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Give the conversation as the component shows it; as parts, because plain strings lose their outer spaces."""
    return [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for question, answer in turns
        for role, text in (("user", question), ("assistant", answer_markdown(answer)))
    ]
