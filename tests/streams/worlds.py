"""A stream in a world of its own, which runs a program and tells all that could be observed.

A program is data (see `programs`), so that slixmpp's stream and zxmpp's can run the same one.
"""

from __future__ import annotations

import asyncio
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, TypeAlias
from unittest.mock import patch

import slixmpp
from slixmpp import JID
from slixmpp.exceptions import XMPPError
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.xmlstream import ElementBase, StanzaBase, register_stanza_plugin
from slixmpp.xmlstream.handler import (
    Callback,
    Collector,
    CoroutineCallback,
    Waiter,
    XMLCallback,
    XMLWaiter,
)
from slixmpp.xmlstream.matcher import MatcherId, MatchMany, MatchXMLMask, MatchXPath, StanzaPath
from slixmpp.xmlstream.matcher.idsender import MatchIDSender

import zxmpp.streams
from tests.streams.parts import (
    CLASSES,
    PLUGINS,
    Do,
    Duck,
    Heir,
    Make,
    OwnHandler,
    OwnMatcher,
    OwnPath,
    Talk,
    Want,
    add_alpha,
)
from zxmpp.testing.transport import start_session

#: What was observed, in order.
Seen: TypeAlias = list[tuple[Any, ...]]

ROOTS = (Message, Iq, Presence)
_MAPS = ("plugin_attrib_map", "plugin_tag_map", "plugin_iterables", "plugin_overrides")


_MATCHERS: dict[str, Callable[[World, Any], Any]] = {
    "path": lambda world, value: StanzaPath(value),
    "xpath": lambda world, value: MatchXPath(value),
    "mask": lambda world, value: MatchXMLMask(*value),
    "id": lambda world, value: MatcherId(value),
    "sender": lambda world, value: MatchIDSender(
        {"id": value[0], "self": world.xmpp.boundjid, "peer": JID(value[1])}
    ),
    "many": lambda world, value: MatchMany([world.matcher(want) for want in value]),
    "once": lambda world, value: MatchMany(iter([world.matcher(want) for want in value])),
    "own": OwnMatcher,
    "own path": lambda world, value: OwnPath(value),
    "duck": lambda world, value: Duck(world),
}


