"""What the driver asks of a contender and what a contender answers; standard library only, as it runs everywhere.

A contender is a program of its own: `python CONTENDER.py JOB.json`. It trains once on a few other rows to warm up
(so that libraries, caches and allocators are as they are in the middle of a run), then on the job's rows, and prints
one JSON line at its end, the last line of its output.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

GIB = 2**30
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class Job:
    """One training run, the same for every contender.

    Attributes:
        contender, variant: as in `NAME`, `NAME:VARIANT` or `NAME:VARIANT-ROWS` on the driver's command line, with the
            micro-batch after the dash.
        model: folder with `config.json`, `model*.safetensors`, `tokenizer.json`, `tokenizer_config.json`.
        rows: JSON list of rows as the data file has them.
        tokens: JSON `{"input_ids": [...], "labels": [...]}`: the same rows, tokenised and masked, each cut at `cutoff`
            tokens, in the order of training: rows `k * batch_size` to `(k + 1) * batch_size` are step k's.
        warm_rows, warm_tokens: other rows, one step of them.
        output: folder for whatever the contender writes.
        threads: for computing.
        seed: of the adapter's start, and of the order for contenders that shuffle themselves.
    """

    contender: str
    variant: str
    model: str
    rows: str
    tokens: str
    warm_rows: str
    warm_tokens: str
    output: str
    dtype: str
    device: str
    threads: int
    batch_size: int
    micro_batch_size: int
    steps: int
    cutoff: int
    seed: int
    rank: int = 16
    alpha: int = 32
    learning_rate: float = 2e-4

    def warm_up(self) -> Job:
        """Give the job of warming up: one step on the other rows."""
        output = str(Path(self.output) / "warm-up")
        return replace(self, rows=self.warm_rows, tokens=self.warm_tokens, steps=1, output=output)

    def read_tokens(self) -> list[dict[str, list[int]]]:
        """Read the tokenised rows in the order of training: `input_ids` and `labels`, -100 where not trained."""
        columns = json.loads(Path(self.tokens).read_text(encoding="utf-8"))
        pairs = zip(columns["input_ids"], columns["labels"], strict=True)
        return [{"input_ids": ids, "labels": labels} for ids, labels in pairs]

    def way(self, otherwise: str) -> str:
        """Give the variant's name without its number, or `otherwise` where none is named."""
        return self.variant.partition("-")[0] or otherwise

    def rows_at_once(self, otherwise: int) -> int:
        """Give the micro-batch: the number after the variant's dash, or `otherwise`; it must divide the step."""
        named = self.variant.partition("-")[2]
        size = min(int(named) if named else otherwise, self.batch_size)
        if self.batch_size % size:
            raise SystemExit(f"a step of {self.batch_size} examples cannot be cut into micro-batches of {size}")
        return size


@dataclass
class Outcome:
    """What one training came to.

    Attributes:
        seconds: from the first step's start to the last step's end.
        losses: of each optimiser step, in nats per trained token as the contender itself reports it.
        computed_tokens: positions that went through the model, padding and repeated prompts included; None: unknown.
        notes: what it did with rows and settings that is not what the job says to the letter.
    """

    rows: int
    real_tokens: int
    computed_tokens: int | None
    seconds: float
    losses: list[float]
    notes: list[str] = field(default_factory=list)


def write_job(job: Job, path: Path) -> None:
    """Write the job file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(job), indent=1), encoding="utf-8")


def run_contender(train: Callable[[Job], Outcome], packages: Iterable[str]) -> None:
    """Run a contender's program: read the job, warm up, train, print the result."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    import torch

    torch.set_num_threads(job.threads)
    train(job.warm_up())
    outcome = train(job)
    result: dict[str, Any] = asdict(outcome)
    result |= {"peak_gib": round(_peak_gib(job.device), 3), "threads": torch.get_num_threads()}
    result["versions"] = {"python": platform.python_version()} | {name: _version(name) for name in packages}
    sys.stdout.flush()
    print("\n" + json.dumps(result), flush=True)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _peak_gib(device: str) -> float:
    """Give the most memory held: on the card, or resident on a CPU; warm-up and model loading included."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / GIB
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / GIB
