"""The command that starts vLLM. vLLM itself does not run here: a small program of its name stands in for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_model, write_adapter, write_base
from transformers import AutoTokenizer

from alpaca_lora.config import ModelConfig
from alpaca_lora.data.examples import Turn
from alpaca_lora.data.tokens import encode_prompt
from alpaca_lora.errors import UserError
from alpaca_lora.inference import vllm
from alpaca_lora.inference.models import Prompts
from alpaca_lora.inference.serve.run import serve
from alpaca_lora.inference.settings import AdaptersConfig, QueueConfig, ServeConfig
from alpaca_lora.inference.vllm import VllmCommand, run_vllm, vllm_command

KEY = "secret-of-the-test"
WAIT_SECONDS = 60
STAND_IN = """#!{python}
import json, os, signal, sys, time
def end(number, frame):
    raise SystemExit(40 + number)
signal.signal(signal.SIGINT, end)
with open("part", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "key": os.environ.get("VLLM_API_KEY")}}, file)
os.rename("part", "record.json")
time.sleep(60)
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders: `base`, adapters `one` of rank 4 and `two` of rank 12."""
    root = tmp_path_factory.mktemp("models")
    write_base(root / "base")
    for name, rank in (("one", 4), ("two", 12)):
        write_adapter(root / name, tiny_model(), str(root / "base"), lora_r=rank)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALPACA_LORA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _config(folders: Path, *adapters: str, **changes: Any) -> ServeConfig:
    places = tuple(str(folders / name) for name in adapters)
    config = ServeConfig(
        model=ModelConfig(base_model=str(folders / "base")), adapters=AdaptersConfig(adapter=places), engine="vllm"
    )
    return replace(config, **changes)


def _value(command: VllmCommand, flag: str) -> str:
    return command.arguments[command.arguments.index(flag) + 1]


def test_the_command_for_two_adapters(folders: Path, cache: Path) -> None:
    config = _config(folders, "one", "two", host="0.0.0.0", port=9000, api_key=KEY, limits=QueueConfig(slots=3))
    command = vllm_command(config)
    folder = str(command.folder)
    assert Path(folder).parent == cache / "vllm"
    assert command.arguments == [
        "vllm", "serve", str(folders / "base"), "--served-model-name", "base", "--host", "0.0.0.0", "--port", "9000",
        "--tokenizer", folder, "--chat-template", f"{folder}/chat_template.jinja", "--dtype", "auto",
        "--max-num-seqs", "3", "--generation-config", "vllm",
        "--override-generation-config", '{"max_new_tokens": 2048}',
        "--enable-lora", "--max-lora-rank", "16", "--max-loras", "2", "--max-cpu-loras", "2", "--lora-modules",
        json.dumps({"name": "one", "path": str(folders / "one")}),
        json.dumps({"name": "two", "path": str(folders / "two")}),
    ]  # fmt: skip
    assert command.environment == {"VLLM_API_KEY": KEY}
    assert not any(KEY in argument for argument in command.arguments)


def test_the_bare_base_has_no_lora_and_no_key(folders: Path) -> None:
    model = ModelConfig(base_model=str(folders / "base"), quantization="nf4", dtype="bfloat16", trust_remote_code=True)
    command = vllm_command(_config(folders, model=model))
    assert not [argument for argument in command.arguments if "lora" in argument.rsplit("/", 1)[-1]]
    assert _value(command, "--quantization") == "bitsandbytes"
    assert _value(command, "--dtype") == "bfloat16"
    assert "--trust-remote-code" in command.arguments
    assert command.environment == {}


@pytest.mark.parametrize(("rank", "expected"), [(1, "8"), (8, "8"), (9, "16"), (257, "320"), (321, "512")])
def test_the_smallest_allowed_rank(rank: int, expected: str, folders: Path, tmp_path: Path) -> None:
    _with_settings(folders / "one", tmp_path / "one", r=rank)
    assert _value(vllm_command(_config(folders, str(tmp_path / "one"))), "--max-lora-rank") == expected


def _with_settings(source: Path, target: Path, **settings: Any) -> None:
    target.mkdir()
    found = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    (target / "adapter_config.json").write_text(json.dumps(found | settings), encoding="utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"use_dora": True}, "it is a DoRA"),
        ({"modules_to_save": ["lm_head"]}, "replaces whole layers"),
        ({"rank_pattern": {"q_proj": 2}}, "ranks of their own"),
        ({"alpha_pattern": {"q_proj": 2}}, "scalings of their own"),
        ({"r": 513}, "rank 513 is above 512"),
    ],
)
def test_adapters_that_vllm_cannot_compute(
    settings: dict[str, Any], message: str, folders: Path, tmp_path: Path
) -> None:
    _with_settings(folders / "one", tmp_path / "one", **settings)
    with pytest.raises(UserError, match=message):
        vllm_command(_config(folders, str(tmp_path / "one")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"port": 0}, "which port"),
        ({"model": ModelConfig(quantization="int8")}, "4 bits only"),
        ({"model": ModelConfig(device="cpu")}, "not started on cpu"),
    ],
)
def test_settings_that_vllm_has_not(changes: dict[str, Any], message: str, folders: Path) -> None:
    with pytest.raises(UserError, match=message):
        vllm_command(_config(folders, **changes))


def test_adapters_of_different_prompts_are_served_apart(folders: Path, tmp_path: Path) -> None:
    _with_settings(folders / "two", tmp_path / "two")
    template = {"description": "", "prompt_input": "{instruction} {input} =>", "prompt_no_input": "{instruction} =>"}
    text = json.dumps(template | {"response_split": "=>"})
    (tmp_path / "two" / "prompt_template.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="one and two were trained with different prompts"):
        vllm_command(_config(folders, "one", str(tmp_path / "two")))
    assert vllm_command(_config(folders, str(tmp_path / "two"))).tokenizer.chat_template.count("=>") == 2


def test_an_end_that_vllm_does_not_know_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write_base(tmp_path / "base")
    monkeypatch.setattr(vllm, "end_token", lambda prompt: "<s>")
    with pytest.raises(UserError, match="would not end answers at <s>"):
        vllm_command(_config(tmp_path))
    (base / "generation_config.json").write_text('{"eos_token_id": [2, 1]}', encoding="utf-8")
    assert vllm_command(_config(tmp_path))


def test_without_vllm_it_says_what_to_install(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no program vllm"):
        run_vllm(_config(folders))


# --- the launch, with the stand-in -------------------------------------------------------------------------------


def test_the_launch(folders: Path, cache: Path, tmp_path: Path) -> None:
    """The stand-in gets arguments and key, then Ctrl-C; the exit code it ends with is ours."""
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "ALPACA_LORA_CACHE": str(cache),
        "ALPACA_LORA_API_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2]),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "alpaca_lora", "serve", "--engine", "vllm",
         "--base_model", str(folders / "base"), "--adapter", str(folders / "one")],
        cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + WAIT_SECONDS
    while not (tmp_path / "record.json").is_file() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 42, err
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["key"] == KEY
    assert record["arguments"][:2] == ["serve", str(folders / "base")]
    assert KEY not in json.dumps(record["arguments"]) + out + err
    assert out.startswith("VLLM_API_KEY=*** vllm serve ")
    assert "/invocations" in err
    _check_tokenizer(Path(record["arguments"][record["arguments"].index("--tokenizer") + 1]), folders)


def _check_tokenizer(place: Path, folders: Path) -> None:
    """What vLLM reads gives the ids of training."""
    config = ModelConfig(base_model=str(folders / "base"))
    prompts = Prompts(config, AdaptersConfig(adapter=(str(folders / "one"),)))
    messages = [{"role": "user", "content": "the  cat sat"}]
    read: Any = AutoTokenizer.from_pretrained(place)
    read.chat_template = (place / "chat_template.jinja").read_text(encoding="utf-8")
    found = read(read.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    assert found == encode_prompt(prompts.encoder, prompts.prompt("one"), [Turn("the  cat sat", "", "")], "")
    settings = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_no_other_address_without_a_key(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ALPACA_LORA_API_KEY", raising=False)
    with pytest.raises(UserError, match="lets others in, and there is no key"):
        serve(_config(folders, host="0.0.0.0"))
