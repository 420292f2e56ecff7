"""A disk or a memory that is too small: said before anything is written, or cleaned up where it shows in the middle."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_model, write_adapter, write_base

from alpaca_lora.cli import dispatch, run_reporting
from alpaca_lora.export import disk
from alpaca_lora.export import verify as verify_module

VERBS = ("hf", "adapter", "meta", "gguf", "gguf-lora", "ollama")
LIMIT = 20_000
"""Bytes that a file may have where the disk is full: less than any export's weights."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    base = write_base(folder / "base")
    write_adapter(folder / "adapter", tiny_model(), str(base))
    return folder


def _words(verb: str, models: Path, output: Path) -> list[str]:
    return ["export", verb, "--adapter", str(models / "adapter"), "--output", str(output)]


@contextmanager
def _small_files() -> Generator[None]:
    """Let this process write no file beyond `LIMIT`: what it writes past that fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_fills_in_the_middle_is_said_and_nothing_is_left(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    words = _words(verb, models, tmp_path / "out" / "model")
    with _small_files():
        code = run_reporting(lambda: dispatch([*words, "--verify=False"]))
    err = capsys.readouterr().err
    assert code == 2
    assert err.startswith("error: the disk ended the writing: ")
    assert "\n  fix: free space" in err
    assert list((tmp_path / "out").iterdir()) == []
    assert run_reporting(lambda: dispatch([*words, "--verify=False"])) == 0  # with room it is written


def test_a_process_of_its_own_ends_with_2_and_no_traceback(models: Path, tmp_path: Path) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({LIMIT}, {LIMIT}));"
        "from alpaca_lora.cli import main; main()"
    )
    words = _words("hf", models, tmp_path / "out" / "model")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: the disk ended the writing")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_seen_before_anything_is_written(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=50_000_000))
    code = run_reporting(lambda: dispatch(_words(verb, models, tmp_path / "out" / "model")))
    err = capsys.readouterr().err
    assert code == 2
    assert ", 0.05 GB are free" in err
    assert "\n  fix: free space" in err
    assert list((tmp_path / "out").iterdir()) == []


def test_room_for_the_base_that_an_adapter_is_tried_on_is_asked_for(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage: Any = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=50_400_000))
    words = _words("gguf-lora", models, tmp_path / "out" / "model")  # 0.14 MB, and 0.47 MB for the base in float32
    assert run_reporting(lambda: dispatch(words)) == 2
    assert "verifying it takes 0.000" in capsys.readouterr().err
    assert run_reporting(lambda: dispatch([*words, "--verify=False"])) == 0


@pytest.mark.parametrize("verb", VERBS)
def test_a_memory_too_small_to_verify_is_seen_first(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.setattr(verify_module, "free_memory_gib", lambda device: 1e-4)
    words = _words(verb, models, tmp_path / "out" / "model")
    assert run_reporting(lambda: dispatch(words)) == 2
    err = capsys.readouterr().err
    assert "verifying needs" in err
    assert "\n  fix: free memory; or write with --verify=False" in err
    assert not (tmp_path / "out").exists()
    assert run_reporting(lambda: dispatch([*words, "--verify=False"])) == 0
