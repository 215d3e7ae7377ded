"""From a stanza to its handlers by index: what slixmpp finds by asking every handler.

Rules:
- The same handlers as slixmpp's, in the order of registration, each once; all are matched before
  the first runs. Only handlers that can't match are not asked (see `matching`).
- The list of handlers stays the one truth, and a list: whoever edits it gets what slixmpp would do.
- A handler that waits for the answer to one request costs nothing when anything else comes.
- A `match` that alters the stanza or the list is noticed; what follows is then asked one by one.
- The class of a known kind of stanza is found once, until the stream's list of classes changes.

Beside slixmpp's results there is one difference: a `match` that raises ends the dispatch of that
stanza, and a handler that is not asked can't raise.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from slixmpp.basexmpp import BaseXMPP
from slixmpp.xmlstream.stanzabase import ElementBase, StanzaBase

from zxmpp.routes import Entry
from zxmpp.streams.candidates import MAX_KINDS, HandlerIndex
from zxmpp.streams.matching import Asking, Interest, is_plain

__all__ = ["DispatchMixin", "HandlerList"]

#: slixmpp's own logger: what it says about arrivals is looked for there.
log = logging.getLogger("slixmpp.xmlstream.xmlstream")

_sequence = attrgetter("sequence")


class WatchedList(list[Any]):
    """A list that tells of each change: calls `changed` after it."""

    def __init__(self, items: Iterable[Any] = (), changed: Callable[[], None] | None = None):
        super().__init__(items)
        self._changed = changed

    def changed(self) -> None:
        """Called after each change."""
        if self._changed is not None:
            self._changed()


def _watch(name: str) -> Any:
    method = getattr(list, name)

    def change(self: WatchedList, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        finally:
            self.changed()

    change.__name__ = name
    return change


for _name in (
    "__delitem__", "__iadd__", "__imul__", "__setitem__", "append", "clear", "extend", "insert",
    "pop", "remove", "reverse", "sort",
):  # fmt: skip
    setattr(WatchedList, _name, _watch(_name))


class HandlerList(WatchedList):
    """A stream's handlers, in order of registration, and the index of them."""

    def __init__(self, handlers: Iterable[Any] = ()) -> None:
        super().__init__(handlers)
        #: Changes whenever the list does.
        self.version = 0
        self._index = HandlerIndex()
        #: Those of the first handlers of the list; the others are new.
        self._entries: list[Entry[Interest]] = []
        #: The same by identity, as long as each handler is here once and equals only itself.
        self._by_identity: dict[int, Entry[Interest]] | None = {}

    def changed(self) -> None:
        self.version += 1
        self._index = HandlerIndex()
        self._entries = []
        self._by_identity = {}

    def append(self, handler: Any) -> None:
        self.version += 1
        list.append(self, handler)

    def pop(self, position: Any = -1) -> Any:
        handler = list.pop(self, position)
        self._dropped(position + len(self) + 1 if position < 0 else position)
        return handler

    def remove(self, handler: Any) -> None:
        position = self._position(handler)
        if position < 0:
            try:
                position = self.index(handler)
            except ValueError:
                # For its words.
                list.remove(self, handler)
        self.pop(position)

    def _position(self, handler: Any) -> int:
        """Where `handler` is; -1 if that takes a search."""
        entry = self._by_identity.get(id(handler)) if self._by_identity else None
        return -1 if entry is None else bisect_left(self._entries, entry.sequence, key=_sequence)

    def _dropped(self, position: int) -> None:
        self.version += 1
        if position < len(self._entries):
            entry = self._entries.pop(position)
            self._index.remove(entry)
            if self._by_identity is not None:
                del self._by_identity[id(entry.item.handler)]

    def _take_in(self) -> None:
        """Index what was appended."""
        for handler in islice(self, len(self._entries), None):
            entry = self._index.add(handler)
            self._entries.append(entry)
            known = self._by_identity
            kind: Any = type(handler)
            if known is None or id(handler) in known or kind.__eq__ is not object.__eq__:
                self._by_identity = None
            else:
                known[id(handler)] = entry

    def match(self, stanza: Any) -> list[Any]:
        """The handlers that match `stanza`."""
        if len(self._entries) != len(self):
            self._take_in()
        plain = is_plain(stanza)
        keys = self._index.keys(stanza, plain)
        if keys is None:
            return [handler for handler in self if handler.match(stanza)]
        wanted = stanza.xml.get("id", "")
        careful = Asking.CAREFUL if plain else Asking.PATH
        matched: list[Any] = []
        version = self.version
        #: Where the last one stands that may have altered something, if nobody looked since.
        position = last = -1
        for interest in self._index.find(keys, wanted):
            asking = interest.asking
            handler = interest.handler
            if asking >= careful:
                if position >= 0 and interest.sequence == last + 1:
                    position += 1
                elif position >= 0 and self._altered(stanza, keys, wanted):
                    break
                else:
                    position = bisect_left(self._entries, interest.sequence, key=_sequence)
                last = interest.sequence
                if handler.match(stanza):
                    matched.append(handler)
                if self.version != version:
                    break
                continue
            if position >= 0:
                if self._altered(stanza, keys, wanted):
                    break
                position = -1
            if asking is Asking.SURE and handler._matcher is interest.matcher:
                matched.append(handler)
            elif asking is Asking.PATH and handler._matcher is interest.matcher:
                if stanza.match(handler._matcher._criteria):
                    matched.append(handler)
            elif handler.match(stanza):
                matched.append(handler)
        else:
            if position in (-1, len(self) - 1) or not self._altered(stanza, keys, wanted):
                return matched
        # The stanza or the list is not what it was: who stands behind is asked one by one.
        matched += [other for other in islice(self, position + 1, None) if other.match(stanza)]
        return matched

    def _altered(self, stanza: Any, keys: tuple[Hashable, ...], wanted: str) -> bool:
        """Whether `stanza` now offers something else."""
        return (
            self._index.keys(stanza, is_plain(stanza)) != keys or stanza.xml.get("id", "") != wanted
        )


