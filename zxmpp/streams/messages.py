"""Messages that came in, with a reply that copies only what the reply keeps.

Rules:
- `ReceivedMessage` is slixmpp's Message to all who ask: `isinstance`, ``__class__`` (by which slixmpp
  takes a stanza for the plugin of another), what plugins register on Message.
- Its `reply` gives what Message's gives, to the order of attributes. It does not copy the children
  first, to remove them then. Where more than a plain message is at stake, Message's own is called.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from slixmpp.jid import JID
from slixmpp.stanza import Message
from slixmpp.xmlstream import StanzaBase

__all__ = ["ReceivedMessage"]

#: slixmpp does not say what types these are.
_message: Any = Message
_STOCK = (Message.reply, StanzaBase.reply, Message.__init__, Message.__copy__)


class ReceivedMessage(Message):
    """What a stream builds of an incoming message."""

    __class__ = property(lambda _: Message)

    def reply(self, body: Any = None, clear: bool = True) -> Any:  # type: ignore[override]
        if not clear or not self._is_plain():
            return _message.reply(self, body, clear)
        stream: Any = self.stream
        own = self.xml
        xml = Element(own.tag, own.attrib)
        xml.text, xml.tail = own.text, own.tail
        attributes = xml.attrib
        sender = attributes.get("from", "")
        if getattr(stream, "is_component", False):
            _set(attributes, "from", attributes.get("to", ""))
            _set(attributes, "to", sender)
        else:
            _set(attributes, "to", sender)
            attributes.pop("from", None)
            if attributes.get("type") == "groupchat":
                _set(attributes, "to", JID(sender).bare)
        use_ids = stream.use_message_ids
        if not attributes.pop("id", "") and use_ids:
            # The copy that slixmpp makes draws one for itself.
            stream.new_id()
        reply = _message(stream, xml, recv=True)
        if use_ids:
            reply.set_id(stream.new_id())
        if body is not None:
            reply["body"] = body
        return reply

    def _is_plain(self) -> bool:
        if self.stream is None or self.plugin_overrides:
            return False
        if (Message.reply, StanzaBase.reply, Message.__init__, Message.__copy__) != _STOCK:
            return False  # Somebody has another idea of it.
        known = self.plugin_tag_map
        thread = f"{{{self.namespace}}}thread"
        return all(child.tag not in known and child.tag != thread for child in self.xml)


def _set(attributes: dict[str, str], name: str, value: str) -> None:
    if value:
        attributes[name] = value
    else:
        attributes.pop(name, None)
