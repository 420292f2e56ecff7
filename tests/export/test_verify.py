"""A right export is verified wherever it lies; one thing changed in it, or a writer that errs, is found and named."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora import __version__
from alpaca_lora.cli import dispatch, run_reporting
from alpaca_lora.export import probes
from alpaca_lora.export import run as run_module
from alpaca_lora.export.hf import write_hf
from alpaca_lora.model.load import BasePlace, base_fingerprint


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, few_questions: None) -> Path:
    """A folder with `base`, `adapter` and the verified export `hf`."""
    folder = tmp_path_factory.mktemp("models")
    base = write_base(folder / "base")
    adapter = write_adapter(folder / "adapter", tiny_model(), str(base))
    fingerprint = base_fingerprint(BasePlace("base", base, None))
    (adapter / "run.json").write_text(json.dumps({"base_fingerprint": fingerprint}), encoding="utf-8")
    words = ["export", "hf", "--adapter", str(adapter), "--output", str(folder / "hf")]
    assert run_reporting(lambda: dispatch(words)) == 0
    return folder


@pytest.fixture
def copy(models: Path, tmp_path: Path) -> Path:
    """The export, moved to another place."""
    return Path(shutil.copytree(models / "hf", tmp_path / "moved" / "export"))


@pytest.fixture
def verify(models: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], tuple[int, str, str]]:
    """A function that runs `verify` on a path, and gives code, output and errors."""

    def run(path: Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run_reporting(lambda: dispatch(["verify", str(path), "--adapter", str(models / "adapter")]))
        out, err = capsys.readouterr()
        return code, out, err

    return run


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "verification.json").read_text(encoding="utf-8"))


# --- a right export ----------------------------------------------------------------------------------------------


def test_the_record_says_what_was_compared_with_what(models: Path) -> None:
    record = _record(models / "hf")
    assert (record["verified"], record["faults"], record["kind"]) == (True, [], "hf")
    assert (record["file"], record["precision"], record["alpaca_lora"]) == (None, "float32", __version__)
    assert (record["base_model"], record["base_commit"], record["prompt_template"]) == ("base", None, "alpaca")
    assert len(record["adapter_sha256"]) == len(record["base_fingerprint"]) == 64
    assert str(models) not in json.dumps(record)
    (comparison,) = record["comparisons"]
    assert comparison["against"] == "the trained model"
    assert comparison["program"].startswith("transformers ")
    assert comparison["limits"] == {"difference": 1e-5, "kl": 1e-6, "tie": 2e-5}
    assert [result["name"] for result in comparison["results"]] == list(probes.QUESTIONS)
    for result in comparison["results"]:
        assert (result["compared"], result["wrong"], result["same_ids"]) == (probes.FOLLOWED, [], True)
        assert result["same_chat"] == (None if result["name"] == "special tokens" else True)
        assert 0 <= result["difference"] <= 1e-5
        assert 0 <= result["kl"] <= result["kl_max"] <= 1e-6
    assert (record["measured"], record["notes"]) == ([], [])


def test_it_is_verified_elsewhere_from_another_directory(
    verify: Any, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "verification.json").unlink()
    monkeypatch.chdir(copy.parent)
    code, out, err = verify(Path("export"))
    assert (code, err) == (0, "")
    assert "verified export: it is the trained model within the limits" in out
    assert _record(copy)["verified"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"moved"}


# --- one thing changed -------------------------------------------------------------------------------------------


def _perturb(folder: Path) -> None:
    """Add 0.1 to the first value of one matrix, in its four bytes."""
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    begin = json.loads(data[8 : 8 + length])["model.layers.1.self_attn.o_proj.weight"]["data_offsets"][0] + 8 + length
    (value,) = struct.unpack_from("<f", data, begin)
    struct.pack_into("<f", data, begin, value + 0.1)
    path.write_bytes(data)


def _swap_rows(folder: Path) -> None:
    """Swap the embeddings of the two commonest letters of the prompts."""
    tensors = load_file(folder / "model.safetensors")
    rows = tensors["model.embed_tokens.weight"]
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    pair = [vocabulary["e"], vocabulary["t"]]
    rows[pair] = rows[pair[::-1]]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _not_a_number(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def _begin_with(folder: Path, count: int) -> None:
    """Let the tokenizer add BOS this often."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    begin, text = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [begin] * count + [text],
        "pair": [begin] * count + [text],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "fault", "table"),
    [
        (_perturb, "a score differs by", None),
        (_swap_rows, "a score differs by", None),
        (_not_a_number, "a score differs by inf", None),
        (lambda folder: _edit(folder / "chat_template.jinja", "Response", "Answer"), "the chat template", "DIFFER"),
        (lambda folder: _edit(folder / "chat_template.jinja", "{%", "{% if %}{%"), "the chat template", "DIFFER"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "the chat template", "DIFFER"),
        (lambda folder: _begin_with(folder, 0), "the prompt's token ids differ", "DIFFER"),
        (lambda folder: _begin_with(folder, 2), "the prompt's token ids differ", "DIFFER"),
    ],
    ids=["weight", "rows", "nan", "template", "broken template", "no template", "no BOS", "two BOS"],
)
def test_one_change_is_found_and_named(
    verify: Any, copy: Path, change: Callable[[Path], object], fault: str, table: str | None
) -> None:
    change(copy)
    code, out, err = verify(copy)
    assert code == 2
    assert err.startswith(f"error: {copy} is not the trained model: ")
    assert f"where: {copy / 'verification.json'}" in err
    assert "\n  fix: export it again" in err
    record = _record(copy)
    assert record["verified"] is False
    assert any(line.startswith("against the trained model, no input: ") and fault in line for line in record["faults"])
    assert f"differs {record['faults'][0]}" in out
    if table:  # nothing else is wrong with it
        assert all(fault in line for line in record["faults"])
        assert table in out
    else:
        assert "DIFFER" not in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tensors: tensors.pop("model.norm.weight"),
            "1 tensors of the export are missing, too many or misshapen",
        ),
        (lambda tensors: tensors.update({"model.extra": torch.ones(2)}), "1 tensors of the export are missing"),
    ],
)
def test_tensors_that_are_not_the_models_are_named(verify: Any, copy: Path, change: Any, message: str) -> None:
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    code, _, err = verify(copy)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_the_export_of_another_model_is_refused(verify: Any, copy: Path) -> None:
    shutil.rmtree(copy)
    write_base(copy, vocab_size=420)
    code, _, err = verify(copy)
    assert code == 2
    assert "the export has 420 vocabulary entries, the trained model 400" in err


