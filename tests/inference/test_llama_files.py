"""What GGUF files say of themselves, and which are refused because they are not what was asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import pytest
from llama_models import TINY, write_tiny
from tiny_models import write_base

from alpaca_lora.config import ModelConfig
from alpaca_lora.errors import UserError
from alpaca_lora.inference import llama_server
from alpaca_lora.inference.llama_engine import LlamaEngine
from alpaca_lora.inference.llama_files import read_gguf_file
from alpaca_lora.inference.models import Prompts
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


def test_metadata_is_what_the_gguf_package_reads(tiny: Path) -> None:
    path = tiny / "merged" / "one-F32.gguf"
    read = gguf.GGUFReader(str(path)).fields
    found = read_gguf_file(path).fields
    assert set(found) == {name for name in read if not name.startswith("GGUF.")}
    for name, value in found.items():
        expected = read[name].contents()
        assert value == (len(expected) if isinstance(expected, list) and value != expected else expected), name
    assert found["general.tags"] == ["alpaca-lora", "text-generation"]
    assert found["tokenizer.ggml.tokens"] == 2048


def _engine(tiny: Path, adapters: list[str], model: str, *loras: str) -> LlamaEngine:
    prompts = Prompts(TINY, AdaptersConfig(adapter=tuple(str(tiny / name) for name in adapters)))
    return LlamaEngine(
        prompts, QueueConfig(slots=1), str(tiny / model) if model else "", [str(tiny / lora) for lora in loras]
    )


@pytest.mark.parametrize(
    ("adapters", "model", "loras", "message"),
    [
        (["one"], "", [], "needs a GGUF file"),
        (["one"], "absent.gguf", [], "does not exist"),
        (["one"], "one/adapter_config.json", [], "no GGUF file"),
        (["one"], "one-lora.gguf", [], "holds an adapter alone"),
        (["one"], "base.gguf", [], "bare base, without the adapter one"),
        (["two"], "merged/one-F32.gguf", [], "does not hold the adapter two"),
        ([], "merged/one-F32.gguf", [], "an adapter is merged"),
        (["one", "two"], "merged/one-F32.gguf", [], "there are 2 adapters"),
        (["one", "two"], "base.gguf", ["one-lora.gguf"], "1 files in --gguf_lora and 2 adapters"),
        (["one"], "merged/one-F32.gguf", ["one-lora.gguf"], "merged into this file already"),
        (["one"], "base.gguf", ["base.gguf"], "a whole model, no adapter"),
        (["one", "two"], "base.gguf", ["two-lora.gguf", "one-lora.gguf"], "does not hold the adapter one"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(adapters: list[str], model: str, loras: list[str], message: str, tiny: Path) -> None:
    with pytest.raises(UserError, match=message):
        _engine(tiny, adapters, model, *loras)


def test_a_file_of_another_vocabulary_is_refused(tiny: Path, tmp_path: Path) -> None:
    prompts = Prompts(ModelConfig(base_model=str(write_base(tmp_path / "base"))), AdaptersConfig())
    with pytest.raises(UserError, match="vocabulary of 2048"):
        LlamaEngine(prompts, QueueConfig(), str(tiny / "base.gguf"))


def test_cut_files_are_refused(tiny: Path, tmp_path: Path) -> None:
    content = (tiny / "base.gguf").read_bytes()
    for size, message in ((0, "no GGUF"), (30, "no GGUF"), (20_000, "no GGUF"), (len(content) // 2, "cannot load")):
        (tmp_path / "cut.gguf").write_bytes(content[:size])
        with pytest.raises(UserError, match=message):
            LlamaEngine(Prompts(TINY, AdaptersConfig()), QueueConfig(), str(tmp_path / "cut.gguf"))


def test_what_was_not_verified_is_said_and_what_failed_is_refused(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny / "one", tmp_path / "one")
    shutil.copytree(tiny / "merged", tmp_path / "merged")
    record = tmp_path / "merged" / "verification.json"
    found = json.loads(record.read_text(encoding="utf-8"))
    for other in ({"file": "other.gguf"}, {"adapter_sha256": "0"}, None):
        if other:
            record.write_text(json.dumps(found | other), encoding="utf-8")
        else:
            record.unlink()
        _engine(tmp_path, ["one"], "merged/one-F32.gguf").close()
        assert "nobody compared it with one" in capsys.readouterr().err
    record.write_text(json.dumps(found | {"verified": False, "faults": ["a tensor differs"]}), encoding="utf-8")
    with pytest.raises(UserError, match="not the trained model: a tensor differs"):
        _engine(tmp_path, ["one"], "merged/one-F32.gguf")


def test_slots_are_as_long_as_memory_allows(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """alpaca-tiny: 4 layers, 2 heads of 32 for keys and as many for values, 2 bytes each: 1 KiB a token."""
    file = read_gguf_file(tiny / "base.gguf")
    assert (file.cached_bytes, file.context) == (1024, 2048)
    size = file.path.stat().st_size

    def context(free: int) -> tuple[int, list[str]]:
        monkeypatch.setattr(llama_server, "free_memory_gib", lambda device: (free + size) / 2**30)
        return llama_server.slot_context(file, 2)

    assert context(2 * 2 * 2048 * 1024) == (2048, [])
    tokens, (note,) = context(2 * 2 * 300 * 1024)
    assert tokens == 300
    assert "300 tokens, not the model's 2048" in note
    with pytest.raises(UserError, match="memory holds 200 tokens for each of 2 slots"):
        context(2 * 2 * 200 * 1024)


def test_without_the_package_it_says_what_to_install(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_server, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        _engine(tiny, [], "base.gguf")
    assert caught.value.fix == "pip install 'alpaca-lora[gguf]'"
