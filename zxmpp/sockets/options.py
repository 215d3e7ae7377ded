"""ZeroMQ's socket options by name: which there are, of which type, with which defaults.

Rules:
- A name is taken in any case, with or without ``ZMQ_``: ``sndhwm``, ``RCVHWM``, ``zmq_linger``.
- A secret is never written in the configuration: ``<option>_env`` names an environment variable,
  ``<option>_file`` a file. It is read when the socket is opened and kept nowhere.
- `DEFAULTS` holds what libzmq leaves open and we do not; whatever the user sets comes first.
- Source: zmq_setsockopt(3) of libzmq 4.3.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

import zmq

__all__ = [
    "SECRETS",
    "OptionValue",
    "check_option",
    "defaults",
    "option_name",
    "option_names",
    "read_secret",
]

OptionValue: TypeAlias = int | bytes

#: Options whose value is a secret.
SECRETS = frozenset({"CURVE_SECRETKEY", "PLAIN_PASSWORD", "SOCKS_PASSWORD"})

_REFUSED = {
    **dict.fromkeys(["FD", "EVENTS", "TYPE", "RCVMORE", "LAST_ENDPOINT"], "it can only be read"),
    **dict.fromkeys(["MECHANISM", "THREAD_SAFE", "TOPICS_COUNT"], "it can only be read"),
    **dict.fromkeys(["SUBSCRIBE", "UNSUBSCRIBE"], "write subscribe = [...] instead"),
    **dict.fromkeys(["RCVTIMEO", "SNDTIMEO"], "these sockets never wait; remove it"),
    "HWM": "write hwm = N, which sets both, or sndhwm and rcvhwm",
    "BLOCKY": "it belongs to the context; use linger",
    "WSS_KEY_PEM": "it is a secret and needs libzmq with TLS; use CURVE",
}

#: Milliseconds. A connection that says nothing for this long, ping included, is broken.
HEARTBEAT_IVL, HEARTBEAT_TIMEOUT = 15_000, 30_000
#: Milliseconds. How long a peer may take to shake hands.
HANDSHAKE_IVL = 10_000
#: Milliseconds. How long what libzmq has queued may hold up the end of the process.
LINGER = 1_000
#: Milliseconds. Attempts to connect become rarer up to this interval.
RECONNECT_IVL_MAX = 5_000


_OPTIONS = dict(zmq.SocketOption.__members__)


def option_name(key: str) -> str | None:
    """The canonical name of the option that `key` means, or None."""
    name = key.upper().replace("-", "_").removeprefix("ZMQ_")
    option = _OPTIONS.get(name)
    if option is None:
        return None
    # Aliases such as IDENTITY share their value with the real name.
    return option.name


def option_names() -> list[str]:
    """Every name that a table may hold, in lower case."""
    return [name.lower() for name in _OPTIONS if name not in _REFUSED and name not in SECRETS]


def check_option(name: str, value: object) -> OptionValue:
    """`value` as libzmq wants it. ValueError or TypeError say what is wrong."""
    reason = _REFUSED.get(name)
    if reason:
        raise ValueError(f"can't be set: {reason}")
    if name in SECRETS:
        low = name.lower()
        raise ValueError(f"is a secret; write {low}_env = VARIABLE or {low}_file = PATH instead")
    kind = _OPTIONS[name]._opt_type.value
    if kind == "bytes":
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
        raise TypeError(f"wants a text, not {value!r}")
    if not isinstance(value, int):  # bool is one: true for 1
        raise TypeError(f"wants a whole number (or true, false), not {value!r}")
    bits = 64 if kind == "int64" else 32
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise ValueError(f"wants a number of {bits} bits, not {value!r}")
    if name == "LINGER" and value < 0:
        raise ValueError(
            "must not be negative: the end of the process would hang; use milliseconds"
        )
    return int(value)


def defaults(kind: zmq.SocketType, connects: bool, max_message_bytes: int) -> dict[str, int]:
    """The options that a socket of this type has unless its user says otherwise."""
    chosen = {
        "MAXMSGSIZE": max_message_bytes,
        "HEARTBEAT_IVL": HEARTBEAT_IVL,
        "HEARTBEAT_TIMEOUT": HEARTBEAT_TIMEOUT,
        "HEARTBEAT_TTL": HEARTBEAT_TIMEOUT,
        "HANDSHAKE_IVL": HANDSHAKE_IVL,
        "LINGER": LINGER,
        "RECONNECT_IVL_MAX": RECONNECT_IVL_MAX,
    }
    if kind == zmq.ROUTER:
        # An unknown peer, or a full one, is an error to us instead of silence.
        chosen["ROUTER_MANDATORY"] = 1
    if connects and kind == zmq.PUSH:
        # Without a peer nothing goes into libzmq's queue, where nobody would see it wait. Not so for
        # types that receive, too: with it libzmq 4.3 throws away what has come and is not read yet
        # when the connection breaks.
        chosen["IMMEDIATE"] = 1
    return chosen


def read_secret(source: str) -> bytes:
    """The secret at ``env:VARIABLE`` or ``file:PATH``. ValueError says what is missing."""
    how, _, where = source.partition(":")
    if how == "env":
        value = os.environ.get(where, "")
        if not value:
            raise ValueError(f"wants the environment variable {where}, which is not set; export it")
        return value.encode()
    try:
        secret = Path(where).read_bytes().strip(b"\r\n")
    except OSError as error:
        raise ValueError(f"can't read {where}: {error.strerror or error}") from None
    if not secret:
        raise ValueError(f"wants a secret in {where}, which is empty; write it there")
    return secret
