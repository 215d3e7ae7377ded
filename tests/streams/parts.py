"""What programs and worlds are made of: steps, stanzas, and a user's own matchers and handlers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from slixmpp.stanza import Message
from slixmpp.xmlstream import ElementBase, StanzaBase, register_stanza_plugin
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.handler.base import BaseHandler
from slixmpp.xmlstream.matcher import StanzaPath
from slixmpp.xmlstream.matcher.base import MatcherBase


@dataclass(frozen=True)
class Want:
    """A matcher: its kind and what it is made of."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Do:
    """One step of a program, or of a handler of a program."""

    what: str
    value: Any = None


@dataclass(frozen=True)
class Make:
    """A handler."""

    name: str
    kind: str
    want: Want
    once: bool = False
    instream: bool = False
    steps: tuple[Do, ...] = ()


# -- stanzas ------------------------------------------------------------------------------------


class Sub(ElementBase):
    name = plugin_attrib = "sub"
    namespace = "urn:a"
    interfaces: ClassVar[Any] = {"y"}


class Alpha(ElementBase):
    name = plugin_attrib = "alpha"
    namespace = "urn:a"
    interfaces: ClassVar[Any] = {"x", "type", "word"}
    sub_interfaces: ClassVar[Any] = {"word"}


class Beta(ElementBase):
    """Reading it from a stanza that has none makes one."""

    name = plugin_attrib = "beta"
    namespace = "urn:b"
    interfaces: ClassVar[Any] = {"beta"}
    is_extension = True

    def get_beta(self) -> str:
        return self.xml.text or ""


class Gamma(ElementBase):
    name = plugin_attrib = "gamma"
    namespace = "urn:g"
    plugin_multi_attrib = "gammas"
    interfaces: ClassVar[Any] = {"x"}


class Delta(ElementBase):
    """Changes what a stanza's type is, and the stanza."""

    name = plugin_attrib = "delta"
    namespace = "urn:d"
    interfaces: ClassVar[Any] = {"x"}
    overrides: ClassVar[Any] = ["get_type"]

    def get_type(self) -> str:
        return "chat"


class Epsilon(ElementBase):
    """Matching it alters the stanza that it stands in."""

    name = plugin_attrib = "epsilon"
    namespace = "urn:e"
    interfaces: ClassVar[Any] = {"x"}

    def match(self, xpath: Any) -> bool:
        add_alpha(self.parent())  # type: ignore[misc]
        return bool(super().match(xpath))


register_stanza_plugin(Alpha, Sub)
register_stanza_plugin(Gamma, Alpha)

PLUGINS: dict[str, dict[str, Any]] = {
    "alpha": {"plugin": Alpha},
    "beta": {"plugin": Beta},
    "gamma": {"plugin": Gamma, "iterable": True},
    "delta": {"plugin": Delta, "overrides": True},
    "epsilon": {"plugin": Epsilon},
}


class Nonza(StanzaBase):
    name = plugin_attrib = "nonza"
    namespace = "urn:n"
    interfaces: ClassVar[Any] = {"id", "type", "word"}
    sub_interfaces: ClassVar[Any] = {"word"}


class Strange(StanzaBase):
    """Matches in a way of its own."""

    name = "strange"
    namespace = "urn:n"

    def match(self, xpath: Any) -> bool:
        return "beta" in "".join(xpath)


class Talk(Message):
    """A message of a class of its own, whose language is not known."""

    def get_lang(self, lang: str | None = None) -> Any:
        return self.xml.get("lang")

    def set_lang(self, lang: Any) -> None:
        self.xml.set("lang", str(lang))


CLASSES = {"nonza": Nonza, "strange": Strange, "talk": Talk}


def add_alpha(stanza: Any) -> None:
    if stanza is None:
        return
    child = ET.SubElement(stanza.xml, "{urn:a}alpha")
    if "alpha" in stanza.plugin_attrib_map:
        stanza.init_plugin("alpha", existing_xml=child, reuse=False)


# -- a user's own -------------------------------------------------------------------------------


class OwnMatcher(MatcherBase):
    def __init__(self, world: Any, kind: str) -> None:
        super().__init__(kind)
        self.world = world
        self.kind = kind
        self.left = 2

    def match(self, xml: Any) -> bool:
        self.world.note("asked", self.kind, str(xml))
        self.left -= 1
        if self.kind == "raises" and xml.xml.get("type") == "set":
            raise LookupError("a matcher that raises")
        if self.left >= 0:
            if self.kind == "alters":
                add_alpha(xml)
            elif self.kind == "renames":
                xml.xml.set("id", "i1")
            elif self.kind == "removes":
                self.world.xmpp.remove_handler("a")
            elif self.kind == "registers":
                self.world.register(Make("b", "callback", Want("path", "message")))
        return self.kind == "messages" and xml.name == "message"


class OwnPath(StanzaPath):
    def match(self, stanza: Any) -> bool:
        return not super().match(stanza)


class Duck:
    def __init__(self, world: Any) -> None:
        self.world = world

    def match(self, xml: Any) -> bool:
        self.world.note("asked", "duck", str(xml))
        return bool(xml.xml.get("type"))


class OwnHandler(BaseHandler):
    """Matches what its matcher does not."""

    def __init__(self, name: str, matcher: Any, pointer: Callable[[Any], Any]) -> None:
        super().__init__(name, matcher)
        self.pointer = pointer

    def match(self, xml: Any) -> bool:
        return not super().match(xml)

    def prerun(self, payload: Any) -> None:
        self.pointer(payload)

    def run(self, payload: Any) -> None:
        self.pointer(payload)


class Heir(Callback):
    """Inherits how it matches; equal to whatever has its name."""

    def __eq__(self, other: object) -> bool:
        return getattr(other, "name", None) == self.name

    __hash__ = None  # type: ignore[assignment]
