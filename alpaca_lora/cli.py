"""The command line: `alpaca-lora VERB [recipe.yaml] [--flag value ...]`; a verb is a settings class and a function."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from inspect import BoundArguments
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, MissingArgumentError, Parameter, UnusedCliTokensError
from cyclopts.config import Dict

from alpaca_lora import __version__
from alpaca_lora.config import DemoConfig, DoctorConfig, FinetuneConfig
from alpaca_lora.data.commands import DATA_SETTINGS, data_app
from alpaca_lora.errors import Interrupted, UserError
from alpaca_lora.export import settings as exports
from alpaca_lora.inference.settings import ChatConfig, ServeConfig, UiConfig
from alpaca_lora.options import flatten
from alpaca_lora.recipe import read_recipe, take_recipe

app = App(
    name="alpaca-lora",
    help="From a JSON of instructions and a LLaMA-class base model to an adapter that follows instructions.",
    version=__version__,
    help_format="plaintext",  # Markdown costs 0.2 s of import at every --help
    default_parameter=Parameter(consume_multiple=True, negative_iterable=(), name_transform=str),
)
_DEMO, _FINETUNE = DemoConfig(), FinetuneConfig()
_CHAT, _UI, _SERVE = ChatConfig(), UiConfig(), ServeConfig()
_DOCTOR = DoctorConfig()
_HF, _ADAPTER, _META = exports.HfExportConfig(), exports.AdapterExportConfig(), exports.MetaExportConfig()
_GGUF, _GGUF_LORA = exports.GgufExportConfig(), exports.GgufLoraExportConfig()
_OLLAMA, _VERIFY = exports.OllamaExportConfig(), exports.VerifyConfig()
_SETTINGS = {
    "demo": _DEMO,
    "finetune": _FINETUNE,
    "plan": _FINETUNE,
    "chat": _CHAT,
    "ui": _UI,
    "serve": _SERVE,
    "doctor": _DOCTOR,
    **DATA_SETTINGS,
    "export hf": _HF,
    "export adapter": _ADAPTER,
    "export meta": _META,
    "export gguf": _GGUF,
    "export gguf-lora": _GGUF_LORA,
    "export ollama": _OLLAMA,
    "verify": _VERIFY,
}

app.command(data_app)
export_app = App(name="export", help="Write a trained model for other programs; each is reloaded and compared.")
app.command(export_app)


@app.command
def demo(config: DemoConfig = _DEMO) -> None:
    """See it all in two minutes on a laptop: a base model that cannot follow instructions learns to."""
    from alpaca_lora.demo import demo as run

    run(config)


@app.command
def finetune(config: FinetuneConfig = _FINETUNE) -> None:
    """Fine-tune a base model on rows of instructions; the adapter is reloaded and compared before it is called done."""
    from alpaca_lora.training.run import finetune as run

    run(config)


@app.command
def plan(config: FinetuneConfig = _FINETUNE) -> None:
    """Tell memory and time of a run before it starts; takes the settings of `finetune`."""
    from alpaca_lora.training.prepare import plan_run

    plan_run(config)


@app.command
def chat(config: ChatConfig = _CHAT) -> None:
    """Talk to a base model and its adapters in the terminal, or answer one --prompt."""
    from alpaca_lora.inference.chat import chat as run

    run(config)


@app.command
def ui(config: UiConfig = _UI) -> None:
    """Open a page to talk to a base model and its adapters, and to compare them side by side."""
    from alpaca_lora.inference.page.run import ui as run

    run(config)


@app.command
def serve(config: ServeConfig = _SERVE) -> None:
    """Answer other programs over HTTP, as OpenAI's API does; `model` chooses the adapter."""
    from alpaca_lora.inference.serve.run import serve as run

    run(config)


@app.command
def doctor(config: DoctorConfig = _DOCTOR) -> None:
    """Show what this machine has: versions, devices, optional packages, memory, disk."""
    from alpaca_lora.doctor import doctor as run

    run(config)


@export_app.command
def hf(config: exports.HfExportConfig = _HF) -> None:
    """Merge the adapter into the base: a Hugging Face folder for transformers, vLLM and others."""
    from alpaca_lora.export.run import export_hf as run

    run(config)


@export_app.command
def adapter(config: exports.AdapterExportConfig = _ADAPTER) -> None:
    """The adapter alone for PEFT, with the base under the name that others know it by."""
    from alpaca_lora.export.run import export_adapter as run

    run(config)


