"""What happens to connections is told, and does not flood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from tests.sockets.helpers import LIMIT, Inbox, MonitorLog
from zxmpp.event import Lifecycle
from zxmpp.sockets import Socket, monitor

Opened = Callable[..., Socket]
Peer = Callable[..., Any]


async def test_the_life_of_a_connection(opened: Opened, peer: Peer) -> None:
    log = MonitorLog()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", on_monitor=log, on_messages=Inbox())
    assert (await log.wait("listening"))[0][1] == pull.bound[0]
    push = peer(zmq.PUSH, pull.bound[0])
    await log.wait("accepted")
    await log.wait("handshake-done")
    push.close(0)
    await log.wait("disconnected")
    assert pull.statistics().monitor == {
        "listening": 1, "accepted": 1, "handshake-done": 1, "disconnected": 1,
    }  # fmt: skip


async def test_an_absent_peer_is_told_once(opened: Opened) -> None:
    log = MonitorLog()
    push = opened("PUSH", connect="tcp://127.0.0.1:1", reconnect_ivl=5, reconnect_ivl_max=5,
                  on_monitor=log)  # fmt: skip
    async with asyncio.timeout(LIMIT):
        while push.statistics().monitor.get("retried", 0) < 20:
            await asyncio.sleep(0.01)
    assert [item[2] for item in log.inbox.items if item[0] == "retried"] == ["next attempt in 5 ms"]
    assert len([item for item in log.inbox.items if item[0] == "closed"]) == 1


async def test_the_limit_says_how_many_it_kept_back(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MonitorLog()
    push = opened("PUSH", connect="inproc://x", on_monitor=log)
    clock = 0.0
    monkeypatch.setattr(monitor.time, "monotonic", lambda: clock)
    watcher = push._monitor
    header = monitor._header.pack(int(zmq.Event.DISCONNECTED), 0)
    for _ in range(monitor.BURST + 7):
        watcher._take(header, "tcp://1.2.3.4:5")
    assert len(log.inbox.items) == monitor.BURST
    clock = monitor.REPEAT_SECONDS + 1
    watcher._take(header, "tcp://1.2.3.4:5")
    assert log.inbox.items[-1][2] == "7 more since the last time"
    assert watcher.counts[str(Lifecycle.DISCONNECTED)] == monitor.BURST + 8
    assert watcher.counts["kept-back"] == 7


async def test_a_failing_receiver_is_counted(opened: Opened, peer: Peer) -> None:
    inbox = Inbox()

    def fail(*_: Any) -> None:
        raise ValueError("boom")

    pull = opened("PULL", bind="tcp://127.0.0.1:*", on_monitor=fail, on_messages=inbox)
    peer(zmq.PUSH, pull.bound[0]).send(b"x")
    await inbox.wait(1)
    assert pull.statistics().monitor["report-failed"] >= 1


async def test_a_monitor_can_be_left_out(opened: Opened, peer: Peer) -> None:
    inbox = Inbox()
    pull = opened("PULL", bind="tcp://127.0.0.1:*", monitor=False, on_messages=inbox)
    peer(zmq.PUSH, pull.bound[0]).send(b"x")
    await inbox.wait(1)
    assert pull.statistics().monitor == {}
