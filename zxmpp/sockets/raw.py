"""The `zmq.Socket` that a `Socket` hands out: any use of it makes the owner look again.

Rules:
- ZMQ_FD is edge-triggered, and reading EVENTS, sending or receiving by anybody may take the edge
  (zmq_getsockopt(3), ZMQ_FD). So each such call tells the owner, which looks on the next turn of
  the loop. It costs the caller one flag.
- A call from another thread is refused before it reaches libzmq, which would abort the process.
- What reaches libzmq past Python's methods (`zmq.Poller`, `zmq.proxy`, a shadow socket) can't tell:
  call the owner's `recheck` after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq

__all__ = ["WatchedSocket"]


class WatchedSocket(zmq.Socket[bytes]):
    """A `zmq.Socket` whose use is told to `on_use`, which raises in a wrong thread."""

    _repr_cls = "zxmpp.sockets.WatchedSocket"
    on_use: Callable[[], None] | None = None
    #: Called instead of closing: the owner takes its reader off the loop first.
    on_close: Callable[[int | None], None] | None = None

    def _used(self) -> None:
        if self.on_use is not None:
            self.on_use()

    def get(self, option: int) -> Any:
        self._used()
        return super().get(option)

    def set(self, option: int, optval: Any) -> None:
        self._used()
        super().set(option, optval)

    getsockopt = get
    setsockopt = set

    def recv(self, *args: Any, **kwargs: Any) -> Any:
        self._used()
        return super().recv(*args, **kwargs)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self._used()
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> Any:
        self._used()
        return super().send(*args, **kwargs)

    def poll(self, *args: Any, **kwargs: Any) -> int:
        self._used()
        return super().poll(*args, **kwargs)

    def bind(self, addr: str) -> Any:
        self._used()
        return super().bind(addr)

    def connect(self, addr: str) -> Any:
        self._used()
        return super().connect(addr)

    def unbind(self, addr: str | bytes) -> None:
        self._used()
        super().unbind(addr)

    def disconnect(self, addr: str | bytes) -> None:
        self._used()
        super().disconnect(addr)

    def close(self, linger: int | None = None) -> None:
        self._used()
        if self.on_close is not None:
            self.on_close(linger)
        else:
            super().close(linger)

    def __del__(self) -> None:
        # The owner warns; a second warning would only blur the first.
        self.on_use = self.on_close = None
        if not self.closed:
            super().close(0)
