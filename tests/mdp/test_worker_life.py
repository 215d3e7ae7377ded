"""How a worker registers, comes back, and ends; and how it speaks plain Majordomo."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mdp.helpers import (
    LIMIT,
    QUICK,
    FakeBroker,
    a_broker,
    a_fake_broker,
    bounded,
    eventually,
    free_address,
    process_worker,
    serving,
)
from zxmpp.mdp import Worker

W2, READY, REQUEST, FINAL, RETURN = b"MDPW02", b"\x81", b"\x82", b"\x84", b"\x88"
#: An echo in a process of its own; `begun` and `go` are files.
PROCESS = """
async def main(body: str) -> str:
    if body != "quick":
        open(begun, "a").write(body)
        while not os.path.exists(go):
            await asyncio.sleep(0.01)
    return body + " by process"
"""


async def echo(body: bytes) -> bytes:
    return body


async def test_a_restarted_broker_has_the_worker_back() -> None:
    async with a_broker() as broker:
        address = broker.address
        worker = Worker("s", echo, connect=address)
        async with serving(worker):
            assert await broker.answer("s", b"1") == b"1"
            assert worker.registered
            broker.die()
            async with a_broker(address) as again:
                assert await again.answer("s", b"2") == b"2"
        assert worker.counts["reconnected"] >= 1


async def test_what_it_held_from_a_dead_broker_is_dropped() -> None:
    begun: list[str] = []
    ended = asyncio.Event()

    async def function(body: str) -> str:
        begun.append(body)
        if body == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
        return body

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            broker.ask("s", b"wait")
            broker.ask("s", b"waits behind")
            await eventually(lambda: begun)
            await eventually(lambda: worker._session is not None and worker._session.heard)
            broker.die()
            await bounded(ended.wait())
            async with a_broker(broker.address) as again:
                assert await again.answer("s", b"new") == b"new"
    assert begun == ["wait", "new"]


async def test_a_broker_that_closes_says_so_and_the_worker_waits_for_the_next() -> None:
    async with a_broker() as broker:
        worker = Worker("s", echo, connect=broker.address)
        async with serving(worker):
            await broker.until_workers(1)
            broker.driver.close()
            await eventually(lambda: worker.counts["reconnected"])
            broker.socket.close()
            async with a_broker(broker.address) as again:
                assert await again.answer("s", b"x") == b"x"


async def test_disconnect_makes_it_register_on_a_new_socket() -> None:
    async with a_fake_broker() as broker, serving(Worker("s", echo, connect=broker.address)):
        first = (await broker.got(W2, READY))[0][0]
        broker.send(first, W2, b"\x06")
        ready = await broker.got(W2, READY, count=2)
        assert ready[1][0] != first
        assert ready[1][3] == b"s"
        broker.send(ready[1][0], W2, REQUEST, b"a", b"{}", b"x")
        assert (await broker.got(W2, FINAL))[0][0] == ready[1][0]


async def test_a_lost_connection_ends_what_runs_at_once() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def function(body: str) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return body

    async with (
        a_broker() as broker,
        # So many seconds that silence tells nothing here.
        serving(Worker("s", function, connect=broker.address, heartbeat=60)),
    ):
        broker.ask("s", b"x")
        await bounded(begun.wait())
        broker.die()
        await bounded(ended.wait())


async def test_each_broker_that_speaks_is_tried_again_soon() -> None:
    async with (
        a_fake_broker() as broker,
        serving(Worker("s", echo, connect=broker.address)),
        asyncio.timeout(LIMIT),
    ):
        # If each wait were longer than the one before, the last would not come in time.
        for count in range(1, 17):
            peer = (await broker.got(W2, READY, count=count))[-1][0]
            broker.send(peer, W2, b"\x06")


async def test_a_silent_broker_is_left() -> None:
    async with a_fake_broker() as broker:
        worker = Worker("s", echo, connect=broker.address, heartbeat=0.05, liveness=2)
        async with serving(worker):
            ready = await broker.got(W2, READY, count=2)
            assert ready[0][0] != ready[1][0]
            await broker.got(W2, b"\x05")


async def test_heartbeats_keep_both_together() -> None:
    async with a_broker(heartbeat=QUICK) as broker:
        worker = Worker("s", echo, connect=broker.address, heartbeat=QUICK)
        async with serving(worker):
            await broker.until_workers(1)
            (known,) = broker.broker.workers.values()
            seen = known.seen
            await broker.until(lambda: known.seen > seen + 4 * QUICK)
            assert list(broker.broker.workers.values()) == [known]
        assert worker.counts["reconnected"] == 0


async def test_nobody_there_at_first() -> None:
    address = await free_address()
    worker = Worker("s", echo, connect=address, heartbeat=0.02, liveness=2)
    async with serving(worker):
        await asyncio.sleep(0.1)  # longer than it would bear silence
        assert not worker.registered
        async with a_broker(address, heartbeat=0.02, liveness=100) as broker:
            assert await broker.answer("s", b"x") == b"x"
            assert worker.registered
    assert not worker.registered


async def test_silence_is_counted_from_when_the_broker_is_there() -> None:
    address = await free_address()
    worker = Worker("s", echo, connect=address, heartbeat=60)
    async with serving(worker):
        session = worker._session
        assert session is not None
        # As after hours in which nobody was there.
        session._seen = session._beaten = asyncio.get_running_loop().time() - 10_000
        async with a_fake_broker(address) as broker:
            first = (await broker.got(W2, READY))[0][0]
            session._beaten = asyncio.get_running_loop().time()
            session._timer.cancel()
            session._beat()
            assert (await broker.got(W2, b"\x05"))[0][0] == first
            assert worker.counts["reconnected"] == 0


async def test_it_can_be_stopped_while_nobody_is_there() -> None:
    async with serving(Worker("s", echo, connect=await free_address())):
        pass


async def test_it_can_serve_again_after_it_was_stopped() -> None:
    async with a_broker() as broker:
        worker = Worker("s", echo, connect=broker.address)
        worker.stop()  # nothing to stop
        for body in (b"1", b"2"):
            async with serving(worker):
                assert await broker.answer("s", body) == body
            await broker.until_workers(0)


async def test_stop_finishes_what_runs_and_hands_back_what_waits() -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    async def first(body: str) -> str:
        begun.set()
        await go.wait()
        return body + " by first"

    async def second(body: str) -> str:
        return body + " by second"

    async with a_broker() as broker:
        worker = Worker("s", first, connect=broker.address, slots=1)
        async with serving(worker) as (task,):
            asked = [asyncio.ensure_future(broker.answer("s", b"%d" % n)) for n in range(3)]
            await bounded(begun.wait())
            worker.stop()
            await broker.until(lambda: broker.counts["returned"] == 2)
            late = asyncio.ensure_future(broker.answer("s", b"3"))
            async with serving(Worker("s", second, connect=broker.address)):
                assert await asked[1] == b"1 by second"
                assert await asked[2] == b"2 by second"
                assert await late == b"3 by second"
                assert not asked[0].done()
                assert not task.done()
                go.set()
                assert await asked[0] == b"0 by first"
                await bounded(task)
                await broker.until(lambda: broker.counts["worker-left"] == 1)
    assert worker.counts["returned"] == 2


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_when_the_time_to_drain_is_over_others_do_it(where: str) -> None:
    begun, go = threading.Event(), threading.Event()

    def in_thread(body: str) -> str:
        begun.set()
        go.wait(20)
        return "first"

    async def on_loop(body: str) -> str:
        begun.set()
        await asyncio.Event().wait()
        return "first"

    async def second(body: str) -> str:
        return "second"

    async with a_broker() as broker:
        worker = Worker(
            "s", on_loop if where == "loop" else in_thread, connect=broker.address, drain=0.05
        )
        async with serving(worker) as (task,):
            asked = asyncio.ensure_future(broker.answer("s"))
            await eventually(begun.is_set)
            worker.stop()
            await bounded(task)
            go.set()
            async with serving(Worker("s", second, connect=broker.address)):
                assert await asked == b"second"
            assert broker.counts["requeued"] == 1


async def test_a_stream_in_a_thread_that_runs_on_does_not_hold_up_the_end() -> None:
    begun, go = threading.Event(), threading.Event()

    def function() -> Iterator[str]:
        yield "part"
        begun.set()
        go.wait(20)
        yield "never"

    async with a_broker() as broker:
        worker = Worker("s", function, connect=broker.address, slots=2, drain=0.05)
        async with serving(worker) as (task,):
            broker.ask("s")
            await eventually(begun.is_set)
            worker.stop()
            await bounded(task)
            go.set()
    assert worker.counts["failed"] == 0


async def test_sigterm_finishes_what_runs_and_ends_the_process(tmp_path: Path) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    source = f"begun, go = {str(begun)!r}, {str(go)!r}\n{PROCESS}\n"
    source += 'Worker("s", main, connect=address, slots=1).run()\n'
    async with a_broker() as broker, process_worker(tmp_path, source, broker.address) as process:
        running = asyncio.ensure_future(broker.answer("s", b"running"))
        await eventually(begun.exists)
        waiting = asyncio.ensure_future(broker.answer("s", b"waiting"))
        process.send_signal(signal.SIGTERM)
        await broker.until(lambda: broker.counts["returned"] == 1)
        async with serving(Worker("s", echo, connect=broker.address)):
            assert await waiting == b"waiting"
            go.touch()
            assert await running == b"running by process"
            assert await bounded(process.wait()) == 0
            await broker.until(lambda: broker.counts["worker-left"] == 1)
    assert begun.read_text() == "running"


async def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    source = f"begun, go = {str(begun)!r}, {str(tmp_path / 'never')!r}\n{PROCESS}\n"
    source += 'Worker("s", main, connect=address, slots=1).run()\n'
    async with a_broker() as broker, process_worker(tmp_path, source, broker.address) as process:
        asked = asyncio.ensure_future(broker.answer("s", b"running"))
        await eventually(begun.exists)
        process.send_signal(signal.SIGTERM)
        await broker.until(lambda: any(w.credit == 0 for w in broker.broker.workers.values()))
        process.send_signal(signal.SIGINT)
        assert await bounded(process.wait()) == 0
        async with serving(Worker("s", echo, connect=broker.address)):
            assert await asked == b"running"


async def exact(broker: FakeBroker, *frames: bytes) -> bytes:
    """Wait for just these frames; who sent them."""
    items = await broker.inbox.until(lambda items: any(i[1:] == list(frames) for i in items))
    return next(bytes(item[0]) for item in items if item[1:] == list(frames))


async def test_plain_01_frames_are_those_of_rfc_7() -> None:
    head = (b"", b"MDPW01")
    async with a_fake_broker() as broker:
        async with serving(
            Worker("s", echo, connect=broker.address, version="0.1", heartbeat=QUICK, liveness=100)
        ):
            peer = await exact(broker, *head, b"\x01", b"s")
            broker.send(peer, *head, b"\x04")
            broker.send(peer, *head, b"\x02", b"\x00client", b"", b"one")
            await exact(broker, *head, b"\x03", b"\x00client", b"", b"one")
            await exact(broker, *head, b"\x04")
        await exact(broker, *head, b"\x05")
        known = {b"\x01", b"\x03", b"\x04", b"\x05"}
        assert {item[3] for item in broker.inbox.items} == known


async def test_plain_02_frames_are_those_of_rfc_18() -> None:
    async def function(body: str) -> AsyncIterator[Any]:
        yield body
        yield ["two", "frames"]

    async with a_fake_broker() as broker:
        async with serving(
            Worker("s", function, connect=broker.address, version="0.2-plain", heartbeat=QUICK,
                   liveness=100)
        ):  # fmt: skip
            peer = await exact(broker, W2, b"\x01", b"s")
            broker.send(peer, W2, b"\x05")
            broker.send(peer, W2, b"\x02", b"\x00client", b"", b"one")
            await exact(broker, W2, b"\x03", b"\x00client", b"", b"one")
            await exact(broker, W2, b"\x03", b"\x00client", b"", b"two", b"frames")
            await exact(broker, W2, b"\x04", b"\x00client", b"", b"")
            await exact(broker, W2, b"\x05")
        await exact(broker, W2, b"\x06")
        assert all(item[2] < b"\x80" for item in broker.inbox.items)


async def test_a_plain_client_that_asks_again_meets_no_trouble() -> None:
    """Addresses of plain brokers are clients' names: the same one can come twice."""
    go = threading.Event()

    def function(body: str) -> str:
        if body == "slow":
            go.wait(20)
        return body

    head = (b"", b"MDPW01")
    async with a_fake_broker() as broker:
        worker = Worker("s", function, connect=broker.address, version="0.1", slots=2)
        async with serving(worker):
            first = await exact(broker, *head, b"\x01", b"s")
            broker.send(first, *head, b"\x02", b"client", b"", b"slow")
            await eventually(lambda: worker._session is not None and worker._session.heard)
            broker.send(first, *head, b"\x05")
            peer = (await broker.got(*head, b"\x01", count=2))[1][0]
            for body in (b"a", b"b"):
                broker.send(peer, *head, b"\x02", b"client", b"", body)
                await exact(broker, *head, b"\x03", b"client", b"", body)
            go.set()
            await eventually(lambda: worker.counts["answered"] == 3)
            for body in (b"c", b"d"):
                broker.send(peer, *head, b"\x02", b"client", b"", body)
                await exact(broker, *head, b"\x03", b"client", b"", body)
        assert not any(item[-1] == b"slow" for item in broker.inbox.items)
