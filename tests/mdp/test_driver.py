"""The broker behind a real ROUTER socket: whatever comes in, who is gone, what is due."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.mdp.helpers import (
    LIMIT,
    a_broker,
    bounded,
    eventually,
    process_worker,
    serving,
)
from zxmpp.mdp import Client, NoAnswer, NoAnswerInTime, Worker

W2, C2 = b"MDPW02", b"MDPC02"
MIB = 1024 * 1024
#: Longer than a test: what is found out is not found out by silence.
LONG = {"heartbeat": 60.0, "lease": 600.0}
HOLDS = """
async def main(body: str) -> str:
    open(begun, "a").write(body)
    await asyncio.Event().wait()
"""


async def echo(body: bytes) -> bytes:
    return body


@pytest.fixture
def dealer() -> Iterator[Any]:
    """``dealer(address)`` is a plain DEALER that blocks, at most for LIMIT."""
    context: zmq.Context[Any] = zmq.Context()
    sockets = []

    def make(address: str, **options: int) -> Any:
        socket = context.socket(zmq.DEALER)
        sockets.append(socket)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, int(LIMIT * 1000))
        for name, value in options.items():
            socket.setsockopt(getattr(zmq, name.upper()), value)
        socket.connect(address)
        return socket

    yield make
    for socket in sockets:
        socket.close(0)
    context.term()


def lines(caplog: pytest.LogCaptureFixture, reason: str) -> list[str]:
    said = [record.getMessage() for record in caplog.records]
    return [line for line in said if line.startswith("broker test") and reason in line]


async def test_a_storm_of_broken_messages_disturbs_nobody(
    dealer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bad = {
        "empty": [b""],
        "no-header": [b"x"],
        "too-short": [C2],
        "unknown-command": [W2, b"\x99", b"s"],
        "unknown-version": [b"MDPW07", b"\x01", b"s"],
        "no-empty-frame": [b"MDPW01", b"\x01", b"s"],
        "bad-service-name": [W2, b"\x01", b"s" * 300],
        "bad-meta": [W2, b"\x81", b"s", b"{"],
        "reserved-service": [W2, b"\x01", b"mmi.mine"],
        "unexpected-final": [W2, b"\x04", b"address", b"", b"answer"],
    }
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", echo, connect=broker.address)),
    ):
        assert await client.request("s", b"before") == b"before"
        peers = [dealer(broker.address) for _ in range(2)]
        for _ in range(100):
            for frames in bad.values():
                for peer in peers:
                    peer.send_multipart(frames)
            assert await client.request("s", b"meanwhile") == b"meanwhile"
        await broker.until(lambda: all(broker.counts[reason] >= 200 for reason in bad))
        assert {reason: broker.counts[reason] for reason in bad} == dict.fromkeys(bad, 200)
        assert {reason: len(lines(caplog, f" {reason} ")) for reason in bad} == (
            dict.fromkeys(bad, 2)
        )
        assert [w.service.name for w in broker.broker.workers.values()] == [b"s"]
        # RFC 18: who speaks as a worker out of place is told to disconnect; others are not.
        answers = await asyncio.to_thread(lambda: [peers[0].recv_multipart() for _ in range(600)])
        assert answers.count([W2, b"\x06"]) == 500
        assert answers.count([b"", b"MDPW01", b"\x05"]) == 100


async def test_the_same_complaint_is_logged_again_after_a_minute(
    dealer: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zxmpp.mdp.driver.COMPLAIN_AGAIN", 0.0)
    async with a_broker() as broker:
        peer = dealer(broker.address)
        for count in range(1, 4):
            peer.send(b"x")
            await broker.until(lambda count=count: broker.counts["no-header"] == count)
        assert len(lines(caplog, "no-header")) == 3


async def test_too_many_frames_and_too_many_bytes(dealer: Any) -> None:
    async with (
        a_broker(table={"max_message_bytes": MIB}) as broker,
        Client(broker.address) as client,
        serving(Worker("s", echo, connect=broker.address)),
    ):
        assert await client.request("s", b"before") == b"before"
        many, big = dealer(broker.address), dealer(broker.address)
        many.send_multipart([b"x"] * 10_000)
        big.send(b"x" * (100 * MIB))
        big.send_multipart([C2, b"\x01", b"s", *([b"x" * (MIB // 2)] * 3)])
        await eventually(lambda: broker.socket.dropped["too-many-frames"] == 1)
        await eventually(lambda: broker.socket.dropped["too-large"] >= 1)
        assert await client.request("s", b"after") == b"after"
        many.send_multipart([C2, b"\x01", b"s", b"well"])
        assert await asyncio.to_thread(many.recv_multipart) == [C2, b"\x03", b"s", b"well"]
        assert broker.requests.open == 0


async def test_random_garbage(dealer: Any) -> None:
    chance = random.Random(7)
    heads = [b"", C2, W2, b"MDPC01", b"MDPW01", b"MDPC0X", b"x"]
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", echo, connect=broker.address)),
    ):
        peers = [dealer(broker.address) for _ in range(5)]
        for number in range(2000):
            frames = [chance.choice(heads) for _ in range(chance.randint(1, 2))]
            if chance.random() < 0.7:
                frames.append(bytes([chance.choice([1, 2, 3, 4, 5, 6, 0x81, 0x84, 0x88, 0x89])]))
            frames += [chance.randbytes(chance.randint(0, 5)) for _ in range(chance.randint(0, 4))]
            peers[number % 5].send_multipart(frames)
            if number % 100 == 0:
                assert await client.request("s", b"%d" % number) == b"%d" % number
        for peer in peers:
            peer.close(0)
        await eventually(lambda: len(broker.broker.workers) == 1)
        assert await client.request("s", b"after") == b"after"


@pytest.mark.parametrize("frames", [[b"x"], [b"", b"MDPC01"]])
async def test_one_short_frame_of_a_client_does_not_end_the_broker(
    dealer: Any, frames: list[bytes]
) -> None:
    async with (
        a_broker() as broker,
        serving(Worker("s", echo, connect=broker.address, version="0.1")),
    ):
        await broker.until_workers(1)
        dealer(broker.address).send_multipart(frames)
        await broker.until(lambda: broker.counts["no-header"] + broker.counts["too-short"])
        assert await broker.answer("s", b"alive") == b"alive"


@pytest.mark.parametrize("version", ["0.1", "0.2-plain", "0.2"])
async def test_the_request_of_a_killed_worker_goes_to_another_at_once(
    tmp_path: Path, version: str
) -> None:
    begun = tmp_path / "begun"
    source = f"begun = {str(begun)!r}\n{HOLDS}\n"
    source += f'Worker("s", main, connect=address, version={version!r}, heartbeat=60).run()\n'
    async with (
        a_broker(**LONG) as broker,
        process_worker(tmp_path, source, broker.address) as process,
    ):
        asked = asyncio.ensure_future(broker.answer("s", b"x"))
        await eventually(lambda: begun.exists() and begun.read_text() == "x")
        process.kill()
        await broker.until(lambda: broker.counts["worker-gone"] == 1)
        assert broker.counts["requeued"] == 1
        async with serving(Worker("s", echo, connect=broker.address)):
            assert await asked == b"x"


async def test_the_request_of_a_client_that_is_gone_is_cancelled(dealer: Any) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def function() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with (
        a_broker(**LONG) as broker,
        serving(Worker("s", function, connect=broker.address, heartbeat=60)),
    ):
        await broker.until_workers(1)
        client = dealer(broker.address)
        client.send_multipart([C2, b"\x81", b"s", b'{"id":"0123456789abcdef"}', b"x"])
        await bounded(begun.wait())
        client.close(0)
        await bounded(cancelled.wait())
        assert broker.counts["asker-gone"] == 1
        assert broker.requests.open == 0


async def test_a_worker_that_does_not_read_is_given_up(
    dealer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    table = {"sndhwm": 1, "send_buffer": 4}
    async with a_broker(table=table, attempts=5) as broker:
        deaf = dealer(broker.address, rcvhwm=1, rcvbuf=4096)
        deaf.send_multipart([W2, b"\x81", b"s", b'{"slots":1,"credit":1000}'])
        await broker.until_workers(1)
        body = bytes(MIB // 2)
        asked = [asyncio.ensure_future(broker.answer("s", body)) for _ in range(60)]
        await broker.until(lambda: broker.counts["peer-full"])
        assert not broker.broker.workers
        assert len(lines(caplog, "peer-full")) == 1
        deaf.close(0)
        async with serving(Worker("s", echo, connect=broker.address, credit=1)):
            assert await bounded(asyncio.gather(*asked)) == [body] * 60


async def test_close_ends_what_waits_and_what_runs_by_name() -> None:
    begun = asyncio.Event()

    async def function() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with a_broker() as broker, Client(broker.address) as client:
        worker = Worker("s", function, connect=broker.address, credit=1, drain=0.01)
        async with serving(worker):
            asked = [asyncio.ensure_future(broker.answer("s"))]
            await bounded(begun.wait())
            asked.append(asyncio.ensure_future(broker.answer("s")))
            asked.append(asyncio.ensure_future(broker.answer("nobody")))
            asked.append(asyncio.ensure_future(client.request("s")))
            await broker.until(lambda: broker.requests.open == 4)
            broker.driver.close()
            broker.driver.close()
            for request in asked:
                with pytest.raises(NoAnswer, match="the broker stops") as told:
                    await bounded(request)
                assert told.value.reason == "stopping"
            assert broker.requests.open == 0
            assert not broker.broker.workers
            with pytest.raises(NoAnswer, match="has stopped"):
                await broker.answer("s")


async def test_no_timer_runs_while_there_is_nothing_to_do() -> None:
    async with a_broker(heartbeat=0.05, remember_seconds=0.05) as broker:
        assert broker.driver._timer is None
        async with Client(broker.address) as client:
            with pytest.raises(NoAnswerInTime):
                await client.request("s", timeout=0.02)
            worker = Worker("s", echo, connect=broker.address, heartbeat=0.05, liveness=100)
            async with serving(worker):
                assert await client.request("s", b"x") == b"x"
                assert broker.driver._timer is not None
            await broker.until(lambda: broker.driver._timer is None)
        assert broker.requests.services == {}


async def test_what_is_asked_from_inside_ends_by_its_time() -> None:
    async with a_broker() as broker:
        with pytest.raises(NoAnswerInTime, match=r"nobody: no answer within 0\.02 s"):
            await broker.answer("nobody", timeout=0.02)
        assert broker.counts["timeout"] == 1
        assert broker.driver._asked == {}


async def test_who_stops_waiting_inside_leaves_nothing() -> None:
    async with a_broker() as broker:
        asked = asyncio.ensure_future(broker.answer("nobody"))
        await broker.until(lambda: broker.requests.open == 1)
        asked.cancel()
        await broker.until(lambda: broker.requests.open == 0)
        assert broker.driver._asked == {}
        assert broker.requests.services == {}


async def test_the_brokers_own_services_can_be_asked_from_inside() -> None:
    async with a_broker() as broker, serving(Worker("s", echo, connect=broker.address)):
        await broker.until_workers(1)
        assert await broker.answer("mmi.service", b"s") == b"200"
        assert await broker.answer("mmi.service", b"t") == b"404"
        assert await broker.answer("mmi.unheard-of") == b"501"


async def test_a_worker_that_falls_silent_is_given_up(dealer: Any) -> None:
    async with a_broker(heartbeat=0.05, liveness=2) as broker:
        worker = dealer(broker.address)
        worker.send_multipart([W2, b"\x01", b"s"])
        await broker.until(lambda: broker.counts["worker-silent"] == 1)
        said = []
        while not said or said[-1] != [W2, b"\x06"]:
            said.append(await asyncio.to_thread(worker.recv_multipart))
        assert [W2, b"\x05"] in said


async def test_messages_one_by_one() -> None:
    """As the app gives them, whose pipeline has an Event for each."""
    async with a_broker() as broker:

        def receive(batch: list[list[bytes]]) -> None:
            for peer, *frames in batch:
                broker.driver.receive(peer, frames, False)
            broker.driver.flush()

        broker.socket.on_messages = receive
        async with (
            serving(Worker("s", echo, connect=broker.address)),
            Client(broker.address) as client,
        ):
            assert await client.request("s", b"x") == b"x"


async def test_a_dead_letter_is_logged(caplog: pytest.LogCaptureFixture, dealer: Any) -> None:
    async with a_broker(attempts=2, **LONG) as broker:
        asked = asyncio.ensure_future(broker.answer("s", b"poison", trace="trace-9"))
        for count in range(1, 3):
            worker = dealer(broker.address)
            worker.send_multipart([W2, b"\x01", b"s"])
            assert (await asyncio.to_thread(worker.recv_multipart))[-1] == b"poison"
            worker.close(0)
            await broker.until(lambda count=count: broker.counts["worker-gone"] == count)
        with pytest.raises(NoAnswer, match="given up; 2 workers died") as told:
            await asked
        assert told.value.reason == "dead-letter"
        assert len(broker.requests.dead_letters) == 1
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert "trace-9" in errors[0].getMessage()
