"""Ask a server as many clients at once, and one client alone: cross-talk, memory, first token, cost of serving.

    python benchmarks/serving.py load --adapter alpaca-demo --clients 32 --seconds 60 --output FILE.json
    python benchmarks/serving.py first_token --adapter alpaca-demo
    python benchmarks/serving.py overhead --base_model FOLDER --tokens 128 --rounds 5
    python benchmarks/serving.py start --adapter alpaca-demo

`load`: every client asks one question after another, base and adapter in turn, streamed or not, at temperature 0, and
compares each answer with the one given to a single client before. Memory is the server's, every second; it is called
flat where the median of the last quarter is at most 1.02 x that of the second. `first_token`: seconds from sending a
request to its first text, one client, questions that were not asked before. `overhead`: the same answers from the
engine in a process alone and over HTTP as a stream, in turn; seconds over HTTP / seconds of the engine - 1, median over
rounds. `start`: from the command to the first answer of the page and of the server to a GET. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from result_line import command_line, publish, result_head

from alpaca_lora.data.examples import Turn, read_examples
from alpaca_lora.data.files import sample_path

QUESTIONS = 24
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Server:
    """A server of ours in a process of its own."""

    url: str
    process: psutil.Process


def _command(arguments: argparse.Namespace, verb: str) -> list[str]:
    port = {"serve": "--port", "ui": "--server_port"}[verb]
    command = [sys.executable, "-m", "alpaca_lora", verb, "--base_model", arguments.base_model, port, "0"]
    command += ["--device", "cpu", "--dtype", "float32"]
    return [*command, *(["--adapter", arguments.adapter] if arguments.adapter else [])]


@contextmanager
def started(arguments: argparse.Namespace, verb: str = "serve") -> Iterator[Server]:
    """Start a server on a free port, wait for its address, end it at the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(_command(arguments, verb), stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout
        lines = (re.search(r"http://[\d.]+:\d+", line) for line in process.stdout)
        found = next((line for line in lines if line), None)
        assert found, "the server ended without telling its address"
        yield Server(found[0], psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def body(model: str, question: str, **more: Any) -> dict[str, Any]:
    """Give a request of the chat route."""
    return {"model": model, "messages": [{"role": "user", "content": question}], "temperature": 0, **more}


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client that waits as long as it takes."""
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=None)) as client:
        yield client


async def ask(client: httpx.AsyncClient, request: dict[str, Any]) -> str:
    """Ask once; give the text, joined from the events where it is streamed."""
    if not request.get("stream"):
        answer = await client.post("/v1/chat/completions", json=request)
        return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])
    return "".join([piece async for piece in pieces(client, request)])


async def pieces(client: httpx.AsyncClient, request: dict[str, Any]) -> AsyncIterator[str]:
    """Yield the pieces of a streamed answer."""
    async with client.stream("POST", "/v1/chat/completions", json=request) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    if text := choice["delta"].get("content"):
                        yield text


async def load(arguments: argparse.Namespace, server: Server) -> dict[str, Any]:
    """Let many clients ask for a while."""
    examples = read_examples(str(sample_path("held_out.json"))).examples
    questions = [example.turns[-1].instruction for example in examples if not example.turns[-1].input][:QUESTIONS]
    async with opened(server.url) as client:
        models = [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
        cases = list(itertools.product(models, questions))
        expected = {case: await ask(client, body(*case, max_tokens=64)) for case in cases}
        counts: Counter[str] = Counter()
        deadline = time.perf_counter() + arguments.seconds
        memory: list[int] = []

        async def one_client(number: int) -> None:
            for turn in itertools.count():
                if time.perf_counter() > deadline:
                    return
                case = cases[(number * 7 + turn) % len(cases)]
                try:
                    answer = await ask(client, body(*case, max_tokens=64, stream=(number + turn) % 2 == 0))
                    counts["answers"] += 1
                    counts["different"] += answer != expected[case]
                except httpx.HTTPError:
                    counts["errors"] += 1

        async def watch() -> None:
            while time.perf_counter() < deadline:
                memory.append(server.process.memory_info().rss)
                await asyncio.sleep(1)

        await asyncio.gather(watch(), *(one_client(number) for number in range(arguments.clients)))
    quarter = max(1, len(memory) // 4)
    second, last = (statistics.median(part) for part in (memory[quarter : 2 * quarter], memory[-quarter:]))
    return {
        **{name: counts[name] for name in ("answers", "different", "errors")},
        "distinct_answers": len(set(expected.values())), "answers_per_second": counts["answers"] / arguments.seconds,
        "memory_mib": [round(value / 2**20, 1) for value in (memory[0], second, last, max(memory))],
        "bars": {
            "different": {"at_most": 0, "found": counts["different"]},
            "errors": {"at_most": 0, "found": counts["errors"]},
            "memory_growth": {"at_most": 1.02, "found": round(last / second, 4)},
        },
    }  # fmt: skip


async def first_token(arguments: argparse.Namespace, server: Server) -> dict[str, Any]:
    """Time the first text of answers, one after the other."""
    seconds: list[float] = []
    async with opened(server.url) as client:
        model = (await client.get("/v1/models")).json()["data"][-1]["id"]
        for number in range(arguments.rounds):
            request = body(model, f"What is the number after {number}?", max_tokens=8, stream=True)
            began = time.perf_counter()
            async for _ in pieces(client, request):
                seconds.append(time.perf_counter() - began)
                break
    median = statistics.median(seconds)
    return {
        "first": round(seconds[0], 4), "median": round(median, 4), "slowest": round(max(seconds), 4),
        "bars": {"seconds": {"at_most": 0.1, "found": round(max(seconds), 4)}},
    }  # fmt: skip


async def overhead(arguments: argparse.Namespace, server: Server) -> dict[str, Any]:
    """Time the same answer from the engine here and over HTTP."""
    from alpaca_lora.config import ModelConfig
    from alpaca_lora.inference.engine import Answering
    from alpaca_lora.inference.models import Models
    from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, SamplingConfig
    from alpaca_lora.inference.torch_engine import TorchEngine

    adapters = AdaptersConfig(adapter=(arguments.adapter,) if arguments.adapter else ())
    models = Models(ModelConfig(base_model=arguments.base_model, device="cpu", dtype="float32"), adapters)
    engine, rounds, question = TorchEngine(models, QueueConfig()), list[tuple[float, float, int]](), "Count up from 1."

    def alone() -> tuple[str, float, int]:
        sampling = SamplingConfig(max_new_tokens=arguments.tokens)
        began = time.perf_counter()
        answering = Answering(engine, models.request(models.first, [Turn(question, "", "")], sampling))
        text = "".join(answering)
        assert answering.finished
        return text, time.perf_counter() - began, answering.finished.tokens

    async def served(client: httpx.AsyncClient) -> tuple[str, float]:
        began = time.perf_counter()
        text = await ask(client, body(models.first, question, max_tokens=arguments.tokens, stream=True))
        return text, time.perf_counter() - began

    async with opened(server.url) as client:
        for number in range(arguments.rounds + 1):
            first = number % 2
            here = alone() if first else None
            there = await served(client)
            here = here or alone()
            assert here[0] == there[0]
            rounds += [(here[1], there[1], here[2])] if number else []  # the first warms up
    engine.close()
    ratios = [there / here - 1 for here, there, _ in rounds]
    return {
        "tokens": rounds[0][2], "engine_seconds": [round(here, 4) for here, _, _ in rounds],
        "served_seconds": [round(there, 4) for _, there, _ in rounds],
        "milliseconds_a_token": round(1000 * statistics.median(here / count for here, _, count in rounds), 3),
        "ratios": [round(ratio, 4) for ratio in ratios],
        "bars": {"overhead": {"at_most": 0.05, "found": round(statistics.median(ratios), 4)}},
    }  # fmt: skip


def start(arguments: argparse.Namespace) -> dict[str, Any]:
    """Time both programs from the command to their first answer."""
    seconds: dict[str, list[float]] = {"serve": [], "ui": []}
    for _ in range(arguments.rounds):
        for verb, found in seconds.items():
            began = time.perf_counter()
            with started(arguments, verb) as server:
                httpx.get(server.url + ("/health" if verb == "serve" else "/"), timeout=60).raise_for_status()
                found.append(round(time.perf_counter() - began, 2))
    return {**seconds, "bars": {"ui_seconds": {"at_most": 5, "found": statistics.median(seconds["ui"])}}}


def main() -> None:
    """Start a server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["load", "first_token", "overhead", "start"])
    parser.add_argument("--base_model", default="alpaca-tiny")
    parser.add_argument("--adapter", default="")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    arguments = parser.parse_args()
    if arguments.what == "start":
        found = start(arguments)
    else:
        with started(arguments) as server:
            found = asyncio.run({"load": load, "first_token": first_token, "overhead": overhead}[arguments.what](
                arguments, server
            ))  # fmt: skip
    used = argparse.Namespace(**{k: v for k, v in vars(arguments).items() if v != "" and k != "what"})
    command = command_line("serving", used).replace(".py", f".py {arguments.what}", 1)
    publish({**result_head(f"serving {arguments.what}", command, "cpu"), **found}, arguments.output)


if __name__ == "__main__":
    main()
