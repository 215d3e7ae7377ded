"""What every stream can do, whoever keeps its connection.

Rules:
- `ready` is set when there is a session and each room let us in or told us why not.
- All that can be said is said here, the same way on a client, a component and a guest; a kind of
  stream says only how a JID is written to (`_way`) and how a room is joined.
"""

from __future__ import annotations

import asyncio
import difflib
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from slixmpp.jid import JID
from slixmpp.plugins import PLUGINS

from zxmpp.errors import StreamError
from zxmpp.event import StanzaEvent
from zxmpp.streams.chat import Chat, Way, link_to
from zxmpp.streams.source import StreamSource
from zxmpp.streams.upload import Uploads

__all__ = ["BaseStream", "check_jid"]


def check_jid(name: str, to: str) -> str:
    """`to` as servers write it. StreamError if the stream `name` can't send there."""
    try:
        jid = JID(to)
    except ValueError as error:
        raise StreamError(f"stream {name!r} can't send to {to!r}: that is not a JID") from error
    if not jid.domain:
        raise StreamError(f"stream {name!r} can't send to {to!r}: that is not a JID")
    return str(jid)


class BaseStream(ABC):
    """What `Stream` and `AttachedStream` have in common."""

    #: Whether rooms can be joined with a bookmark.
    keeps_bookmarks = False

    def __init__(self, name: str, xmpp: Any, source: StreamSource, uploads: Uploads) -> None:
        self.name = name
        #: slixmpp's object.
        self.xmpp = xmpp
        self.source = source
        #: Set while there is a session and all rooms are settled.
        self.ready = asyncio.Event()
        #: Set while there is a session.
        self.online = asyncio.Event()
        self._chat = source.chat = Chat(name, source.replies, self._way)
        self._uploads = source.uploads = uploads

    @property
    @abstractmethod
    def state(self) -> str:
        """In a few words."""

    @abstractmethod
    def start(self) -> None:
        """Begin to connect. Returns at once."""

    @abstractmethod
    async def stop(self, wait: float) -> None:
        """End it, in about `wait` seconds. Idempotent."""

    @abstractmethod
    def _way(self, to: str) -> Way:
        """How to send to `to`. StreamError if that is no JID."""

    @abstractmethod
    def join(
        self, room: str, nick: str = "", *, password: str = "", bookmark: bool = False
    ) -> None:
        """Be in a room from now on; with `bookmark` also after a new start, by a bookmark at the
        server (XEP-0402). StreamError if that is no room's JID, or there can be no bookmark."""

    @abstractmethod
    def leave(self, room: str) -> None:
        """Be in a room no more, and take back its bookmark."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Counts, by name."""

    # -- what is said ---------------------------------------------------------------------------

    def say(
        self, to: str, body: str, *, reply_to: StanzaEvent | None = None, correct: str = "",
        receipt: bool = False, thread: str = "", children: Iterable[ET.Element] = (),
        state: str = "",
    ) -> str:  # fmt: skip
        """Send a message to a JID, or to a room that the stream is in or is about to be in; returns
        its id, of the last part where a long text takes several.

        `reply_to` makes it a reply to that message (XEP-0461), `correct` a correction of the one
        with that id (XEP-0308); `receipt` asks for a receipt (XEP-0184), not in rooms. `state` is a
        chat state (XEP-0085); with an empty `body` it goes alone. `children` are further elements.
        StreamError if `to` is no JID.
        """
        return self._chat.say(to, body, reply_to=reply_to, correct=correct, receipt=receipt,
                              thread=thread, children=children, state=state)  # fmt: skip

    def react(self, event: StanzaEvent, *emojis: str) -> str:
        """React to a message (XEP-0444): `emojis` replace our earlier ones, none takes them back.
        Returns the id. StreamError if `event` is no message with an id."""
        return self._chat.react(event, emojis)

    def invite(self, room: str, jid: str, reason: str = "") -> str:
        """Invite `jid` to a room: through the room if we are in it (XEP-0045, 7.8), which lets it
        make a member of the guest, else directly (XEP-0249)."""
        return self._chat.invite(room, jid, reason, self._is_in(room))

    def _is_in(self, room: str) -> bool:
        return self._way(room)[1] == "groupchat"

    async def upload(self, data: bytes | Path, name: str, media_type: str = "") -> str:
        """Put a file on the server's upload service (XEP-0363); its URL. StreamError says why it
        can't be: there is none, it is too large, it is refused, it takes too long."""
        return await self._uploads.upload(data, name, media_type)

    async def send_file(
        self, to: str, data: bytes | Path, name: str, media_type: str = "", body: str = ""
    ) -> str:
        """Upload a file and send its URL, so that clients show it (XEP-0066); `body` is said before
        it. Returns the id of the message with the URL. StreamError as for `upload`."""
        self._way(to)
        url = await self.upload(data, name, media_type)
        if body:
            self.say(to, body)
        return self.say(to, url, children=[link_to(url)])

    # -- slixmpp --------------------------------------------------------------------------------

    def need_xep(self, xep: str) -> None:
        """See that slixmpp's plugin `xep` is registered. StreamError if there is none such."""
        if xep in self.xmpp.plugin:
            return
        if xep not in PLUGINS:
            near = difflib.get_close_matches(xep, PLUGINS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "they are named like 'xep_0045'"
            raise StreamError(f"stream {self.name!r}: slixmpp has no plugin {xep!r}; {hint}")
        try:
            self.xmpp.register_plugin(xep)
        except Exception as error:
            raise StreamError(
                f"stream {self.name!r}: slixmpp's plugin {xep!r} can't be loaded: "
                f"{str(error) or type(error).__name__}; install what it needs"
            ) from error
