"""A client: what it asks, what comes back, and how each request ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.mdp.helpers import (
    LIMIT,
    QUICK,
    a_broker,
    a_fake_broker,
    bounded,
    eventually,
    free_address,
    serving,
)
from zxmpp.errors import ClosedError, ConfigError
from zxmpp.event import Lifecycle
from zxmpp.mdp import BadAnswer, Client, NoAnswer, NoAnswerInTime, Worker

C2 = b"MDPC02"
REQUEST, PARTIAL, FINAL, CANCEL = b"\x81", b"\x82", b"\x83", b"\x87"
VERSIONS = ["0.2", "0.1", "0.2-plain"]


@dataclass
class City:
    name: str
    people: int


async def echo(body: list[bytes]) -> list[bytes]:
    return body


async def letters(body: str) -> AsyncIterator[str]:
    for letter in body:
        yield letter


class Held:
    """A function that runs until it is told to go on."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.go = asyncio.Event()
        self.count = 0

    async def __call__(self, body: str) -> str:
        self.count += 1
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return body


def meta_of(message: list[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(message[4])
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_answers_are_read_as_what_was_asked_for(version: str) -> None:
    async with (
        a_broker() as broker,
        Client(broker.address, version=version) as client,
        serving(Worker("echo", echo, connect=broker.address)),
    ):
        assert await client.request("echo", b"bytes") == b"bytes"
        assert await client.request("echo") == b""
        assert await client.request("echo", "tëxt", result=str) == "tëxt"
        frames = [b"a", b"", b"b"]
        assert await client.request("echo", frames, result=list[bytes]) == frames
        assert await client.request("echo", frames) == b"ab"
        city = City("Ulm", 120_000)
        assert await client.request("echo", city, result=City) == city
        assert await client.request("echo", {"a": 1}, result=dict, format="msgpack") == {"a": 1}
        assert await client.request("echo", b"\xff") == b"\xff"


async def test_an_answer_that_is_not_what_was_asked_for() -> None:
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("echo", echo, connect=broker.address)),
    ):
        with pytest.raises(BadAnswer, match="echo: the answer can't be used: it is not the JSON"):
            await client.request("echo", b"{}", result=City)
        with pytest.raises(BadAnswer, match="not UTF-8"):
            await client.request("echo", b"\xff", result=str)
        with pytest.raises(NoAnswer, match="can't be used") as told:
            [part async for part in client.stream("echo", b"x", result=int)]
        assert told.value.reason == "bad-answer"


@pytest.mark.parametrize("version", VERSIONS)
async def test_parts(version: str) -> None:
    async with (
        a_broker() as broker,
        Client(broker.address, version=version) as client,
        serving(Worker("letters", letters, connect=broker.address)),
    ):
        parts = [part async for part in client.stream("letters", "abc", result=str)]
        assert parts == (["abc"] if version == "0.1" else ["a", "b", "c"])
        assert await client.request("letters", "abc", result=str) == "abc"
        news = [part async for part in client.parts("letters", "ab")]
        assert b"".join(b"".join(part.frames) for part in news) == b"ab"
        assert [part.last for part in news].index(True) == len(news) - 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_answer_in_time_is_a_timeout_error(version: str) -> None:
    async with a_broker() as broker, Client(broker.address, version=version) as client:
        with pytest.raises(TimeoutError, match=r"nobody: no answer within 0\.05 s") as told:
            await client.request("nobody", timeout=0.05)
        assert isinstance(told.value, NoAnswerInTime)
        assert told.value.reason == "timeout"


async def test_no_broker_is_no_answer_in_time() -> None:
    async with Client(await free_address()) as client:
        with pytest.raises(NoAnswerInTime):
            await client.request("s", timeout=0.05)


async def test_who_gives_up_cancels_the_work() -> None:
    async with a_broker() as broker, Client(broker.address) as client:
        held = Held()
        async with serving(Worker("s", held.__call__, connect=broker.address)):
            asking = asyncio.ensure_future(client.request("s"))
            await bounded(held.begun.wait())
            asking.cancel()
            await bounded(held.cancelled.wait())
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert broker.counts["cancelled"] == 1
            assert broker.requests.open == 0


async def test_a_time_limit_reaches_the_worker() -> None:
    async with a_broker() as broker, Client(broker.address) as client:
        held = Held()
        async with serving(Worker("s", held.__call__, connect=broker.address)):
            with pytest.raises(NoAnswerInTime):
                await client.request("s", timeout=0.1)
            await bounded(held.cancelled.wait())


async def test_leaving_a_stream_early_cancels_the_work() -> None:
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            yield "first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", endless, connect=broker.address)),
    ):
        async for part in client.stream("s"):
            assert part == b"first"
            break
        await bounded(ended.wait())
        assert broker.counts["cancelled"] == 1


