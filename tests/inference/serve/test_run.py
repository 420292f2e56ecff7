"""The verb: what it refuses before it loads anything, and the command from its first line to Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from types import ModuleType
from typing import Any

import openai
import pytest

from alpaca_lora.errors import UserError
from alpaca_lora.inference.serve.run import KEY_VARIABLE, listen, serve
from alpaca_lora.inference.settings import AdaptersConfig, ServeConfig


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_other_addresses_need_a_key(host: str) -> None:
    with pytest.raises(UserError, match="there is no key"):
        serve(ServeConfig(host=host))


@pytest.mark.parametrize("key", ["two words", "schlüssel", "a\nb"])
def test_a_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(UserError, match="characters that an HTTP header cannot"):
        serve(ServeConfig(api_key=key))


def test_files_for_another_engine_are_refused() -> None:
    with pytest.raises(UserError, match="the engine is transformers"):
        serve(ServeConfig(gguf="a.gguf"))


@pytest.mark.parametrize("option", ["merge_adapter", "compile_step"])
@pytest.mark.parametrize("engine", ["llama.cpp", "vllm"])
def test_options_that_another_engine_would_not_heed_are_refused(engine: Any, option: str) -> None:
    with pytest.raises(UserError, match=f"--{option} is for the engine transformers"):
        serve(ServeConfig(engine=engine, adapters=AdaptersConfig(**{option: True})))


@pytest.mark.parametrize("name", ["fastapi", "uvicorn", "prometheus_client"])
def test_missing_packages_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"alpaca-lora\[serve\]"):
        serve(ServeConfig())


def test_a_taken_port_is_told_before_the_model_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            serve(ServeConfig(port=port))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_addresses_of_this_machine_need_none(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listener, pytest.raises(UserError, match="cannot listen"):
        serve(ServeConfig(host=host, port=listener.getsockname()[1]))  # it comes as far as to the port


def test_vllm_is_launched_with_the_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[ServeConfig] = []
    module: Any = ModuleType("alpaca_lora.inference.vllm")
    module.run_vllm = launched.append
    monkeypatch.setitem(sys.modules, "alpaca_lora.inference.vllm", module)
    monkeypatch.setenv(KEY_VARIABLE, "sesame\n")
    serve(ServeConfig(engine="vllm", host="0.0.0.0"))
    assert launched == [ServeConfig(engine="vllm", host="0.0.0.0", api_key="sesame")]


def test_the_command_answers_until_ctrl_c() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "alpaca_lora", "serve", "--base_model", "alpaca-tiny", "--port", "0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", KEY_VARIABLE: "sesame"},
    )
    try:
        assert process.stdout
        first = process.stdout.readline()
        found = re.fullmatch(r"alpaca-tiny answers at (http://127\.0\.0\.1:\d+/v1) as base\n", first)
        assert found, first
        assert "--host 0.0.0.0" in process.stdout.readline()
        with openai.OpenAI(base_url=found[1], api_key="sesame", max_retries=0) as client:
            question: Any = {"role": "user", "content": "the"}
            stream = client.chat.completions.create(
                model="base", messages=[question], stream=True, max_tokens=2000, temperature=2, seed=1
            )
            assert next(stream).choices[0].delta.role == "assistant"
            assert next(stream).choices[0].delta.content
            process.send_signal(signal.SIGINT)
            with pytest.raises(openai.APIError, match="the server ends"):
                list(stream)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors == "stopped\n"
