"""The original page's form: an instruction, its input, one answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.page.controls import Page, SamplingControls, answer_markdown, problem, refusal, status
from alpaca_lora.inference.page.examples import example_instructions
from alpaca_lora.inference.page.growing import Click, grow
from alpaca_lora.inference.page.labels import say


def add_instruct(page: Page) -> None:
    """Add the tab's controls and what they do."""
    with gr.Row():
        with gr.Column(min_width=300):
            instruction, context = instruction_boxes(page, "instruct")
            adapter = page.choose_adapter(page.models.first, "adapter", elem_id="instruct-adapter")
            with gr.Row():
                send = page.name(gr.Button(variant="primary", min_width=120, elem_id="instruct-send"), value="send")
                stop_button(page, "instruct")
        with gr.Column(min_width=300):
            answer = gr.Markdown(
                buttons=["copy"], container=True, line_breaks=True, min_height=160, elem_id="instruct-answer"
            )
            line = gr.HTML(elem_id="instruct-status")
            with page.name(gr.Accordion(open=False), label="exact_prompt"):
                sent = gr.Textbox(show_label=False, lines=4, interactive=False, buttons=["copy"], elem_id="sent")
    sampling = SamplingControls(page, "instruct", beams=4, shown=True)
    offer_examples(page, instruction, context)

    def ask(values: dict[Any, Any], request: gr.Request) -> Iterator[dict[Any, Any]]:
        language = values[page.language]
        if not (values[instruction].strip() or values[context].strip()):
            yield {line: problem(say(language, "no_text"))}
            return
        try:
            turn = Turn(values[instruction], values[context], "")
            asked = page.request(values[adapter], [turn], sampling.read(values, language))
            views = grow(page.engine, [asked], page.asked, Click(str(request.session_hash), "instruct"))
            prompt = page.show(asked)
            for (one,) in views:
                shown = one.text if values[sampling.stream] or one.finished or one.error else ""
                yield {
                    answer: answer_markdown(shown),
                    line: status(one, page.engine, language),
                    sent: prompt,
                }
        except UserError as error:
            yield {line: refusal(error, language)}

    gr.on(
        [send.click, instruction.submit, context.submit],
        ask,
        {instruction, context, adapter, page.language, *sampling.inputs},
        [answer, line, sent],
        show_progress="hidden",
    )


def instruction_boxes(page: Page, tab: str) -> tuple[gr.Textbox, gr.Textbox]:
    """Add the boxes for an instruction and its input; one line high, so that Enter sends."""
    instruction = page.name(
        gr.Textbox(lines=1, max_lines=12, elem_id=f"{tab}-instruction"), label="instruction", info="instruction_info"
    )
    context = page.name(gr.Textbox(lines=1, max_lines=12, elem_id=f"{tab}-input"), label="input", info="input_info")
    return instruction, context


def stop_button(page: Page, tab: str) -> gr.Button:
    """Add the button that stops what grows in this tab of this page; Esc clicks it."""
    button = page.name(
        gr.Button(variant="stop", min_width=90, elem_id=f"{tab}-stop", elem_classes="stop-answer"), value="stop_button"
    )

    def stop(request: gr.Request) -> None:
        page.asked.stop(str(request.session_hash), tab)

    button.click(stop, queue=False, show_progress="hidden")
    return button


def offer_examples(page: Page, instruction: gr.Textbox, context: gr.Textbox) -> None:
    """Add instructions to try; a click puts one into the form."""
    offered = page.name(
        gr.Dataset(
            components=[instruction],
            samples=[[text] for text in example_instructions(page.models.base_name)],
            samples_per_page=20,
            elem_classes="examples",
        ),
        label="examples",
    )

    def take(sample: list[str]) -> tuple[str, str]:
        return sample[0], ""

    offered.click(take, offered, [instruction, context], queue=False, show_progress="hidden")
