"""The other end of a stream in memory: what comes in, and what becomes of what goes out.

Rules:
- What is sent is counted and thrown away; only what a component asks its own address comes back, as
  from a server.
- Stanzas come in `BATCH` at a time, from as many senders.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from zxmpp.testing.transport import MemoryTransport

__all__ = ["BATCH", "DOMAIN", "MARKS", "NullTransport", "Wire", "batch", "timed"]

#: Stanzas in one read.
BATCH = 50
#: Seconds after which something is broken.
LIMIT = 60
DOMAIN = "bench.localhost"
_OWN_ADDRESS = f'to="{DOMAIN}"'.encode()
#: What a component asks itself through the server.
_TO_ITSELF = re.compile(rf'<iq [^>]*\bto="{re.escape(DOMAIN)}"[^>]*(?:/>|>.*?</iq>)'.encode())

_FRAME = f"from='user{{0}}@localhost/phone' to='{DOMAIN}' id='id{{0}}'"
STANZAS = {
    "message": f"<message {_FRAME} type='chat'><body>Is anybody there?</body></message>",
    "presence": f"<presence {_FRAME}><show>away</show><status>out for lunch</status></presence>",
    "iq_get": f"<iq {_FRAME} type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
    "iq_result": f"<iq {_FRAME} type='result'><query xmlns='urn:example:weather'/></iq>",
    "unhandled": f"<message {_FRAME} type='chat'><x xmlns='urn:example:nobody'/></message>",
    "command": f"<message {_FRAME} type='chat'><body>!command0 tea</body></message>",
}
#: What one reply has on the wire, once.
MARKS = {"message": b"</message>", "presence": b"<presence ", "iq_get": b'type="result"'}


def batch(kind: str, numbers: Iterable[int] = range(BATCH)) -> str:
    return "".join(STANZAS[kind].format(number) for number in numbers)


class Wire:
    """The server's end: counts what arrives there, and sets `enough` at the number awaited."""

    def __init__(self, say: Callable[[str], Any]) -> None:
        self._say = say
        self._mark = b""
        self._left = 0
        self.enough = asyncio.Event()

    def expect(self, mark: bytes, count: int) -> None:
        self._mark, self._left = mark, count
        self.enough.clear()

    def take(self, data: bytes) -> None:
        if _OWN_ADDRESS in data:
            for question in _TO_ITSELF.findall(data):
                asyncio.get_running_loop().call_soon(self._say, question.decode())
            data = _TO_ITSELF.sub(b"", data)
        if self._left > 0:
            self._left -= data.count(self._mark)
            if self._left <= 0:
                self.enough.set()

    async def all_there(self) -> None:
        async with asyncio.timeout(LIMIT):
            await self.enough.wait()


class NullTransport(MemoryTransport):
    """Keeps nothing."""

    def __init__(self, xmpp: Any, wire: Wire) -> None:
        super().__init__(xmpp)
        self._wire = wire

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._wire.take(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._wire.take(b"".join(list_of_data))


async def timed(seconds: float, one_batch: Callable[[], AsyncIterator[None]]) -> float:
    """Stanzas a second of processor time; what `one_batch` does until its first yield is free."""
    spent, count = 0.0, 0
    while spent < seconds:
        turn = one_batch()
        await anext(turn)
        began = time.process_time()
        await anext(turn, None)
        spent += time.process_time() - began
        count += BATCH
    return count / spent
