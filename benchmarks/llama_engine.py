"""Time answers through our llama.cpp engine, and through our server on it, against llama.cpp's own server.

    python benchmarks/llama_engine.py --shape 135m --outtype q8_0 --tokens 256 --clients 1 --rounds 5 --output FILE.json

One GGUF file for all: a real shape, random weights with a random adapter merged, written by our exporter and removed at
the end. `own`: llama.cpp's server, with its own settings but for slots and context, asked over HTTP for whole answers.
`engine`: `LlamaEngine`, text streamed. `serve`: `alpaca-lora serve --engine llama.cpp`, streamed over HTTP. Each
measurement is a fresh process that loads the file, answers once, and is then timed: each client asks one question,
all at the same time, at temperature 0, for the same ids. The contenders follow each other, in reverse in even rounds.
Tokens a second are those of all clients over the seconds from the first question to the last answer, prompts included;
ratios are to the `own` of the same round. Prints a table and one JSON line. The bar: the engine's median ratio is at
least 0.95.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from export import make
from peers.install import work_folder
from result_line import command_line, publish, result_head
from rich.console import Console
from shapes import CONTEXT, SHAPES

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.export.run import export_gguf
from alpaca_lora.export.settings import GgufExportConfig, SourceConfig, TargetConfig
from alpaca_lora.inference.engine import Answering
from alpaca_lora.inference.llama_engine import LlamaEngine
from alpaca_lora.inference.models import Prompts
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, SamplingConfig

JOBS = ("own", "engine", "serve")
_RANK = 16

Ask = Callable[[str], int]
"""Answers one question; gives the tokens of the answer."""


def write_file(work: Path, arguments: argparse.Namespace) -> None:
    """Write base, adapter, and the GGUF file of both."""
    make(work, arguments.shape, _RANK)
    export_gguf(
        GgufExportConfig(
            source=SourceConfig(base_model=str(work / "base"), adapter=str(work / "adapter")),
            target=TargetConfig(output=str(work / "gguf"), verify=False),
            outtype=arguments.outtype,
        ),
        Console(quiet=True),
    )


def _file(work: Path) -> Path:
    return next((work / "gguf").glob("*.gguf"))


def _prompts(work: Path) -> Prompts:
    return Prompts(ModelConfig(base_model=str(work / "base")), AdaptersConfig(adapter=(str(work / "adapter"),)))


@contextmanager
def own(work: Path, arguments: argparse.Namespace) -> Iterator[Ask]:
    """Ask llama.cpp's own server over its own HTTP interface."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path, settings.port, settings.verbosity = str(_file(work)), 0, -1
    settings.n_parallel, settings.n_ctx = arguments.clients, arguments.clients * CONTEXT
    server, prompts = xllamacpp.Server(settings), _prompts(work)

    def ask(question: str) -> int:
        ids = prompts.request("adapter", [Turn(question, "", "")], SamplingConfig()).ids
        body = {"prompt": list(ids), "n_predict": arguments.tokens, "temperature": 0}
        return int(_post(f"{server.listening_address}/completion", body)["tokens_predicted"])

    yield ask


@contextmanager
def engine(work: Path, arguments: argparse.Namespace) -> Iterator[Ask]:
    """Ask our engine."""
    prompts, sampling = _prompts(work), SamplingConfig(max_new_tokens=arguments.tokens)
    opened = LlamaEngine(prompts, QueueConfig(slots=arguments.clients), str(_file(work)))

    def ask(question: str) -> int:
        answering = Answering(opened, prompts.request("adapter", [Turn(question, "", "")], sampling))
        for _ in answering:
            pass
        assert answering.finished
        return answering.finished.tokens

    yield ask
    opened.close()


