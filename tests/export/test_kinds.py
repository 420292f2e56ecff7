"""What an export is told by its files; a folder that is none, or a damaged one, is refused with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.cli import dispatch, run_reporting
from alpaca_lora.export.kinds import find_export, named_files

VERBS = ("hf", "adapter", "meta", "gguf", "gguf-lora", "ollama")
EXPECTED = {
    "hf": ("hf", "float32", None),
    "adapter": ("adapter", "float32", None),
    "meta": ("meta", "float32", None),
    "gguf": ("gguf", "q8_0", "adapter-Q8_0.gguf"),
    "gguf-lora": ("gguf-lora", "f32", "adapter-LORA-F32.gguf"),
    "ollama": ("gguf", "q8_0", "adapter-Q8_0.gguf"),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, few_questions: None) -> Path:
    """A folder with an unverified export under each verb's name, and what was trained in `trained`."""
    folder = tmp_path_factory.mktemp("exports")
    base = write_base(folder / "trained" / "base")
    adapter = write_adapter(folder / "trained" / "adapter", tiny_model(), str(base))
    for verb in VERBS:
        words = ["--adapter", str(adapter), "--output", str(folder / verb), "--verify=False"]
        assert run_reporting(lambda verb=verb, words=words: dispatch(["export", verb, *words])) == 0
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_each_export_is_known(models: Path, verb: str) -> None:
    kind, precision, file = EXPECTED[verb]
    export = find_export(models / verb)
    assert (export.kind, export.precision, export.folder) == (kind, precision, models / verb)
    assert export.path == (models / verb / file if file else models / verb)
    assert export.modelfile == (models / verb / "Modelfile" if verb == "ollama" else None)
    if file:
        assert find_export(export.path).kind == kind


def test_the_lowest_precision_is_the_exports(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    save_file({"a": torch.ones(2), "b": torch.ones(2).half()}, tmp_path / "model-1.safetensors")
    assert find_export(tmp_path).precision == "float16"
    save_file({"c": torch.ones(2).bfloat16()}, tmp_path / "model-2.safetensors")
    assert find_export(tmp_path).precision == "bfloat16"


def test_a_modelfile_names_its_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text('FROM ./a b.gguf\nTEMPLATE "FROM"\nADAPTER c.gguf\n', encoding="utf-8")
    assert named_files(tmp_path / "Modelfile") == [tmp_path / "a b.gguf", tmp_path / "c.gguf"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _only(folder: Path, name: str, text: str) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("verb", "spoil", "message"),
    [
        ("hf", lambda folder: _cut(folder / "model.safetensors"), "the export's weights cannot be read: Safetensor"),
        ("hf", lambda folder: (folder / "model.safetensors").unlink(), "the export has no weights in safetensors"),
        (
            "hf",
            lambda folder: save_file({"a": torch.ones(2, dtype=torch.int8)}, folder / "model.safetensors"),
            "the export's weights are of the types I8",
        ),
        ("hf", lambda folder: (folder / "config.json").write_text("{"), "transformers cannot load the export"),
        ("hf", lambda folder: (folder / "tokenizer.json").write_text("{"), "transformers cannot load the export"),
        ("adapter", lambda folder: _cut(folder / "adapter_model.safetensors"), "weights cannot be read"),
        ("meta", lambda folder: _cut(folder / "consolidated.00.pth"), "the export's weights cannot be read"),
        ("meta", lambda folder: (folder / "params.json").unlink(), "params.json"),
        ("gguf", lambda folder: _cut(folder / "adapter-Q8_0.gguf"), "the GGUF file cannot be read"),
        ("gguf", lambda folder: (folder / "adapter-Q8_0.gguf").write_bytes(b""), "the GGUF file cannot be read"),
        ("gguf-lora", lambda folder: _cut(folder / "adapter-LORA-F32.gguf"), "the GGUF file cannot be read"),
        ("ollama", lambda folder: _only(folder, "Modelfile", "FROM gone.gguf\n"), "the GGUF file cannot be read"),
        ("ollama", lambda folder: _only(folder, "Modelfile", ""), "holds no export: 0 GGUF files"),
        ("hf", lambda folder: _only(folder, "notes.txt", ""), "holds no export: 0 GGUF files"),
        ("hf", shutil.rmtree, "does not exist"),
    ],
)
def test_a_damaged_export_ends_with_2_and_no_traceback(
    models: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    verb: str,
    spoil: Callable[[Path], Any],
    message: str,
) -> None:
    copy = Path(shutil.copytree(models / verb, tmp_path / "export"))
    spoil(copy)
    code = run_reporting(lambda: dispatch(["verify", str(copy), "--adapter", str(models / "trained" / "adapter")]))
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert not (copy / "verification.json").exists()


def test_verify_wants_to_know_the_adapter(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_reporting(lambda: dispatch(["verify", str(models / "hf")])) == 2
    assert "error: no adapter given\n  fix: --adapter FOLDER" in capsys.readouterr().err
    record = json.loads((models / "trained" / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert record["base_model_name_or_path"] == str(models / "trained" / "base")  # which is why no base need be given
