"""The verb `serve`: checks, the engine, the address, and the server until Ctrl-C."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from alpaca_lora.errors import UserError
from alpaca_lora.inference.settings import ServeConfig

if TYPE_CHECKING:
    from alpaca_lora.inference.engine import Engine
    from alpaca_lora.inference.models import Prompts

KEY_VARIABLE = "ALPACA_LORA_API_KEY"
"""Environment variable that holds the key clients must send."""


def serve(config: ServeConfig) -> None:
    """Answer other programs over HTTP until Ctrl-C or SIGTERM, which cancels what is being answered."""
    key = config.api_key.strip() or os.environ.get(KEY_VARIABLE, "").strip()
    _check(config, key)
    if config.engine == "vllm":
        from alpaca_lora.inference.vllm import run_vllm

        run_vllm(replace(config, api_key=key))
        return
    if any(find_spec(name) is None for name in ("fastapi", "uvicorn", "prometheus_client")):
        raise UserError("serve needs packages that are not installed", fix="pip install 'alpaca-lora[serve]'")
    from alpaca_lora.inference.models import show_notes
    from alpaca_lora.inference.serve.app import create_app
    from alpaca_lora.inference.serve.listener import run_until_stopped

    with listen(config.host, config.port) as listener:
        prompts, engine = _engine(config)
        show_notes(prompts.notes)
        app = create_app(prompts, engine, config, key)
        run_until_stopped(app, engine, listener, lambda: _announce(config, prompts.base_name, engine, listener))


def listen(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded; who connects meanwhile waits. Raises `UserError` for a taken one."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise UserError(
            f"the server cannot listen on {host}, port {port}: {os.strerror(error.errno) if error.errno else error}",
            fix="another --port (0 takes a free one), or a --host that this machine has",
        ) from error


def _check(config: ServeConfig, key: str) -> None:
    if not key and not _is_loopback(config.host):
        raise UserError(
            f"--host {config.host} lets others in, and there is no key",
            why="anybody who reaches the port could use the model",
            fix=f"set the variable {KEY_VARIABLE}, or --host 127.0.0.1",
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError("the key holds characters that an HTTP header cannot", fix="use ASCII letters and digits")
    own = [name for name in ("merge_adapter", "compile_step") if getattr(config.adapters, name)]
    if own and config.engine != "transformers":
        raise UserError(
            f"--{own[0]} is for the engine transformers, the engine is {config.engine}",
            fix="leave it out; alpaca-lora export writes a merged model for other engines",
        )
    if config.engine != "llama.cpp" and (config.gguf or config.gguf_lora):
        raise UserError(
            f"--gguf and --gguf_lora are read by llama.cpp, the engine is {config.engine}", fix="--engine llama.cpp"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _engine(config: ServeConfig) -> tuple[Prompts, Engine]:
    """Load what answers."""
    from alpaca_lora.inference.models import Models, Prompts

    if config.engine == "llama.cpp":
        from alpaca_lora.inference.llama_engine import LlamaEngine

        prompts = Prompts(config.model, config.adapters)
        return prompts, LlamaEngine(prompts, config.limits, config.gguf, config.gguf_lora)
    from alpaca_lora.inference.torch_engine import TorchEngine

    models = Models(config.model, config.adapters)
    return models, TorchEngine(models, config.limits)


def _announce(config: ServeConfig, base_name: str, engine: Engine, listener: socket.socket) -> None:
    host = f"[{config.host}]" if ":" in config.host else config.host
    print(f"{base_name} answers at http://{host}:{listener.getsockname()[1]}/v1 as {', '.join(engine.names)}")
    if _is_loopback(config.host):
        print(f"only this machine can ask; for the network: a key in the variable {KEY_VARIABLE}, and --host 0.0.0.0")
    else:
        print("whoever has the key can ask; what is sent is not encrypted, which a reverse proxy can do")
    print("Ctrl-C ends it", flush=True)
