"""Fixtures for sockets: a context that must end without anything left open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.sockets.helpers import LIMIT
from zxmpp.sockets import Socket


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    """A context of this test's own. It can only end when every socket of it was closed."""
    context: zmq.Context[Any] = zmq.Context()
    yield context
    ender = threading.Thread(target=context.term, daemon=True)
    ender.start()
    ender.join(LIMIT)
    assert not ender.is_alive(), "a socket was left open: the context can't end"


@pytest.fixture
def opened(context: zmq.Context[Any]) -> Iterator[Callable[..., Socket]]:
    """``opened("PULL", bind=...)`` makes a Socket that is closed after the test."""
    sockets: list[Socket] = []

    def open_socket(kind: Any, name: str = "", **more: Any) -> Socket:
        socket = Socket(kind, name=name or f"s{len(sockets)}", context=context, **more)
        sockets.append(socket)
        return socket

    yield open_socket
    for socket in sockets:
        socket.close(0)


@pytest.fixture
def peer(context: zmq.Context[Any]) -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """``peer(zmq.PUSH, connect=...)`` makes a plain pyzmq socket, closed after the test."""
    sockets: list[zmq.Socket[bytes]] = []

    def open_peer(kind: int, connect: str = "", **options: Any) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = context.socket(kind)
        sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        for key, value in options.items():
            socket.setsockopt(getattr(zmq, key.upper()), value)
        if connect:
            socket.connect(connect)
        return socket

    yield open_peer
    for socket in sockets:
        socket.close(0)


@pytest.fixture
def addresses(tmp_path: Path) -> dict[str, str]:
    """An address to bind for each transport."""
    return {
        "tcp": "tcp://127.0.0.1:*",
        "ipc": f"ipc://{tmp_path}/s",
        "inproc": f"inproc://{tmp_path.name}",
    }
