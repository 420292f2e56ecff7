"""The device, its arithmetic and its memory; cards that are not there are stood in for by torch's own answers."""

from __future__ import annotations

import mmap
import platform
import resource
import subprocess
import sys
from typing import Any

import psutil
import pytest
import torch

from alpaca_lora.errors import UserError
from alpaca_lora.model.device import (
    cpu_multiplies_bf16,
    describe_device,
    free_memory_gib,
    peak_memory_gib,
    pick_device,
    pick_dtype,
    total_memory_gib,
)

CPU = torch.device("cpu")
GIB = 2**30


def _machine(monkeypatch: pytest.MonkeyPatch, *, cards: int = 0, apple: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cards > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        ({}, "auto", "cpu"),
        ({"apple": True}, "auto", "mps"),
        ({"cards": 1, "apple": True}, "auto", "cuda:0"),
        ({"cards": 1}, "cpu", "cpu"),
        ({"apple": True}, "mps", "mps"),
    ],
)
def test_the_best_device_is_taken_or_the_one_asked_for(
    machine: dict[str, Any], wanted: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _machine(monkeypatch, **machine)
    assert pick_device(wanted) == torch.device(expected)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("cuda", r"(?s)torch sees no CUDA card.*why: torch .* was built.*fix: --device cpu"), ("mps", "no Apple GPU")],
)
def test_a_device_that_is_not_there_is_refused(wanted: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch)
    with pytest.raises(UserError, match=message):
        pick_device(wanted)


def test_each_process_gets_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, cards=2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert pick_device("cuda") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match="process 2 of this machine has no CUDA card: torch sees 2"):
        pick_device("auto")


@pytest.mark.parametrize(
    ("in_hardware", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_a_cpu_computes_in_bfloat16_where_it_can(
    in_hardware: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False} | in_hardware)
    assert pick_dtype("auto", CPU) is expected


@pytest.mark.parametrize(("in_hardware", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_card_computes_in_bfloat16_where_it_can(
    in_hardware: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: in_hardware or including_emulation)
    assert pick_dtype("auto", torch.device("cuda")) is expected


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_an_arithmetic_asked_for_is_taken(name: str) -> None:
    assert pick_dtype(name, CPU) is getattr(torch, name)


def test_apples_gpu_computes_in_float32() -> None:
    assert pick_dtype("auto", torch.device("mps")) is torch.float32


def test_this_cpu_is_asked() -> None:
    assert isinstance(cpu_multiplies_bf16(), bool)


def test_memory_is_the_machines() -> None:
    assert total_memory_gib(CPU) == psutil.virtual_memory().total / GIB
    assert 0 < free_memory_gib(CPU) < total_memory_gib(CPU)


def test_peak_memory_grows_with_what_is_held_and_stays() -> None:
    before = peak_memory_gib(CPU)
    assert before == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, rel=0.01)
    held = psutil.Process().memory_info().rss / GIB
    size = int((before - held + 0.25) * GIB)
    with mmap.mmap(-1, size) as block:  # fresh pages, whatever the allocator has kept
        block.write(b"1" * size)
        assert peak_memory_gib(CPU) >= before + 0.2
    assert peak_memory_gib(CPU) >= before + 0.2


def test_the_device_is_named() -> None:
    assert describe_device(CPU) == f"CPU, {torch.get_num_threads()} threads"
    assert describe_device(torch.device("mps")) == "Apple GPU"


@pytest.mark.gpu
def test_a_card_is_named_and_measured() -> None:
    card = torch.device("cuda", 0)
    assert describe_device(card) == torch.cuda.get_device_name(0)
    assert 0 < free_memory_gib(card) <= total_memory_gib(card)
    block = torch.ones(2**28, dtype=torch.uint8, device=card)
    assert peak_memory_gib(card) >= 0.25
    del block


_COUNT_FAULTS = """
import resource, sys, torch
from alpaca_lora.model.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
step = lambda: [torch.ones(2**22) for _ in range(10)]
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_used_again() -> None:
    """Five times ten tensors of 16 MiB, freed together: about 205,000 pages, many of them touched again and again."""
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", _COUNT_FAULTS, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "give back")
    }
    # Not fewer: an aligned block fits only where a little more than its size is free, so some go to new memory.
    assert faults["keep"] < 0.75 * faults["give back"]
