"""The verb `ui`: what it needs, says, and how it ends."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import urllib.request
from typing import Any

import pytest
from page_driver import TOY

from alpaca_lora.errors import UserError
from alpaca_lora.inference.page import run
from alpaca_lora.inference.page.run import find_port, ui
from alpaca_lora.inference.settings import UiConfig


def test_without_gradio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"(?s)Gradio.*pip install 'alpaca-lora\[ui\]'"):
        ui(UiConfig(model=TOY))


def test_a_taken_port_and_a_strange_address_are_refused_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(run, "Models", load)
    monkeypatch.setattr(run, "find_spec", lambda name: True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"127.0.0.1:{port} cannot be listened on"):
            ui(UiConfig(model=TOY, server_port=port))
    with pytest.raises(UserError, match=r"192\.0\.2\.1:7860 cannot be listened on"):
        ui(UiConfig(model=TOY, server_name="192.0.2.1"))
    with pytest.raises(UserError, match="IPv4 only"):
        ui(UiConfig(model=TOY, server_name="::1"))
    assert find_port("127.0.0.1", port) == port
    assert find_port("127.0.0.1", 0) > 0


def test_it_tells_its_address_answers_there_and_ends_at_ctrl_c() -> None:
    pytest.importorskip("gradio", reason="gradio is not installed")
    words = ["ui", "--base_model", "alpaca-tiny", "--server_port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "alpaca_lora", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        assert process.stderr
        assert select.select([process.stdout], [], [], 120)[0]
        first, second = process.stdout.readline(), process.stdout.readline()
        assert first.startswith("the page is at http://127.0.0.1:")
        assert "--server_name 0.0.0.0" in second
        with urllib.request.urlopen(first.split()[4], timeout=30) as page:
            assert b"Alpaca-LoRA" in page.read()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
        assert (process.returncode, said[1].splitlines()[-1:]) == (130, ["stopped"])
        assert "Traceback" not in said[1]
    finally:
        process.kill()
        process.wait()
