"""A client on a bare socket that keeps a window of messages under way and times their way back.

Rules:
- It must not be what limits the rate: no XML parser, one regular expression on what comes in, one
  write for what goes out because of it.
- An error in answer to a message ends the run, and so does a silence of `LIMIT` seconds.
"""

from __future__ import annotations

import base64
import re
import socket
import time
from types import TracebackType
from typing import Self

__all__ = ["Driver"]

#: Seconds after which something is broken.
LIMIT = 30
HEADER = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
    "version='1.0' to='{host}'>"
)
_NUMBER = re.compile(rb"<body>(\d+) ")
_ERROR = re.compile(rb"type=['\"]error")


class Driver:
    """A client that is logged in; closes with the block."""

    def __init__(self, port: int, jid: str, password: str) -> None:
        user, _, host = jid.partition("@")
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        sasl = "urn:ietf:params:xml:ns:xmpp-sasl"
        self._exchange(HEADER.format(host=host), b"</stream:features>")
        self._exchange(f"<auth xmlns='{sasl}' mechanism='PLAIN'>{secret}</auth>", b"<success")
        self._exchange(HEADER.format(host=host), b"</stream:features>")
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
        self._exchange(f"<iq type='set' id='bind'>{bind}</iq>", b"</iq>")
        self._exchange("<presence/>", b"<presence")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._socket.close()

    def _exchange(self, text: str, sign: bytes) -> None:
        self._socket.sendall(text.encode())
        answer = b""
        while sign not in answer:
            answer += self._receive()

    def _receive(self) -> bytes:
        data = self._socket.recv(262144)
        if not data:
            raise SystemExit("the server closed the driver's connection")
        return data

    def load(self, to: str, seconds: float, window: int) -> list[float]:
        """Keep `window` messages under way to `to`; the seconds that each took, both ways."""
        clock = time.perf_counter
        head = f"<message to='{to}' type='chat'><body>"
        sent: dict[int, float] = {}
        trips: list[float] = []
        number = 0
        rest = b""

        def send(count: int) -> None:
            nonlocal number
            now = clock()
            numbers = range(number, number + count)
            number += count
            sent.update(dict.fromkeys(numbers, now))
            text = "".join(f"{head}{n} Is anybody there?</body></message>" for n in numbers)
            self._socket.sendall(text.encode())

        end = clock() + seconds
        send(window)
        while sent:
            data = rest + self._receive()
            now = clock()
            if _ERROR.search(data):
                raise SystemExit(f"{to} is not there, or refuses: {data[:500]!r}")
            back, last = 0, 0
            for found in _NUMBER.finditer(data):
                began = sent.pop(int(found[1]), None)
                last = found.end()
                if began is not None:
                    trips.append(now - began)
                    back += 1
            rest = data[last:]
            if back and now < end:
                send(back)
        return trips