if TYPE_CHECKING:
    _Base = BaseXMPP
else:
    _Base = object


class DispatchMixin(_Base):
    """Overrides how slixmpp finds the handlers and the class of a stanza."""

    # slixmpp's private names for its lists: it assigns them in its constructor.

    @property
    def _XMLStream__handlers(self) -> HandlerList:  # noqa: N802
        handlers: HandlerList = self.__dict__["_handlers"]
        return handlers

    @_XMLStream__handlers.setter
    def _XMLStream__handlers(self, handlers: Iterable[Any]) -> None:  # noqa: N802
        self.__dict__["_handlers"] = HandlerList(handlers)

    @property
    def _XMLStream__root_stanza(self) -> list[type[StanzaBase]]:  # noqa: N802
        classes: WatchedList = self.__dict__["_root_classes"]
        return classes

    @_XMLStream__root_stanza.setter
    def _XMLStream__root_stanza(self, classes: Iterable[type[StanzaBase]]) -> None:  # noqa: N802
        kinds: dict[tuple[str, str], type[StanzaBase]] = {}
        self.__dict__["_kinds"] = kinds
        self.__dict__["_root_classes"] = WatchedList(classes, kinds.clear)

    def reindex_handlers(self) -> None:
        """Look at all handlers anew: after a matcher was changed in place or exchanged."""
        self._XMLStream__handlers.changed()

    def recv_stanza(self, stanza: Any) -> None:
        for check in self._XMLStream__filters["in"]:  # type: ignore[attr-defined]
            stanza = check(stanza)
            if stanza is None:
                return
        log.debug("RECV: %s", stanza)
        handlers = self._XMLStream__handlers
        matched = handlers.match(stanza)
        for handler in matched:
            handler.prerun(stanza)
            try:
                handler.run(stanza)
            except Exception as error:
                stanza.exception(error)
            if handler.check_delete():
                self._XMLStream__handlers.remove(handler)
        if not matched:
            stanza.unhandled()

    def _build_stanza(self, xml: Any, default_ns: str | None = None) -> StanzaBase:
        if default_ns is None:
            default_ns = self.default_ns
        kinds: dict[tuple[str, str], type[StanzaBase]] = self.__dict__["_kinds"]
        kind = kinds.get((xml.tag, default_ns))
        if kind is None:
            kind = self._find_kind(xml.tag, default_ns)
            if len(kinds) >= MAX_KINDS:
                kinds.clear()
            kinds[xml.tag, default_ns] = kind
        stanza = kind(self, xml, recv=True)
        if not _has_stock_language(kind):
            language: Any = stanza["lang"]
            if language is None and self.peer_default_lang:
                stanza["lang"] = self.peer_default_lang
        return stanza

    def _find_kind(self, tag: str, default_ns: str) -> type[StanzaBase]:
        for kind in self._XMLStream__root_stanza:
            if tag in (f"{{{default_ns}}}{kind.name}", kind.tag_name()):
                return kind
        return StanzaBase


def _has_stock_language(kind: type[StanzaBase]) -> bool:
    """Whether ``stanza["lang"]`` is a text, always: then slixmpp never applies the stream's."""
    return (
        kind.get_lang is ElementBase.get_lang
        and kind.__getitem__ is ElementBase.__getitem__
        and "get_lang" not in kind.plugin_overrides
    )
