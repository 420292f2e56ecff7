"""Time an export to a Hugging Face folder against copying the base's weight files, and count its memory.

    python benchmarks/export.py --rounds 3 --output FILE.json

The base has a real shape, random weights and the embedded toy model's tokenizer; the adapter is random, on every
linear layer, with B not zero. Both are written by a process of their own, tensor by tensor, and removed at the end.
Each measurement is a fresh process, the contenders one after the other, in reverse in even rounds; before each one the
outputs before it are gone, the disk has nothing left to write, and the base's weight files have been read once.

`copy`: `shutil.copyfile` and fsync, file by file. `export`: `export_hf` without verification, from opening base and
adapter to the folder in place, synced as `write_folder` does; once for each `--shard_gb`. Not counted in the seconds:
Python's start and imports. Memory: the process's peak after its imports, and at its end. Prints a table and one JSON
line. The bars, for the first `--shard_gb`: 1.5 x the largest weight file, 2 x the copy's seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peers.install import work_folder
from result_line import command_line, publish, result_head
from rich.console import Console
from safetensors.torch import save_file
from shapes import EMBEDDED_TOKENIZER, SHAPES
from torch import Tensor
from transformers import LlamaForCausalLM

from alpaca_lora.export.hf import write_safetensors
from alpaca_lora.export.merge import BaseWeights, Merged, Stored
from alpaca_lora.export.run import export_hf
from alpaca_lora.export.settings import HfExportConfig, SourceConfig, TargetConfig

MIB = 2**20
SPREAD = 0.02
READ_BYTES = 16 * MIB
_TOUCHED_BYTES = 8 * 10**9
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class RandomWeights(BaseWeights):
    """Weights that are drawn when they are read."""

    def read(self, name: str) -> Tensor:
        """Draw one tensor."""
        return torch.randn(self.tensors[name].shape).mul_(SPREAD)


def make(work: Path, shape_name: str, rank: int) -> None:
    """Write the base and its adapter; memory holds the adapter and one tensor of the base."""
    torch.manual_seed(0)
    shape = SHAPES[shape_name]
    base, adapter = work / "base", work / "adapter"
    base.mkdir()
    adapter.mkdir()
    config = shape.config()
    config.architectures, config.dtype = ["LlamaForCausalLM"], shape.saved_in
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    if shape.tied:
        del shapes["lm_head.weight"]
    dtype = getattr(torch, shape.saved_in)
    merged = Merged(RandomWeights({name: Stored(base, size, dtype) for name, size in shapes.items()}), None)
    write_safetensors(base / "model.safetensors", merged, list(shapes), None, lambda _: None)
    config.save_pretrained(base)
    toy = resources.files("alpaca_lora") / "assets" / EMBEDDED_TOKENIZER
    for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "generation_config.json"):
        (base / name).write_bytes((toy / name).read_bytes())
    _make_adapter(adapter, base, {name: size for name, size in shapes.items() if name.endswith("_proj.weight")}, rank)


def _make_adapter(folder: Path, base: Path, adapted: dict[str, tuple[int, ...]], rank: int) -> None:
    tensors: dict[str, Tensor] = {}
    for name, (rows, columns) in adapted.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = torch.randn(rank, columns) * SPREAD
        tensors[f"{module}.lora_B.weight"] = torch.randn(rows, rank) * SPREAD
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base), "r": rank,
        "lora_alpha": 2 * rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": sorted({name.split(".")[-2] for name in adapted}),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")


def measure(work: Path, shard_gb: float | None) -> dict[str, Any]:
    """Copy or export once, here, and say what it took."""
    output = work / "out"
    config = HfExportConfig(
        source=SourceConfig(adapter=str(work / "adapter"), base_model=str(work / "base")),
        target=TargetConfig(output=str(output), verify=False),
        shard_gb=shard_gb or 1,
    )
    _touch_memory()
    before, cpu, began = _peak_bytes(), time.process_time(), time.perf_counter()
    if shard_gb:
        export_hf(config, Console(quiet=True, force_terminal=False))
    else:
        output.mkdir()
        for path in _weights(work / "base"):
            shutil.copyfile(path, output / path.name)
            with (output / path.name).open("rb") as file:
                os.fsync(file.fileno())
    seconds = time.perf_counter() - began
    sizes = [path.stat().st_size for path in _weights(output)]
    return {
        "seconds": round(seconds, 3), "cpu_seconds": round(time.process_time() - cpu, 3),
        "peak_bytes": _peak_bytes(), "peak_bytes_before": before,
        "files": len(sizes), "bytes": sum(sizes), "largest_file_bytes": max(sizes),
    }  # fmt: skip


def _touch_memory() -> None:
    """Let another process use free memory for a moment.

    A virtual machine's host takes free memory back, and its first use then costs more than the work: writing one file
    of 2 GB took 1.3 s or 7.9 s. Both contenders shall find it as a machine that is in use has it.
    """
    subprocess.run([sys.executable, "-c", f"block = b'1' * {_TOUCHED_BYTES}"], check=True)


def _peak_bytes() -> int:
    """Give this process's peak; Linux's `ru_maxrss` is no less than its parent's was when it began."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.is_file() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def _weights(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def apart(work: Path, arguments: argparse.Namespace, job: str) -> dict[str, Any]:
    """Do a job in a process of its own."""
    command = [sys.executable, __file__, "--job", job, "--work", str(work)]
    command += ["--shape", arguments.shape, "--rank", str(arguments.rank)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_apart(work: Path, arguments: argparse.Namespace, job: str) -> dict[str, Any]:
    """Put disk and page cache into the same state, then measure in a process of its own."""
    shutil.rmtree(work / "out", ignore_errors=True)
    os.sync()
    for path in _weights(work / "base"):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass
    load = os.getloadavg()[0]
    return {**apart(work, arguments, job), "load_average": round(load, 2)}


def summarise(results: list[dict[str, Any]], copies: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the medians over the rounds, and each round's ratio to its own copy."""
    largest, peak = results[0]["largest_file_bytes"], max(found["peak_bytes"] for found in results)
    ratios = [found["seconds"] / copy["seconds"] for found, copy in zip(results, copies, strict=True)]
    return {
        "seconds": [found["seconds"] for found in results],
        "median_seconds": statistics.median(found["seconds"] for found in results),
        "ratios_to_copy": [round(ratio, 3) for ratio in ratios],
        "ratio_to_copy": round(statistics.median(ratios), 3),
        "median_cpu_seconds": statistics.median(found["cpu_seconds"] for found in results),
        "peak_bytes": peak,
        "peak_bytes_before": max(found["peak_bytes_before"] for found in results),
        "files": results[0]["files"],
        "largest_file_bytes": largest,
        "peak_to_largest_file": round(peak / largest, 3),
        "load_averages": [found["load_average"] for found in results],
    }


def print_table(summary: dict[str, dict[str, Any]]) -> None:
    """Print a line for each contender."""
    print(f"{'':>16}  {'seconds':>7}  {'spread':>11}  {'of copy':>7}  {'CPU s':>6}  {'peak MiB':>8}  {'imports':>7}  "
          f"{'files':>5}  {'largest MiB':>11}  {'peak of it':>10}")  # fmt: skip
    for job, found in summary.items():
        spread = f"{min(found['seconds']):.2f}-{max(found['seconds']):.2f}"
        name = job if job == "copy" else f"export {job} GB"
        print(f"{name:>16}  {found['median_seconds']:7.2f}  {spread:>11}  {found['ratio_to_copy']:7.2f}  "
              f"{found['median_cpu_seconds']:6.2f}  {found['peak_bytes'] / MIB:8.0f}  "
              f"{found['peak_bytes_before'] / MIB:7.0f}  {found['files']:5}  "
              f"{found['largest_file_bytes'] / MIB:11.0f}  {found['peak_to_largest_file']:10.2f}")  # fmt: skip


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--shard_gb", nargs="+", default=["5", "0.5"], help="largest weight file, an export for each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workdir", "--work", dest="work", type=Path, default=work_folder(),
                        help="on the disk to measure; twice the model's size for a while")  # fmt: skip
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rounds < 1 or any(float(size) <= 0 for size in arguments.shard_gb):
        parser.error("--rounds is at least 1, --shard_gb above 0")
    return arguments


def main() -> None:
    """Make the model, measure, print."""
    arguments = parse()
    if arguments.job == "make":
        make(arguments.work, arguments.shape, arguments.rank)
        print("{}")
        return
    if arguments.job:
        print(json.dumps(measure(arguments.work, None if arguments.job == "copy" else float(arguments.job))))
        return
    jobs = ["copy", *arguments.shard_gb]
    arguments.work.mkdir(parents=True, exist_ok=True)
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="export-", dir=arguments.work) as scratch:
        work = Path(scratch)
        apart(work, arguments, "make")
        for number in range(arguments.rounds):
            order = jobs[::-1] if number % 2 else jobs
            rounds.append({job: measure_apart(work, arguments, job) for job in order})
    results = {job: [found[job] for found in rounds] for job in jobs}
    summary = {job: summarise(found, results["copy"]) for job, found in results.items()}
    print_table(summary)
    first = summary[jobs[1]]
    vars(arguments).pop("job")
    line = {
        **result_head("export", command_line("export", arguments), "cpu"),
        **{name: version(name) for name in ("transformers", "safetensors")},
        "model_bytes": results["copy"][0]["bytes"],
        "copy": summary["copy"], "export": {job: summary[job] for job in jobs[1:]},
        "bars": {
            "memory": {"at_most": 1.5, "found": first["peak_to_largest_file"]},
            "time": {"at_most": 2, "found": first["ratio_to_copy"]},
        },
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
