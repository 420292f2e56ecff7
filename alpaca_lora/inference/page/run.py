"""Serve the page until Ctrl-C."""

from __future__ import annotations

import os
import socket
import threading
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING

from alpaca_lora.errors import UserError
from alpaca_lora.inference.models import Models, show_notes
from alpaca_lora.inference.settings import UiConfig
from alpaca_lora.inference.torch_engine import TorchEngine

if TYPE_CHECKING:
    import gradio as gr

_ONLY_FROM_HERE = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:\">"
)
"""Whatever a model writes, such as the address of a picture, the browser loads nothing from other servers."""


def ui(config: UiConfig) -> None:
    """Load the models, open the page, and answer until Ctrl-C."""
    if find_spec("gradio") is None:
        raise UserError("the page needs Gradio, which is not installed", fix="pip install 'alpaca-lora[ui]'")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    port = find_port(config.server_name, config.server_port)
    models = Models(config.model, config.adapters)
    show_notes(models.notes)
    from alpaca_lora.inference.page.app import create_page

    engine = TorchEngine(models, config.limits)
    blocks = create_page(models, engine, config)
    try:
        address = open_page(blocks, config, port)
        print(f"the page is at {address}")
        if config.share_gradio:
            print("anybody who has a public address can open it, and all that is typed passes Gradio's servers")
        elif config.server_name in ("127.0.0.1", "localhost"):
            print("only this machine can open it; --server_name 0.0.0.0 lets in everybody who reaches this machine")
        print("Ctrl-C ends it", flush=True)
        threading.Event().wait()
    finally:
        engine.close()
        blocks.close(verbose=False)


def open_page(blocks: gr.Blocks, config: UiConfig, port: int) -> str:
    """Serve a page in a thread of its own; give its address."""
    folder = resources.files("alpaca_lora") / "assets" / "page"
    from gradio.themes import Default

    _, local, public = blocks.launch(
        server_name=config.server_name,
        server_port=port,
        share=config.share_gradio,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        ssr_mode=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=1,  # byte: nothing here takes files, but Gradio's upload is always there
        max_threads=config.limits.slots + config.limits.queue + 40,
        theme=Default(primary_hue="indigo", font=["system-ui", "sans-serif"], font_mono=["monospace"]).set(
            block_info_text_color="*neutral_500", body_text_color_subdued="*neutral_500"
        ),
        css=(folder / "style.css").read_text(encoding="utf-8"),
        js=(folder / "keys.js").read_text(encoding="utf-8"),
        head=_ONLY_FROM_HERE,
    )
    if config.share_gradio and not public:
        raise UserError("Gradio gave no public link", why="its servers could not be reached", fix="try again later")
    return public or local


def find_port(address: str, port: int) -> int:
    """Make sure that an address and port are free, 0 takes a free port; raise `UserError` where they are not."""
    if ":" in address:
        raise UserError(
            f"--server_name {address}: Gradio listens on IPv4 only", fix="--server_name 127.0.0.1 or 0.0.0.0"
        )
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UserError(
            f"{address}:{port} cannot be listened on: {error.strerror}",
            fix="another --server_port, or 0 for a free one; --server_name is an address of this machine",
        ) from error