async def test_a_cancellation_goes_out_with_the_id_of_its_request() -> None:
    async with a_fake_broker() as broker, Client(broker.address) as client:
        asking = asyncio.ensure_future(client.request("s", b"x", trace="t", timeout=9))
        (request,) = await broker.got(C2, REQUEST)
        asking.cancel()
        (cancel,) = await broker.got(C2, CANCEL)
        assert request[3] == cancel[3] == b"s"
        assert request[5:] == [b"x"]
        meta = meta_of(request)
        assert meta["id"] == meta_of(cancel)["id"]
        assert len(meta["id"]) >= 32
        assert meta["trace"] == "t"
        assert 8 < meta["timeout"] <= 9


async def test_a_restarted_broker_is_asked_again_and_answers_once() -> None:
    held = Held()
    async with a_broker() as broker, Client(broker.address) as client:
        worker = Worker("s", held.__call__, connect=broker.address)
        async with serving(worker):
            asking = [asyncio.ensure_future(client.request("s", f"{n}")) for n in range(5)]
            await bounded(held.begun.wait())
            await broker.until(lambda: broker.requests.open == 5)
            broker.die()
            held.go.set()
            async with a_broker(broker.address) as again:
                assert await bounded(asyncio.gather(*asking)) == [b"%d" % n for n in range(5)]
                assert sum(s.counts["answered"] for s in again.requests.services.values()) == 5
                assert await client.request("s", b"new") == b"new"
        assert client.counts["asked-again"] == 5
        assert client.counts["late-answer"] == 0


async def test_a_new_connection_does_not_run_a_request_twice() -> None:
    held = Held()
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", held.__call__, connect=broker.address)),
    ):
        asking = asyncio.ensure_future(client.request("s", b"x"))
        await bounded(held.begun.wait())
        # The broker has not noticed yet that the old connection is of no use.
        old, client._socket = client._socket, None
        client._reopen("a test")
        await broker.until(lambda: broker.counts["repeated"] == 1)
        held.go.set()
        assert await bounded(asking) == b"x"
        assert old is not None
        old.close(0)
    assert held.count == 1


async def test_an_answer_that_lies_there_when_the_connection_breaks_is_read() -> None:
    async with a_fake_broker() as broker, Client(broker.address) as client:
        pending = client.begin("echo", [b"x"], LIMIT, "")
        [[peer, *_, meta, _]] = await broker.got(C2, REQUEST)
        broker.send(peer, C2, FINAL, b"echo", meta, b"answer")
        # Nothing awaits here: the answer has come, and is not read yet.
        socket = client._socket
        assert socket is not None
        assert socket.zmq_socket.poll(LIMIT * 1000)
        client._monitored(Lifecycle.DISCONNECTED, "", "")
        assert b"".join(await bounded(pending.whole())) == b"answer"
        await eventually(lambda: client.counts["reconnected"])


async def test_a_silent_broker_is_left_and_asked_again_on_a_new_connection() -> None:
    async with (
        a_fake_broker() as broker,
        Client(broker.address, heartbeat=0.05, liveness=2) as client,
    ):
        asking = asyncio.ensure_future(client.request("s", b"x"))
        first, second = (await broker.got(C2, REQUEST, count=2))[:2]
        assert first[0] != second[0]
        assert meta_of(first)["id"] == meta_of(second)["id"]
        peer = (await broker.got(C2, REQUEST, count=2))[-1][0]
        meta = msgspec.json.encode({"id": meta_of(first)["id"]})
        broker.send(peer, C2, FINAL, b"s", meta, b"answer")
        assert await bounded(asking) == b"answer"


async def test_a_process_that_stood_still_reads_before_it_calls_the_broker_silent() -> None:
    async with a_fake_broker() as broker, Client(broker.address, heartbeat=60) as client:
        asking = asyncio.ensure_future(client.request("s", b"x"))
        [[peer, *_, meta, _]] = await broker.got(C2, REQUEST)
        # As after a SIGSTOP of many minutes: the timer is the first to run.
        client._seen = client._checked = asyncio.get_running_loop().time() - 1000
        client._look()
        assert client.counts["reconnected"] == 0
        broker.send(peer, C2, FINAL, b"s", meta, b"answer")
        assert await bounded(asking) == b"answer"


async def test_a_broker_that_gives_signs_of_life_is_not_left() -> None:
    held = Held()
    async with (
        a_broker(heartbeat=QUICK) as broker,
        Client(broker.address, heartbeat=QUICK) as client,
        serving(Worker("s", held.__call__, connect=broker.address, heartbeat=QUICK)),
    ):
        asking = asyncio.ensure_future(client.request("s"))
        await bounded(held.begun.wait())
        now = asyncio.get_running_loop().time()
        await broker.until(lambda: asyncio.get_running_loop().time() > now + 5 * QUICK)
        held.go.set()
        await bounded(asking)
        assert client.counts["reconnected"] == 0


