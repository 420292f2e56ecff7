"""A server on a free port of this machine, with the embedded base and two adapters behind each engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tiny_models import write_adapter

from alpaca_lora.config import ModelConfig
from alpaca_lora.export.gguf_lora import write_gguf_lora
from alpaca_lora.export.gguf_model import write_gguf
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.settings import SourceConfig
from alpaca_lora.export.source import open_source
from alpaca_lora.inference.engine import Engine
from alpaca_lora.inference.models import Models, Prompts
from alpaca_lora.inference.serve.app import create_app
from alpaca_lora.inference.serve.listener import Listener
from alpaca_lora.inference.serve.run import listen
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, ServeConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.load import find_base, load_base_model

EMBEDDED = ModelConfig(base_model="alpaca-tiny", dtype="float32", device="cpu")
KEY = "sesame"


@dataclass(frozen=True)
class Served:
    """A server that answers."""

    url: str
    prompts: Prompts
    engine: Engine


@contextmanager
def serving(prompts: Prompts, engine: Engine, key: str = "", **settings: Any) -> Generator[Served]:
    """Serve on a free port until the block is left; that closes the engine too."""
    app = create_app(prompts, engine, ServeConfig(**settings), key)
    listening = threading.Event()
    with listen("127.0.0.1", 0) as listener:
        server = Listener(app, engine, listening.set)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            assert listening.wait(20)
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", prompts, engine)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    return serving


@pytest.fixture(scope="session")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters for the embedded base."""
    folder = tmp_path_factory.mktemp("adapters")
    place = find_base(EMBEDDED)
    return [
        write_adapter(folder / name, load_base_model(EMBEDDED, place), "alpaca-tiny", seed=seed, lora_r=2)
        for seed, name in enumerate(("first", "second"))
    ]


@pytest.fixture(scope="session")
def gguf_files(adapters: Sequence[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The base as GGUF, then each adapter."""
    folder = tmp_path_factory.mktemp("gguf")
    sources = [open_source(SourceConfig(adapter=str(path))) for path in adapters]
    files = [folder / "base.gguf", *(folder / f"{path.name}.gguf" for path in adapters)]
    write_gguf(sources[0], Merged(sources[0].merged.base, None), files[0], "f32", lambda _: None)
    for source, path in zip(sources, files[1:], strict=True):
        write_gguf_lora(source, path, lambda _: None)
    return files


@pytest.fixture(scope="session", params=["transformers", "llama.cpp"])
def server(request: pytest.FixtureRequest, adapters: Sequence[Path]) -> Generator[Served]:
    """Each engine that runs here, with a key."""
    chosen = AdaptersConfig(adapter=tuple(map(str, adapters)))
    if request.param == "transformers":
        models = Models(EMBEDDED, chosen)
        prompts, engine = models, TorchEngine(models, QueueConfig())
    elif find_spec("xllamacpp") is None:
        pytest.skip("llama.cpp's binding is not installed")
    else:
        from alpaca_lora.inference.llama_engine import LlamaEngine

        base, *loras = map(str, request.getfixturevalue("gguf_files"))
        prompts = Prompts(EMBEDDED, chosen)
        engine = LlamaEngine(prompts, QueueConfig(), base, loras)
    with serving(prompts, engine, KEY) as served:
        yield served
