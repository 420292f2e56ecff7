"""The original project's scripts: their flags, defaults and environment variables, turned into today's settings.

The scripts' flags were parsed by the `fire` library, so both spellings of every flag and its ways to write truth and
lists are understood here. Every flag of today's verbs works too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from types import MappingProxyType, NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from alpaca_lora.config import FinetuneConfig
from alpaca_lora.errors import UserError
from alpaca_lora.inference.settings import ChatConfig, UiConfig

FINETUNE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "base_model": "",
        "data_path": "yahma/alpaca-cleaned",
        "output_dir": "./lora-alpaca",
        "batch_size": 128,
        "micro_batch_size": 4,
        "num_epochs": 3.0,
        "learning_rate": 3e-4,
        "cutoff_len": 256,
        "val_set_size": 2000,
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": ("q_proj", "v_proj"),
        "train_on_inputs": True,
        "add_eos_token": False,
        "group_by_length": False,
        "wandb_project": "",
        "wandb_run_name": "",
        "wandb_watch": "",
        "wandb_log_model": "",
        "resume_from_checkpoint": None,
        "prompt_template_name": "alpaca",
        # Not flags of the original, but fixed in its code.
        "lr_schedule": "linear",
        "warmup_steps": 100.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "seed": 42,
        "logging_steps": 10,
        "eval_steps": 200,
        "save_steps": 200,
        "save_total_limit": 3,
    }
)
GENERATE_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "load_8bit": False,
        "base_model": "",
        "lora_weights": "tloen/alpaca-lora-7b",
        "prompt_template": "",
        "server_name": "127.0.0.1",  # the original let in the whole network unasked: 0.0.0.0
        "share_gradio": False,
    }
)
_GONE = {
    "add_eos_token": bool,
    "group_by_length": bool,
    "wandb_project": str,
    "wandb_run_name": str,
    "wandb_watch": str,
    "wandb_log_model": str,
    "load_8bit": bool,
    "lora_weights": str,
    "prompt_template": str,
}
"""Types of the original's flags that today's settings do not have under that name."""

_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def finetune_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[FinetuneConfig, list[str]]:
    """Read the command line of `finetune.py`; return the settings and one line for each thing done differently."""
    given = parse_flags(arguments, flag_kinds(FinetuneConfig, FINETUNE_DEFAULTS))
    values = {**FINETUNE_DEFAULTS, **given}
    values["base_model"] = values["base_model"] or environment.get("BASE_MODEL", "")
    project = values["wandb_project"] or environment.get("WANDB_PROJECT", "")
    if project:
        trackers = dict.fromkeys((*values.get("report_to", ()), "wandb"))
        values |= {"report_to": tuple(trackers), "project": project}
        values["run_name"] = values["wandb_run_name"] or values.get("run_name")
    return build_settings(FinetuneConfig, values), _finetune_notes(values, given, environment)


def _finetune_notes(values: Mapping[str, Any], given: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    notes: list[str] = []
    if "quantization" not in given:
        notes.append(
            "the base is not held in 8 bits, as the original's was: in its own precision it trains faster and is not "
            "rounded; --quantization int8 or nf4 saves memory"
        )
    if "dtype" not in given:
        notes.append(
            "arithmetic is chosen from the hardware (bfloat16 where it has it), not always float16 as in the original: "
            "with 8 bits that gave losses of 0 or NaN; --dtype float16 asks for it"
        )
    if values.get("packing", "shared_prefix") != "none":
        notes.append(
            "rows are packed without padding, so --micro_batch_size does not matter and --tokens_per_pack bounds what "
            "is computed at once; --packing none pads as the original did"
        )
    if values["val_set_size"]:
        notes.append(
            "the adapter is that of the last step; the original put back the checkpoint of the lowest held-out loss. "
            "The losses are in log.jsonl, the last checkpoints in the output folder"
        )
    steps, warmup = values.get("max_steps"), values["warmup_steps"]
    if steps is not None and steps <= warmup:
        notes.append(
            f"{warmup:.0f} warm-up steps, as in the original, but --max_steps {steps}: the learning rate does not "
            "reach its peak; --warmup_steps 0.03 warms up for 3 % of the run"
        )
    if values["group_by_length"]:
        notes.append(
            "--group_by_length: rows of one optimiser step are padded with rows of like length anyway; steps stay in "
            "random order, because an order by length changes what is learned, not only the padding"
        )
    if values["add_eos_token"]:
        notes.append("--add_eos_token: nothing to add, the end-of-sequence of every answer that is not cut is trained")
    for name, instead in (
        ("wandb_watch", "W&B gets the gradient's norm; gradients of single weights are not sent, for speed"),
        ("wandb_log_model", "the adapter stays in the output folder; upload it with: wandb artifact put FOLDER"),
    ):
        value = values[name] or environment.get(name.upper(), "")
        if "wandb" in values.get("report_to", ()) and value.lower() not in ("", "false"):
            notes.append(f"--{name} {value}: {instead}")
    return notes


def generate_settings(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[ChatConfig | UiConfig, list[str]]:
    """Read the command line of `generate.py`; return the settings and one line for each thing done differently.

    With --prompt they are those of `chat`, which answers once in the terminal; else those of the page.
    """
    kinds = {config: flag_kinds(config, GENERATE_DEFAULTS) for config in (ChatConfig, UiConfig)}
    given = parse_flags(arguments, kinds[ChatConfig] | kinds[UiConfig])
    config, other = (ChatConfig, "without") if "prompt" in given else (UiConfig, "with")
    for flag in given:
        if flag not in kinds[config]:
            raise UserError(f"--{flag} does nothing here", fix=f"it belongs to generate.py {other} --prompt")
    values = {**GENERATE_DEFAULTS, **given}
    notes: list[str] = []
    values["base_model"] = values["base_model"] or environment.get("BASE_MODEL", "")
    if "adapter" not in given:
        values["adapter"] = (values["lora_weights"],) if values["lora_weights"] else ()
    # None: the template recorded with the adapter, and `alpaca`, the original's default, where none is.
    values["prompt_template_name"] = values["prompt_template"] or given.get("prompt_template_name")
    if values["load_8bit"] and can_hold_8bit():
        values["quantization"] = "int8"
    elif values["load_8bit"]:
        notes.append(
            "--load_8bit: needs a CUDA card and bitsandbytes (pip install 'alpaca-lora[quant]'); the base is held in "
            "the precision that the hardware suits instead"
        )
    if config is UiConfig and "server_name" not in given:
        notes.append("the page is open to this machine only; the original's was to the network: --server_name 0.0.0.0")
    return build_settings(config, values), notes


def can_hold_8bit() -> bool:
    """Tell whether bitsandbytes is installed and there is a CUDA card for it."""
    if find_spec("bitsandbytes") is None:
        return False
    import torch

    return torch.cuda.is_available()


def parse_flags(arguments: Sequence[str], kinds: Mapping[str, Any]) -> dict[str, Any]:
    """Read `--flag value`, `--flag=value`, `--flag`, `--noflag`, with dashes or underscores; the last one counts.

    Args:
        arguments: the words of the command line, without the program's name.
        kinds: type of each flag by its name; what is returned has these types.
    """
    values: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            raise UserError(f"{word!r} belongs to no flag", fix=f"name its flag, as in --base_model {word}")
        flag, has_value, text = word[2:].partition("=")
        name = flag.replace("-", "_")
        negated = re.sub("^no_?", "", name)
        if name not in kinds and name != negated and kinds.get(negated) is bool and not has_value:
            values[negated] = False
            continue
        if name not in kinds:
            close = get_close_matches(name, kinds, 1, 0.5)
            raise UserError(f"there is no flag --{flag}", fix=f"did you mean --{close[0]}?" if close else "see --help")
        next_is_value = bool(words) and not words[0].startswith("--")
        if not has_value and kinds[name] is bool and not (next_is_value and words[0].lower() in _TRUTH):
            values[name] = True
            continue
        if not has_value:
            if not next_is_value:
                raise UserError(f"--{flag} needs a value", fix=f"--{flag} VALUE")
            text = words.pop(0)
        values[name] = _convert(flag, text, kinds[name])
    return values


def _convert(flag: str, text: str, kind: Any) -> Any:
    """Read a word as the flag's type; one pair of quotes around it, left by some shells, is taken off."""
    choices = get_args(kind)
    if NoneType in choices:
        return (
            None if text == "None" else _convert(flag, text, next(choice for choice in choices if choice != NoneType))
        )
    if get_origin(kind) is tuple:
        inside = text.strip().removeprefix("[").removeprefix("(").removesuffix("]").removesuffix(")")
        return tuple(_convert(flag, item.strip(), choices[0]) for item in inside.split(",") if item.strip())
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if get_origin(kind) is Literal:
        if text not in choices:
            raise UserError(f"--{flag} is {text!r}", fix=f"--{flag} {' | '.join(choices)}")
        return text
    if kind is bool and text.lower() not in _TRUTH:
        raise UserError(f"--{flag} is {text!r}, expected True or False", fix=f"--{flag}=True or --{flag}=False")
    converters: dict[Any, Callable[[str], Any]] = {bool: lambda word: _TRUTH[word.lower()], int: int, float: float}
    try:
        return converters.get(kind, str)(text)
    except ValueError as error:
        raise UserError(f"--{flag} is {text!r}, expected a number", fix=f"--{flag} NUMBER") from error