class World:
    """One stream, with handlers as a program wants them."""

    def __init__(self, xmpp: Any) -> None:
        self.xmpp = xmpp
        self.seen: Seen = []
        self.handlers: list[Any] = []
        self.depth = 0
        self.budget = 60
        numbers = count(1)
        xmpp.new_id = lambda: f"n{next(numbers)}"
        xmpp._always_send_everything = True
        self.transport = start_session(xmpp)
        self.take = xmpp._spawn_event
        xmpp._spawn_event = self.spawn
        self.base = len(xmpp._XMLStream__handlers)

    def note(self, *what: Any) -> None:
        self.seen.append(what)

    def matcher(self, want: Want) -> Any:
        return _MATCHERS[want.kind](self, want.value)

    def register(self, make: Make) -> None:
        number = len(self.handlers)
        if number >= self.budget:
            return

        def pointer(payload: Any) -> None:
            self.ran(number, make, payload)

        async def coroutine(payload: Any) -> None:
            self.ran(number, make, payload)

        matcher = self.matcher(make.want)
        options: dict[str, Any] = {"once": make.once, "instream": make.instream}
        handler: Any
        if make.kind == "coroutine":
            handler = CoroutineCallback(make.name, matcher, coroutine, **options)
        elif make.kind == "own":
            handler = OwnHandler(make.name, matcher, pointer)
        elif make.kind in ("collector", "waiter", "xml waiter"):
            kinds = {"collector": Collector, "waiter": Waiter, "xml waiter": XMLWaiter}
            handler = kinds[make.kind](make.name, matcher)
        else:
            if make.kind == "bound":
                options["stream"] = self.xmpp
            callbacks = {"xml": XMLCallback, "heir": Heir}
            handler = callbacks.get(make.kind, Callback)(make.name, matcher, pointer, **options)
        handler.number = number
        self.handlers.append(handler)
        self.xmpp.register_handler(handler)

    def ran(self, number: int, make: Make, payload: Any) -> None:
        text = ET.tostring(payload, "unicode") if type(payload) is ET.Element else str(payload)
        self.note("ran", number, make.name, text)
        for step in make.steps:
            self.do(step, payload)

    def do(self, step: Do, stanza: Any = None) -> None:
        self.budget -= 1
        if self.budget > 0:
            getattr(self, f"do_{step.what}")(step.value, stanza)

    # -- steps ----------------------------------------------------------------------------------

    def do_register(self, make: Make, stanza: Any) -> None:
        self.register(make)

    def do_again(self, number: int, stanza: Any) -> None:
        if self.handlers:
            self.xmpp.register_handler(self.handlers[number % len(self.handlers)])

    def do_remove(self, name: str, stanza: Any) -> None:
        self.note("removed", name, self.xmpp.remove_handler(name))

    def do_receive(self, text: str, stanza: Any) -> None:
        """From the network, or from within a handler."""
        text = text.replace("DEFAULT", self.xmpp.default_ns)
        if self.depth > 2:
            return
        self.depth += 1
        try:
            if self.depth > 1:
                self.xmpp.recv_stanza(self.xmpp._build_stanza(ET.fromstring(text)))
                return
            # What leaves the dispatch is noted by `spawn`; zxmpp's parser keeps it to itself.
            with suppress(Exception):
                self.xmpp.data_received(text.encode())
        finally:
            self.depth -= 1

    def spawn(self, xml: Any) -> None:
        try:
            self.take(xml)
        except Exception as error:
            self.note("left the dispatch", type(error).__name__, str(error))
            raise

    def do_fail(self, kind: str, stanza: Any) -> None:
        raise XMPPError("bad-request") if kind == "xmpp" else ArithmeticError("a handler failed")

    def do_edit(self, kind: str, stanza: Any) -> None:
        if not isinstance(stanza, ElementBase):
            return
        if kind == "add":
            add_alpha(stanza)
        elif kind == "clear":
            stanza.clear()
        else:
            stanza.xml.set("id", kind)

    def do_reply(self, value: Any, stanza: Any) -> None:
        if isinstance(stanza, StanzaBase):
            stanza.reply().send()

    def do_plugin(self, name: str, stanza: Any) -> None:
        for kind in ROOTS:
            register_stanza_plugin(kind, **PLUGINS[name])

    def do_class(self, name: str, stanza: Any) -> None:
        kind = CLASSES[name]
        if kind in self.xmpp._XMLStream__root_stanza:
            self.xmpp.remove_stanza(kind)
        elif kind is Talk:
            self.xmpp._XMLStream__root_stanza.insert(0, kind)
        else:
            self.xmpp.register_stanza(kind)

    def do_language(self, value: str, stanza: Any) -> None:
        self.xmpp.peer_default_lang = value

    def do_filter(self, kind: str, stanza: Any) -> None:
        def check(stanza: Any) -> Any:
            self.note("filter", kind, str(stanza))
            if kind == "drop" and stanza.xml.get("type") == "get":
                return None
            if kind == "once":
                self.xmpp.del_filter("in", check)
            if kind == "replace" and stanza.name == "message":
                stanza = self.xmpp.Presence(sfrom="c@d", sid="i2")
            if kind == "edit":
                add_alpha(stanza)
            return stanza

        self.xmpp.add_filter("in", check)

    def do_list(self, kind: str, stanza: Any) -> None:
        """Edits the list of handlers by hand, behind slixmpp's own."""
        handlers = self.xmpp._XMLStream__handlers
        assert isinstance(handlers, list)
        own = handlers[self.base :]
        if not own:
            return
        if kind == "reverse":
            handlers[self.base :] = own[::-1]
        elif kind == "double":
            handlers.append(own[0])
        elif kind == "move":
            handlers.insert(self.base, handlers.pop())
        elif kind == "delete":
            del handlers[self.base]
        elif kind == "new":
            self.xmpp._XMLStream__handlers = [*handlers[: self.base], *own[1:], own[0]]
        else:
            handlers.remove(own[-1])

    def do_exchange(self, value: tuple[int, Want], stanza: Any) -> None:
        """A matcher gets another; zxmpp wants to be told."""
        if self.handlers:
            self.handlers[value[0] % len(self.handlers)]._matcher = self.matcher(value[1])
            if hasattr(self.xmpp, "reindex_handlers"):
                self.xmpp.reindex_handlers()

    def do_namespace(self, number: int, stanza: Any) -> None:
        for handler in self.handlers:
            if isinstance(handler._matcher, MatchXMLMask):
                handler._matcher.setDefaultNS(("urn:n", self.xmpp.default_ns)[number % 2])

    def do_stop(self, number: int, stanza: Any) -> None:
        for handler in self.handlers:
            if isinstance(handler, Collector) and handler.stream is not None:
                self.note("stopped", [str(stanza) for stanza in handler.stop()])
                return

    def do_ask(self, value: tuple[str, str], stanza: Any) -> None:
        """A request whose answer is waited for."""
        iq = self.xmpp.make_iq_get(queryxmlns="urn:q", ito=value[1])
        iq["id"] = value[0]
        if f"IqTimeout_{value[0]}" not in self.xmpp.scheduled_events:
            iq.send(callback=lambda answer: self.note("answer", str(answer))).add_done_callback(
                lambda future: self.note("result", future.cancelled() or repr(future.exception()))
            )

    # -- running --------------------------------------------------------------------------------

    async def run(self, program: tuple[Do, ...]) -> None:
        for step in program:
            try:
                self.do(step)
            except Exception as error:
                self.note("raised", type(error).__name__, str(error))
            for _ in range(4):
                await asyncio.sleep(0)
        # A handler may receive without end, and how many turns the rest takes is the pump's matter:
        # both streams have had as many by now, and there is no more to receive.
        self.depth = 3
        for _ in range(4):
            await asyncio.sleep(0)
        await asyncio.wait_for(self.xmpp.waiting_queue.join(), 5)
        self.note("handlers", [h.name for h in self.xmpp._XMLStream__handlers[self.base :]])
        for handler in self.handlers:
            stanzas = getattr(handler, "_stanzas", [handler._payload])
            kept = [ET.tostring(s) if type(s) is ET.Element else str(s) for s in stanzas]
            self.note("kept", handler.number, kept)
        self.note("wire", self.transport.take())

    async def close(self) -> None:
        for name in list(self.xmpp.scheduled_events):
            self.xmpp.cancel_schedule(name)
        self.transport._closing = True
        pump = self.xmpp._run_out_filters
        pump.cancel()
        await asyncio.wait([pump])
        if hasattr(self.xmpp, "give_up_all"):
            self.xmpp.give_up_all("test-over")