# --- a writer that errs ------------------------------------------------------------------------------------------


def test_a_wrong_export_is_not_put_in_place(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_wrong(source: Any, folder: Path, **options: Any) -> None:
        write_hf(source, folder, **options)
        tensors = load_file(folder / "model.safetensors")
        tensors["model.layers.0.mlp.up_proj.weight"] *= 1.01
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    words = ["export", "hf", "--adapter", str(models / "adapter"), "--output", str(tmp_path / "out" / "model")]
    failed = tmp_path / "out" / "model.failed"
    failed.mkdir(parents=True)
    for name in ("verification.json", "of an earlier export"):
        (failed / name).write_text("old", encoding="utf-8")
    monkeypatch.setattr(run_module, "write_hf", write_wrong)
    assert run_reporting(lambda: dispatch(words)) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the export is not the trained model: ")
    assert f"where: {failed / 'verification.json'}" in err
    assert f"it was therefore not put in place as {tmp_path / 'out' / 'model'}" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.failed"]
    assert not (failed / "of an earlier export").exists()
    record = _record(failed)
    assert record["verified"] is False
    assert any("a score differs by" in fault for fault in record["faults"])
    monkeypatch.setattr(run_module, "write_hf", write_hf)
    assert run_reporting(lambda: dispatch(words)) == 0
    assert _record(tmp_path / "out" / "model")["verified"] is True