@export_app.command
def meta(config: exports.MetaExportConfig = _META) -> None:
    """Merge into Meta's own format: consolidated.NN.pth, params.json, tokenizer.model."""
    from alpaca_lora.export.run import export_meta as run

    run(config)


@export_app.command
def gguf(config: exports.GgufExportConfig = _GGUF) -> None:
    """Merge into one GGUF file for llama.cpp and the programs built on it, quantised if asked."""
    from alpaca_lora.export.run import export_gguf as run

    run(config)


@export_app.command(name="gguf-lora")
def gguf_lora(config: exports.GgufLoraExportConfig = _GGUF_LORA) -> None:
    """The adapter alone as GGUF, for llama.cpp's --lora on a GGUF file of the base."""
    from alpaca_lora.export.run import export_gguf_lora as run

    run(config)


@export_app.command
def ollama(config: exports.OllamaExportConfig = _OLLAMA) -> None:
    """A Modelfile for Ollama with its GGUF files; its template is the training's prompt."""
    from alpaca_lora.export.run import export_ollama as run

    run(config)


@app.command
def verify(path: str, /, config: exports.VerifyConfig = _VERIFY) -> None:
    """Reload an export that lies somewhere, and compare it with the trained model."""
    from alpaca_lora.export.run import verify as run

    run(path, config)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 2 with a message for what a user can mend, 130 or 143 after an interrupted run."""
    raise SystemExit(run_reporting(lambda: dispatch(sys.argv[1:] if arguments is None else arguments)))


def run_reporting(call: Callable[[], object]) -> int:
    """Call, turn what a user can mend or caused into a message on standard error, and return the exit code."""
    try:
        call()
        sys.stdout.flush()  # a reader that has gone is noticed here, not by the interpreter on its way out
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.strerror}\n  where: {error.filename}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"{stop}; to go on, repeat the command with --resume_from_checkpoint auto", file=sys.stderr)
        return 128 + stop.signal_number
    return 0


def dispatch(arguments: list[str]) -> None:
    """Read the command line and call the verb."""
    verb, bound = read_command(arguments)
    verb(*bound.args, **bound.kwargs)


def read_command(arguments: list[str]) -> tuple[Callable[..., Any], BoundArguments]:
    """Parse the arguments, a recipe's settings below the flags'; give the verb's function and its arguments."""
    words, recipe = take_recipe(arguments)
    if recipe:
        verb = _verb(words)
        settings = read_recipe(recipe, verb, flatten(_SETTINGS[verb]) if verb in _SETTINGS else ())
        app.config = [Dict(settings, use_commands_as_keys=False, source=str(recipe))]
    try:
        command, bound, *_ = app.parse_args(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise _parse_error(error, words, recipe) from error
    finally:
        app.config = []
    return command, bound


def _verb(words: list[str]) -> str:
    """Give the verb that a command line begins with; empty where it begins with none."""
    return next((name for name in (" ".join(words[:2]), " ".join(words[:1])) if name in _SETTINGS), "")


def _parse_error(error: CycloptsError, words: list[str], recipe: Path | None) -> UserError:
    """Say it in a user's words, with the flag or the recipe's key, and what to type instead."""
    command = f"alpaca-lora {_verb(words)}".rstrip()
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        stray = error.unused_tokens[0]
        before = words[words.index(stray) - 1] if stray in words[1:] else ""
        fix = f"write settings as --flag value; {command} --help lists them"
        if stray.endswith((".yaml", ".yml")):
            fix = f"a recipe follows the verb: {command} {stray} --flag value"
        elif stray.lower() in ("true", "false") and before.startswith("--"):
            fix = f"{before}={stray}"
        return UserError(f"{stray!r} belongs to no flag", fix=fix)
    if isinstance(error, MissingArgumentError) and error.keyword:
        return UserError(
            f"{error.keyword} needs a value",
            fix=f"{error.keyword} VALUE; one that begins with a dash: {error.keyword}=VALUE",
        )
    text = str(error).replace(f" from {recipe}", "")
    if recipe and (found := re.search(r"\[(\w+)\]", text)):
        return UserError(text.replace(found[0], found[1], 1), where=str(recipe), fix=f"{command} --help")
    return UserError(text, fix=f"{command} --help")