async def test_a_lost_part_is_told() -> None:
    async with a_fake_broker() as broker, Client(broker.address) as client:

        async def read() -> list[bytes]:
            return [part async for part in client.stream("s")]

        reading = asyncio.ensure_future(read())
        (request,) = await broker.got(C2, REQUEST)
        peer, id = request[0], meta_of(request)["id"]
        for number in (1, 3):
            meta = msgspec.json.encode({"id": id, "part": number})
            broker.send(peer, C2, PARTIAL, b"s", meta, b"%d" % number)
        with pytest.raises(NoAnswer, match="a part of the answer was lost; ask again") as told:
            await bounded(reading)
        assert told.value.reason == "interrupted"
        await broker.got(C2, CANCEL)


@pytest.mark.parametrize("how", ["request", "stream"])
async def test_a_worker_that_begins_anew(how: str) -> None:
    """A stream can't take back what it gave; a request, which gives all at once, can."""
    async with a_fake_broker() as broker, Client(broker.address) as client:

        async def read() -> list[bytes]:
            return [part async for part in client.stream("s")]

        asking: asyncio.Future[Any] = asyncio.ensure_future(
            client.request("s") if how == "request" else read()
        )
        (request,) = await broker.got(C2, REQUEST)
        peer, id = request[0], meta_of(request)["id"]
        for command, more, frames in (
            (PARTIAL, {"part": 1}, [b"old"]), (PARTIAL, {"restart": True}, []),
            (PARTIAL, {"part": 1}, [b"new"]), (FINAL, {"part": 1}, [b""]),
        ):  # fmt: skip
            broker.send(peer, C2, command, b"s", msgspec.json.encode({"id": id, **more}), *frames)
        if how == "request":
            assert await bounded(asking) == b"new"
        else:
            with pytest.raises(NoAnswer, match="died in mid-answer") as told:
                await bounded(asking)
            assert told.value.reason == "interrupted"


async def test_what_is_no_answer_of_ours_disturbs_nothing() -> None:
    async with a_fake_broker() as broker, Client(broker.address) as client:
        asking = asyncio.ensure_future(client.request("s"))
        (request,) = await broker.got(C2, REQUEST)
        peer, id = request[0], meta_of(request)["id"]
        for frames in ([b"x"], [b""], [C2], [C2, b"\x99", b"s"], [C2, FINAL, b"s", b"no json", b"x"],
                       [b"MDPW02", b"\x06"], [b"", b"MDPW01", b"\x04"]):  # fmt: skip
            broker.send(peer, *frames)
        broker.send(peer, C2, FINAL, b"s", b'{"id":"somebody else\'s"}', b"wrong")
        broker.send(peer, C2, FINAL, b"s", msgspec.json.encode({"id": id}), b"right")
        assert await bounded(asking) == b"right"
        assert client.counts["malformed"] == 7
        assert client.counts["late-answer"] == 1


