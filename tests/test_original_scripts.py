"""`finetune.py` and `generate.py` take the original command lines verbatim, and say what they do differently."""

from __future__ import annotations

import json
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alpaca_lora import original
from alpaca_lora.config import FinetuneConfig
from alpaca_lora.errors import UserError
from alpaca_lora.inference.settings import ChatConfig, UiConfig
from alpaca_lora.options import flatten
from alpaca_lora.original import finetune_settings, generate_settings, parse_flags

ROOT = Path(__file__).parents[1]
KINDS: dict[str, Any] = {
    "base_model": str,
    "batch_size": int,
    "learning_rate": float,
    "train_on_inputs": bool,
    "group_by_length": bool,
    "resume_from_checkpoint": str | None,
    "lora_target_modules": tuple[str, ...],
}


def _finetune(line: str, **environment: str) -> tuple[dict[str, Any], str]:
    config, notes = finetune_settings(shlex.split(line), environment)
    return flatten(config), "\n".join(notes)


# What the `fire` library 0.7 makes of these words, but for the last three: it reads "false" as a (true) text, and takes
# a lone name or number as it stands, where a list or text is meant.
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--train_on_inputs=False", {"train_on_inputs": False}),
        ("--train_on_inputs False", {"train_on_inputs": False}),
        ("--train_on_inputs", {"train_on_inputs": True}),
        ("--notrain_on_inputs", {"train_on_inputs": False}),
        ("--base-model a/b --batch-size=4", {"base_model": "a/b", "batch_size": 4}),
        ("--group_by_length --batch_size 8", {"group_by_length": True, "batch_size": 8}),
        ("--batch_size 8 --batch_size 9", {"batch_size": 9}),
        ("--lora_target_modules '[q_proj,v_proj]'", {"lora_target_modules": ("q_proj", "v_proj")}),
        ("""--lora_target_modules="['q_proj', 'k_proj']" """, {"lora_target_modules": ("q_proj", "k_proj")}),
        ("""--lora_target_modules "('q_proj','v_proj')" """, {"lora_target_modules": ("q_proj", "v_proj")}),
        ("--lora_target_modules q_proj,v_proj", {"lora_target_modules": ("q_proj", "v_proj")}),
        ("--learning_rate 1e-4", {"learning_rate": 1e-4}),
        ("--resume_from_checkpoint None", {"resume_from_checkpoint": None}),
        ("--resume_from_checkpoint runs/a=b", {"resume_from_checkpoint": "runs/a=b"}),
        ("""--base_model "'x/y'" """, {"base_model": "x/y"}),
        ("--base_model ''", {"base_model": ""}),
        ("--train_on_inputs false", {"train_on_inputs": False}),
        ("--lora_target_modules q_proj", {"lora_target_modules": ("q_proj",)}),
        ("--base_model 123", {"base_model": "123"}),
    ],
)
def test_flags_are_read_as_fire_reads_them(line: str, expected: dict[str, Any]) -> None:
    assert parse_flags(shlex.split(line), KINDS) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--batch_sise 4", "did you mean --batch_size?"),
        ("--qqq", "there is no flag --qqq"),
        ("--nobatch_size", "there is no flag --nobatch_size"),
        ("a/b", "'a/b' belongs to no flag"),
        ("--train_on_inputs maybe", "'maybe' belongs to no flag"),
        ("--train_on_inputs=maybe", "expected True or False"),
        ("--batch_size four", "expected a number"),
        ("--batch_size --train_on_inputs", "--batch_size needs a value"),
        ("--batch_size", "--batch_size needs a value"),
    ],
)
def test_what_cannot_be_read_is_an_error(line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_flags(shlex.split(line), KINDS)
    assert message in str(caught.value)


def test_defaults_are_the_originals() -> None:
    settings, _ = _finetune("--base_model some/base")
    expected = {
        "base_model": "some/base", "data_path": "yahma/alpaca-cleaned", "output_dir": "./lora-alpaca",
        "batch_size": 128, "micro_batch_size": 4, "num_epochs": 3, "learning_rate": 3e-4, "cutoff_len": 256,
        "val_set_size": 2000, "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.05,
        "lora_target_modules": ("q_proj", "v_proj"), "train_on_inputs": True, "resume_from_checkpoint": None,
        "prompt_template_name": "alpaca", "warmup_steps": 100, "lr_schedule": "linear", "weight_decay": 0,
        "max_grad_norm": 1, "logging_steps": 10, "eval_steps": 200, "save_steps": 200, "save_total_limit": 3,
        "seed": 42, "report_to": (), "truncation": "answer_tail", "quantization": "none", "use_rslora": False,
    }  # fmt: skip
    assert {name: settings[name] for name in expected} == expected


def test_the_original_readme_commands_run_verbatim() -> None:
    settings, notes = _finetune(
        "--base_model 'decapoda-research/llama-7b-hf' --data_path 'yahma/alpaca-cleaned' --output_dir './lora-alpaca' "
        "--batch_size 128 --micro_batch_size 4 --num_epochs 3 --learning_rate 1e-4 --cutoff_len 512 "
        "--val_set_size 2000 --lora_r 8 --lora_alpha 16 --lora_dropout 0.05 --lora_target_modules '[q_proj,v_proj]' "
        "--train_on_inputs --group_by_length"
    )
    assert (settings["learning_rate"], settings["cutoff_len"], settings["train_on_inputs"]) == (1e-4, 512, True)
    assert "--group_by_length: rows of one optimiser step" in notes
    settings, _ = _finetune(
        "--base_model='decapoda-research/llama-7b-hf' --num_epochs=10 --cutoff_len=512 --group_by_length "
        "--output_dir='./lora-alpaca' --lora_target_modules='[q_proj,k_proj,v_proj,o_proj]' --lora_r=16 "
        "--micro_batch_size=8"
    )
    assert settings["lora_target_modules"] == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert (settings["num_epochs"], settings["lora_r"], settings["micro_batch_size"]) == (10, 16, 8)
    page, _ = generate_settings(
        shlex.split("--load_8bit --base_model 'decapoda-research/llama-7b-hf' --lora_weights 'tloen/alpaca-lora-7b'"),
        {},
    )
    assert page.adapters.adapter == ("tloen/alpaca-lora-7b",)


def test_every_flag_of_the_finetune_verb_works_too() -> None:
    settings, _ = _finetune(
        "--max_steps 30 --dtype float32 --report_to tensorboard,wandb --use_rslora --base_revision v1"
    )
    assert (settings["max_steps"], settings["dtype"], settings["use_rslora"]) == (30, "float32", True)
    assert (settings["report_to"], settings["base_revision"]) == (("tensorboard", "wandb"), "v1")
    kinds = original.flag_kinds(FinetuneConfig, {})
    assert set(kinds) == set(flatten(FinetuneConfig()))
    with pytest.raises(UserError, match="is 'float8'"):
        _finetune("--dtype float8")


def test_what_is_done_differently_is_said() -> None:
    _, notes = _finetune("--base_model b")
    assert [line.split()[:3] for line in notes.splitlines()] == [
        ["the", "base", "is"],
        ["arithmetic", "is", "chosen"],
        ["rows", "are", "packed"],
        ["the", "adapter", "is"],
    ]
    assert "the base is not held in 8 bits" in notes
    assert "not always float16" in notes
    assert "the original put back the checkpoint of the lowest held-out loss" in notes
    assert "--packing none pads as the original did" in notes
    _, notes = _finetune("--quantization int8 --dtype float16 --val_set_size 0 --packing none")
    assert notes == ""
    _, notes = _finetune("--max_steps 30 --add_eos_token")
    assert "100 warm-up steps, as in the original, but --max_steps 30" in notes
    assert "--add_eos_token: nothing to add" in notes


def test_wandb_is_used_when_a_project_is_named() -> None:
    settings, notes = _finetune("--wandb_run_name r --wandb_watch gradients", WANDB_WATCH="all")
    assert settings["report_to"] == ()
    assert "wandb" not in notes
    settings, notes = _finetune("--wandb_project p --wandb_run_name r --wandb_watch gradients", WANDB_LOG_MODEL="true")
    assert (settings["report_to"], settings["project"], settings["run_name"]) == (("wandb",), "p", "r")
    assert "--wandb_watch gradients: W&B gets the gradient's norm" in notes
    assert "--wandb_log_model true: the adapter stays" in notes
    settings, notes = _finetune("--report_to wandb", WANDB_PROJECT="q", WANDB_WATCH="false")
    assert (settings["report_to"], settings["project"], settings["run_name"]) == (("wandb",), "q", None)
    assert "wandb_watch" not in notes


def test_base_model_comes_from_the_environment() -> None:
    assert _finetune("", BASE_MODEL="from/environment")[0]["base_model"] == "from/environment"
    assert _finetune("--base_model named", BASE_MODEL="from/environment")[0]["base_model"] == "named"
    assert generate_settings([], {"BASE_MODEL": "from/environment"})[0].model.base_model == "from/environment"


def _generate(line: str) -> tuple[ChatConfig | UiConfig, list[str]]:
    return generate_settings(shlex.split(line), {})


def test_generate_opens_the_page_with_the_originals_flags() -> None:
    config, notes = _generate("")
    assert isinstance(config, UiConfig)
    assert (config.adapters.adapter, config.adapters.prompt_template_name, config.model.quantization) == (
        ("tloen/alpaca-lora-7b",), None, "none",
    )  # fmt: skip
    assert (config.server_name, config.share_gradio) == ("127.0.0.1", False)
    assert ["--server_name 0.0.0.0" in note for note in notes] == [True]
    line = "--server_name 0.0.0.0 --share_gradio --lora_weights '' --prompt_template vigogne --server_port 8001"
    config, notes = _generate(line)
    assert isinstance(config, UiConfig)
    assert (config.server_name, config.share_gradio, config.server_port, notes) == ("0.0.0.0", True, 8001, [])
    assert (config.adapters.adapter, config.adapters.prompt_template_name) == ((), "vigogne")


def test_generate_answers_a_prompt_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "--prompt Hi --input there --temperature 0.5 --top_k 40 --lora_weights '' --prompt_template vigogne"
    config, notes = _generate(line)
    assert isinstance(config, ChatConfig)
    assert (config.prompt, config.input) == ("Hi", "there")
    assert (config.adapters.adapter, config.adapters.prompt_template_name) == ((), "vigogne")
    assert (config.sampling.temperature, config.sampling.top_k, notes) == (0.5, 40, [])
    monkeypatch.setattr(original, "can_hold_8bit", lambda: True)
    assert _generate("--load_8bit --prompt Hi")[0].model.quantization == "int8"
    monkeypatch.setattr(original, "can_hold_8bit", lambda: False)
    config, notes = _generate("--load_8bit --prompt Hi")
    assert config.model.quantization == "none"
    assert "--load_8bit: needs a CUDA card and bitsandbytes" in notes[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--temperature 0.5", "--temperature does nothing here\n  fix: it belongs to generate.py with --prompt"),
        ("--prompt Hi --votes v", "--votes does nothing here\n  fix: it belongs to generate.py without --prompt"),
    ],
)
def test_a_flag_of_the_other_way_to_ask_is_refused(line: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        _generate(line)
    assert str(caught.value) == message


@pytest.mark.parametrize("script", ["finetune.py", "generate.py"])
def test_an_error_exits_with_2_and_no_traceback(script: str) -> None:
    done = subprocess.run([sys.executable, script, "--base_modle", "x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean --base_model?" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("script", ["finetune.py", "generate.py"])
def test_help_lists_the_original_flags_without_torch(script: str) -> None:
    code = f"import sys, runpy; sys.argv = ['{script}', '--help']\ntry: runpy.run_path('{script}', run_name='__main__')"
    code += "\nexcept SystemExit as stop: assert not stop.code; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    defaults = original.FINETUNE_DEFAULTS if script == "finetune.py" else original.GENERATE_DEFAULTS
    assert all(f"--{flag} " in done.stdout for flag in defaults)


def _run(script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    return int(stop.value.code or 0)


def test_both_scripts_from_rows_to_an_answer(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}!"} for n in range(8)]
    data = tmp_path / "rows.json"
    data.write_text(json.dumps(rows), encoding="utf-8")
    monkeypatch.setenv("BASE_MODEL", str(tiny_llama))
    base = ["--data_path", str(data), "--output_dir", str(tmp_path / "out"), "--batch_size=4", "--device=cpu"]
    assert _run("finetune.py", base, monkeypatch) == 2
    assert "--val_set_size 7 is the largest that fits" in capfd.readouterr().err
    assert _run("finetune.py", [*base, "--val_set_size", "2", "--max_steps", "2"], monkeypatch) == 0
    recorded = json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))
    assert recorded["settings"]["cutoff_len"] == 256
    assert recorded["steps"] == 2
    capfd.readouterr()
    ask = ["--lora_weights", str(tmp_path / "out"), "--prompt", "Say 3.", "--max_new_tokens", "4", "--device=cpu"]
    assert _run("generate.py", ask, monkeypatch) == 0
    assert capfd.readouterr().out.strip()
