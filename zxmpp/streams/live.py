"""One answer that grows while a handler works: chat states and corrections.

Rules:
- Whoever waits sees that something is done (XEP-0085, composing), and what there is so far, in one
  message that is corrected (XEP-0308), at most once in `EDIT_SECONDS`.
- Only a client that says it can (XEP-0030) gets corrections; any other gets the last text alone.
- In a room nobody knows what all clients can: there the last text alone is sent, unless `edits` is
  ``always``. Chat states go to a 1:1 chat only.
- An answer that comes at once costs nothing of this: it begins after `BEGIN_SECONDS`.
"""

from __future__ import annotations

import asyncio
import logging
import xml.etree.ElementTree as ET
from collections import OrderedDict
from typing import Any, Literal, Self

from slixmpp.exceptions import IqError, IqTimeout

from zxmpp.event import StanzaEvent
from zxmpp.streams.names import CHAT_STATES, CORRECTION
from zxmpp.streams.reply import Replies, thread_of

__all__ = ["Edits", "Features", "LiveMessage"]

log = logging.getLogger(__name__)

#: When corrections are sent: to those who can take them, to everybody, to nobody.
Edits = Literal["auto", "always", "never"]

BEGIN_SECONDS = 0.3
EDIT_SECONDS = 1.0
#: How long a client may take to say what it can, and how many clients are remembered.
ASK_SECONDS, REMEMBERED = 10.0, 1000


class Features:
    """What clients can do (XEP-0030), by full JID; asked once for each."""

    def __init__(self, xmpp: Any) -> None:
        self._xmpp = xmpp
        self._known: OrderedDict[str, frozenset[str]] = OrderedDict()

    async def of(self, jid: str, own: str) -> frozenset[str]:
        """The features of `jid`, asked as `own`; empty if it does not say."""
        known = self._known.get(jid)
        if known is not None:
            self._known.move_to_end(jid)
            return known
        disco = self._xmpp.plugin.get("xep_0030", None)
        if disco is None:
            self._xmpp.register_plugin("xep_0030")
            disco = self._xmpp.plugin["xep_0030"]
        from_ = {"ifrom": own} if self._xmpp.is_component else {}
        try:
            info = await disco.get_info(jid=jid, timeout=ASK_SECONDS, **from_)
            found = frozenset(str(feature) for feature in info["disco_info"]["features"])
        except (IqError, IqTimeout):
            found = frozenset()
        self._known[jid] = found
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return found


class LiveMessage:
    """The answer to `event`, a message. A context manager: leave it when the work is over."""

    def __init__(
        self, replies: Replies, features: Features, event: StanzaEvent, edits: Edits = "auto"
    ) -> None:
        self._replies = replies
        self._features = features
        self._event = event
        self._loop = asyncio.get_running_loop()
        self._edits = edits
        self._may_edit = edits == "always"
        self._room = bool(event.room)
        self._thread = thread_of(event)
        #: The id of the message that is corrected; empty until one is sent.
        self._id = ""
        self._shown = ""
        self._next = ""
        self._composing = self._over = False
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(BEGIN_SECONDS, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
        if self._composing:
            self._state("active")

    # -- the beginning ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self._timer = None
        event = self._event
        if not self._room:
            talks = any(child.tag.startswith(f"{{{CHAT_STATES}}}") for child in event.stanza.xml)
            if talks:
                self._state("composing")
            if not talks or self._edits == "auto":
                self._asking = self._loop.create_task(self._ask())
        self._edit()

    async def _ask(self) -> None:
        try:
            features = await self._features.of(self._event.from_, self._event.to)
        except Exception:
            log.exception("could not learn what %s can do", self._event.from_)
            return
        if CHAT_STATES in features and not self._composing and not self._id:
            self._state("composing")
        if CORRECTION in features and self._edits == "auto":
            self._may_edit = True
            self._edit()

    def _state(self, state: str) -> None:
        self._composing = state == "composing"
        self._send(None, [ET.Element(f"{{{CHAT_STATES}}}{state}")])

    # -- what there is ---------------------------------------------------------------------------

    def show(self, text: str) -> None:
        """What there is so far; takes the place of what was shown before."""
        self._next = text
        if self._timer is None:
            self._edit()

    def _edit(self) -> None:
        """Show what is new, and nothing more for a while."""
        if self._over or not self._may_edit or self._next in ("", self._shown):
            return
        if not self._replies.fits(self._next):
            return  # In several messages, once, at the end.
        self._put(self._next)
        self._timer = self._loop.call_later(EDIT_SECONDS, self._edit_again)

    def _edit_again(self) -> None:
        self._timer = None
        self._edit()

    def finish(self, text: str) -> None:
        """The answer: the last correction, or the one message that is sent."""
        if not self._id or text != self._shown:
            self._put(text)
        self._next = self._shown

    def _put(self, text: str) -> None:
        children = []
        if self._id:
            children.append(ET.Element(f"{{{CORRECTION}}}replace", {"id": self._id}))
        if self._composing:
            # A message with a text says that the composing is over (XEP-0085, 5.3).
            self._composing = False
            children.append(ET.Element(f"{{{CHAT_STATES}}}active"))
        sent = self._send(text, children)
        self._id = self._id or sent
        self._shown = text

    def _send(self, text: str | None, children: list[ET.Element]) -> str:
        event = self._event
        return self._replies.message(
            event.room or event.from_, text, event.type, event.to, self._thread, children
        )
