"""Makes a ZeroMQ socket with its options and addresses, or nothing at all.

Rules:
- Whatever fails, nothing stays open, and the error names socket, address, reason and remedy.
- An ``ipc://`` path at which somebody listens is in use: libzmq would take it from them.
"""

from __future__ import annotations

import errno
from typing import Any

import zmq

from zxmpp.errors import ConfigError, SocketError
from zxmpp.sockets.address import ipc_listener
from zxmpp.sockets.raw import WatchedSocket
from zxmpp.sockets.settings import SocketSettings

__all__ = ["make", "plug"]

_REMEDIES = {
    errno.EADDRINUSE: "stop what uses it, or choose another address",
    errno.EADDRNOTAVAIL: "this machine has no such address; bind to one that it has, or to *",
    errno.ENODEV: "this machine has no such interface or host; bind to one that it has, or to *",
    errno.EAGAIN: "the host can't be resolved; bind to an IP address or interface that is here",
    errno.EACCES: "this user may not; choose a port above 1023, or a folder that it may write to",
    errno.ENOENT: "make the folder of the ipc path first",
    errno.EINVAL: "look at how the address is written",
    zmq.EPROTONOSUPPORT: "this build of libzmq lacks the transport; use tcp or ipc",
    zmq.ENOCOMPATPROTO: "this transport does not go with this type of socket; use tcp or ipc",
    errno.EMFILE: "too many sockets are open; close some, or raise ulimit -n",
}


def failure(name: str, doing: str, error: zmq.ZMQError) -> SocketError:
    """What the user is told of `error`."""
    reason = zmq.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0, "see zmq_bind(3) and zmq_connect(3)")
    return SocketError(f"socket {name} can't {doing}: {reason}; {remedy}")


def make(settings: SocketSettings, name: str, context: zmq.Context[Any]) -> WatchedSocket:
    """A socket with its options set, without addresses."""
    options = settings.all_options(name)
    try:
        raw: WatchedSocket = context.socket(settings.kind, WatchedSocket)
    except zmq.ZMQError as error:
        raise failure(name, "be opened", error) from error
    try:
        for option, value in options.items():
            try:
                raw.set(zmq.SocketOption[option], value)
            except zmq.ZMQError as error:
                raise ConfigError(
                    f"socket {name}: ZeroMQ refuses {option.lower()} on a {settings.type} socket "
                    f"({zmq.strerror(error.errno or 0)}); see zmq_setsockopt(3)"
                ) from error
        if settings.kind == zmq.SUB:
            for topic in (b"",) if settings.subscribe is None else settings.subscribe:
                raw.set(zmq.SUBSCRIBE, topic)
    except BaseException:
        raw.close(0)
        raise
    return raw


def plug(raw: WatchedSocket, settings: SocketSettings, name: str) -> tuple[str, ...]:
    """Bind and connect `raw`; returns the addresses that it is bound to, wildcards filled in."""
    bound: list[str] = []
    for address in settings.bind:
        if ipc_listener(address):
            raise SocketError(
                f"socket {name} can't bind {address}: somebody listens there; "
                f"{_REMEDIES[errno.EADDRINUSE]}"
            )
        try:
            raw.bind(address)
        except zmq.ZMQError as error:
            raise failure(name, f"bind {address}", error) from error
        bound.append(raw.get(zmq.LAST_ENDPOINT).decode("utf-8", "replace"))
    for address in settings.connect:
        try:
            raw.connect(address)
        except zmq.ZMQError as error:
            raise failure(name, f"connect to {address}", error) from error
    if settings.kind == zmq.XSUB:
        for topic in settings.subscribe or ():
            raw.send(b"\x01" + topic, zmq.NOBLOCK)
    return tuple(bound)
