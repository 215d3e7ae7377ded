"""What a worker does with the requests that it is given."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from tests.mdp.helpers import (
    LIMIT,
    FakeBroker,
    a_broker,
    a_fake_broker,
    bounded,
    eventually,
    serving,
)
from zxmpp.errors import UserError
from zxmpp.mdp import Job, NoAnswer, Worker

READY, REQUEST, FINAL, CANCEL, RETURN = b"\x81", b"\x82", b"\x84", b"\x87", b"\x88"
W2 = b"MDPW02"


async def given(broker: FakeBroker, *addresses: bytes, meta: bytes = b"{}") -> bytes:
    """Give the worker that says READY a request under each of `addresses`; who it is."""
    peer = (await broker.got(W2, READY))[0][0]
    for address in addresses:
        broker.send(peer, W2, REQUEST, address, meta, b"body of " + address)
    return peer


async def test_slots_run_at_the_same_time_and_no_more() -> None:
    together = asyncio.Barrier(3)
    running = most = 0

    async def function(body: str) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await together.wait()
        running -= 1
        return body

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=3)),
    ):
        asked = [broker.answer("s", b"%d" % n) for n in range(9)]
        assert await bounded(asyncio.gather(*asked)) == [b"%d" % n for n in range(9)]
    assert most == 3


async def test_slots_are_threads_for_a_plain_function() -> None:
    together = threading.Barrier(3)

    def function() -> str:
        together.wait(LIMIT)
        return "met"

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=3)),
    ):
        assert await asyncio.gather(*(broker.answer("s") for _ in range(3))) == [b"met"] * 3


async def test_credit_is_how_many_it_holds() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def function(body: str) -> str:
        begun.set()
        await go.wait()
        return body

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1, credit=3, name="w1")
        async with serving(worker):
            asked = [asyncio.ensure_future(broker.answer("s", b"%d" % n)) for n in range(5)]
            await bounded(begun.wait())
            (known,) = broker.broker.workers.values()
            assert (known.slots, known.credit, known.name) == (1, 3, "w1")
            assert len(known.held) == 3
            assert len(broker.requests.services[b"s"].queue) == 2
            go.set()
            assert await bounded(asyncio.gather(*asked)) == [b"%d" % n for n in range(5)]


async def test_it_holds_more_than_it_runs_by_default_and_a_plain_one_does_not() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def function() -> None:
        begun.set()
        await go.wait()

    for version, held in (("0.2", 5), ("0.2-plain", 1), ("0.1", 1)):
        go.clear()
        begun.clear()
        async with (
            a_broker() as broker,
            serving(Worker("s", function, connect=broker.address, version=version)),
        ):
            asked = [asyncio.ensure_future(broker.answer("s")) for _ in range(5)]
            await bounded(begun.wait())
            assert [len(known.held) for known in broker.broker.workers.values()] == [held]
            go.set()
            await bounded(asyncio.gather(*asked))


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_the_asker_reads_a_user_error_and_of_others_a_reference(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    def function(body: str) -> str:
        if body == "exit":
            sys.exit("a secret")
        raise UserError("no such city") if body == "user" else KeyError("a secret")

    async def on_loop(body: str) -> str:
        return function(body)

    async with a_broker() as broker:
        chosen = on_loop if where == "loop" else function
        worker = Worker("s", chosen, connect=broker.address)
        async with serving(worker):
            with pytest.raises(NoAnswer) as told:
                await broker.answer("s", b"user")
            assert (str(told.value), told.value.reason) == ("no such city", "refused")
            assert not caplog.records
            for body in (b"other", b"exit"):
                caplog.clear()
                with pytest.raises(NoAnswer) as told:
                    await broker.answer("s", body, trace="trace-7")
                assert told.value.reason == "failed"
                assert "secret" not in str(told.value)
                (record,) = (r for r in caplog.records if r.levelno == logging.ERROR)
                reference = record.getMessage().split("[")[1].rstrip("]")
                assert reference in str(told.value)
                assert "trace-7" in record.getMessage()
                assert record.exc_info
        assert worker.counts["failed"] == 3
        assert worker.counts["reconnected"] == 0


@pytest.mark.parametrize("text", ["x" * 100_000, "\x01" * 5000, "file \udcff"])
async def test_what_an_asker_is_told_always_fits(text: str) -> None:
    async def function(body: str) -> str:
        if body == "fail":
            raise UserError(text)
        return body

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address)
        async with serving(worker):
            with pytest.raises(NoAnswer) as told:
                await broker.answer("s", b"fail")
            assert told.value.reason == "refused"
            assert str(told.value)[:5] == text[:5]
            assert await broker.answer("s", b"ok") == b"ok"
        assert worker.counts["reconnected"] == 0


async def test_plain_peers_read_a_failure_as_text() -> None:
    async def function() -> None:
        raise UserError("no such city")

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, version="0.1")),
    ):
        assert await broker.answer("s") == b"error: no such city"


async def test_what_is_past_its_time_is_not_begun() -> None:
    begun: list[bytes] = []

    async def function(body: bytes) -> bytes:
        begun.append(body)
        return body

    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address)
        async with serving(worker):
            peer = await given(broker, b"a-1", meta=b'{"timeout":-0.001}')
            assert (await broker.got(W2, RETURN))[0][3] == b"a-1"
            broker.send(peer, W2, REQUEST, b"a-2", b'{"timeout":60}', b"in time")
            (answer,) = await broker.got(W2, FINAL)
            assert answer[3:] == [b"a-2", b"{}", b"in time"]
    assert begun == [b"in time"]
    assert worker.counts["expired"] == 1


async def test_a_cancelled_async_job_ends_and_its_slot_is_free() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def function(body: str) -> str:
        if body == "wait":
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.set()
                raise
        return body

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            for count in range(1, 4):
                begun.clear()
                ended.clear()
                pending = broker.ask("s", b"wait")
                await bounded(begun.wait())
                pending.close()
                await bounded(ended.wait())
                assert await broker.answer("s", b"next") == b"next"
                assert worker.counts["cancelled"] == count
            await broker.until(lambda: not any(w.held for w in broker.broker.workers.values()))
            assert broker.requests.open == 0


async def test_a_function_that_takes_no_notice_of_cancellation_costs_no_slot() -> None:
    begun = asyncio.Event()

    async def function(body: str) -> str:
        if body == "next":
            # A failing group is told from a cancelled one by this count, which has to be its own.
            task = asyncio.current_task()
            return f"cancelled {task.cancelling() if task else None} times"
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if body == "stubborn":
                return "done all the same"
            raise
        return "never"

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=1)),
    ):
        for body in (b"stubborn", b"mild", b"stubborn", b"mild"):
            begun.clear()
            pending = broker.ask("s", body)
            await bounded(begun.wait())
            pending.close()
            assert await broker.answer("s", b"next") == b"cancelled 0 times"
        assert broker.counts["late-answer"] == 2


async def test_cancelled_twice_while_it_cleans_up_costs_no_slot() -> None:
    begun, cleaning = asyncio.Event(), asyncio.Event()

    async def function(body: str) -> str:
        if body == "next":
            return body
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await asyncio.Event().wait()
        return "never"

    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            peer = (await broker.got(W2, READY))[0][0]
            broker.send(peer, W2, REQUEST, b"a-1", b"{}", b"wait")
            await bounded(begun.wait())
            broker.send(peer, W2, CANCEL, b"a-1", b"{}")
            await bounded(cleaning.wait())
            broker.send(peer, W2, CANCEL, b"a-1", b"{}")
            assert (await broker.got(W2, RETURN))[0][3] == b"a-1"
            broker.send(peer, W2, REQUEST, b"a-2", b"{}", b"next")
            assert (await broker.got(W2, FINAL))[0][3:] == [b"a-2", b"{}", b"next"]


async def test_a_cancellation_within_the_function_is_a_failure_of_the_function() -> None:
    async def function(body: str) -> str:
        if body == "next":
            return body
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner
        return "never"

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=1)),
    ):
        with pytest.raises(NoAnswer, match="something went wrong"):
            await broker.answer("s", b"inner")
        assert await broker.answer("s", b"next") == b"next"


async def test_a_time_limit_of_the_function_is_its_own() -> None:
    async def function(body: str) -> str:
        try:
            async with asyncio.timeout(0 if body == "late" else LIMIT):
                await asyncio.sleep(0 if body != "late" else LIMIT)
        except TimeoutError:
            return "late"
        return "in time"

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=1)),
    ):
        for body, answer in ((b"late", b"late"), (b"", b"in time"), (b"late", b"late")):
            assert await broker.answer("s", body) == answer


async def test_a_thread_sees_that_it_is_cancelled_and_its_answer_is_dropped() -> None:
    begun, over = threading.Event(), threading.Event()

    def function(body: str, job: Job) -> str:
        if body == "next":
            return body
        begun.set()
        while not job.cancelled:
            over.wait(0.005)
        return "late"

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            pending = broker.ask("s", b"wait")
            await eventually(begun.is_set)
            pending.close()
            await broker.until(lambda: broker.counts["late-answer"] == 1)
            assert await broker.answer("s", b"next") == b"next"


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_cancelled_stream_is_closed(where: str) -> None:
    closed = threading.Event()

    def in_thread() -> Iterator[str]:
        try:
            while True:
                yield "part"
        finally:
            closed.set()

    async def on_loop() -> AsyncIterator[str]:
        try:
            yield "part"
            await asyncio.Event().wait()
        finally:
            closed.set()

    function: Any = on_loop if where == "loop" else in_thread
    async with a_broker() as broker, serving(Worker("s", function, connect=broker.address)):
        pending = broker.ask("s")
        assert (await bounded(pending.next())).frames == [b"part"]
        pending.close()
        await eventually(closed.is_set)
        await broker.until(lambda: not any(w.held for w in broker.broker.workers.values()))


@pytest.mark.parametrize("meta", [b"{}", b'{"recall":true}'])
async def test_a_waiting_job_that_is_cancelled_goes_back(meta: bytes) -> None:
    go = asyncio.Event()
    begun: list[bytes] = []

    async def function(body: bytes) -> bytes:
        begun.append(body)
        await go.wait()
        return body

    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            peer = await given(broker, b"a-1", b"a-2", b"a-3")
            broker.send(peer, W2, CANCEL, b"a-2", meta)
            assert (await broker.got(W2, RETURN))[0][3:] == [b"a-2", b"{}"]
            go.set()
            answers = await broker.got(W2, FINAL, count=2)
    assert [answer[3] for answer in answers] == [b"a-1", b"a-3"]
    assert begun == [b"body of a-1", b"body of a-3"]


async def test_what_runs_already_is_not_recalled() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def function(body: bytes) -> bytes:
        begun.set()
        await go.wait()
        return body

    async with (
        a_fake_broker() as broker,
        serving(Worker("s", function, connect=broker.address, slots=1)),
    ):
        peer = await given(broker, b"a-1", b"a-2")
        await bounded(begun.wait())
        broker.send(peer, W2, CANCEL, b"a-1", b'{"recall":true}')
        broker.send(peer, W2, CANCEL, b"a-2", b'{"recall":true}')
        assert (await broker.got(W2, RETURN))[0][3] == b"a-2"
        go.set()
        assert (await broker.got(W2, FINAL))[0][3:] == [b"a-1", b"{}", b"body of a-1"]


async def test_a_request_lying_in_a_busy_worker_goes_to_a_free_one() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def busy(body: str) -> str:
        begun.set()
        await go.wait()
        return "busy"

    async def free(body: str) -> str:
        return "free"

    async with (
        a_broker(recall=0.01) as broker,
        serving(Worker("s", busy, connect=broker.address, slots=1)),
    ):
        first = asyncio.ensure_future(broker.answer("s"))
        await bounded(begun.wait())
        second = asyncio.ensure_future(broker.answer("s"))
        await broker.until(lambda: broker.requests.open == 2)
        async with serving(Worker("s", free, connect=broker.address)):
            assert await second == b"free"
            go.set()
            assert await first == b"busy"


async def test_a_broken_message_of_the_broker_disturbs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def function(body: bytes) -> bytes:
        return body

    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address)
        async with serving(worker):
            peer = await given(broker)
            bad = ([b""], [b"x"], [W2], [W2, b"\x77", b"a"], [b"MDPC02", b"\x03", b"s", b"x"],
                   [W2, REQUEST, b"a-1", b"not json", b"x"], [b"", b"MDPW01"])  # fmt: skip
            for frames in bad:
                broker.send(peer, *frames)
            broker.send(peer, W2, REQUEST, b"a-2", b"{}", b"good")
            assert (await broker.got(W2, FINAL))[0][3:] == [b"a-2", b"{}", b"good"]
    assert worker.counts["malformed"] == len(bad)
    assert worker.counts["reconnected"] == 0
    assert "a message of the broker is dropped: unknown-command" in caplog.text


async def test_ready_says_what_the_worker_can_hold() -> None:
    async def function() -> None: ...

    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=2, credit=7, name="w")
        async with serving(worker):
            (ready,) = await broker.got(W2, READY)
            assert ready[3] == b"s"
            assert len(ready) == 5
            assert msgspec.json.decode(ready[4]) == {"slots": 2, "credit": 7, "name": "w"}
