"""What a slixmpp handler can want, and what a stanza offers: keys for the index in `candidates`.

Rules:
- A key says only: without it there is no match. Whoever stands under a key of the stanza is still
  asked, except where the key is the whole condition.
- Only what slixmpp's own matchers are known to do is relied on. Any other matcher, a handler with a
  `match` of its own, and each case in which slixmpp's would raise for every stanza, is `ANY`: it is
  asked about each stanza, in its turn.
- slixmpp matches a path step by step from the left, and the check of an attribute may raise or
  make a plugin. So a handler is pruned by what comes after the check of an attribute only if that
  is `type` or `id` of a stanza class whose getters are known to do neither.
- A matcher is looked at once, before the first stanza after its handler was registered. One that is
  changed in place later needs `DispatchMixin.reindex_handlers`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Hashable
from enum import IntEnum
from typing import Any

from slixmpp.jid import JID
from slixmpp.stanza import Iq, Message, Presence
from slixmpp.xmlstream.handler.base import BaseHandler
from slixmpp.xmlstream.matcher import MatcherId, MatchMany, MatchXMLMask, MatchXPath, StanzaPath
from slixmpp.xmlstream.matcher.idsender import MatchIDSender
from slixmpp.xmlstream.stanzabase import ElementBase

from zxmpp.streams.messages import ReceivedMessage

__all__ = [
    "ANY", "CHECKED", "DEEPER", "MASK", "Asking", "Interest", "QuietHandler", "is_plain",
    "is_regular",
]  # fmt: skip

#: The key of every stanza.
ANY = "*"
#: Beside a path's first step: two steps or more, whatever the second (a stanza with substanzas).
DEEPER = "/*"
#: Beside a path's first step: two steps or more, and the first checks an attribute.
CHECKED = "@"
#: Before the local name of a mask's root; beside it, the type that the mask wants.
MASK = "<"

#: A step of an XPath that means one tag and nothing else; what may follow the first.
_STEP = re.compile(r"\{[^{}*]+\}[\w.-]+")
_AFTER = ("", "/", "[")
#: The check of an attribute.
_CHECK = re.compile(r"""\[@[\w.-]+=(?:'[^']*'|"[^"]*")\]""")

_KNOWN_ATTRIBUTES = ("type=", "id=")
_PLAIN = frozenset({Message, ReceivedMessage, Iq, Presence})

_MATCH = ElementBase.match
_FIX = ElementBase._fix_ns
_ATTRIBUTE = ElementBase.get_toplevel_attr


class Asking(IntEnum):
    """What it takes to know whether a handler that stands under a stanza's key matches."""

    #: Nothing: the key is the whole condition.
    SURE = 0
    #: Its `match`, which alters nothing.
    QUIET = 1
    #: One `stanza.match`, where slixmpp asks twice; alters nothing if the stanza `is_plain`.
    PATH = 2
    #: Its `match`, which alters nothing if the stanza `is_plain`.
    PATHS = 3
    #: Its `match`, which may alter the stanza and the list of handlers.
    CAREFUL = 4


class QuietHandler(BaseHandler):
    """Base of handlers that have a `match` of their own, which alters neither the stanza nor the
    list of handlers."""


class Interest:
    """What one handler wants."""

    __slots__ = (
        "asking",
        "firsts",
        "handler",
        "ids",
        "keys",
        "masks",
        "matcher",
        "seconds",
        "sequence",
    )

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.sequence = -1
        #: Under these the index has it; empty if only `ids` lead to it.
        self.keys: list[Hashable] = []
        #: The ids of stanzas that it wants.
        self.ids: list[str] = []
        #: First and second steps of its stanza paths.
        self.firsts: list[str] = []
        self.seconds: list[str] = []
        #: How many of its keys are those of masks.
        self.masks = 0
        self.matcher: Any = None
        self.asking = Asking.CAREFUL
        if isinstance(handler, QuietHandler):
            self._any(Asking.QUIET)
        elif _has_stock_match(handler):
            self.matcher = handler._matcher
            asking = self._look(self.matcher)
            if asking is None:
                self._any(Asking.CAREFUL)
            else:
                self.asking = asking
        else:
            self._any(Asking.CAREFUL)

    def _any(self, asking: Asking) -> None:
        self.keys = [ANY]
        self.ids = []
        self.firsts = []
        self.seconds = []
        self.masks = 0
        self.asking = asking

    def _look(self, matcher: Any) -> Asking | None:
        """Add what `matcher` wants; None if that is unknown."""
        look = _LOOKS.get(type(matcher))
        if look is None or "match" in vars(matcher):
            return None
        asking: Asking | None = look(self, matcher)
        return asking

    def _xpath(self, matcher: Any) -> Asking | None:
        path = vars(matcher).get("_criteria")
        root = _STEP.match(path) if type(path) is str else None
        if root is None or path[root.end() : root.end() + 1] not in _AFTER:
            return None
        check = _CHECK.match(path, root.end())
        end = root.end() if check is None else check.end()
        child = _STEP.match(path, end + 1) if path[end : end + 1] == "/" else None
        if child is not None and path[child.end() : child.end() + 1] in _AFTER:
            self.keys.append((root.group(), child.group()))
            end = child.end()
        else:
            self.keys.append(root.group())
        if end == len(path) and check is None:
            return Asking.SURE
        try:
            ET.Element("x").find(path)
        except Exception:
            # It raises for whatever comes.
            return None
        return Asking.QUIET

    def _mask(self, matcher: Any) -> Asking | None:
        mask = vars(matcher).get("_criteria")
        if type(mask) is not ET.Element or type(mask.tag) is not str:
            return None
        root = MASK + mask.tag.rpartition("}")[2]
        kind = mask.attrib.get("type")
        self.masks += 1
        # slixmpp takes a missing attribute for this text.
        typed = type(kind) is str and kind != "__None__"
        self.keys.append((root, kind) if typed else root)
        return Asking.QUIET

    def _id(self, matcher: Any) -> Asking | None:
        wanted = vars(matcher).get("_criteria")
        if type(wanted) is not str:
            return None
        self.ids.append(wanted)
        return Asking.SURE

    def _id_sender(self, matcher: Any) -> Asking | None:
        wanted = vars(matcher).get("_criteria")
        if (
            type(wanted) is not dict
            or type(wanted.get("id")) is not str
            or type(wanted.get("self")) is not JID
            or type(wanted.get("peer")) is not JID
        ):
            return None
        self.ids.append(wanted["id"])
        return Asking.QUIET

    def _many(self, matcher: Any) -> Asking | None:
        parts = vars(matcher).get("_criteria")
        if type(parts) not in (list, tuple) or not parts:
            return None
        found = Asking.QUIET
        for part in parts:
            asking = self._look(part)
            if asking is None:
                return None
            found = max(found, Asking.PATHS if asking is Asking.PATH else asking)
        return found

    def _path(self, matcher: Any) -> Asking | None:
        path = vars(matcher).get("_criteria")
        raw = vars(matcher).get("_raw_criteria")
        if type(path) is not list or not path or type(raw) is not str:
            return None
        if _split(raw) != path or any("{" in step or "}" in step for step in path):
            return None
        first, *checks = path[0].split("@")
        known = all(
            check.startswith(_KNOWN_ATTRIBUTES) and check.count("=") == 1 for check in checks
        )
        self.firsts.append(first)
        if len(path) == 1 or not known:
            self.keys.append(first)
        else:
            second = path[1].partition("@")[0]
            self.seconds.append(second)
            self.keys += [(first, second), (first, DEEPER)]
            if checks:
                self.keys.append((first, CHECKED))
        # Behind the second step stand the getters of plugins, which may do anything.
        short = len(path) <= 2 and "@" not in "".join(path[1:])
        return Asking.PATH if known and short else Asking.CAREFUL


_LOOKS: dict[type, Any] = {
    MatchXPath: Interest._xpath,
    MatchXMLMask: Interest._mask,
    MatcherId: Interest._id,
    MatchIDSender: Interest._id_sender,
    MatchMany: Interest._many,
    StanzaPath: Interest._path,
}


def _has_stock_match(handler: Any) -> bool:
    kind: Any = type(handler)
    return (
        getattr(kind, "match", None) is BaseHandler.match
        and kind.__getattribute__ is object.__getattribute__
        and not hasattr(kind, "_matcher")
        and "match" not in vars(handler)
        and "_matcher" in vars(handler)
    )


def _split(path: str) -> list[str]:
    """The steps of a stanza path, as a stanza splits them."""
    steps: Any = _FIX(ElementBase, path, split=True, propagate_ns=False)  # type: ignore[arg-type]
    return list(steps)


def is_regular(kind: Any) -> bool:
    """Whether stanzas of that class match as slixmpp's do."""
    return (
        getattr(kind, "match", None) is _MATCH
        and kind._fix_ns is _FIX
        and kind.get_toplevel_attr is _ATTRIBUTE
    )


def is_plain(stanza: Any) -> bool:
    """Whether asking a path of two steps alters nothing: reading `type`, `id` or a text of `stanza`
    runs slixmpp's own code, and so does matching its plugins and substanzas."""
    kind: Any = type(stanza)
    if kind not in _PLAIN or kind.match is not _MATCH:
        return False
    overrides = kind.plugin_overrides
    if overrides and any(name.startswith("get_") for name in overrides):
        return False
    for plugin in stanza.plugins.values():
        if type(plugin).match is not _MATCH:
            return False
    if stanza.iterables:
        return all(type(substanza).match is _MATCH for substanza in stanza.iterables)
    return True
