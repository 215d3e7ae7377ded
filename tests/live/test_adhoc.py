"""Ad-hoc commands through real servers, driven by slixmpp's own client code (XEP-0050)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from slixmpp import JID
from slixmpp.exceptions import IqError

from zxmpp import App, Call, Plugin, Table, command
from zxmpp.config import parse
from zxmpp.testing.servers import Server

from .test_bot import LIMIT, address, role, secret, stream

__all__ = ["role", "secret"]

NODE = "http://jabber.org/protocol/commands"
XEPS = ["xep_0030", "xep_0004", "xep_0050", "xep_0122", "xep_0045"]


class Cafe(Plugin):
    """Commands with one step and with several."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.cancelled = asyncio.Event()

    @command
    def menu(self) -> Table:
        """Show the menu."""
        return Table(("dish", "price"), [("soup", 3), ("pie & <cream>", 4)], "Menu")

    @command
    def greet(self, name: str, times: int = 1) -> str:
        """Greet somebody."""
        return " ".join([f"hello {name}"] * times)

    @command
    async def order(self, call: Call) -> str:
        """Order something."""
        try:
            dish = await call.choose("What?", ["soup", "pie"])
            sure = await call.confirm(f"{dish}?")
        except Exception:
            self.cancelled.set()
            raise
        return f"{call.sender} gets {dish}" if sure else "nothing"

    @command(role="cook")
    def burn(self) -> str:
        """For cooks."""
        return "burnt"


class Steps:
    """A run of slixmpp's client code through one command, step by step."""

    def __init__(self, xmpp: Any, jid: str, node: str) -> None:
        self.plugin = xmpp.plugin["xep_0050"]
        self._answers: asyncio.Queue[Any] = asyncio.Queue()
        self.session: Any = {"next": self._got, "error": self._got}
        self.plugin.start_command(JID(jid), node, self.session)

    def _got(self, iq: Any, session: Any) -> None:
        self._answers.put_nowait(iq)

    async def answer(self) -> Any:
        async with asyncio.timeout(LIMIT):
            return await self._answers.get()

    async def fill(self, iq: Any, direction: str, **values: Any) -> Any:
        form = iq["command"]["form"]
        form["type"] = "submit"
        form["values"] = values
        self.session["payload"] = form
        if direction == "complete":
            self.plugin.complete_command(self.session)
        else:
            self.plugin.continue_command(self.session, direction)
        return await self.answer()


async def test_slixmpps_client_calls_commands(shared: Server, role: str, secret: Any) -> None:
    secret(shared, role)
    room = f"adhoc-{role}@{shared.muc}"
    text = stream(shared, role, rooms=[room]) + '\n[roles]\ncook = ["chef@localhost"]\n'
    jid = address(role)
    async with shared.login("alice@localhost/desk", XEPS) as alice, App(parse(text)) as app:
        await app.plugins.load_classes([Cafe])
        await app.online(LIMIT)
        disco = alice.plugin["xep_0030"]

        info = await disco.get_info(jid=jid, cached=False)
        assert NODE in info["disco_info"]["features"]
        items = await alice.plugin["xep_0050"].get_commands(JID(jid))
        found = {node: name for _, node, name in items["disco_items"]["items"]}
        assert found["menu"] == "Show the menu."
        assert {"menu", "greet", "order"} <= set(found)
        assert "burn" not in found
        info = await disco.get_info(jid=jid, node="menu", cached=False)
        assert ("automation", "command-node") in {
            identity[:2] for identity in info["disco_info"]["identities"]
        }

        told = await Steps(alice, jid, "menu").answer()
        form = told["command"]["form"]
        assert told["command"]["status"] == "completed"
        assert (form["type"], form["title"]) == ("result", "Menu")
        assert form["items"] == [
            {"dish": "soup", "price": "3"}, {"dish": "pie & <cream>", "price": "4"}
        ]  # fmt: skip

        steps = Steps(alice, jid, "greet")
        asked = await steps.answer()
        fields = asked["command"]["form"].get_fields()
        assert fields["name"]["required"]
        assert fields["times"]["validate"]["datatype"] == "xs:integer"
        assert fields["times"]["value"] == "1"
        asked = await steps.fill(asked, "next", name="Bob", times="many")
        assert asked["command"]["notes"] == [("error", "times: 'many' is not a whole number.")]
        told = await steps.fill(asked, "complete", name="Bob", times="2")
        assert told["command"]["notes"] == [("info", "hello Bob hello Bob")]

        steps = Steps(alice, jid, "order")
        asked = await steps.answer()
        assert asked["command"]["actions"] == {"next"}
        asked = await steps.fill(asked, "next", answer="pie")
        told = await steps.fill(asked, "complete", answer=True)
        assert told["command"]["status"] == "completed"
        assert told["command"]["notes"] == [("info", "alice@localhost gets pie")]

        steps = Steps(alice, jid, "order")
        await steps.answer()
        stolen = steps.session["id"]
        async with shared.login("bob@localhost/x", XEPS) as bob:
            with pytest.raises(IqError) as refused:
                await bob.plugin["xep_0050"].send_command(
                    JID(jid), "order", action="cancel", sessionid=stolen, timeout=LIMIT
                )
            assert refused.value.condition == "bad-request"
        steps.plugin.cancel_command(steps.session)
        assert (await steps.answer())["command"]["status"] == "canceled"
        async with asyncio.timeout(LIMIT):
            await app.plugins.get("cafe").cancelled.wait()

        told = await Steps(alice, jid, "burn").answer()
        assert (told["type"], told["error"]["condition"]) == ("error", "item-not-found")

        # The same, by the bot's address in a room.
        await alice.plugin["xep_0045"].join_muc_wait(JID(room), "alice", maxstanzas=0)
        told = await Steps(alice, f"{room}/bot", "menu").answer()
        assert told["command"]["form"]["title"] == "Menu"
        assert len(app._adhoc.sessions) == 0  # type: ignore[union-attr]
