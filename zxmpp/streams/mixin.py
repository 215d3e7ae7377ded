"""slixmpp's client and component, hardened: drop-in subclasses with the same arguments.

Rules:
- A bot that imports `ClientXMPP` or `ComponentXMPP` from here instead of from slixmpp works
  unchanged: all that slixmpp's plugins and handlers can see is as before, save what the modules
  `parser` and `sending` say they refuse or keep, and the order that `filters` keeps.
- Limits are class attributes; set them on a subclass, or on the object before it connects.
- Under a `Supervisor` there is one back-off, the supervisor's; slixmpp's is switched off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import slixmpp
from slixmpp.exceptions import XMPPError
from slixmpp.stanza import Error, Message
from slixmpp.xmlstream import StanzaBase

from zxmpp.streams.dispatch import DispatchMixin
from zxmpp.streams.messages import ReceivedMessage
from zxmpp.streams.parser import ParserMixin
from zxmpp.streams.secret import hide_secrets
from zxmpp.streams.sending import SendingMixin

__all__ = ["ClientXMPP", "ComponentXMPP", "StreamMixin"]

log = logging.getLogger(__name__)


class StreamMixin(DispatchMixin, ParserMixin, SendingMixin):
    """What both kinds of stream have more than slixmpp's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        hide_secrets()
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        kinds: list[type[StanzaBase]] = self._XMLStream__root_stanza
        kinds[kinds.index(Message)] = ReceivedMessage
        self._start_sending()

    def remove_stanza(self, stanza_class: type[StanzaBase]) -> None:
        # The one stands for the other, unless that was removed before.
        if stanza_class is Message and ReceivedMessage in self._XMLStream__root_stanza:
            stanza_class = ReceivedMessage
        super().remove_stanza(stanza_class)

    def reschedule_connection_attempt(self) -> asyncio.Future[Any] | None:
        if self.supervised:
            self._current_connection_attempt = None
            return None
        return super().reschedule_connection_attempt()

    def _start_keepalive(self, event: Any) -> None:
        # slixmpp schedules it whatever `whitespace_keepalive` says.
        if self.whitespace_keepalive and not self.supervised:
            super()._start_keepalive(event)

    def _handle_stream_error(self, error: Any) -> None:
        if self.supervised and error["condition"] == "see-other-host":
            # Following it would leave the address that the operator chose, in whatever state of
            # encryption we are (RFC 6120, 4.9.3.19).
            log.error(
                "%s: the server names another host, %r, which is not followed; if that is right, "
                "set `host` and `port`", self.boundjid, error["see_other_host"],
            )  # fmt: skip
            self.event("stream_error", error)
            return
        super()._handle_stream_error(error)  # type: ignore[no-untyped-call]


class ClientXMPP(StreamMixin, slixmpp.ClientXMPP):
    """slixmpp's ClientXMPP with a hardened way in and an outbox on the way out."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for handler in self._XMLStream__handlers:
            if handler.name == "Roster Update":
                handler._pointer = self._take_roster_push

    def _take_roster_push(self, iq: Any) -> None:
        # slixmpp's own refuses strangers too (RFC 6121, 2.1.6), but with an error that it then
        # can't serialise: the stranger gets no answer and the log a traceback.
        if iq.xml.get("from", "") not in ("", self.boundjid.bare):
            raise XMPPError("service-unavailable", etype="cancel")
        self.event("roster_update", iq)


class ComponentXMPP(StreamMixin, slixmpp.ComponentXMPP):
    """slixmpp's ComponentXMPP, likewise."""

    def incoming_filter(self, xml: Any) -> Any:
        xml = super().incoming_filter(xml)  # type: ignore[no-untyped-call]
        # slixmpp looks for <error/> in jabber:client, where a component's server does not put it:
        # each IqError would have the condition feature-not-implemented. Messages are left alone,
        # slixmpp's own handler for their errors goes by this name.
        if xml.get("type") == "error" and not xml.tag.endswith("}message"):
            for child in xml:
                if child.tag == f"{{{self.default_ns}}}error":
                    child.tag = Error.tag_name()
        return xml
