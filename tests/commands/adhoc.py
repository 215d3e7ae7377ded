"""What the tests of ad-hoc commands share: a caller's way to talk to a bot by IQs."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from zxmpp.testing.bot import TestBot
from zxmpp.testing.transport import feed

COMMANDS = "{http://jabber.org/protocol/commands}"
DATA = "{jabber:x:data}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
LIMIT = 10

_ids = count(1)


class Answer:
    """What came back."""

    def __init__(self, iq: ET.Element) -> None:
        self.iq = iq
        self.type = iq.get("type", "")
        command = iq.find(f"{COMMANDS}command")
        self.command = ET.Element("none") if command is None else command
        self.status = self.command.get("status", "")
        self.id = self.command.get("sessionid", "")
        self.notes = [(n.get("type"), n.text or "") for n in self.command.iter(f"{COMMANDS}note")]
        self.form = self.command.find(f"{DATA}x")
        allowed = self.command.find(f"{COMMANDS}actions")
        self.actions = [] if allowed is None else [e.tag.removeprefix(COMMANDS) for e in allowed]
        error = next((child for child in iq if child.tag.endswith("}error")), ET.Element("none"))
        self.kind = error.get("type", "")
        self.conditions = [child.tag.rpartition("}")[2] for child in error]
        self.text = error.findtext(f"{STANZAS}text", "")

    @property
    def fields(self) -> dict[str, ET.Element]:
        assert self.form is not None, ET.tostring(self.iq)
        return {field.get("var", ""): field for field in self.form.iterfind(f"{DATA}field")}

    def values(self, name: str) -> list[str]:
        return [value.text or "" for value in self.fields[name].iterfind(f"{DATA}value")]

    @property
    def table(self) -> list[list[str]]:
        assert self.form is not None
        return [["".join(field.itertext()) for field in item]
                for item in self.form.iterfind(f"{DATA}item")]  # fmt: skip


class Caller:
    """Somebody whose client can call commands by IQs."""

    def __init__(self, bot: TestBot, jid: str = "alice@localhost/x", stream: str = "") -> None:
        self.bot = bot
        self.jid = jid
        self._server: Any = bot.app.servers[bot.app.stream(stream).name]
        self._address = bot.address(stream)
        self.seen = 0

    def send(
        self, node: str = "", id: str = "", action: str = "",
        values: Mapping[str, str | Sequence[str]] | None = None, type: str = "submit",
    ) -> str:  # fmt: skip
        """Send a request; its id."""
        number = f"a{next(_ids)}"
        named = {"node": node, "sessionid": id, "action": action}
        attributes = "".join(f" {key}={quoteattr(value)}" for key, value in named.items() if value)
        form = ""
        if values is not None:
            fields = "".join(
                f"<field var={quoteattr(name)}>"
                + "".join(f"<value>{escape(v)}</value>"
                          for v in ([given] if isinstance(given, str) else given))
                + "</field>"
                for name, given in values.items()
            )  # fmt: skip
            form = f"<x xmlns='jabber:x:data' type='{type}'>{fields}</x>"
        feed(
            self._server.xmpp,
            f"<iq type='set' id='{number}' from={quoteattr(self.jid)} to={quoteattr(self._address)}>"
            f"<command xmlns='http://jabber.org/protocol/commands'{attributes}>{form}</command></iq>",
        )
        return number

    async def answer(self, number: str) -> Answer:
        """The one answer to the request `number`."""
        async with asyncio.timeout(LIMIT):
            while True:
                found = self.answers(number)
                if found:
                    assert len(found) == 1
                    return found[0]
                self._server.arrived.clear()
                await self._server.arrived.wait()

    def answers(self, number: str) -> list[Answer]:
        return [Answer(s) for s in self._server.sent if s.get("id") == number]

    async def calls(
        self, node: str = "", id: str = "", action: str = "",
        values: Mapping[str, str | Sequence[str]] | None = None, type: str = "submit",
    ) -> Answer:  # fmt: skip
        return await self.answer(self.send(node, id, action, values, type))
