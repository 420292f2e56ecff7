"""Everything in two minutes on a laptop: a base model that cannot follow instructions learns to."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alpaca_lora.config import DataConfig, DemoConfig, FinetuneConfig, LoraConfig, ModelConfig, RunConfig, TrainConfig
from alpaca_lora.data.examples import Example, read_examples
from alpaca_lora.data.files import sample_path
from alpaca_lora.data.prompts import load_prompt
from alpaca_lora.errors import Interrupted, UserError
from alpaca_lora.evaluation.exact_match import ExactMatch, exact_match
from alpaca_lora.model.load import EMBEDDED, find_base, load_base_model, load_base_tokenizer
from alpaca_lora.model.lora import load_adapter
from alpaca_lora.training.checkpoint import DEMO_MARK
from alpaca_lora.training.run import finetune
from alpaca_lora.training.runlog import format_seconds

SHOWN = 8
"""Questions shown side by side."""

_MODEL = ModelConfig(base_model=EMBEDDED, dtype="float32")
_NEW_TOKENS = 48


def demo_config(output_dir: str, seed: int) -> FinetuneConfig:
    """Give the settings of the demo's fine-tuning."""
    return FinetuneConfig(
        data=DataConfig(data_path="sample"),
        model=_MODEL,
        lora=LoraConfig(lora_r=16, lora_alpha=32),
        train=TrainConfig(batch_size=32, num_epochs=1.5, learning_rate=3e-3, val_set_size=0, seed=seed),
        run=RunConfig(output_dir=output_dir, logging_steps=20, save_steps=0, eval_steps=0),
    )


def measure(adapter: Path | None) -> ExactMatch:
    """Answer the bundled held-out questions with the embedded base, or with an adapter on it."""
    place = find_base(_MODEL)
    tokenizer, _ = load_base_tokenizer(_MODEL, place)
    model: Any = load_base_model(_MODEL, place)
    if adapter:
        model = load_adapter(model, adapter, "demo").eval()
    prompt = load_prompt("alpaca", tokenizer)
    return exact_match(model, tokenizer, prompt, held_out_questions(), max_new_tokens=_NEW_TOKENS)


def held_out_questions() -> list[Example]:
    """Read the bundled questions about facts that no row of the sample mentions."""
    return read_examples(str(sample_path("held_out.json"))).examples


def demo(config: DemoConfig) -> None:
    """Show the base fail, plan, fine-tune, and show the same questions answered before and after."""
    console, began = Console(), time.perf_counter()
    output_dir = Path(config.output_dir).expanduser()
    claim_folder(output_dir)
    questions = held_out_questions()
    console.rule("1. The base model: it states facts, but does not answer as asked")
    before = measure(None)
    shown = _choose(questions)
    for index in shown:
        console.print(
            f"  {_question(questions[index])}\n    -> {_one_line(before.answers[index])}", highlight=False, markup=False
        )
    console.rule("2. Fine-tuning on the bundled sample instructions")
    try:
        finetune(demo_config(config.output_dir, config.seed), console)
    except Interrupted as stop:
        raise UserError(f"the demo was {stop}", fix="run it again: it starts afresh") from stop
    console.rule("3. Before and after; none of these facts is in the sample")
    after = measure(output_dir)
    table = Table("question", "base model", "fine-tuned", "expected")
    for index in shown:
        style = "green" if after.right[index] else "red"
        cells = (
            _question(questions[index]), _one_line(before.answers[index]), _one_line(after.answers[index]),
            _one_line(after.expected[index]),
        )  # fmt: skip
        table.add_row(*(Text(cell, style=style if column == 2 else "") for column, cell in enumerate(cells)))
    console.print(table)
    console.print(
        f"held-out exact match over {len(questions)} questions: {before.share:.1%} before, {after.share:.1%} after",
        highlight=False,
    )
    console.rule("4. The same model in llama.cpp")
    if not find_spec("xllamacpp"):
        console.print("left out: it needs llama.cpp's binding, pip install 'alpaca-lora[gguf]'", markup=False)
    else:
        show_export(output_dir, [questions[index] for index in shown], console)
    console.print(f"{format_seconds(time.perf_counter() - began)} in all", highlight=False)
    console.rule("Next")
    for line in next_commands(config.output_dir):
        console.print(line, highlight=False, soft_wrap=True)


def show_export(output_dir: Path, questions: Sequence[Example], console: Console) -> None:
    """Export the merged model as GGUF, verified, and let llama.cpp answer from the file."""
    from alpaca_lora.export.llama_cpp import LlamaCpp
    from alpaca_lora.export.run import export_gguf
    from alpaca_lora.export.settings import GgufExportConfig, SourceConfig, TargetConfig

    source = SourceConfig(base_model=EMBEDDED, adapter=str(output_dir))
    target = TargetConfig(output=str(output_dir / "gguf"), name="alpaca-demo")
    folder = export_gguf(GgufExportConfig(source=source, target=target, outtype="f32"), console)
    with LlamaCpp(next(folder.glob("*.gguf"))) as program:
        for question in questions:
            if not question.turns[-1].input:
                answer = _one_line(program.answer(question.turns[-1].instruction))
                console.print(f"  {_question(question)}\n    -> {answer}", highlight=False, markup=False)


def claim_folder(output_dir: Path) -> None:
    """Make a fresh folder for the demo; an earlier demo's is replaced, anybody else's is left alone."""
    if output_dir.exists() and not (output_dir / DEMO_MARK).is_file():
        raise UserError(f"{output_dir} exists and was not made by a demo", fix="give another --output_dir")
    shutil.rmtree(output_dir, ignore_errors=True)
    output_dir.mkdir(parents=True)
    (output_dir / DEMO_MARK).write_text("Made by `alpaca-lora demo`; the next demo replaces this folder.\n")


def next_commands(output_dir: str) -> Sequence[str]:
    """Give what a new user would type next, with the program's path where it is not on PATH: page and server first."""
    program = "alpaca-lora" if shutil.which("alpaca-lora") else sys.argv[0]
    return (
        f"{program} ui --adapter {output_dir}",
        f"{program} serve --adapter {output_dir}",
        f"{program} chat --adapter {output_dir}",
        f"{program} data preview --base_model {EMBEDDED} --data_path sample",
        f"{program} finetune --base_model {EMBEDDED} --data_path YOUR_ROWS.json --output_dir my-adapter",
    )


def _choose(questions: list[Example]) -> list[int]:
    """Take questions spread evenly over the file, which is ordered by kind of fact."""
    return [len(questions) * number // SHOWN for number in range(SHOWN)]


def _question(example: Example) -> str:
    turn = example.turns[-1]
    return f"{turn.instruction} [{turn.input}]" if turn.input else turn.instruction


def _one_line(text: str) -> str:
    line = " / ".join(" ".join(part.split()) for part in text.strip().splitlines())
    return line if len(line) <= 90 else line[:87] + "..."
