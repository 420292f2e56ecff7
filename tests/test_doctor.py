"""What `doctor` says of this machine, checked against other ways to ask."""

from __future__ import annotations

import shutil
import sys
from importlib import metadata
from pathlib import Path

import psutil
import pytest
import torch
from huggingface_hub.constants import HF_HUB_CACHE

from alpaca_lora import doctor as doctor_module
from alpaca_lora.config import DoctorConfig
from alpaca_lora.doctor import doctor, findings

GIB = 2**30


def test_every_finding_is_printed_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(DoctorConfig())
    lines = [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()]
    names = [name for name, _ in lines]
    assert all(finding.strip() for _, finding in lines)
    wanted = ["system", "python", "torch", "transformers", "peft", "CUDA", "trains on", "arithmetic", "CPU bfloat16"]
    wanted += ["memory", "disk for runs", "disk for models", "disk for token caches"]
    wanted += [f"extra {name}" for name in ("quant", "ui", "gguf", "data", "eval", "track")]
    assert [name for name in names if name in wanted] == wanted
    assert len(names) == len(set(names))


def test_the_findings_are_this_machines(tmp_path: Path) -> None:
    found = dict(findings(str(tmp_path / "not" / "yet" / "there")))
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["torch"] == metadata.version("torch")
    assert found["memory"].endswith(f"of {psutil.virtual_memory().total / GIB:.1f} GiB free")
    size, _, place = found["disk for runs"].partition(" GiB free at ")
    assert place == str(tmp_path)
    assert float(size) == pytest.approx(shutil.disk_usage(tmp_path).free / GIB, abs=5)  # others write meanwhile
    assert Path(HF_HUB_CACHE).is_relative_to(found["disk for models"].partition(" at ")[2])
    assert found["arithmetic"].split()[0] in ("float32", "bfloat16", "float16")


def test_an_extra_that_is_not_installed_comes_with_its_pip_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed = {"wandb": "", "tensorboard": "2.21.0", "trackio": ""}

    def version(package: str) -> str:
        if not installed.get(package, "1.0"):
            raise metadata.PackageNotFoundError(package)
        return installed.get(package, "1.0")

    monkeypatch.setattr(doctor_module.metadata, "version", version)
    (tmp_path / "wandb").mkdir()  # the folder of its runs is no package
    monkeypatch.syspath_prepend(tmp_path)
    doctor(DoctorConfig(output_dir=str(tmp_path)))
    out = capsys.readouterr().out
    assert "without wandb, trackio: pip install 'alpaca-lora[track]'\n" in out
    assert "datasets 1.0, openTSNE 1.0, pyarrow 1.0\n" in out


def test_every_extra_is_one_that_can_be_installed() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for name, packages in doctor_module._EXTRAS.items():
        declared = {text.split("[")[0].split(">")[0].split("=")[0].replace("-", "_") for text in extras[name]}
        assert declared == set(packages)


def test_cards_are_listed_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda card: f"Card {card.index}")
    monkeypatch.setattr(doctor_module, "total_memory_gib", lambda device: 80.0 if device.type == "cuda" else 16.0)
    monkeypatch.setattr(doctor_module, "free_memory_gib", lambda device: 70.0 if device.type == "cuda" else 8.0)
    found = dict(findings("."))
    assert found["card 1"] == "Card 1, 70.0 of 80.0 GiB free"
    assert (found["trains on"], found["memory"]) == ("Card 0", "8.0 of 16.0 GiB free")
    assert found["arithmetic"] == "bfloat16 for --dtype auto"