@pytest.mark.parametrize("version", ["0.2", "0.1"])
async def test_too_many_requests_at_once_are_refused_by_name(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zxmpp.mdp.client.MAX_SOCKETS", 3)
    async with (
        a_fake_broker() as broker,
        Client(broker.address, version=version, limit=3) as client,
    ):
        asking = [asyncio.ensure_future(client.request("s")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(NoAnswer, match="3 requests of this client wait already") as told:
            await client.request("s")
        assert told.value.reason == "queue-full"
        asking.pop().cancel()
        await asyncio.sleep(0)
        asking.append(asyncio.ensure_future(client.request("s", timeout=0.01)))
        with pytest.raises(NoAnswerInTime):
            await bounded(asking[-1])
        await client.close()
        await asyncio.wait(asking)
        assert [asked.exception() is not None for asked in asking] == [True] * 3


@pytest.mark.parametrize("version", VERSIONS)
async def test_close_ends_what_waits(version: str) -> None:
    async with a_broker() as broker:
        client = Client(broker.address, version=version)
        asking = asyncio.ensure_future(client.request("nobody"))
        await broker.until(lambda: broker.requests.open == 1)
        await client.close()
        with pytest.raises(NoAnswer, match="nobody: cancelled") as told:
            await bounded(asking)
        assert told.value.reason == "cancelled"
        await client.close()
        with pytest.raises(ClosedError):
            await client.request("s")
        if version == "0.2":
            await broker.until(lambda: broker.requests.open == 0)


async def test_a_version_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="version is"):
        Client("tcp://127.0.0.1:1", version="1")


@pytest.mark.parametrize("version", VERSIONS)
async def test_fifty_requests_at_once_get_their_own_answers(version: str) -> None:
    async with a_broker() as broker, Client(broker.address, version=version) as client:
        workers = [Worker("echo", echo, connect=broker.address) for _ in range(3)]
        async with serving(*workers):
            for round in range(3):
                bodies = [b"%d-%d" % (round, n) for n in range(50)]
                answers = asyncio.gather(*(client.request("echo", body) for body in bodies))
                assert await bounded(answers) == bodies


@pytest.mark.parametrize("version", ["0.1", "0.2-plain"])
async def test_a_late_answer_is_not_taken_for_another_ones(version: str) -> None:
    go = asyncio.Event()

    async def function(body: str) -> str:
        if body == "slow":
            await go.wait()
        return body

    async with a_broker() as broker, Client(broker.address, version=version) as client:
        worker = Worker("s", function, connect=broker.address, slots=1)
        async with serving(worker):
            with pytest.raises(NoAnswerInTime):
                await client.request("s", "slow", timeout=0.05)
            asking = asyncio.ensure_future(client.request("s", "quick"))
            await broker.until(lambda: broker.requests.open == 2)
            go.set()
            assert await bounded(asking) == b"quick"


async def test_a_second_answer_is_counted_and_no_answer_to_the_next_request() -> None:
    async with a_fake_broker() as broker, Client(broker.address, version="0.1") as client:
        for number, body in enumerate((b"first", b"second"), 1):
            asking = asyncio.ensure_future(client.request("s", body))
            peer = (await broker.got(b"", b"MDPC01", b"s", count=number))[-1][0]
            broker.send(peer, b"", b"MDPC01", b"s", body)
            broker.send(peer, b"", b"MDPC01", b"s", b"once more")
            assert await bounded(asking) == body
            await eventually(lambda number=number: client.counts["late-answer"] == number)


@pytest.mark.parametrize(
    ("version", "request_head", "reply_head"),
    [
        ("0.1", [b"", b"MDPC01", b"s"], [b"", b"MDPC01", b"s"]),
        ("0.2-plain", [C2, b"\x01", b"s"], [C2, b"\x03", b"s"]),
    ],
)
async def test_plain_frames_and_sockets(
    version: str, request_head: list[bytes], reply_head: list[bytes]
) -> None:
    async with a_fake_broker() as broker, Client(broker.address, version=version) as client:
        with pytest.raises(NoAnswerInTime):
            await client.request("s", b"late", timeout=0.05)
        peers = []
        for number in range(2):
            asking = asyncio.ensure_future(client.request("s", [b"one", b"two"]))
            requests = await broker.got(*request_head, b"one", b"two", count=number + 1)
            peers.append(requests[-1][0])
            broker.send(peers[-1], *reply_head, b"answer %d" % number)
            assert await bounded(asking) == b"answer %d" % number
        late = (await broker.got(*request_head, b"late"))[0]
        assert late[0] != peers[0], "the socket of a request without an answer is not used again"
        assert peers[0] == peers[1], "one that was answered is"
        assert {len(item) for item in broker.inbox.items} <= {5, 6}


async def test_an_asker_that_does_not_take_its_parts_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zxmpp.mdp.pending.MAX_PARTS", 10)
    ended = asyncio.Event()

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "part"
                await asyncio.sleep(0)
        finally:
            ended.set()

    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", endless, connect=broker.address)),
    ):
        stream = client.parts("s")
        with pytest.raises(NoAnswer, match="not taken in time"):
            await bounded(anext(stream))
            await bounded(ended.wait())
            async for _ in stream:
                pass
        await bounded(ended.wait())
        await broker.until(lambda: broker.requests.open == 0)


async def test_the_last_part_finds_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zxmpp.mdp.pending.MAX_PARTS", 3)
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", letters, connect=broker.address)),
    ):
        pending = client.begin("s", [b"abc"], LIMIT, "")
        await eventually(lambda: pending.ended)
        assert b"".join(await bounded(pending.whole())) == b"abc"


async def test_a_long_trace_does_not_cost_the_request() -> None:
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("echo", echo, connect=broker.address)),
    ):
        assert await client.request("echo", b"x", trace="t" * 9000, timeout=5) == b"x"
        assert await broker.answer("echo", b"y", trace="t" * 9000, timeout=5) == b"y"


async def test_many_clients_come_and_go_and_nothing_is_left() -> None:
    async with a_broker() as broker, serving(Worker("echo", echo, connect=broker.address)):
        for version in VERSIONS * 3:
            async with Client(broker.address, version=version) as client:
                assert await client.request("echo", version, result=str) == version
        await eventually(lambda: not broker.requests.open and not broker.requests.waiting)