@contextmanager
def serve(work: Path, arguments: argparse.Namespace) -> Iterator[Ask]:
    """Ask our server."""
    command = [sys.executable, "-m", "alpaca_lora", "serve", "--engine", "llama.cpp", "--gguf", str(_file(work))]
    command += ["--base_model", str(work / "base"), "--adapter", str(work / "adapter"), "--port", "0"]
    process = subprocess.Popen([*command, "--slots", str(arguments.clients)], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    address = next((found[0] for line in process.stdout if (found := re.search(r"http://[\d.:]+", line))), "")
    assert address, "the server ended without telling its address"

    def ask(question: str) -> int:
        body = {
            "model": "adapter", "messages": [{"role": "user", "content": question}], "temperature": 0,
            "max_tokens": arguments.tokens, "stream": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        tokens = 0
        with _opened(f"{address}/v1/chat/completions", body) as answer:
            for line in answer:
                if line.startswith(b"data: {") and (usage := json.loads(line[6:]).get("usage")):
                    tokens = int(usage["completion_tokens"])
        return tokens

    try:
        yield ask
    finally:
        process.terminate()
        process.wait()


def _opened(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)


def _post(address: str, body: dict[str, Any]) -> dict[str, Any]:
    with _opened(address, body) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def measure(work: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Load one contender here, let it answer once, and time it."""
    questions = [f"Tell me about the number {number}." for number in range(arguments.clients)]
    contender = {"own": own, "engine": engine, "serve": serve}[arguments.job]
    with contender(work, arguments) as ask, ThreadPoolExecutor(arguments.clients) as pool:
        ask("Tell me about the weather.")
        began = time.perf_counter()
        tokens = sum(pool.map(ask, questions))
        seconds = time.perf_counter() - began
    return {"tokens": tokens, "seconds": round(seconds, 4), "tokens_per_second": round(tokens / seconds, 2)}


def apart(work: Path, arguments: argparse.Namespace, job: str) -> dict[str, Any]:
    """Measure in a process of its own."""
    settings = {name: getattr(arguments, name) for name in ("shape", "outtype", "tokens", "clients")}
    flags = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, __file__, "--job", job, "--work", str(work), *flags]
    load = os.getloadavg()[0]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "load_average": round(load, 2)}


def summarise(found: list[dict[str, Any]], own: list[dict[str, Any]]) -> dict[str, Any]:
    """Give a contender's rounds, and their ratios to llama.cpp's own speed in the same round."""
    speeds = [result["tokens_per_second"] for result in found]
    ratios = [speed / other["tokens_per_second"] for speed, other in zip(speeds, own, strict=True)]
    return {
        "tokens": [result["tokens"] for result in found],
        "tokens_per_second": speeds,
        "median_tokens_per_second": round(statistics.median(speeds), 2),
        "ratios_to_own": [round(ratio, 4) for ratio in ratios],
        "ratio_to_own": round(statistics.median(ratios), 4),
        "load_averages": [result["load_average"] for result in found],
    }


def parse() -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="135m")
    parser.add_argument("--outtype", choices=("f32", "f16", "q8_0", "q4_k_m"), default="q8_0")
    parser.add_argument("--tokens", type=int, default=256, help="of each answer")
    parser.add_argument("--clients", type=int, default=1, help="that ask at the same time; as many slots")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workdir", "--work", dest="work", type=Path, default=work_folder())
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    parser.add_argument("--job", choices=JOBS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if min(arguments.rounds, arguments.clients, arguments.tokens) < 1:
        parser.error("--rounds, --clients and --tokens are at least 1")
    return arguments


def main() -> None:
    """Write the file, measure, print."""
    arguments = parse()
    if arguments.job:
        print(json.dumps(measure(arguments.work, arguments)))
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    rounds: list[dict[str, dict[str, Any]]] = []
    with tempfile.TemporaryDirectory(prefix="llama-engine-", dir=arguments.work) as scratch:
        work = Path(scratch)
        write_file(work, arguments)
        size = _file(work).stat().st_size
        for number in range(arguments.rounds):
            rounds.append({job: apart(work, arguments, job) for job in (JOBS[::-1] if number % 2 else JOBS)})
    results = {job: [found[job] for found in rounds] for job in JOBS}
    summary = {job: summarise(found, results["own"]) for job, found in results.items()}
    for job, found in summary.items():
        print(f"{job:>8}  {found['median_tokens_per_second']:9.1f} tokens/s  {found['ratio_to_own']:7.3f} of own")
    vars(arguments).pop("job")
    line = {
        **result_head("llama_engine", command_line("llama_engine", arguments), "cpu"),
        "xllamacpp": version("xllamacpp"), "file_bytes": size, **summary,
        "bars": {"engine": {"at_least": 0.95, "found": summary["engine"]["ratio_to_own"]}},
    }  # fmt: skip
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
