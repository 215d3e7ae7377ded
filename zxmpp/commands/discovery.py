"""What a stream says of its ad-hoc commands (XEP-0030; XEP-0050, 2), and to whom.

Rules:
- Whoever asks learns of the commands that they may use, and of no others.
- slixmpp's xep_0030 is asked first for all else, with whatever handlers it has.
- Where the bot has slixmpp's xep_0050 too, that gets what is its own: its commands, its sessions.
  Until it is told to (at the next session), all is left to it.
- Closing the stream's source gives everything back.
"""

from __future__ import annotations

import copy
import inspect
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from slixmpp.exceptions import XMPPError
from slixmpp.jid import JID
from slixmpp.plugins.xep_0030 import DiscoInfo, DiscoItems
from slixmpp.stanza import Iq

from zxmpp.commands.forms import COMMANDS, DATA
from zxmpp.commands.registry import Command, Commands
from zxmpp.commands.roles import Who, who_of

if TYPE_CHECKING:
    from zxmpp.streams import BaseStream

__all__ = ["Discovery"]

#: slixmpp's event ``command``, without what is ours.
_THEIRS = "zxmpp foreign command"


class Discovery:
    """Tells who asks `stream` of `commands`."""

    def __init__(self, commands: Commands, stream: BaseStream) -> None:
        self.stream = stream
        self._commands = commands
        self._xmpp = stream.xmpp
        self._disco: Any = None
        self._before: dict[str, Any] = {}
        #: slixmpp's own ad-hoc commands, once they leave ours to us.
        self._theirs: Any = None
        self._xmpp.add_event_handler("session_bind", self._bound)
        stream.source.closers.append(self.close)
        self.adopt()

    def adopt(self) -> None:
        """Take what slixmpp's plugins have that is ours. Idempotent; plugins may come late."""
        disco = self._xmpp.plugin.get("xep_0030", None)
        if disco is not None and disco is not self._disco:
            self._disco = disco
            handlers = self._handlers()
            for name, ours in (("get_info", self._info), ("get_items", self._items)):
                self._before[name] = handlers[name]["global"]
                handlers[name]["global"] = ours
            if self._xmpp.is_component or self._xmpp._session_started:
                self._bound(None)
        theirs = self._xmpp.plugin.get("xep_0050", None)
        if theirs is not None and theirs is not self._theirs:
            self._theirs = theirs
            self._xmpp.del_event_handler("command", theirs._handle_command_all)
            self._xmpp.add_event_handler("command", self._pass_on)
            self._xmpp.add_event_handler(_THEIRS, theirs._handle_command_all)

    def close(self) -> None:
        """Give back what was taken. Idempotent."""
        self._xmpp.del_event_handler("session_bind", self._bound)
        if self._disco is not None:
            handlers = self._handlers()
            for name, ours in (("get_info", self._info), ("get_items", self._items)):
                if handlers[name]["global"] == ours:
                    handlers[name]["global"] = self._before[name]
            self._disco = None
        if self._theirs is not None:
            self._xmpp.del_event_handler("command", self._pass_on)
            self._xmpp.del_event_handler(_THEIRS, self._theirs._handle_command_all)
            self._xmpp.add_event_handler("command", self._theirs._handle_command_all)
            self._theirs = None

    def _handlers(self) -> Any:
        return self._xmpp.api._handlers[self._disco.name]

    def _bound(self, _: Any) -> None:
        if self._disco is not None:
            self._disco.add_feature(COMMANDS)

    # -- slixmpp's xep_0050 ----------------------------------------------------------------------

    def leaves(self, command: ET.Element) -> bool:
        """Whether a request is for slixmpp's plugin."""
        theirs = self._xmpp.plugin.get("xep_0050", None)
        if theirs is None:
            return False
        if theirs is not self._theirs:
            return True
        if (id := command.get("sessionid")) is not None:
            return id in theirs.sessions
        name = command.get("node", "")
        return self._commands.get(name) is None and any(name == node for _, node in theirs.commands)

    def _pass_on(self, iq: Iq) -> None:
        # At once, so that nothing has changed since our own route was asked.
        if self.leaves(iq.xml[0]):
            self._xmpp.event(_THEIRS, iq)

    # -- answers ---------------------------------------------------------------------------------

    async def _ask(self, what: str, jid: Any, node: str, asker: Any, iq: Any) -> Any:
        found = self._before[what](jid, node, asker, iq)
        return await found if inspect.isawaitable(found) else found

    def _asker(self, iq: Any) -> Who | None:
        return who_of(self.stream.source.arrivals.iq(iq)) if isinstance(iq, Iq) else None

    def _command(self, node: str, iq: Any) -> Command | None:
        who = self._asker(iq)
        return None if who is None or not node else self._commands.find(node, who)

    async def _info(self, jid: Any, node: str, asker: Any, iq: Any) -> Any:
        command = self._command(node, iq)
        if node == COMMANDS or command is not None:
            info = DiscoInfo()
            if command is None:
                info.add_identity("automation", "command-list", "Commands")
            else:
                info.add_identity("automation", "command-node", command.summary or command.name)
                info.add_feature(DATA)
            info.add_feature(COMMANDS)
            return info
        found = await self._ask("get_info", jid, node, asker, iq)
        if not node and isinstance(found, DiscoInfo) and COMMANDS not in found["features"]:
            # For an address that nothing is known of, such as one of a component's.
            found = copy.copy(found)
            found.add_feature(COMMANDS)
        return found

    async def _items(self, jid: Any, node: str, asker: Any, iq: Any) -> Any:
        who = self._asker(iq)
        if who is not None and node == COMMANDS:
            return await self._list(jid, who, asker, iq)
        if self._command(node, iq) is not None:
            return DiscoItems()
        return await self._ask("get_items", jid, node, asker, iq)

    async def _list(self, jid: Any, who: Who, asker: Any, iq: Iq) -> DiscoItems:
        try:
            items: DiscoItems = copy.copy(await self._ask("get_items", jid, COMMANDS, asker, iq))
        except XMPPError:
            items = DiscoItems()
        items["node"] = COMMANDS
        source = self.stream.source
        event = source.arrivals.iq(iq)
        address = event.to or str(self._xmpp.boundjid)
        room = event.from_.partition("/")[0]
        if event.nick and (nick := source.nick_in(room)):
            # Whoever sees us as an occupant of a room reaches us as that.
            address = f"{room}/{nick}"
        for command in self._commands.visible(who):
            items.add_item(JID(address), node=command.name, name=command.summary or command.name)
        return items
