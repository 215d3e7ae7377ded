"""Messages of sockets become chat messages, 1:1 and in rooms.

Rules:
- The text is made by a template of ``$field``; what a message lacks is an error, not an empty space.
- A message names its recipient only where the route has `to_field`, and only out of `allow_to`.
- Characters that XML 1.0 (2.2) has no place for are removed.
- What is wrong is counted by name, see `zxmpp_plugins.inbound`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from zxmpp import FramesEvent, StreamError
from zxmpp_plugins.inbound import OK, AllowList, Bad, Inbound, jid_of
from zxmpp_plugins.templates import Fields, checked
from zxmpp_plugins.texts import NO_XML, shown

__all__ = ["Relay", "Route", "text_of"]


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[plugins.relay.routes]]``"""

    #: The name of a socket that receives.
    socket: str
    #: Who gets the message: JIDs of people or of rooms that the stream is in.
    to: list[str] = []
    #: Only messages whose first frame begins so.
    topic: str = ""
    #: What the last frame is: ``json`` (an object) or ``text``.
    format: Literal["json", "text"] = "json"
    #: ``$field`` is a field of the object, ``$0`` the first frame as text, ``$1`` the second.
    #: Default: the object's ``body`` or else ``text``; with ``text``, the last frame.
    template: str = ""
    #: The object's field that names the recipient; without that field `to` gets the message.
    to_field: str = ""
    #: Who may be named there: bare JIDs, and whole domains as ``@example.org``.
    allow_to: list[str] = []
    #: The largest message, in bytes over all frames.
    max_bytes: int = 16_384
    #: Which stream sends; needed if there are several.
    stream: str = ""

    def __post_init__(self) -> None:
        for to in self.to:
            if jid_of(to) is None:
                raise ValueError(f"to: {to!r} is not a JID such as ops@rooms.example.org")
        if not self.to and not self.to_field:
            raise ValueError("to is missing: name at least one JID, or the message's to_field")
        if self.to_field and self.format != "json":
            raise ValueError('to_field is for JSON objects; take it out, or set format = "json"')
        if self.to_field and not self.allow_to:
            raise ValueError("to_field needs allow_to: list who may be written to")
        if self.max_bytes < 1:
            raise ValueError("max_bytes is a number of bytes above 0")
        AllowList("allow_to", self.allow_to)
        checked(self.template, "template")


class RelayConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.relay]``"""

    #: What goes from where to whom. A message may go several ways.
    routes: list[Route] = []


class Relay(Inbound):
    """Bring messages of sockets into chats and rooms."""

    Config = RelayConfig
    config: RelayConfig

    async def start(self) -> None:
        for number, route in enumerate(self.config.routes):
            self.stream(route.stream)  # an unknown name is an error now
            template = checked(route.template, "template") if route.template else None
            allowed = AllowList("allow_to", route.allow_to)

            def work(
                event: FramesEvent,
                route: Route = route,
                template: Fields | None = template,
                allowed: AllowList = allowed,
            ) -> Any:
                text, fields = text_of(event.frames, route, template)
                return self._send(route, recipients(fields, route, allowed), text)

            self.listen(f"[plugins.{self.instance}] routes[{number}]", route.socket, route.topic,
                        work)  # fmt: skip

    def _send(self, route: Route, to: list[str], text: str) -> Any:
        problems = []
        for jid in to:
            try:
                self.say(jid, text, stream=route.stream)
            except StreamError as error:
                problems.append(f"{jid}: {error}")
        if problems:
            raise Bad("not-sent", "; ".join(problems), "recipient-unavailable", "wait")
        self.count("relayed")
        return OK


def text_of(
    frames: list[bytes], route: Route, template: Fields | None
) -> tuple[str, dict[str, Any]]:
    """What is to be said, and the fields of the JSON object. `Bad` says what is wrong."""
    size = sum(map(len, frames))
    if size > route.max_bytes:
        raise Bad("too-big", f"the message has {size} bytes; send at most {route.max_bytes}")
    try:
        texts = [frame.decode() for frame in frames]
    except UnicodeDecodeError as error:
        raise Bad("bad-utf8", f"byte {error.start} of a frame is not UTF-8; send UTF-8") from None
    if not texts:
        raise Bad("empty", "the message has no frame; send one with text")
    fields = _object(texts[-1]) if route.format == "json" else {}
    try:
        if template is not None:
            numbered = {str(number): text for number, text in enumerate(texts)}
            said = template.substitute({name: shown(fields[name]) for name in fields} | numbered)
        elif route.format == "json":
            said = shown(fields["body" if "body" in fields else "text"])
        else:
            said = texts[-1]
    except KeyError as error:
        raise Bad("missing-field", f"the message has no {error.args[0]!r}; send it") from None
    said = NO_XML.sub("", said)
    if not said.strip():
        raise Bad("empty", "there is no text in the message; send some")
    return said, fields


def _object(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise Bad("bad-json", f"the last frame is not a JSON object: {error}; send one") from None


def recipients(fields: dict[str, Any], route: Route, allowed: AllowList) -> list[str]:
    """Who gets the message. `Bad` says why somebody does not."""
    if not route.to_field or (route.to_field not in fields and route.to):
        return route.to
    named = fields.get(route.to_field)
    jid = jid_of(named) if isinstance(named, str) else None
    if jid is None:
        raise Bad("bad-recipient", f"{route.to_field}: {named!r} is not a JID", "jid-malformed")
    if jid not in allowed:
        text = f"{route.to_field}: {jid} is not in this route's allow_to"
        raise Bad("recipient-not-allowed", text, "forbidden", "auth")
    return [jid.full]
