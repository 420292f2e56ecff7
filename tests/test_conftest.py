"""The guard that keeps tests off the network works, and leaves this machine's own addresses alone."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("host", ["example.invalid", "192.0.2.1", "2001:db8::1"])
def test_a_connection_beyond_this_machine_fails_the_test(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=f"opened a connection to {host}"):
        socket.create_connection((host, 80), timeout=1)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as plain, pytest.raises(pytest.fail.Exception):
        plain.connect((host, 80))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_connection_to_this_machine_works(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), timeout=5) as client:
            assert client.getpeername()[1] == port
