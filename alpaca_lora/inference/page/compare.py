"""One question to several models side by side: same seed, differences marked, and a vote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.differences import mark_differences
from alpaca_lora.inference.models import BASE
from alpaca_lora.inference.page.controls import Page, SamplingControls, problem, refusal, status
from alpaca_lora.inference.page.growing import Click, Growing, grow
from alpaca_lora.inference.page.instruct import instruction_boxes, offer_examples, stop_button
from alpaca_lora.inference.page.labels import say
from alpaca_lora.inference.page.votes import Comparison, save_vote

ALIKE = "="
"""The vote for none of them."""


class CompareTab:
    """The tab's controls and what they do."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.instruction, self.context = instruction_boxes(page, "compare")
        first = [*dict.fromkeys([page.models.names[0], page.models.first])]
        self.models = page.choose_adapter(first, "answers_of", multiselect=True, elem_id="compare-models")
        with gr.Row():
            start = page.name(
                gr.Button(variant="primary", min_width=120, elem_id="compare-send"), value="compare_button"
            )
            stop_button(page, "compare")
        self.answers = gr.HTML(elem_id="answers")
        with gr.Row(visible=False) as self.voting:
            self.vote = page.name(gr.Radio([], elem_id="vote", scale=3), label="vote")
            self.save = page.name(gr.Button(size="sm", scale=1, min_width=140, elem_id="save-vote"), value="save_vote")
        self.line = gr.HTML(elem_id="compare-status")
        self.sampling = SamplingControls(page, "compare", beams=1)
        offer_examples(page, self.instruction, self.context)
        self.compared = gr.State(None)
        self._connect(start)

    def _connect(self, start: gr.Button) -> None:
        inputs = {self.instruction, self.context, self.models, self.page.language, *self.sampling.inputs}
        outputs = [self.answers, self.line, self.voting, self.vote, self.compared]
        gr.on(
            [start.click, self.instruction.submit, self.context.submit],
            self._compare, inputs, outputs, show_progress="hidden",
        )  # fmt: skip
        self.save.click(self._save, [self.vote, self.compared, self.page.language], self.line, show_progress="hidden")
        self.page.language.change(
            lambda language, compared: gr.Radio(choices=_votes(compared, language)),
            [self.page.language, self.compared], self.vote, show_progress="hidden",
        )  # fmt: skip

    def _compare(self, values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        language, names = values[self.page.language], values[self.models]
        instruction, context = values[self.instruction], values[self.context]
        if not names or not (instruction.strip() or context.strip()):
            yield {self.line: problem(say(language, "no_text" if names else "no_models"))}
            return
        try:
            sampling = self.sampling.read(values, language)
            asked = [self.page.request(name, [Turn(instruction, context, "")], sampling) for name in names]
            growing: Sequence[Growing] = ()
            hidden = {self.voting: gr.Row(visible=False), self.compared: None, self.line: ""}
            for growing in grow(self.page.engine, asked, self.page.asked, Click(str(request.session_hash), "compare")):
                yield {self.answers: self._columns(growing, values[self.sampling.stream], language)} | hidden
                hidden = {}
        except UserError as error:
            yield {self.line: refusal(error, language)}
            return
        compared = Comparison(instruction, context, sampling, {one.model: one.text for one in growing})
        yield {
            self.voting: gr.Row(visible=True),
            self.vote: gr.Radio(choices=_votes(compared, language), value=None),
            self.compared: compared,
        }

    def _columns(self, growing: Sequence[Growing], stream: bool, language: str) -> str:
        """Give all answers as HTML, their differences marked once all have ended."""
        ended = [bool(one.finished or one.error) for one in growing]
        if all(ended):
            shown = marked_answers([one.text for one in growing])
        else:
            shown = [escape(one.text) if stream or done else "" for one, done in zip(growing, ended, strict=True)]
        sections = [
            f"<section><h3>{escape(say(language, 'base') if one.model == BASE else one.model)}</h3>"
            f'<div class="text">{text}</div>{status(one, self.page.engine, language)}</section>'
            for one, text in zip(growing, shown, strict=True)
        ]
        legend = f'<p class="legend">{escape(say(language, "marked"))}</p>' if all(ended) and len(ended) > 1 else ""
        return f'<div class="answers">{"".join(sections)}</div>{legend}'

    def _save(self, vote: str | None, compared: Comparison | None, language: str) -> str:
        if not vote or not compared:
            return problem(say(language, "no_vote"))
        path = Path(self.page.config.votes).expanduser()
        try:
            save_vote(path, compared, vote)
        except OSError as error:
            return problem(f"{path}: {error.strerror}")
        return f'<div class="status-line" role="status">{escape(say(language, "saved", path=path))}</div>'


def marked_answers(answers: Sequence[str]) -> list[str]:
    """Give answers as HTML in which nothing of them is markup: marked where they differ from the first, it from the
    second.
    """
    others = [answers[number == 0 and len(answers) > 1] for number in range(len(answers))]
    return [
        "".join(f"<mark>{escape(piece)}</mark>" if differs else escape(piece) for piece, differs in pieces)
        for pieces in map(mark_differences, answers, others)
    ]


def _votes(compared: Comparison | None, language: str) -> list[tuple[str, str]]:
    names = list(compared.answers) if compared else []
    choices = [(say(language, "base") if name == BASE else name, name) for name in names]
    return [*choices, (say(language, "alike"), ALIKE)]
