"""From an arrival to its answer: order, bounds, failures, as a plugin's user would see them."""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from zxmpp.errors import Refused, UserError
from zxmpp.event import FramesEvent
from zxmpp.guards import Verdict
from zxmpp.handlers import FREE, Route
from zxmpp.pipeline import Pipeline

from .conftest import FakeSource

ALL = ("frames",)


def add(pipeline: Pipeline, handler: Any, owner: str = "plugin", **options: Any) -> Route:
    known = pipeline._owners.get(owner) or pipeline.owner(owner)
    route = Route(known, handler, options.pop("keys", ALL), **options)
    pipeline.add(route)
    return route


async def test_each_kind_of_handler_answers(pipeline: Pipeline, source: FakeSource) -> None:
    def plain(event: FramesEvent) -> str:
        return "plain"

    async def ready(event: FramesEvent) -> str:
        return "ready"

    async def waits(event: FramesEvent) -> str:
        await asyncio.sleep(0)
        return "waits"

    def yields(event: FramesEvent) -> Iterator[str]:
        yield "one"
        yield "two"

    async def streams(event: FramesEvent) -> AsyncIterator[str]:
        yield "three"
        await asyncio.sleep(0)
        yield "four"

    async def quiet(event: FramesEvent) -> None:
        await asyncio.sleep(0)

    async def two(text: str, event: FramesEvent) -> str:
        await asyncio.sleep(0)
        return text

    for handler in (plain, ready, waits, yields, streams, quiet, functools.partial(two, "partial")):
        add(pipeline, handler, lane=FREE)
    pipeline.receive([source.event(b"x")])
    assert await pipeline.settle(5)
    assert sorted(source.answers) == sorted(
        ["plain", "ready", "waits", "one", "two", "three", "four", "partial"]
    )
    assert pipeline.statistics().finished == 7


async def test_order_within_a_lane_and_none_across(pipeline: Pipeline, source: FakeSource) -> None:
    gates = {name: asyncio.Event() for name in ("a1", "a2", "b1")}

    async def handler(event: FramesEvent) -> str:
        name = event.frames[0].decode()
        await gates[name].wait()
        return name

    add(pipeline, handler)
    pipeline.receive(
        [
            source.event(b"a1", lane="a"),
            source.event(b"a2", lane="a"),
            source.event(b"b1", lane="b"),
        ]
    )
    gates["a2"].set()
    gates["b1"].set()
    while source.answers != ["b1"]:
        await asyncio.sleep(0)
    gates["a1"].set()
    assert await pipeline.settle(5)
    assert source.answers == ["b1", "a1", "a2"]


async def test_plain_handlers_wait_for_the_async_one_before_them(
    pipeline: Pipeline, source: FakeSource
) -> None:
    """One lane, two handlers of one plugin: the second event's plain handler does not overtake."""
    gate = asyncio.Event()

    async def slow(event: FramesEvent) -> str:
        await gate.wait()
        return "slow " + event.frames[0].decode()

    def plain(event: FramesEvent) -> str:
        return "plain " + event.frames[0].decode()

    add(pipeline, slow)
    add(pipeline, plain)
    pipeline.receive([source.event(b"1")])
    pipeline.receive([source.event(b"2")])
    assert source.answers == []
    gate.set()
    assert await pipeline.settle(5)
    assert source.answers == ["slow 1", "plain 1", "slow 2", "plain 2"]


async def test_a_plain_handler_runs_at_once_in_an_idle_lane(
    pipeline: Pipeline, source: FakeSource
) -> None:
    add(pipeline, lambda event: "now")
    pipeline.receive([source.event(b"x")])
    assert source.answers == ["now"]


async def test_what_a_handler_causes_in_its_own_lane_comes_after_it(
    pipeline: Pipeline, source: FakeSource
) -> None:
    def handler(event: FramesEvent) -> str:
        if event.frames == [b"1"]:
            pipeline.receive([source.event(b"2")])
        return event.frames[0].decode()

    add(pipeline, handler)
    pipeline.receive([source.event(b"1")])
    assert await pipeline.settle(5)
    assert source.answers == ["1", "2"]


