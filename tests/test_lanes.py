"""Counts and bounds of lanes that add up, whatever a handler is and however it ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import msgspec
import pytest

from zxmpp.event import FramesEvent
from zxmpp.guards import Verdict
from zxmpp.handlers import FREE, Route
from zxmpp.pipeline import Pipeline

from .conftest import FakeSource

ALL = ("frames",)


def cancelled_future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    return future


@pytest.mark.parametrize("plain", [True, False])
async def test_a_cancellation_of_what_a_handler_asked_ends_only_this_call(
    pipeline: Pipeline, stream_source: FakeSource, plain: bool
) -> None:
    asked = cancelled_future()

    def result(event: FramesEvent) -> Any:
        return asked.result() if event.head == b"bad" else "good"

    async def awaits(event: FramesEvent) -> Any:
        return await asked if event.head == b"bad" else "good"

    pipeline.add(Route(pipeline.owner("plugin"), result if plain else awaits, ALL))
    pipeline.receive([stream_source.event(b"bad")])
    pipeline.receive([stream_source.event(b"good")])
    assert await pipeline.settle(5)
    assert stream_source.answers == ["good"]
    assert [failure.condition for _, failure in stream_source.failures] == ["service-unavailable"]
    assert pipeline.counts == {"cancelled": 1}
    assert pipeline.statistics().lanes == 0


async def test_a_wrapped_coroutine_that_has_not_begun_is_bounded_and_ended(
    pipeline: Pipeline, stream_source: FakeSource
) -> None:
    """A plain function that returns a coroutine waits for a worker like a coroutine function."""

    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    owner = pipeline.owner("plugin")
    entry = pipeline.add(Route(owner, lambda event: hangs(event), ALL, lane=FREE))
    for _ in range(3 * pipeline.total_limit):
        pipeline.receive([stream_source.event(b"x")])
    assert pipeline.in_flight == pipeline.statistics().waiting == pipeline.total_limit
    entry.close()
    await pipeline.release(owner)
    assert pipeline.in_flight == owner.lanes.waiting == 0
    assert pipeline.counts["unloaded"] == pipeline.total_limit
    assert len(stream_source.failures) == 3 * pipeline.total_limit


async def test_a_wrapped_coroutine_runs_and_its_count_goes(
    pipeline: Pipeline, source: FakeSource
) -> None:
    async def answers(event: FramesEvent) -> str:
        return "done"

    owner = pipeline.owner("plugin")
    pipeline.add(Route(owner, lambda event: answers(event), ALL))
    pipeline.receive([source.event(b"x")])
    assert owner.lanes.on_credit == 1
    assert await pipeline.settle(5)
    assert source.answers == ["done"]
    assert owner.lanes.on_credit == owner.lanes.waiting == 0


@pytest.mark.parametrize("batch", [1, 30])
async def test_a_socket_is_paused_by_a_lane_that_a_stanza_began(
    pipeline: Pipeline, source: FakeSource, stream_source: FakeSource, batch: int
) -> None:
    gate = asyncio.Event()

    async def handler(event: FramesEvent) -> None:
        await gate.wait()

    owner = pipeline.owner("plugin")
    pipeline.add(Route(owner, handler, ALL, lane="one"))
    pipeline.receive([stream_source.event(b"x"), stream_source.event(b"y")])
    for _ in range(30 // batch):
        pipeline.receive([source.event(b"x")] * batch)
    assert source.pauses == 1
    assert (owner.lanes.waiting, owner.lanes.on_credit) == (0, 32)
    gate.set()
    assert await pipeline.settle(5)
    assert not source.paused
    assert (owner.lanes.waiting, owner.lanes.on_credit) == (0, 0)


@pytest.mark.parametrize("batch", [1, 2])
async def test_who_comes_after_the_unloading_is_told(
    pipeline: Pipeline, source: FakeSource, batch: int
) -> None:
    async def handler(event: FramesEvent) -> None: ...

    owner = pipeline.owner("plugin")
    pipeline.add(Route(owner, handler, ALL))
    await pipeline.release(owner)
    pipeline.receive([source.event(b"x")] * batch)
    assert [failure.condition for _, failure in source.failures] == ["service-unavailable"] * batch
    assert pipeline.counts == {"unloaded": batch}
    assert pipeline.in_flight == 0


async def test_a_guard_that_exits_stops_the_arrival_only(
    pipeline: Pipeline, source: FakeSource
) -> None:
    pipeline.guard(FramesEvent, lambda event: sys.exit(1))
    pipeline.receive([source.event(b"x")])
    assert pipeline.counts == {"guard:guard-failed": 1}


@pytest.mark.parametrize("what", ["guard", "test", "select", "free", "stream"])
async def test_the_short_way_for_bursts_keeps_the_rules(
    pipeline: Pipeline, source: FakeSource, stream_source: FakeSource, what: str
) -> None:
    """A batch for one async handler is submitted at once only where nothing else has a say."""
    gate = asyncio.Event()
    begun = []

    async def handler(event: FramesEvent) -> None:
        begun.append(event.head)
        await gate.wait()

    owner = pipeline.owner("plugin")
    chosen = Route(owner, handler, ALL)
    table: dict[str, dict[str, Any]] = {
        "test": {"test": lambda event: event.head == b"yes"},
        "select": {"select": lambda event: chosen if event.head == b"yes" else None},
        "free": {"lane": FREE},
    }
    pipeline.add(Route(owner, handler, ALL, **table.get(what, {})))
    if what == "guard":
        pipeline.guard(FramesEvent, lambda event: Verdict("no") if event.head == b"no" else None)
    origin = stream_source if what == "stream" else source
    first = origin.event(b"yes")  # the others have its very keys, as those of one socket do
    pipeline.receive([first, *[msgspec.structs.replace(first, frames=[b"no"])] * 12])
    for _ in range(5):
        await asyncio.sleep(0)
    if what == "free":
        assert len(begun) == 13
    elif what == "stream":
        assert pipeline.counts["lane-full"] > 0
    else:
        assert pipeline.in_flight == 1
    gate.set()
    assert await pipeline.settle(5)


async def test_a_socket_held_by_two_plugins_goes_on_after_both(
    pipeline: Pipeline, source: FakeSource
) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    for number, gate in enumerate(gates):

        async def handler(event: FramesEvent, gate: asyncio.Event = gate) -> None:
            await gate.wait()

        pipeline.add(Route(pipeline.owner(f"plugin {number}"), handler, ALL))
    pipeline.receive([source.event(b"x")] * 20)
    assert source.pauses == 1
    gates[0].set()
    while pipeline.in_flight > 20:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert source.paused
    gates[1].set()
    assert await pipeline.settle(5)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not pipeline._holds


async def test_many_lanes_together_pause_a_socket(pipeline: Pipeline, source: FakeSource) -> None:
    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    pipeline.add(Route(pipeline.owner("plugin"), hangs, ALL))
    for number in range(pipeline.credit * 10):
        pipeline.receive([source.event(b"x", lane=str(number))])
    assert source.pauses == 1


async def test_a_handler_has_its_own_time_limit_and_settle_works_twice(
    pipeline: Pipeline, source: FakeSource
) -> None:
    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    pipeline.add(Route(pipeline.owner("plugin"), hangs, ALL, timeout=0.01))
    for _ in range(2):
        pipeline.receive([source.event(b"x")])
        assert await pipeline.settle(5)
        assert pipeline.in_flight == 0
    assert pipeline.counts == {"timeout": 2}


async def test_lanes_that_follow_wait_for_all_before_them_though_one_leaves(
    pipeline: Pipeline, source: FakeSource
) -> None:
    gates = {name: asyncio.Event() for name in (b"first", b"last")}

    async def handle(event: FramesEvent) -> bytes:
        if (gate := gates.get(event.head)) is not None:
            await gate.wait()
        return event.head

    owners = [pipeline.owner("plugin")]
    route = pipeline.add(Route(owners[0], handle, ALL))
    for batch in ([b"first"], [b"left"], [b"last", b"more"], [b"end"]):
        if batch != [b"first"]:
            owners.append(pipeline.successor(owners[-1]))
            pipeline.succeed(*owners[-2:])
            route.close()
            route = pipeline.add(Route(owners[-1], handle, ALL))
        pipeline.receive([source.event(frame) for frame in batch])
        await asyncio.sleep(0)
    assert source.answers == []
    await pipeline.release(owners[1])
    await asyncio.sleep(0)
    assert source.answers == []
    assert [event.head for event, _ in source.failures] == [b"left"]
    pipeline.receive([source.event(b"other", lane="another")])
    await asyncio.sleep(0)
    for name in (b"first", b"last"):
        gates[name].set()
    async with asyncio.timeout(5):
        await owners[0].lanes.drain()
        await owners[2].lanes.drain()
    assert await pipeline.settle(5)
    assert source.answers == [b"other", b"first", b"last", b"more", b"end"]
    assert pipeline.statistics().waiting == pipeline.statistics().lanes == 0
