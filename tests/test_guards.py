"""What a guard stops, and that its memory stays bounded."""

from __future__ import annotations

from typing import Any

import pytest

from zxmpp.event import Event, StanzaEvent
from zxmpp.guards import Dedupe, RateLimit, judge_marks

from .conftest import FakeSource

SOURCE = FakeSource(pausable=False)


def message(sender: str = "alice@localhost", **fields: Any) -> StanzaEvent:
    return StanzaEvent(
        SOURCE, ("message",), sender, sender, None, "message", "chat", sender, "bot@localhost",
        **{"body": "hi", **fields},
    )  # fmt: skip


@pytest.mark.parametrize("mark", ["own-echo", "carbon", "history", "delayed"])
def test_marks_stop(mark: str) -> None:
    verdict = judge_marks(message(marks=frozenset({mark})))
    assert verdict is not None
    assert verdict.reason == mark
    assert verdict.failure is None  # answering an echo or a carbon could loop


def test_a_fresh_message_passes() -> None:
    assert judge_marks(message()) is None


def test_duplicates_by_room_and_id() -> None:
    guard = Dedupe(size=2)
    assert guard(message(room="r@rooms", stanza_id="1")) is None
    assert guard(message(room="other@rooms", stanza_id="1")) is None
    verdict = guard(message(room="r@rooms", stanza_id="1"))
    assert verdict is not None
    assert verdict.reason == "duplicate"
    assert guard(message(room="r@rooms", stanza_id="")) is None
    assert guard(message(room="r@rooms", stanza_id="")) is None
    assert guard(message(room="r@rooms", stanza_id="2")) is None
    assert len(guard._seen) == 2


def test_rate_per_sender() -> None:
    now = 1000.0
    guard = RateLimit(2, 3, lambda event: False, size=10, clock=lambda: now)
    assert [guard(message()) for _ in range(3)] == [None] * 3
    first, second = guard(message()), guard(message())
    assert first is not None
    assert first.failure is not None
    assert first.failure.kind == "wait"
    assert second is not None
    assert second.failure is None  # told once
    assert guard(message("bob@localhost")) is None
    now += 0.5
    assert guard(message()) is None
    assert guard(message()) is not None
    for number in range(100):
        guard(message(f"stranger{number}@localhost"))
    assert len(guard._buckets) == 10


def other(name: str, type: str, **fields: Any) -> StanzaEvent:
    fields = {"body": "", **fields}
    return StanzaEvent(
        SOURCE, (name,), "mallory@localhost", "", None, name, type, "m", "b", **fields
    )


@pytest.mark.parametrize(
    ("name", "type", "counted", "told"),
    [
        ("message", "chat", True, False), ("message", "groupchat", True, False),
        ("iq", "get", True, True), ("iq", "set", True, True), ("iq", "result", False, False),
        ("iq", "error", False, False), ("presence", "subscribe", True, False),
        ("presence", "available", False, False), ("presence", "unavailable", False, False),
        ("features", "", False, False),
    ],
)  # fmt: skip
def test_what_a_handler_takes_is_counted(name: str, type: str, counted: bool, told: bool) -> None:
    guard = RateLimit(1, 2, lambda event: True, clock=lambda: 1.0)
    verdicts = [guard(other(name, type)) for _ in range(5)]
    assert verdicts[:2] == [None, None]
    for verdict in verdicts[2:]:
        assert (verdict is not None) is counted
        assert verdict is None or (verdict.failure is not None) is told
    # It is one limit for all.
    last = guard(other("message", "chat", body="hi"))
    assert (last is not None) is counted


@pytest.mark.parametrize(("name", "type"), [("message", "chat"), ("presence", "subscribe")])
def test_what_nobody_looks_at_costs_nothing(name: str, type: str) -> None:
    guard = RateLimit(1, 2, lambda event: False, clock=lambda: 1.0)
    assert [guard(other(name, type)) for _ in range(50)] == [None] * 50
    assert guard(other("message", "chat", body="hi")) is None


def test_a_text_costs_no_search_for_handlers() -> None:
    def wanted(event: Event) -> bool:
        raise AssertionError(event)

    assert RateLimit(1, 2, wanted)(message()) is None