async def test_a_task_of_its_own_kind(pipeline: Pipeline, source: FakeSource) -> None:
    """A handler may use what needs a current task: asyncio.timeout, TaskGroup."""

    async def handler(event: FramesEvent) -> str:
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "grouped"))
        return task.result()

    add(pipeline, handler)
    pipeline.receive([source.event(b"1")])
    assert await pipeline.settle(5)
    assert source.answers == ["grouped"]


async def test_no_task_per_event(pipeline: Pipeline, source: FakeSource) -> None:
    tasks = set()

    async def handler(event: FramesEvent) -> None:
        tasks.add(asyncio.current_task())

    add(pipeline, handler)
    for _ in range(10):
        pipeline.receive([source.event(b"x")] * 5)
        assert await pipeline.settle(5)
    assert len(tasks) == 1


async def test_a_socket_is_paused_by_a_full_lane_and_loses_nothing(
    pipeline: Pipeline, source: FakeSource
) -> None:
    gate = asyncio.Event()
    seen = []

    async def handler(event: FramesEvent) -> None:
        await gate.wait()
        seen.append(event.frames[0])

    add(pipeline, handler)
    sent = [b"%d" % number for number in range(30)]
    pipeline.receive([source.event(frame) for frame in sent])
    assert source.paused
    assert source.pauses == 1
    gate.set()
    assert await pipeline.settle(5)
    assert not source.paused
    assert seen == sent
    assert pipeline.counts["paused"] == 1
    assert pipeline.counts["lane-full"] == 0


async def test_a_stanza_is_refused_by_a_full_lane(
    pipeline: Pipeline, stream_source: FakeSource
) -> None:
    gate = asyncio.Event()

    async def handler(event: FramesEvent) -> None:
        await gate.wait()

    add(pipeline, handler)
    for _ in range(13):
        pipeline.receive([stream_source.event(b"x")])
    await asyncio.sleep(0)
    assert [failure.condition for _, failure in stream_source.failures] == [
        "resource-constraint"
    ] * 3
    assert {failure.kind for _, failure in stream_source.failures} == {"wait"}
    assert pipeline.counts["lane-full"] == 3
    assert not stream_source.paused
    gate.set()
    assert await pipeline.settle(5)


async def test_the_total_of_a_plugin_is_bounded(
    pipeline: Pipeline, stream_source: FakeSource
) -> None:
    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    add(pipeline, hangs)
    for number in range(200):
        pipeline.receive([stream_source.event(b"x", lane=str(number))])
        await asyncio.sleep(0)
    statistics = pipeline.statistics()
    assert statistics.waiting == pipeline.total_limit
    assert statistics.in_flight == pipeline.total_limit + pipeline.workers
    assert pipeline.counts["lane-full"] == 200 - statistics.in_flight


async def test_a_bad_plugin_does_not_stop_the_others(
    pipeline: Pipeline, stream_source: FakeSource, caplog: pytest.LogCaptureFixture
) -> None:
    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    def raises(event: FramesEvent) -> None:
        raise KeyError("secret detail")

    def exits(event: FramesEvent) -> None:
        sys.exit(3)

    async def exits_later(event: FramesEvent) -> None:
        await asyncio.sleep(0)
        raise SystemExit(4)

    def bad_reply(event: FramesEvent) -> object:
        return object()

    def good(event: FramesEvent) -> str:
        return event.frames[0].decode()

    def refuse_objects(event: Any, reply: Any) -> None:
        if not isinstance(reply, str):
            raise TypeError("can't send that")
        stream_source.answers.append(reply)

    stream_source.answer = refuse_objects  # type: ignore[method-assign]
    for handler in (hangs, raises, exits, exits_later, bad_reply, good):
        add(pipeline, handler, owner=handler.__name__)
    pipeline.receive([stream_source.event(b"1"), stream_source.event(b"2")])
    while pipeline.in_flight > 2:
        await asyncio.sleep(0)
    assert stream_source.answers == ["1", "2"]
    owners = pipeline.statistics().owners
    assert all(owners[name] == {"failed": 2} for name in ("raises", "exits", "exits_later"))
    assert owners["bad_reply"] == {"failed": 2}
    texts = {failure.text for _, failure in stream_source.failures}
    assert not any("secret detail" in text for text in texts)
    reference = stream_source.failures[0][1].reference
    assert reference
    assert reference in caplog.text
    assert "secret detail" in caplog.text


