"""Drive the page in a browser as a person does, and serve it in this process."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chromium import wait_until
from tiny_models import write_adapter

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.inference.engine import Answering, Event, Request, Ticket
from alpaca_lora.inference.models import Models
from alpaca_lora.inference.page.labels import WORDS
from alpaca_lora.inference.page.run import find_port, open_page
from alpaca_lora.inference.settings import QueueConfig, SamplingConfig, UiConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.load import find_base, load_base_model

TOY = ModelConfig(base_model="alpaca-tiny", device="cpu", dtype="float32")


class WatchedEngine(TorchEngine):
    """The real engine; keeps what it was asked, and the tickets that it gave for it."""

    def __init__(self, models: Models, limits: QueueConfig) -> None:
        self.asked: list[Request] = []
        self.tickets: list[Ticket] = []
        super().__init__(models, limits)

    def ask(self, request: Request, deliver: Callable[[Event], None]) -> Ticket:
        ticket = super().ask(request, deliver)
        self.asked.append(request)
        self.tickets.append(ticket)
        return ticket


@dataclass
class Served:
    """A page, the engine behind it, and where it keeps adapters and votes."""

    address: str
    engine: WatchedEngine
    folder: Path
    votes: Path
    gate: threading.Event

    @property
    def models(self) -> Models:
        return self.engine.models


@contextmanager
def served(config: UiConfig, folder: Path, token_seconds: float = 0) -> Iterator[Served]:
    """Serve a page; each step of the model waits for the gate, which is open, and for some time."""
    from alpaca_lora.inference.page.app import create_page

    models, gate = Models(config.model, config.adapters), threading.Event()
    gate.set()

    def wait(*_: Any) -> None:
        gate.wait()
        time.sleep(token_seconds)

    models.model.register_forward_pre_hook(wait)
    engine = WatchedEngine(models, config.limits)
    with _gradio_may_leak():
        blocks = create_page(models, engine, config)
        address = open_page(blocks, config, find_port("127.0.0.1", 0))
    try:
        yield Served(address, engine, folder, Path(config.votes), gate)
    finally:
        gate.set()
        engine.close()
        with _gradio_may_leak():
            blocks.close(verbose=False)
            del blocks


@contextmanager
def _gradio_may_leak() -> Iterator[None]:
    """Collect event loops that Gradio makes and never closes, here, where nobody is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def write_toy_adapter(folder: Path, seed: int) -> Path:
    return write_adapter(folder, load_base_model(TOY, find_base(TOY)), "alpaca-tiny", seed, lora_r=4, lora_alpha=64)


def answered_alone(place: Served, name: str, question: str, sampling: SamplingConfig) -> str:
    """Ask without the page."""
    return "".join(Answering(place.engine, place.models.request(name, [Turn(question, "", "")], sampling)))


class Person:
    """Somebody at one browser window."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def find(self, place: str, text: str | None = None) -> Any:
        return self.page.locator(place, has_text=text)

    def sees(self, place: str, text: str) -> None:
        """Wait until a text stands in a place."""
        self.find(place, text).first.wait_for()

    def text(self, place: str) -> str:
        return str(self.find(place).inner_text()).strip()

    @property
    def answer(self) -> str:
        return self.text("#instruct-answer .md")

    def ask(self, tab: str, question: str) -> None:
        self.find(f"#{tab}-instruction textarea").fill(question)
        self.page.keyboard.press("Enter")

    def say(self, message: str) -> None:
        self.find("#message textarea").fill(message)
        self.page.keyboard.press("Enter")

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()
        self.find("button.stop-answer:visible").wait_for()

    def open_settings(self, tab: str) -> None:
        self.find(f"#{tab}-settings > button").click()

    def set(self, tab: str, **values: float) -> None:
        """Type into the number boxes of a tab's settings, again where Gradio, still drawing it, lost what was typed."""
        settings, number = self.find(f"#{tab}-settings"), self.find("input[type=number]")
        boxes = [(settings.get_by_label(WORDS[label][0]).and_(number), str(values[label])) for label in values]

        def typed() -> bool:
            lost = [(box, value) for box, value in boxes if box.input_value() != value]
            for box, value in lost:
                box.fill(value)
                box.press("Tab")
            self.page.wait_for_timeout(100)
            return not lost

        self.wait(typed)

    def choose(self, box: str, name: str) -> None:
        self.find(f"#{box} input").click()
        self.page.get_by_role("option", name=name, exact=True).click()

    def wait(self, holds: Callable[[], bool]) -> None:
        """Let the browser work until something holds."""
        wait_until(self.page, holds)
