"""The HTTP server around the app."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from alpaca_lora.inference.engine import Engine

_LAST_WORDS_SECONDS = 3
"""For clients that do not take what is sent to them when the server ends."""


class Listener(uvicorn.Server):
    """Says when it listens; cancels what is being answered when it is to end, instead of waiting for it."""

    def __init__(self, app: FastAPI, engine: Engine, announce: Callable[[], object]) -> None:
        super().__init__(
            uvicorn.Config(
                app, log_config=None, log_level="warning", access_log=False, lifespan="off", ws="none",
                server_header=False, timeout_graceful_shutdown=_LAST_WORDS_SECONDS,
            )
        )  # fmt: skip
        self._engine = engine
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more requests, and end those that are there."""
        closing = asyncio.create_task(asyncio.to_thread(self._engine.close))
        await super().shutdown(sockets)
        await closing


def run_until_stopped(app: FastAPI, engine: Engine, listener: socket.socket, announce: Callable[[], object]) -> None:
    """Serve until SIGINT or SIGTERM, which is raised again when all is closed.

    Args:
        listener: a socket that listens already.
        announce: called once when requests are answered.
    """
    Listener(app, engine, announce).run([listener])
