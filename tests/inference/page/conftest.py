"""Pages served in this process, and a browser that complains about every error and every request to elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chromium import chromium
from page_driver import TOY, Person, Served, served, write_toy_adapter
from tiny_models import chain_model, write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, UiConfig
from alpaca_lora.model.tokenizer import load_tokenizer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The embedded model with the adapters `one`, given, and `two`, found in a folder."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    root = tmp_path_factory.mktemp("toy")
    for seed, place in enumerate((root / "one", root / "found" / "two"), start=1):
        write_toy_adapter(place, seed)
    adapters = AdaptersConfig(adapter=(str(root / "one"),), adapter_dir=str(root / "found"))
    config = UiConfig(model=TOY, adapters=adapters, votes=str(root / "kept" / "votes.jsonl"))
    with served(config, root / "found") as page:
        yield page


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A model that says cat mat cat mat, slowly; two slots, and a queue of one."""
    pytest.importorskip("gradio", reason="gradio is not installed")
    root = tmp_path_factory.mktemp("endless")
    base = write_base(root / "base", max_position_embeddings=10**6)
    tokenizer, _ = load_tokenizer(base)
    ids = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in ("cat", "mat")]
    chain_model(ids, max_position_embeddings=10**6).save_pretrained(base)
    model = ModelConfig(base_model=str(base), device="cpu", dtype="float32")
    config = UiConfig(model=model, limits=QueueConfig(slots=2, queue=1), votes=str(root / "votes.jsonl"))
    with served(config, root, token_seconds=0.005) as page:
        yield page


@pytest.fixture(scope="module")
def window(browser: Any) -> Iterator[Any]:
    """What most pages are opened in: it keeps Gradio's files from page to page."""
    context = browser.new_context()
    yield context
    context.close()


@pytest.fixture
def visit(browser: Any, window: Any) -> Iterator[Callable[..., Person]]:
    """Open a page, with settings in a browser of its own; fail where it says an error or asks another server."""
    pages: list[Any] = []
    trouble: list[str] = []

    def check(request: Any, address: str) -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            trouble.append(f"asked {request.url}")

    def open_page(place: Served, path: str = "", **settings: Any) -> Person:
        page = browser.new_page(**settings) if settings else window.new_page()
        pages.append(page)
        page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: check(request, place.address))
        page.set_default_timeout(30_000)
        page.goto(place.address + path)
        page.locator("#instruct-instruction textarea").wait_for()
        return Person(page)

    yield open_page
    for page in pages:
        page.close()
    assert trouble == []
