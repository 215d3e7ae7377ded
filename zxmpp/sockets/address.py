"""Whether an address is one that ZeroMQ can bind or connect to, said before anything is opened.

Rules:
- Only what is surely wrong is refused here; libzmq has the last word when the socket is opened.
- Sources: zmq_tcp(7), zmq_ipc(7), zmq_inproc(7), zmq_tipc(7), unix(7) for the length of a path.
"""

from __future__ import annotations

import difflib
import errno
import socket
import stat
from pathlib import Path

import zmq

__all__ = ["check_address", "ipc_listener"]

#: Longest path of a Unix socket: sizeof(sun_path) - 1.
MAX_IPC_PATH = 107
#: Longest inproc name, zmq_inproc(7).
MAX_INPROC_NAME = 256

_TRANSPORTS = ["tcp", "ipc", "inproc", *(t for t in ("ws", "wss", "tipc", "vmci") if zmq.has(t))]


def check_address(address: str, *, bind: bool) -> str:
    """Empty if `address` may be right, else what is wrong with it and the remedy."""
    transport, found, rest = address.partition("://")
    if not found:
        return "has no transport; write for example tcp://127.0.0.1:5556 or ipc:///run/bot.sock"
    if transport not in _TRANSPORTS:
        near = difflib.get_close_matches(transport, _TRANSPORTS[:3], 1)
        hint = f"did you mean {near[0]}://?" if near else "use one of " + ", ".join(_TRANSPORTS)
        return f"has the unknown transport {transport!r}; {hint}"
    if "\0" in address:
        return "holds a zero byte; remove it"
    if transport == "tcp":
        return _check_tcp(rest, bind)
    if not rest:
        return f"has nothing after {transport}://; name the endpoint"
    if transport == "ipc":
        if len(rest.encode()) > MAX_IPC_PATH:
            return f"has a path of more than {MAX_IPC_PATH} bytes; choose a shorter one"
        if rest == "*" and not bind:
            return "has a wildcard, which can't be connected to; name the path"
    if transport == "inproc" and len(rest.encode()) > MAX_INPROC_NAME:
        return f"has a name of more than {MAX_INPROC_NAME} bytes; choose a shorter one"
    return ""


def _check_tcp(rest: str, bind: bool) -> str:
    if ";" in rest and not bind:  # source;destination, zmq_tcp(7)
        rest = rest.partition(";")[2]
    host, found, port = rest.rpartition(":")
    if not found or not port:
        return "has no port; write tcp://HOST:PORT" + (" (or :* for any free one)" if bind else "")
    if not host:
        return "has no host; write tcp://127.0.0.1:PORT" + (" or tcp://*:PORT" if bind else "")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        return "has an IPv6 address without brackets; write tcp://[::1]:PORT and set ipv6 = true"
    if bind and port in ("*", "0"):
        return ""
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return f"has the port {port!r}; it is a number from 1 to 65535"
    if host == "*" and not bind:
        return "has the host *, which can't be connected to; name the peer's host"
    return ""


def ipc_listener(address: str) -> bool:
    """Whether somebody listens at an ``ipc://`` address: libzmq would take the path from them."""
    transport, _, path = address.partition("://")
    if transport != "ipc" or path in ("", "*") or path.startswith("@"):
        return False
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # EAGAIN: there is a listener, and its backlog is full.
        return probe.connect_ex(path) in (0, errno.EAGAIN)