class _NoTLS:
    def set_default_verify_paths(self) -> None:
        """Does nothing: reading the system's certificates takes longer than all else here."""


@contextmanager
def _classes_restored() -> Iterator[None]:
    kept = [(kind, name, getattr(kind, name)) for kind in ROOTS for name in _MAPS]
    try:
        yield
    finally:
        for kind, name, value in kept:
            setattr(kind, name, value)


def observe(classes: Any, component: bool, program: tuple[Do, ...]) -> Seen:
    """What is seen when a stream of `classes` (slixmpp or zxmpp.streams) runs `program`."""

    async def live() -> Seen:
        if component:
            xmpp = classes.ComponentXMPP("bot.localhost", "secret", "127.0.0.1", 1)
        else:
            xmpp = classes.ClientXMPP("bot@localhost", "password")
        world = World(xmpp)
        try:
            await world.run(program)
        finally:
            await world.close()
        return world.seen

    with _classes_restored(), patch.object(ssl, "create_default_context", _NoTLS):
        return asyncio.run(live())


def difference(component: bool, program: tuple[Do, ...]) -> str:
    """What zxmpp's stream does otherwise than slixmpp's; empty if nothing."""
    stock = observe(slixmpp, component, program)
    ours = observe(zxmpp.streams, component, program)
    for one, other in zip(stock, ours, strict=False):
        if one != other:
            return f"slixmpp: {one}\nzxmpp:   {other}"
    return "" if len(stock) == len(ours) else f"{len(stock)} things seen, and {len(ours)}"
