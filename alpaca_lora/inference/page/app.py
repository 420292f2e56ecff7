"""The page: its tabs, its languages, and what happens when it is opened and closed."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from alpaca_lora.inference.engine import Engine
from alpaca_lora.inference.models import Prompts
from alpaca_lora.inference.page.chat import ChatTab
from alpaca_lora.inference.page.compare import CompareTab
from alpaca_lora.inference.page.controls import Page, texts
from alpaca_lora.inference.page.instruct import add_instruct
from alpaca_lora.inference.page.labels import LANGUAGES, say
from alpaca_lora.inference.settings import UiConfig

TITLE = "Alpaca-LoRA"

_BROWSER_LANGUAGE = "() => navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'"
"""Chosen in the browser: an answer from the server could come after somebody's own choice."""


def create_page(models: Prompts, engine: Engine, config: UiConfig) -> gr.Blocks:
    """Build the page; it asks the engine alone, so that the engine's queue is the only one."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        with gr.Row(elem_classes="header"):
            with gr.Column(min_width=190):
                heading = gr.HTML(_heading(models, "en"), elem_classes="heading")
            refresh = gr.Button(
                size="sm", scale=0, min_width=180, elem_id="refresh", visible=bool(config.adapters.adapter_dir)
            )
            language = gr.Radio(LANGUAGES, value="en", container=False, scale=0, min_width=200, elem_id="language")
        page = Page(models, engine, config, language)
        page.name(language, label="language")
        page.name(refresh, value="refresh")
        with gr.Tabs():
            with page.name(gr.Tab(id="instruct"), label="instruct"):
                add_instruct(page)
            with page.name(gr.Tab(id="chat"), label="chat"):
                ChatTab(page)
            with page.name(gr.Tab(id="compare"), label="compare"):
                CompareTab(page)

        def relabel(code: str) -> list[Any]:
            """Give every text of the page in another language."""
            named = [gr.update(**dict[str, Any](texts(code, keys))) for _, keys in page.named]
            return [_heading(models, code), *named, *(gr.update(choices=page.choices(code)) for _ in boxes)]

        def look_again(code: str) -> list[Any]:
            page.refresh()
            return [gr.update(choices=page.choices(code)) for _ in boxes]

        def leave(request: gr.Request) -> None:
            page.asked.leave(str(request.session_hash))

        boxes = page.adapter_choices
        outputs = [heading, *(component for component, _ in page.named), *boxes]
        language.change(relabel, language, outputs, queue=False, show_progress="hidden")
        refresh.click(look_again, language, boxes, show_progress="hidden")
        blocks.load(None, None, language, js=_BROWSER_LANGUAGE, show_progress="hidden")
        blocks.unload(leave)
    return blocks.queue(default_concurrency_limit=None, api_open=False)


def _heading(models: Prompts, language: str) -> str:
    return f"<h1>{TITLE}</h1><p>{escape(say(language, 'base_model', name=models.base_name))}</p>"