def flag_kinds(config: Any, originals: Mapping[str, Any]) -> dict[str, Any]:
    """Give the type of each flag: the original's, and those of today's settings, groups included."""
    kinds: dict[str, Any] = {name: kind for name, kind in _GONE.items() if name in originals}
    hints = get_type_hints(config)
    for field in fields(config):
        group = hints[field.name]
        kinds |= flag_kinds(group, {}) if is_dataclass(group) else {field.name: group}
    return kinds


def build_settings(config: Any, values: Mapping[str, Any]) -> Any:
    """Make the settings, groups included, from flat values; what is not among them keeps its default."""
    hints, arguments = get_type_hints(config), dict[str, Any]()
    for field in fields(config):
        if is_dataclass(hints[field.name]):
            arguments[field.name] = build_settings(hints[field.name], values)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return config(**arguments)


def print_help(program: str, verb: str, defaults: Mapping[str, Any]) -> None:
    """Print the original's flags with their defaults."""
    print(f"usage: python {program} [--flag value ...]\n\nThe original script's flags and defaults:")
    for name, default in defaults.items():
        print(f"  --{name:<24} {default!r}")
    print(f"\nEvery flag of `alpaca-lora {verb}` works too; `alpaca-lora {verb} --help` explains them.")


def print_notes(notes: Sequence[str], environment: Mapping[str, str]) -> None:
    """Say on standard error what is done differently from the original, once however many processes run."""
    if environment.get("RANK", environment.get("LOCAL_RANK", "0")) == "0":
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
