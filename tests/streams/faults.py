"""Faults that an index of handlers may have, to see that the differential test finds each.

Each is a function that breaks zxmpp's streams by way of pytest's monkeypatch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from zxmpp.routes import Index
from zxmpp.streams import candidates, dispatch, matching
from zxmpp.streams.candidates import HandlerIndex
from zxmpp.streams.dispatch import DispatchMixin, HandlerList, WatchedList
from zxmpp.streams.matching import CHECKED, DEEPER, MASK, Asking, Interest

Fault = Callable[[pytest.MonkeyPatch], None]
FAULTS: dict[str, Fault] = {}


def fault(function: Fault) -> Fault:
    FAULTS[function.__name__.replace("_", " ")] = function
    return function


def _change_keys(patch: pytest.MonkeyPatch, change: Callable[[list[Any]], list[Any]]) -> None:
    """The keys of each stanza go through `change`."""
    keys = HandlerIndex.keys

    def changed(self: Any, stanza: Any, plain: bool) -> Any:
        found = keys(self, stanza, plain)
        return None if found is None else tuple(change(list(found)))

    patch.setattr(HandlerIndex, "keys", changed)


def _change_found(patch: pytest.MonkeyPatch, change: Callable[[list[Any]], list[Any]]) -> None:
    """The candidates for each stanza go through `change`."""
    find = HandlerIndex.find

    def changed(self: Any, keys: Any, wanted: str) -> Sequence[Any]:
        return change(list(find(self, keys, wanted)))

    patch.setattr(HandlerIndex, "find", changed)


def _wants(patch: pytest.MonkeyPatch, change: Callable[[Interest], None]) -> None:
    """What each handler wants goes through `change`."""
    construct = Interest.__init__

    def changed(self: Interest, handler: Any) -> None:
        construct(self, handler)
        change(self)

    patch.setattr(Interest, "__init__", changed)


# -- keys ---------------------------------------------------------------------------------------


@fault
def first_key_dropped(patch: pytest.MonkeyPatch) -> None:
    _change_keys(patch, lambda keys: keys[1:])


@fault
def last_key_dropped(patch: pytest.MonkeyPatch) -> None:
    _change_keys(patch, lambda keys: keys[:-1])


@fault
def children_forgotten(patch: pytest.MonkeyPatch) -> None:
    def change(keys: list[Any]) -> list[Any]:
        return [key for key in keys if type(key) is str or not key[0].startswith("{")]

    _change_keys(patch, change)


@fault
def plugins_forgotten(patch: pytest.MonkeyPatch) -> None:
    def change(keys: list[Any]) -> list[Any]:
        return [key for key in keys if type(key) is str or key[0][:1] in ("{", MASK)]

    _change_keys(patch, change)


@fault
def substanzas_forgotten(patch: pytest.MonkeyPatch) -> None:
    _change_keys(patch, lambda keys: [key for key in keys if key[-1] != DEEPER])


@fault
def checks_forgotten(patch: pytest.MonkeyPatch) -> None:
    _change_keys(patch, lambda keys: [key for key in keys if key[-1] != CHECKED])


@fault
def masks_forgotten(patch: pytest.MonkeyPatch) -> None:
    _change_keys(patch, lambda keys: [key for key in keys if key[0][0:1] != MASK])


@fault
def loaded_plugins_are_no_first_step(patch: pytest.MonkeyPatch) -> None:
    keys = HandlerIndex.keys

    def changed(self: Any, stanza: Any, plain: bool) -> Any:
        kept, stanza.loaded_plugins = stanza.loaded_plugins, set()
        try:
            return keys(self, stanza, plain)
        finally:
            stanza.loaded_plugins = kept

    patch.setattr(HandlerIndex, "keys", changed)


@fault
def parts_of_plugin_attrib_are_no_first_step(patch: pytest.MonkeyPatch) -> None:
    def fit(self: Any, name: str, attrib: str) -> tuple[str, ...]:
        return tuple(first for first in self._firsts if first in (name, attrib))

    patch.setattr(HandlerIndex, "_fit", fit)


@fault
def fitting_first_steps_outlive_a_registration(patch: pytest.MonkeyPatch) -> None:
    class Lasting(dict[Any, Any]):
        def clear(self) -> None:
            """Does nothing."""

    construct = HandlerIndex.__init__

    def constructed(self: Any) -> None:
        construct(self)
        self._fitting = Lasting()

    patch.setattr(HandlerIndex, "__init__", constructed)


@fault
def sub_interfaces_forgotten(patch: pytest.MonkeyPatch) -> None:
    _wants(patch, lambda interest: interest.seconds.clear())


@fault
def ids_forgotten(patch: pytest.MonkeyPatch) -> None:
    find = HandlerIndex.find
    patch.setattr(HandlerIndex, "find", lambda self, keys, wanted: find(self, keys, "-"))


@fault
def every_sender_may_answer(patch: pytest.MonkeyPatch) -> None:
    def sure(self: Any, matcher: Any) -> Any:
        return Interest._id_sender(self, matcher) and Asking.SURE

    patch.setitem(matching._LOOKS, matching.MatchIDSender, sure)


@fault
def mask_by_its_whole_tag(patch: pytest.MonkeyPatch) -> None:
    def mask(self: Any, matcher: Any) -> Any:
        self.keys.append(matcher._criteria.tag)
        return Asking.QUIET

    patch.setitem(matching._LOOKS, matching.MatchXMLMask, mask)


@fault
def first_criterion_of_many_only(patch: pytest.MonkeyPatch) -> None:
    def many(self: Any, matcher: Any) -> Any:
        parts = list(matcher._criteria)
        matcher._criteria = parts
        return Asking.CAREFUL if parts and self._look(parts[0]) is not None else None

    patch.setitem(matching._LOOKS, matching.MatchMany, many)


@fault
def last_step_of_xpath_is_sure(patch: pytest.MonkeyPatch) -> None:
    def xpath(self: Any, matcher: Any) -> Any:
        return None if Interest._xpath(self, matcher) is None else Asking.SURE

    patch.setitem(matching._LOOKS, matching.MatchXPath, xpath)


@fault
def wildcards_pruned(patch: pytest.MonkeyPatch) -> None:
    def xpath(self: Any, matcher: Any) -> Any:
        found = Interest._xpath(self, matcher)
        if found is None:
            self.keys.append(matcher._criteria)
            return Asking.QUIET
        return found

    patch.setitem(matching._LOOKS, matching.MatchXPath, xpath)


@fault
def a_handlers_own_match_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(matching, "_has_stock_match", lambda handler: hasattr(handler, "_matcher"))


@fault
def a_matchers_own_match_ignored(patch: pytest.MonkeyPatch) -> None:
    look = Interest._look

    def looked(self: Any, matcher: Any) -> Any:
        found = look(self, matcher)
        if found is None and isinstance(matcher, matching.StanzaPath):
            return Interest._path(self, matcher)
        return found

    patch.setattr(Interest, "_look", looked)


@fault
def a_stanzas_own_match_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(candidates, "is_regular", lambda kind: True)


# -- order, and how often -----------------------------------------------------------------------


@fault
def order_reversed(patch: pytest.MonkeyPatch) -> None:
    _change_found(patch, lambda found: found[::-1])


@fault
def neighbours_swapped(patch: pytest.MonkeyPatch) -> None:
    def change(found: list[Any]) -> list[Any]:
        return [*found[:-2], *found[-2:][::-1]]

    _change_found(patch, change)


@fault
def bucket_after_bucket(patch: pytest.MonkeyPatch) -> None:
    def find(self: Any, keys: Any, wanted: str) -> Sequence[Any]:
        entries = {
            number: entry
            for key in [*keys, (candidates._Id, wanted)]
            for number, entry in self._index.bucket(key).items()
        }
        return [entry.item for entry in entries.values()]

    patch.setattr(HandlerIndex, "find", find)


@fault
def waiting_ones_last(patch: pytest.MonkeyPatch) -> None:
    def find(self: Any, keys: Any, wanted: str) -> Sequence[Any]:
        waiting = self._index.bucket((candidates._Id, wanted)).values()
        return [*self._index.plan(keys).always, *(entry.item for entry in waiting)]

    patch.setattr(HandlerIndex, "find", find)


@fault
def twice_where_two_keys_hit(patch: pytest.MonkeyPatch) -> None:
    def find(self: Any, keys: Any, wanted: str) -> Sequence[Any]:
        entries = [
            entry
            for key in [*keys, (candidates._Id, wanted)]
            for entry in self._index.bucket(key).values()
        ]
        return [entry.item for entry in sorted(entries, key=lambda entry: entry.sequence)]

    patch.setattr(HandlerIndex, "find", find)


@fault
def equal_neighbours_once(patch: pytest.MonkeyPatch) -> None:
    def change(found: list[Any]) -> list[Any]:
        return found[:1] + [
            other for one, other in pairwise(found) if one.handler.name != other.handler.name
        ]

    _change_found(patch, change)


# -- when ---------------------------------------------------------------------------------------


def _receive(
    self: Any, stanza: Any, *, lazy: bool = False, live: bool = False, keep: bool = False,
    guard: bool = False, answer: bool = True, fail: bool = False,
) -> None:  # fmt: skip
    """The dispatch, with what may be wrong in it."""
    for check in self._XMLStream__filters["in"]:
        stanza = check(stanza)
        if stanza is None:
            return
    handlers = self._XMLStream__handlers
    handled = False
    for handler in list(handlers) if lazy else handlers.match(stanza):
        if lazy and not handler.match(stanza):
            continue
        if live and handler not in handlers:
            continue
        handled = True
        try:
            handler.prerun(stanza)
        except Exception:
            if not guard:
                raise
        try:
            handler.run(stanza)
        except Exception as error:
            if fail:
                raise
            stanza.exception(error)
        if not keep and handler.check_delete():
            self._XMLStream__handlers.remove(handler)
    if answer and not handled:
        stanza.unhandled()


def _receives(name: str, **how: bool) -> None:
    def broken(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(
            DispatchMixin, "recv_stanza", lambda self, stanza: _receive(self, stanza, **how)
        )

    FAULTS[name] = broken


_receives("matched while handlers run", lazy=True)
_receives("removed during the dispatch and not run", live=True)
_receives("once-handlers kept", keep=True)
_receives("failing in-stream handlers forgiven", guard=True)
_receives("failing handlers not forgiven", fail=True)
_receives("unhandled not answered", answer=False)


@fault
def filters_of_the_beginning(patch: pytest.MonkeyPatch) -> None:
    receive = DispatchMixin.recv_stanza

    def received(self: Any, stanza: Any) -> None:
        filters = self._XMLStream__filters
        live = filters["in"]
        filters["in"] = list(live)
        try:
            receive(self, stanza)
        finally:
            filters["in"] = live

    patch.setattr(DispatchMixin, "recv_stanza", received)


# -- changes ------------------------------------------------------------------------------------


@fault
def altered_stanzas_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HandlerList, "_altered", lambda self, stanza, keys, wanted: False)


@fault
def altered_ids_unnoticed(patch: pytest.MonkeyPatch) -> None:
    altered = HandlerList._altered
    patch.setattr(
        HandlerList,
        "_altered",
        lambda self, stanza, keys, wanted: altered(self, stanza, keys, stanza.xml.get("id", "")),
    )


@fault
def altered_list_unnoticed(patch: pytest.MonkeyPatch) -> None:
    version = property(lambda self: 0, lambda self, value: None)
    patch.setattr(HandlerList, "version", version, raising=False)


@fault
def getters_that_alter_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch, "is_plain", lambda stanza: matching.is_regular(type(stanza)))


@fault
def edits_of_the_list_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HandlerList, "changed", lambda self: None)


@fault
def removals_unnoticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(HandlerIndex, "remove", lambda self, entry: None)


@fault
def plans_outlive_changes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Index, "_forget", lambda self, keys: None)


@fault
def removed_by_identity_only(patch: pytest.MonkeyPatch) -> None:
    def remove(self: Any, handler: Any) -> None:
        for position, other in enumerate(self):
            if other is handler:
                self.pop(position)
                return
        list.remove(self, handler)

    patch.setattr(HandlerList, "remove", remove)


@fault
def kinds_outlive_their_class(patch: pytest.MonkeyPatch) -> None:
    changed = WatchedList.changed
    patch.setattr(
        WatchedList,
        "changed",
        lambda self: changed(self) if isinstance(self, HandlerList) else None,
    )


@fault
def kinds_whatever_the_language(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dispatch, "_has_stock_language", lambda kind: True)
