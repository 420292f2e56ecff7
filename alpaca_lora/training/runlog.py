"""What a run tells and keeps: `log.jsonl`, console lines with progress and ETA, trackers if asked for, a loss curve."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from alpaca_lora.data.audit.counts import CLEANED, CleanLog
from alpaca_lora.errors import UserError
from alpaca_lora.training.checkpoint import write_file

LOG = "log.jsonl"
CLEANING_LOG = f"{CLEANED}.changes.jsonl"
_PACKAGES = ("alpaca-lora", "torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that decide a run's result."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_log(output_dir: Path) -> list[dict[str, Any]]:
    """Read the log's records; a last line that a killed process left broken is passed over."""
    path = output_dir / LOG
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def cleaning_record(cleaning: CleanLog) -> dict[str, Any]:
    """Give what `run.json` keeps of a cleaning: counts, the cleaned file's sha256, the log of changes."""
    return {**asdict(cleaning.counts), "sha256": cleaning.sha256, "log": CLEANING_LOG}


class RunLog:
    """The log of one run; use as a context manager. Silent on all ranks but the first.

    Resuming at step N keeps the records up to N and drops later ones, which the run will write again.
    """

    def __init__(self, output_dir: Path, *, steps: int, start_step: int, is_main: bool, console: Console) -> None:
        self._path = output_dir / LOG
        self._steps, self._step, self._is_main = steps, start_step, is_main
        self._console = console
        self._trackers: list[Any] = []
        self._began = time.perf_counter()
        self._start_step = start_step
        self._progress = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("steps, left"), TimeRemainingColumn(),
            console=console, transient=True, disable=not (is_main and console.is_terminal),
        )  # fmt: skip
        self._task: TaskID | None = None
        if is_main:
            kept = [record for record in read_log(output_dir) if record.get("step", 0) <= start_step]
            write_file(self._path, "".join(json.dumps(record) + "\n" for record in kept))

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("training", total=self._steps, completed=self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        for tracker in self._trackers:
            tracker.finish()

    def open_trackers(self, names: tuple[str, ...], *, project: str, run_name: str, settings: dict[str, Any]) -> None:
        """Start the trackers that were asked for; with none named no tracker is imported and no socket opened."""
        if not (names and self._is_main):
            return
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        for name in names:
            try:
                kind = LOGGER_TYPE_TO_CLASS[name]
                place: dict[str, Any] = {"logging_dir": self._path.parent} if kind.requires_logging_directory else {}
                tracker = kind(run_name if name == "tensorboard" else project, **place)
                tracker.start()
            except ImportError as error:
                raise UserError(
                    f"--report_to {name} needs a package that is not installed", fix="pip install 'alpaca-lora[track]'"
                ) from error
            except Exception as error:  # each tracker raises its own when it is not logged in or cannot be reached
                raise UserError(
                    f"--report_to {name} cannot be opened: {type(error).__name__}: {error}",
                    fix="log in to it, or leave it out; nothing was trained yet",
                ) from error
            flat = {
                key: value if isinstance(value, (int, float, str, bool)) else str(value)
                for key, value in settings.items()
            }
            tracker.store_init_configuration(flat)
            self._trackers.append(tracker)

    def keep_cleaning(self, cleaning: CleanLog) -> None:
        """Write the log of what `--clean` did to the data."""
        if self._is_main:
            path = self._path.with_name(CLEANING_LOG)
            write_file(path, cleaning.lines.decode())
            self.say(f"changes {path}")

    def advance(self, step: int) -> None:
        """Move the progress bar to a step."""
        self._step = step
        if self._task is not None:
            self._progress.update(self._task, completed=step)

    def say(self, line: str) -> None:
        """Print a line for the person, above the progress bar."""
        if self._is_main:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def eta_seconds(self) -> float:
        """Estimate the time left from the steps this process has done."""
        done = self._step - self._start_step
        return (time.perf_counter() - self._began) / max(1, done) * (self._steps - self._step)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Append one record to `log.jsonl` and to the trackers."""
        if not self._is_main:
            return
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for tracker in self._trackers:
            tracker.log(values, step=step)


def format_seconds(seconds: float) -> str:
    """Write a duration as people read it: 45 s, 12 min 5 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def draw_loss(output_dir: Path) -> Path:
    """Draw training and held-out loss over the steps from `log.jsonl`; return the PNG's path."""
    from matplotlib.figure import Figure

    records = read_log(output_dir)
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "held out", "o--")):
        points = [(record["step"], record[key]) for record in records if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axes.set(xlabel="optimiser step", ylabel="nats per target token")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    path = output_dir / "loss.png"
    figure.savefig(path)
    return path
