"""`export_hf_checkpoint.py` and `export_state_dict_checkpoint.py` still take BASE_MODEL and write where they wrote."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora import original_exports
from alpaca_lora.errors import UserError
from alpaca_lora.options import flatten

ROOT = Path(__file__).parents[1]
SCRIPTS = ("export_hf_checkpoint.py", "export_state_dict_checkpoint.py")


def _run(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return int(stop.value.code or 0)


def test_defaults_are_what_the_originals_had_in_their_code() -> None:
    environment = {"BASE_MODEL": "some/base"}
    hf, meta = original_exports.hf_settings([], environment), original_exports.meta_settings([], environment)
    expected: dict[str, Any] = {"base_model": "some/base", "adapter": "tloen/alpaca-lora-7b", "dtype": "float16"}
    assert {key: flatten(hf)[key] for key in expected} == expected
    assert {key: flatten(meta)[key] for key in expected} == expected
    assert (hf.target.output, hf.shard_gb) == ("./hf_ckpt", 0.4)
    assert (meta.target.output, meta.shards) == ("./ckpt", 1)


def test_flags_name_the_adapter_and_the_output() -> None:
    line = ["--lora_weights", "mine", "--output", "there", "--noverify", "--shards=2"]
    meta = original_exports.meta_settings(line, {"BASE_MODEL": "b"})
    assert (meta.source.adapter, meta.target.output, meta.target.verify, meta.shards) == ("mine", "there", False, 2)
    named = original_exports.hf_settings(["--adapter", "mine", "--base_model", "other"], {"BASE_MODEL": "b"})
    assert (named.source.adapter, named.source.base_model) == ("mine", "other")


def test_without_a_base_the_variable_is_asked_for() -> None:
    with pytest.raises(UserError, match="no base model given") as caught:
        original_exports.hf_settings([], {})
    assert "export BASE_MODEL=" in str(caught.value)


def test_both_scripts_from_an_adapter_to_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    base = write_base(tmp_path / "base")
    adapter = write_adapter(tmp_path / "adapter", tiny_model(), str(base))
    monkeypatch.setenv("BASE_MODEL", str(base))
    monkeypatch.chdir(tmp_path)
    for script in SCRIPTS:
        assert _run(script, ["--lora_weights", str(adapter)], monkeypatch) == 0, capfd.readouterr().err
    with safe_open(tmp_path / "hf_ckpt" / "model.safetensors", framework="pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"F16"}  # noqa: SIM118  not a dict
    shard = torch.load(tmp_path / "ckpt" / "consolidated.00.pth", weights_only=True)
    assert {tensor.dtype for tensor in shard.values()} == {torch.float16}
    assert {path.name for path in (tmp_path / "ckpt").iterdir()} == {
        "consolidated.00.pth", "params.json", "tokenizer.model", "verification.json",
    }  # fmt: skip
    assert _run(SCRIPTS[0], ["--lora_weights", str(adapter)], monkeypatch) == 2  # the folder is full now
    assert "is not an empty folder" in capfd.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_errors_need_no_torch(script: str) -> None:
    code = f"import sys, runpy; sys.argv = ['{script}', '--help']\ntry: runpy.run_path('{script}', run_name='__main__')"
    code += "\nexcept SystemExit as stop: assert not stop.code; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--lora_weights" in done.stdout
    done = subprocess.run([sys.executable, script, "--outptu", "x"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "did you mean --output?" in done.stderr) == (2, True)
