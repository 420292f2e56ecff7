"""What the tabs of the page share: the model, who asks what, labels in two languages, sampling, the status line."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import gradio as gr

from alpaca_lora.data.examples import Turn
from alpaca_lora.errors import UserError
from alpaca_lora.inference.engine import Busy, Engine, Request
from alpaca_lora.inference.models import BASE, Prompts
from alpaca_lora.inference.page.growing import Asked, Growing
from alpaca_lora.inference.page.labels import say
from alpaca_lora.inference.settings import SamplingConfig, UiConfig

_LEAST_TOP_P = 1e-6
"""For 0, which the original page's slider has too: the likeliest token alone."""

_CODE = re.compile(r"(^ {0,3}```.*?(?:^ {0,3}```|\Z)|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r"<(?=[A-Za-z/!?])")


@dataclass
class Page:
    """One page for all who open it.

    Attributes:
        language: the control whose value is the language's code.
        named: each component with its properties and the key of each one's text.
        adapter_choices: the controls that choose among adapters.
    """

    models: Prompts
    engine: Engine
    config: UiConfig
    language: gr.Radio
    asked: Asked = field(default_factory=Asked)
    named: list[tuple[Any, Mapping[str, str]]] = field(default_factory=list[tuple[Any, Mapping[str, str]]])
    adapter_choices: list[gr.Dropdown] = field(default_factory=list[gr.Dropdown])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def name(self, component: Any, **keys: str) -> Any:
        """Take a component's texts from the labels, in the language of the day; give the component back."""
        for key, value in texts("en", keys).items():
            setattr(component, key, value)
        self.named.append((component, keys))
        return component

    def choose_adapter(self, value: str | list[str], label: str, **more: Any) -> gr.Dropdown:
        """Add a control that chooses among the base and its adapters."""
        box = gr.Dropdown(self.choices("en"), value=value, **more)
        self.adapter_choices.append(box)
        return self.name(box, label=label)

    def choices(self, language: str) -> list[tuple[str, str]]:
        """List what can answer, as shown and as named."""
        return [(say(language, "base") if name == BASE else name, name) for name in self.models.names]

    def refresh(self) -> None:
        """Look for adapters that were written since."""
        with self._lock:
            self.models.refresh()

    def request(self, name: str, turns: Sequence[Turn], sampling: SamplingConfig, system: str = "") -> Request:
        """Put a conversation into an adapter's prompt; one at a time, as tokenizers are not made for threads."""
        with self._lock:
            return self.models.request(name, turns, sampling, system=system)

    def show(self, request: Request) -> str:
        """Give a request's exact prompt."""
        with self._lock:
            return self.models.show(request)


def texts(language: str, keys: Mapping[str, str]) -> dict[str, str]:
    """Give a component's texts by its properties."""
    return {name: say(language, key) for name, key in keys.items()}


class SamplingControls:
    """The original page's controls: their ranges and defaults, and a seed.

    Attributes:
        stream: whether the answer is shown as it grows.
        inputs: all of them, for the events that read them.
    """

    def __init__(self, page: Page, tab: str, *, beams: int, shown: bool = False) -> None:
        def slider(key: str, low: float, high: float, value: float, step: float) -> gr.Slider:
            return page.name(gr.Slider(low, high, value, step=step, min_width=240), label=key, info=f"{key}_info")

        with page.name(gr.Accordion(open=shown, elem_id=f"{tab}-settings"), label="settings"):
            with gr.Row():
                self.temperature = slider("temperature", 0, 1, 0.1, 0.01)
                self.top_p = slider("top_p", 0, 1, 0.75, 0.01)
                self.top_k = slider("top_k", 0, 100, 40, 1)
            with gr.Row():
                self.beams = slider("beams", 1, 4, beams, 1)
                self.max_tokens = slider("max_tokens", 1, 2000, 128, 1)
                self.seed = page.name(gr.Number(42, precision=0, min_width=120), label="seed", info="seed_info")
                self.stream = page.name(gr.Checkbox(True, min_width=120), label="stream", info="stream_info")
        self.inputs: set[Any] = {
            self.temperature, self.top_p, self.top_k, self.beams, self.max_tokens, self.seed, self.stream,
        }  # fmt: skip

    def read(self, values: Mapping[Any, Any], language: str) -> SamplingConfig:
        """Turn an event's values into settings; raise `UserError` for a seed that is none."""
        seed = values[self.seed]
        if not isinstance(seed, int) or seed < 0:
            raise UserError(say(language, "no_seed"))
        return SamplingConfig(
            temperature=values[self.temperature],
            top_p=max(values[self.top_p], _LEAST_TOP_P),
            top_k=int(values[self.top_k]),
            num_beams=int(values[self.beams]),
            max_new_tokens=int(values[self.max_tokens]),
            seed=seed,
        )


def answer_markdown(text: str) -> str:
    """Show tags that a model writes outside code as text: as Markdown they would vanish."""
    parts = _CODE.split(text)
    return "".join(part if number % 2 else _TAG.sub("&lt;", part) for number, part in enumerate(parts))


def problem(message: str) -> str:
    """Give a red box with a message, as HTML."""
    return f'<div class="status-line"><div class="problem" role="alert">{escape(message)}</div></div>'


def refusal(error: UserError, language: str) -> str:
    """Say on the page why nothing was asked."""
    return problem(say(language, "busy") if isinstance(error, Busy) else str(error))


def status(one: Growing, engine: Engine, language: str) -> str:
    """Tell how far an answer is, or how it ended, as HTML."""
    if one.error:
        return problem(f"{say(language, 'failed')}: {one.error}")
    if ended := one.finished:
        parts = [
            say(language, ended.reason),
            say(language, "tokens", count=ended.tokens),
            say(language, "prompt_tokens", count=ended.prompt_tokens, reused=ended.reused_tokens),
        ]
        if ended.tokens > 1:
            parts.append(say(language, "speed", speed=ended.tokens_per_second))
        if ended.tokens:
            parts.append(say(language, "first", seconds=ended.first_seconds))
    elif one.ticket.place:
        parts = [say(language, "before", count=one.ticket.place)]
    elif one.beams > 1:
        parts = [say(language, "searching", seconds=one.seconds)]
    else:
        parts = [say(language, "tokens", count=one.ticket.tokens)]
        if one.ticket.tokens > 1 and one.seconds:
            parts.append(say(language, "speed", speed=one.ticket.tokens / one.seconds))
    if not ended and engine.waiting > 0 and not one.ticket.place:
        parts.append(say(language, "others_wait", count=engine.waiting))
    return f'<div class="status-line" role="status">{escape(" · ".join(parts))}</div>'
