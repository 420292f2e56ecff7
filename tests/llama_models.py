"""GGUF files of tiny models, engines on them, and how tests ask."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from tiny_models import chain_model, write_adapter, write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.export import probes
from alpaca_lora.export.gguf_lora import write_gguf_lora
from alpaca_lora.export.gguf_model import write_gguf
from alpaca_lora.export.merge import Merged
from alpaca_lora.export.run import export_gguf
from alpaca_lora.export.settings import GgufExportConfig, SourceConfig, TargetConfig
from alpaca_lora.export.source import open_source
from alpaca_lora.inference.engine import Answering, Engine, Finished, Request
from alpaca_lora.inference.llama_engine import LlamaEngine
from alpaca_lora.inference.models import Models, Prompts
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, SamplingConfig
from alpaca_lora.inference.torch_engine import TorchEngine
from alpaca_lora.model.load import find_base, load_base_model, load_base_tokenizer

TINY = ModelConfig(base_model="alpaca-tiny", device="cpu", dtype="float32")


def write_files(folder: Path, base: str, adapter: Path) -> None:
    """Write `base.gguf` and the adapter's own file."""
    source = open_source(SourceConfig(base_model=base, adapter=str(adapter)))
    write_gguf(source, Merged(source.merged.base, None), folder / "base.gguf", "f32", lambda size: None)
    write_gguf_lora(source, folder / f"{adapter.name}-lora.gguf", lambda size: None)


def write_tiny(root: Path) -> Path:
    """Write alpaca-tiny's GGUF, adapters `one` and `two` with theirs, and in `merged` the first's verified export.

    With these seeds the likeliest token of the tests' answers leads by 0.03 and more: some times what keys and values
    in float16 change.
    """
    for seed, name in ((3, "one"), (4, "two")):
        adapter = write_adapter(root / name, load_base_model(TINY, find_base(TINY)), "alpaca-tiny", seed, lora_r=2)
        write_files(root, "alpaca-tiny", adapter)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "QUESTIONS", {"emoji": probes.QUESTIONS["emoji"]})
        patch.setattr(probes, "FOLLOWED", 6)
        source = SourceConfig(base_model="alpaca-tiny", adapter=str(root / "one"))
        target = TargetConfig(output=str(root / "merged"), name="one")
        export_gguf(GgufExportConfig(source=source, target=target, outtype="f32"), Console(quiet=True))
    return root


def open_chain(
    folder: Path, words: list[str], limits: QueueConfig, context: int = 256
) -> tuple[LlamaEngine, TorchEngine]:
    """Open both engines on a model that says these tokens one after the other."""
    base = write_base(folder / "base")
    model = ModelConfig(base_model=str(base), device="cpu", dtype="float32")
    tokenizer, _ = load_base_tokenizer(model, find_base(model))
    ids = [int(tokenizer.convert_tokens_to_ids(word)) for word in words]
    chain_model(ids, max_position_embeddings=context).save_pretrained(base)
    adapter = write_adapter(folder / "x", chain_model(ids, max_position_embeddings=context), str(base), lora_r=1)
    write_files(folder, str(base), adapter)
    models = Models(model, AdaptersConfig())
    return LlamaEngine(models, limits, str(folder / "base.gguf")), TorchEngine(models, limits)


def ask(engine: Engine, request: Request) -> tuple[str, Finished]:
    """Wait for a whole answer; its pieces are valid Unicode, each for itself."""
    answering = Answering(engine, request)
    pieces = list(answering)
    assert all(piece.encode() for piece in pieces)  # half a surrogate pair would raise
    assert answering.finished
    return "".join(pieces), answering.finished


def question(prompts: Prompts, name: str, text: str, tokens: int = 14, **sampling: float) -> Request:
    """Put one question."""
    return prompts.request(name, [Turn(text, "", "")], SamplingConfig(max_new_tokens=tokens, **sampling))