async def test_a_handler_that_hangs_is_ended_and_its_lane_goes_on(source: FakeSource) -> None:
    pipeline = Pipeline(timeout=0.01)
    ended = []

    async def handler(event: FramesEvent) -> str:
        if event.frames == [b"hang"]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(event.frames[0])
        return event.frames[0].decode()

    add(pipeline, handler)
    pipeline.receive([source.event(b"hang"), source.event(b"next")])
    assert await pipeline.settle(5)
    assert ended == [b"hang"]
    assert source.answers == ["next"]
    assert source.failures[0][1].condition == "remote-server-timeout"
    assert pipeline.counts["timeout"] == 1
    await pipeline.close()


async def test_a_timeout_of_the_handler_itself_is_not_ours(
    pipeline: Pipeline, source: FakeSource
) -> None:
    async def handler(event: FramesEvent) -> None:
        await asyncio.sleep(0)
        raise TimeoutError

    add(pipeline, handler)
    pipeline.receive([source.event(b"x")])
    assert await pipeline.settle(5)
    assert pipeline.counts == {"refused": 1}
    assert source.failures[0][1].condition == "remote-server-timeout"


@pytest.mark.parametrize("suspends", [False, True])
async def test_a_handler_that_blocks_the_loop_is_named(
    source: FakeSource, suspends: bool, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(slow_step=0.001)

    async def blocker(event: FramesEvent) -> None:
        if suspends:
            await asyncio.sleep(0)
        time.sleep(0.002)  # noqa: ASYNC251  (the fault that is tested)

    add(pipeline, blocker)
    pipeline.receive([source.event(b"x")])
    assert await pipeline.settle(5)
    assert pipeline.counts["blocked-loop"] == 1
    assert "blocker" in caplog.text
    await pipeline.close()


@pytest.mark.parametrize(
    ("error", "condition", "text"),
    [
        (Refused("Not now", "not-acceptable", "wait"), "not-acceptable", "Not now"),
        (UserError("Say which"), "bad-request", "Say which"),
        (PermissionError("inner"), "forbidden", "You may not do that."),
        (NotImplementedError(), "feature-not-implemented", "That is not implemented."),
    ],
)
async def test_what_the_sender_is_told(
    pipeline: Pipeline, source: FakeSource, error: Exception, condition: str, text: str
) -> None:
    def handler(event: FramesEvent) -> None:
        raise error

    add(pipeline, handler)
    pipeline.receive([source.event(b"x")])
    failure = source.failures[0][1]
    assert (failure.condition, failure.text, failure.reference) == (condition, text, "")


async def test_slixmpp_errors_keep_their_condition(pipeline: Pipeline, source: FakeSource) -> None:
    from slixmpp.exceptions import XMPPError

    def handler(event: FramesEvent) -> None:
        raise XMPPError("item-not-found", text="No such node", etype="cancel")

    add(pipeline, handler)
    pipeline.receive([source.event(b"x")])
    assert source.failures[0][1].condition == "item-not-found"
    assert source.failures[0][1].text == "No such node"


async def test_guards_see_each_arrival_once(pipeline: Pipeline, source: FakeSource) -> None:
    seen = []

    def guard(event: Any) -> Verdict | None:
        seen.append(event.frames[0])
        return Verdict("unwanted") if event.frames[0] == b"bad" else None

    pipeline.guard(FramesEvent, guard)
    add(pipeline, lambda event: "first")
    add(pipeline, lambda event: "second")
    add(pipeline, lambda event: "archived", accept=["unwanted"])
    pipeline.receive([source.event(b"good"), source.event(b"bad")])
    assert seen == [b"good", b"bad"]
    assert source.answers == ["first", "second", "archived", "archived"]
    pipeline.receive([source.event(b"bad")])
    assert pipeline.counts["guard:unwanted"] == 0  # it was taken, by the one that accepts it


async def test_a_stopped_arrival_is_counted_by_reason(
    pipeline: Pipeline, source: FakeSource
) -> None:
    pipeline.guard(FramesEvent, lambda event: Verdict("unwanted"))
    add(pipeline, lambda event: "never")
    pipeline.receive([source.event(b"x")])
    assert source.answers == []
    assert pipeline.counts == {"guard:unwanted": 1}


async def test_a_guard_that_fails_stops_the_arrival(pipeline: Pipeline, source: FakeSource) -> None:
    def guard(event: Any) -> None:
        raise RuntimeError("broken")

    pipeline.guard(FramesEvent, guard)
    add(pipeline, lambda event: "never")
    pipeline.receive([source.event(b"x")])
    assert source.answers == []
    assert pipeline.counts == {"guard:guard-failed": 1}


async def test_release_ends_what_runs_and_tells_who_waits(
    pipeline: Pipeline, source: FakeSource
) -> None:
    started = asyncio.Event()

    async def hangs(event: FramesEvent) -> None:
        started.set()
        await asyncio.Event().wait()

    owner = pipeline.owner("plugin")
    entry = pipeline.add(Route(owner, hangs, ALL))
    before = asyncio.all_tasks()
    pipeline.receive([source.event(b"1"), source.event(b"2")])
    await started.wait()
    entry.close()
    await pipeline.release(owner)
    assert asyncio.all_tasks() == before
    assert [failure.condition for _, failure in source.failures] == ["service-unavailable"] * 2
    assert pipeline.counts == {"cancelled": 1, "unloaded": 1}
    assert pipeline.in_flight == 0
    assert await pipeline.settle(0)


async def test_a_paused_socket_goes_on_when_the_plugin_is_unloaded(
    pipeline: Pipeline, source: FakeSource
) -> None:
    async def hangs(event: FramesEvent) -> None:
        await asyncio.Event().wait()

    route = add(pipeline, hangs)
    pipeline.receive([source.event(b"x")] * 30)
    assert source.paused
    await pipeline.release(route.owner)
    assert not source.paused


async def test_unrouted_is_counted(pipeline: Pipeline, source: FakeSource) -> None:
    add(pipeline, lambda event: "topic", keys=[("frames", source.name)], prefix=b"disk")
    pipeline.receive([source.event(b"disk.full"), source.event(b"net.down")])
    assert source.answers == ["topic"]
    assert pipeline.counts == {"unrouted": 1}


async def test_what_is_owed_is_always_settled(pipeline: Pipeline, source: FakeSource) -> None:
    """A REP socket and an IQ want an answer, whatever the handlers do."""
    source.owes_answer = True

    async def later(event: FramesEvent) -> None:
        await asyncio.sleep(0)

    topic = [("frames", source.name)]
    add(pipeline, lambda event: None, keys=topic, prefix=b"plain")
    add(pipeline, later, keys=topic, prefix=b"later")
    add(pipeline, lambda event: "answer", keys=topic, prefix=b"answer")
    pipeline.guard(FramesEvent, lambda event: Verdict("no") if event.head == b"stopped" else None)
    for head in (b"plain", b"later", b"answer", b"unrouted", b"stopped"):
        source.answers.clear()
        pipeline.receive([source.event(head)])
        assert await pipeline.settle(5)
        assert source.answers == ["answer" if head == b"answer" else None], head


async def test_a_batch_of_several_kinds(pipeline: Pipeline, source: FakeSource) -> None:
    """Each Event of a batch goes where its own keys lead."""
    add(pipeline, lambda event: "a " + event.frames[0].decode(), keys=["a"])
    add(pipeline, lambda event: "b " + event.frames[0].decode(), keys=["b"])
    batch = [
        FramesEvent(source, (key,), source.name, "lane", [b"%d" % number], [])
        for number, key in enumerate("abba")
    ]
    pipeline.receive(batch)
    assert source.answers == ["a 0", "b 1", "b 2", "a 3"]


async def test_a_generator_that_yields_nothing_still_pays_what_is_owed(
    pipeline: Pipeline, source: FakeSource
) -> None:
    source.owes_answer = True

    def yields_nothing(event: FramesEvent) -> Iterator[str]:
        yield from ()

    add(pipeline, yields_nothing)
    pipeline.receive([source.event(b"x")])
    assert source.answers == [None]


async def test_an_async_generator_is_closed_when_its_replies_can_not_be_sent(
    pipeline: Pipeline, source: FakeSource
) -> None:
    closed = asyncio.Event()

    async def streams(event: FramesEvent) -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
        finally:
            closed.set()

    def refuse(event: Any, reply: Any) -> None:
        raise TypeError("can't send that")

    source.answer = refuse  # type: ignore[method-assign]
    add(pipeline, streams)
    pipeline.receive([source.event(b"x")])
    assert await pipeline.settle(5)
    assert closed.is_set()
    assert pipeline.counts["failed"] == 1
