"""Compare our trainer with its peers: same machine, rows, model shape, arithmetic, rank and targets, one by one.

    python benchmarks/compare.py --shape 135m --contenders ours recipe_2023 trl litgpt llamafactory
        --batch_size 32 --steps 3 --rounds 3 --dtype float32 --output FILE.json

Every contender trains the same steps x batch_size rows once, in a process of its own; round 1 goes through them in the
order given, round 2 in reverse, and so on, so that a machine that slows down shows and favours none. The machine's
own rate of matrix multiplication is measured before and after each round. Prints a table and one JSON line; a
contender that cannot run here is reported so, with its reason.

`ours:plain`, `trl:padded` and the like name a contender's variant; see `benchmarks/README.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from peers.contract import Job, write_job
from peers.install import CONTENDERS, environment_python, work_folder
from report import summarise, table
from result_line import command_line, publish, result_head
from rows import write_rows
from shapes import SHAPES, as_rows, model_folder, needed, needed_flops

HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared"
SHOWN_LINES = 12


def shared_parser(description: str | None, *, batch_size: int, steps: int) -> argparse.ArgumentParser:
    """Give the options that say what is trained, on what, and where."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    tokenizer = SHARED / "tokenizer" / "llama2_tokenizer.model"
    parser.add_argument("--shape", choices=SHAPES, default="15m")
    parser.add_argument("--batch_size", type=int, default=batch_size, help="examples per optimiser step")
    parser.add_argument("--micro_batch_size", type=int, default=8, help="rows at once, for those that pad")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--cutoff", type=int, default=512)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "alpaca_data.json")
    parser.add_argument("--tokenizer", type=Path, default=tokenizer if tokenizer.is_file() else None)
    parser.add_argument("--work", type=Path, default=work_folder(), help="models, environments and runs go here")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one contender's one process")
    parser.add_argument("--output", type=Path, help="also write the JSON line to this file")
    return parser


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = shared_parser(__doc__, batch_size=32, steps=3)
    parser.add_argument("--contenders", nargs="+", default=["ours", "recipe_2023"], metavar="NAME[:VARIANT]")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    unknown = {name.partition(":")[0] for name in arguments.contenders} - CONTENDERS.keys()
    if unknown:
        parser.error(f"no contender {', '.join(sorted(unknown))}; known: {', '.join(CONTENDERS)}")
    return arguments


def make_files(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """Write the model and the rows; give the model's folder and the run's."""
    work = arguments.work.expanduser().resolve()
    model = model_folder(arguments.shape, arguments.tokenizer, work)
    run = work / "runs" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    write_rows(arguments.data, model, steps=arguments.steps, batch_size=arguments.batch_size, cutoff=arguments.cutoff,
               seed=arguments.seed, folder=run)  # fmt: skip
    return model, run


def make_job(name: str, arguments: argparse.Namespace, model: Path, run: Path) -> Job:
    """Say what a contender is to do."""
    contender, _, variant = name.partition(":")
    shared = {key: getattr(arguments, key) for key in
              ("dtype", "device", "threads", "batch_size", "micro_batch_size", "steps", "cutoff", "seed")}  # fmt: skip
    files = {key: str(run / f"{key}.json") for key in ("rows", "tokens", "warm_rows", "warm_tokens")}
    return Job(contender=contender, variant=variant, model=str(model), output=str(run / "output"), **files, **shared)


def run_apart(name: str, arguments: argparse.Namespace, job: Job, run: Path) -> dict[str, Any]:
    """Run a contender in a process of its own; give its result, or why there is none."""
    known = CONTENDERS[job.contender]
    python = environment_python(job.contender, arguments.work)
    if not python.is_file():
        return {"contender": name, "failed": f"not installed: python benchmarks/peers/install.py {known.environment}"}
    shutil.rmtree(job.output, ignore_errors=True)
    write_job(job, run / "job.json")
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads), "TOKENIZERS_PARALLELISM": "false",
                   "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "ALPACA_LORA_CACHE": str(run / "cache"),
                   "HF_DATASETS_CACHE": str(run / "cache" / "datasets"), "PYTHONWARNINGS": "ignore"}  # fmt: skip
    environment.pop("PYTHONPATH", None)
    if not known.environment:
        environment["PYTHONPATH"] = str(HERE.parent)
    command = [str(python), str(HERE / "peers" / known.script), str(run / "job.json")]
    began = time.perf_counter()
    log = run / f"{name.replace(':', '-')}.log"
    with log.open("w+", encoding="utf-8") as output:
        try:
            code = subprocess.run(
                command, cwd=run, env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=arguments.timeout
            ).returncode
        except subprocess.TimeoutExpired:
            return {"contender": name, "failed": f"stopped after {arguments.timeout:.0f} s"}
        output.seek(0)
        lines = [line.rstrip() for line in output if line.strip()]
    shutil.rmtree(job.output, ignore_errors=True)
    if code != 0 or not lines or not lines[-1].startswith("{"):
        print(*(f"  | {line}" for line in lines[-SHOWN_LINES:]), sep="\n", file=sys.stderr)
        return {"contender": name, "failed": f"exit {code}: {lines[-1][:300] if lines else 'no output'}"}
    return {"contender": name, **json.loads(lines[-1]), "process_seconds": round(time.perf_counter() - began, 1)}


def rate_apart(arguments: argparse.Namespace) -> float:
    """Measure the machine's own rate in a fresh process."""
    command = [sys.executable, str(HERE / "machine.py"), "--dtype", arguments.dtype, "--device", arguments.device]
    done = subprocess.run(
        [*command, "--threads", str(arguments.threads)], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout)["flops"])


def main() -> None:
    """Run all rounds, print the table and the JSON line."""
    arguments = parse()
    shape = SHAPES[arguments.shape]
    model, run = make_files(arguments)
    jobs = {name: make_job(name, arguments, model, run) for name in arguments.contenders}
    rows, size = as_rows(next(iter(jobs.values())).read_tokens()), arguments.batch_size
    count = needed([rows[first : first + size] for first in range(0, len(rows), size)])
    line: dict[str, Any] = {
        **result_head("compare", command_line("compare", arguments), arguments.device),
        "shape": arguments.shape, "dtype": arguments.dtype,
        "rows": len(rows), "real_tokens": sum(len(row.input_ids) for row in rows), "needed_tokens": count.tokens,
        "target_tokens": count.targets, "needed_flops": needed_flops(shape, count), "rounds": [],
    }  # fmt: skip
    failed: dict[str, str] = {}
    for number in range(arguments.rounds):
        before = rate_apart(arguments)
        results: list[dict[str, Any]] = []
        for name in arguments.contenders[:: -1 if number % 2 else 1]:
            if name in failed:
                continue
            print(f"round {number + 1}/{arguments.rounds}  {name}", file=sys.stderr, flush=True)
            result = run_apart(name, arguments, jobs[name], run)
            if "failed" in result:
                failed[name] = result["failed"]
            else:
                results.append(result)
        rates = [before, rate_apart(arguments)]
        line["rounds"].append({"matmul_flops": rates, "load_average": round(os.getloadavg()[0], 2), "results": results})
    line |= {"not_run": failed, "summary": summarise(line)}
    print(table(line))
    publish(line, arguments.output)


if __name__ == "__main__":
    main()
