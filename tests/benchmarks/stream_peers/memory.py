"""One candidate in memory, in a process of its own: ``memory.py stock|ours|bare|commands NUMBER``.

NUMBER is that of the plugins, for ``commands`` that of the commands. Each line on standard input,
``CASE SECONDS``, is answered by one with the stanzas per second of processor time.

Rules:
- The loop turns after each batch, as under load. What a case needs beforehand is not timed; its cost
  afterwards (replies on the wire, futures done) is.
- Nothing else runs here, so it is processor time that counts: others on the machine don't.
- Where stock is measured nothing of zxmpp's streams is imported.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from candidates import make_component
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from wire import BATCH, DOMAIN, MARKS, NullTransport, Wire, batch, timed

from zxmpp.testing.transport import feed, start_session

HEADER = (
    "<stream:stream xmlns='jabber:component:accept' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Stream:
    """A component with handlers that count or answer."""

    def __init__(self, kind: str, plugins: int) -> None:
        self.xmpp = make_component(kind, plugins, DOMAIN, "no secret")
        self.wire = Wire(lambda text: feed(self.xmpp, text))
        start_session(self.xmpp, transport=NullTransport(self.xmpp, self.wire))
        self.heard = 0
        self.answers = False
        self.ids = itertools.count()
        self.xmpp.add_event_handler("message", self._message)
        self.xmpp.add_event_handler("presence", self._presence)
        if "xep_0199" not in self.xmpp.plugin._enabled:
            path = f"{{{self.xmpp.default_ns}}}iq/{{urn:xmpp:ping}}ping"
            self.xmpp.register_handler(Callback("ping", MatchXPath(path), self._ping))

    def _message(self, message: Any) -> None:
        self.heard += 1
        if self.answers:
            message.reply("Yes, I am.").send()

    def _presence(self, presence: Any) -> None:
        self.heard += 1
        if self.answers:
            self.xmpp.send_presence(pto=presence["from"], pfrom=DOMAIN)

    def _ping(self, iq: Any) -> None:
        iq.reply().send()

    async def measure(self, case: str, seconds: float) -> float:
        if case == "iq_result":
            return await timed(seconds, self._results)
        if case.startswith("pending_"):
            async with self._pending(int(case.removeprefix("pending_"))):
                return await self.measure("message_in", seconds)
        if case == "single_in":
            self.answers = False
            reads = [batch("message", [number]).encode() for number in range(BATCH)]
            return await timed(seconds, lambda: self._heard(reads, BATCH))
        kind, _, way = case.rpartition("_") if case.endswith(("_in", "_inout")) else (case, "", "")
        self.answers = way == "inout"
        data = batch(kind).encode()
        if self.answers or kind == "iq_get":
            return await timed(seconds, lambda: self._answered(data, MARKS[kind]))
        return await timed(seconds, lambda: self._heard([data], BATCH if way else 0))

    async def _heard(self, reads: list[bytes], count: int) -> AsyncIterator[None]:
        before = self.heard
        yield
        for data in reads:
            self.xmpp.data_received(data)
        await asyncio.sleep(0)
        if self.heard - before != count:
            raise SystemExit(f"{self.heard - before} of {count} stanzas reached the handler")

    async def _answered(self, data: bytes, mark: bytes) -> AsyncIterator[None]:
        self.wire.expect(mark, BATCH)
        yield
        self.xmpp.data_received(data)
        await self.wire.all_there()

    async def _ask(self, count: int) -> tuple[str, list[asyncio.Future[Any]]]:
        """Send `count` requests; the answers, which have not come yet, and what waits for them."""
        numbers = list(itertools.islice(self.ids, count))
        self.wire.expect(b"urn:example:weather", count)
        waiting = []
        for number in numbers:
            iq = self.xmpp.make_iq_get("urn:example:weather", f"user{number}@localhost/phone")
            iq["from"], iq["id"] = DOMAIN, f"id{number}"
            waiting.append(iq.send())
        await self.wire.all_there()
        return batch("iq_result", numbers), waiting

    async def _results(self) -> AsyncIterator[None]:
        answers, waiting = await self._ask(BATCH)
        data = answers.encode()
        yield
        self.xmpp.data_received(data)
        await asyncio.sleep(0)
        _all_done(waiting)

    @asynccontextmanager
    async def _pending(self, count: int) -> AsyncIterator[None]:
        answers, waiting = await self._ask(count)
        yield
        feed(self.xmpp, answers)
        _all_done(waiting)


def _all_done(waiting: list[asyncio.Future[Any]]) -> None:
    if not all(future.done() for future in waiting):
        raise SystemExit("a result did not reach the one who waits for it")


class Bare:
    """Nothing but the parser: slixmpp's own, ElementTree's pull parser on expat."""

    def __init__(self) -> None:
        self._parser: Any = ET.XMLPullParser(("start", "end"))
        self._parser.feed(HEADER)
        ((_, self._root),) = self._parser.read_events()

    async def measure(self, case: str, seconds: float) -> float:
        if case == "single_in":
            reads = [batch("message", [number]).encode() for number in range(BATCH)]
        else:
            reads = [batch(case.removesuffix("_in")).encode()]
        return await timed(seconds, lambda: self._parsed(reads))

    async def _parsed(self, reads: list[bytes]) -> AsyncIterator[None]:
        yield
        depth, stanzas, root, parser = 1, 0, self._root, self._parser
        for data in reads:
            parser.feed(data)
            for event, _ in parser.read_events():
                if event == "start":
                    depth += 1
                else:
                    depth -= 1
                    if depth == 1:
                        stanzas += 1
                        root.clear()
        await asyncio.sleep(0)
        if stanzas != BATCH:
            raise SystemExit(f"{stanzas} of {BATCH} stanzas were parsed")


async def make(stack: AsyncExitStack, kind: str, number: int) -> Any:
    if kind == "bare":
        return Bare()
    if kind == "commands":
        from bot import Commanded, bot_with

        return Commanded(await stack.enter_async_context(bot_with(number)))
    return Stream(kind, number)


def main() -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        candidate = runner.run(make(stack, sys.argv[1], int(sys.argv[2])))
        # What lives as long as the process is not gone through again and again.
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        for line in sys.stdin:
            case, seconds = line.split()
            print(runner.run(candidate.measure(case, float(seconds))), flush=True)
        runner.run(stack.aclose())


if __name__ == "__main__":
    main()
