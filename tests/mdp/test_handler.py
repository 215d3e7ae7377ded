"""What a service's function may look like, and where it runs."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from tests.mdp import helpers
from tests.mdp.helpers import a_broker, bounded, serving
from zxmpp.errors import ConfigError
from zxmpp.mdp import Client, Job, Progress, Worker
from zxmpp.mdp.errors import NoAnswer

NOWHERE = "tcp://127.0.0.1:1"


@dataclass
class Point:
    x: int
    y: int


class Text(msgspec.Struct):
    text: str


async def on_loop(body: str) -> str:
    return body.upper()


def in_thread(body: str) -> str:
    assert threading.current_thread() is not threading.main_thread()
    return body.upper()


async def on_loop_in_parts(body: str) -> AsyncIterator[str]:
    for letter in body:
        await asyncio.sleep(0)
        yield letter.upper()


def in_thread_in_parts(body: str) -> Iterator[str]:
    for letter in body:
        assert threading.current_thread() is not threading.main_thread()
        yield letter.upper()


@pytest.mark.parametrize("version", ["0.1", "0.2", "0.2-plain"])
@pytest.mark.parametrize("function", [on_loop, in_thread, on_loop_in_parts, in_thread_in_parts])
async def test_functions_of_every_kind_answer(function: Any, version: str) -> None:
    async with a_broker() as broker:
        worker = Worker("upper", function, connect=broker.address, version=version)
        async with serving(worker):
            assert await broker.answer("upper", b"abc") == b"ABC"
            assert await broker.answer("upper", b"again") == b"AGAIN"
        assert worker.counts["answered"] == 2


async def takes_nothing() -> str:
    return "nothing"


async def takes_frames(body: list[bytes]) -> list[bytes]:
    return list(reversed(body))


async def takes_bytes(body: bytes) -> bytes:
    return body


async def takes_unannotated(body):  # type: ignore[no-untyped-def]
    return b"raw:" + body


async def takes_int(body: int) -> int:
    return body + 1


async def takes_point(point: Point) -> Point:
    return Point(point.y, point.x)


async def takes_struct(text: Text) -> Text:
    return Text(text.text * 2)


async def takes_keyword(*, body: int) -> int:
    return -body


async def takes_default(body: int, factor: int = 3) -> int:
    return body * factor


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("function", "body", "result", "answer"),
    [
        (takes_nothing, b"whatever", bytes, b"nothing"),
        (takes_frames, [b"a", b"", b"c"], list[bytes], [b"c", b"", b"a"]),
        (takes_bytes, [b"a", b"b"], bytes, b"ab"),
        (takes_unannotated, b"x", bytes, b"raw:x"),
        (takes_int, 41, int, 42),
        (takes_point, Point(1, 2), Point, Point(2, 1)),
        (takes_struct, {"text": "ha"}, dict, {"text": "haha"}),
        (takes_keyword, 5, int, -5),
        (takes_default, 5, int, 15),
    ],
)
async def test_bodies_are_read_as_annotated(
    function: Any, body: Any, result: Any, answer: Any, format: Any
) -> None:
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", function, connect=broker.address, format=format)),
    ):
        got = await client.request("s", body, result=result, format=format)
    assert got == answer


@pytest.mark.parametrize("body", [b"not a number", b'"text"', b"", b"\xff\xfe"])
async def test_a_body_that_is_not_of_the_type_is_told_as_bad_request(body: bytes) -> None:
    async with a_broker() as broker, serving(Worker("s", takes_int, connect=broker.address)):
        with pytest.raises(NoAnswer, match="the request can't be used: it is not the JSON") as told:
            await broker.answer("s", body)
        assert told.value.reason == "bad-request"
        with pytest.raises(NoAnswer, match="s: "):
            await broker.answer("s", body)
        assert await broker.answer("s", b"1") == b"2"


async def test_text_that_is_not_utf8_is_told_as_bad_request() -> None:
    async with a_broker() as broker, serving(Worker("s", on_loop, connect=broker.address)):
        with pytest.raises(NoAnswer, match="not UTF-8 at byte 2"):
            await broker.answer("s", b"ab\xff")


async def test_the_job_tells_who_asks_and_for_how_long() -> None:
    seen: list[Job] = []

    async def function(body: str, job: Job) -> str:
        assert not job.cancelled
        seen.append(job)
        return body

    async with a_broker() as broker, serving(Worker("s", function, connect=broker.address)):
        now = asyncio.get_running_loop().time()
        await broker.answer("s", b"x", timeout=50, sender="anna@example.org/phone", trace="t-1")
        async with Client(broker.address) as client:
            await client.request("s", "y", trace="t-2", timeout=50)
    bot, other = seen
    assert (bot.service, bot.sender, bot.trace) == ("s", "anna@example.org/phone", "t-1")
    assert (bot.attempt, bot.body) == (1, [b"x"])
    assert bot.id
    assert bot.deadline is not None
    assert now < bot.deadline < now + 60
    assert (other.sender, other.trace, other.body) == ("", "t-2", [b"y"])
    assert other.id
    assert other.id != bot.id


async def test_the_job_may_stand_anywhere_and_alone() -> None:
    def only(job: Job) -> str:
        return f"only {job.attempt}"

    def first(job: Job, body: str) -> str:
        return f"{body} {job.attempt}"

    async with (
        a_broker() as broker,
        serving(
            Worker("only", only, connect=broker.address),
            Worker("first", first, connect=broker.address),
        ),
    ):
        assert await broker.answer("only", b"x") == b"only 1"
        assert await broker.answer("first", b"x") == b"x 1"


async def test_a_plain_broker_says_nothing_of_the_job() -> None:
    seen: list[Job] = []

    async def function(job: Job) -> None:
        seen.append(job)

    async with (
        a_broker() as broker,
        serving(Worker("s", function, connect=broker.address, version="0.1")),
    ):
        assert await broker.answer("s", sender="a@b") == b""
    assert (seen[0].id, seen[0].attempt, seen[0].sender, seen[0].deadline) == ("", 0, "", None)


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_progress_and_parts_come_as_they_are_yielded(where: str) -> None:
    def in_thread(n: int) -> Iterator[Any]:
        yield Progress(0)
        for i in range(n):
            yield Progress((i + 1) / n, {"i": i})
        yield "end"

    async def on_loop(n: int) -> AsyncIterator[Any]:
        for item in in_thread(n):
            yield item

    function = on_loop if where == "loop" else in_thread
    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", function, connect=broker.address)),
    ):
        parts = [part async for part in client.parts("s", 2)]
        heard: list[float] = []
        whole = await client.request("s", 2, on_progress=heard.append)
        pieces = [part async for part in client.stream("s", 2)]
    assert [(part.frames, part.progress, part.last) for part in parts] == [
        ([], 0.0, False), ([b'{"i":0}'], 0.5, False), ([b'{"i":1}'], 1.0, False),
        ([b"end"], None, False), ([b""], None, True),
    ]  # fmt: skip
    assert heard == [0.0, 0.5, 1.0]
    assert whole == b'{"i":0}{"i":1}end'
    assert pieces == [b'{"i":0}', b'{"i":1}', b"end"]


async def test_to_a_plain_broker_progress_alone_is_not_sent() -> None:
    async def function() -> AsyncIterator[Any]:
        yield Progress(0.5)
        yield Progress(0.7, "a")
        yield "b"

    async with a_broker() as broker:
        for version in ("0.2-plain", "0.1"):
            worker = Worker(version, function, connect=broker.address, version=version)
            async with serving(worker):
                parts = []
                pending = broker.ask(version)
                while not parts or not parts[-1].last:
                    parts.append(await bounded(pending.next()))
            frames = [part.frames for part in parts]
            assert frames == ([[b"a"], [b"b"], [b""]] if version != "0.1" else [[b"a", b"b"]])


def test_progress_is_a_number() -> None:
    with pytest.raises(ValueError, match="half"):
        Progress("half")  # type: ignore[arg-type]


async def test_a_stream_that_yields_nothing_has_an_empty_answer() -> None:
    async def function() -> AsyncIterator[bytes]:
        for part in ():
            yield part

    async with (
        a_broker() as broker,
        Client(broker.address) as client,
        serving(Worker("s", function, connect=broker.address)),
    ):
        assert await client.request("s") == b""


async def test_a_process_pool() -> None:
    async with a_broker() as broker:
        worker = Worker("pid", helpers.process_id, connect=broker.address, pool="process")
        other = Worker("fails", helpers.fails, connect=broker.address, pool="process")
        async with serving(worker, other):
            text, pid = (await broker.answer("pid", b"me")).split()
            assert text == b"me"
            assert int(pid) != os.getpid()
            with pytest.raises(NoAnswer, match="something went wrong"):
                await broker.answer("fails", b"1")


async def test_a_process_that_dies_costs_one_request_and_no_more() -> None:
    async with a_broker() as broker:
        worker = Worker("s", helpers.exits, connect=broker.address, pool="process")
        async with serving(worker):
            with pytest.raises(NoAnswer, match="something went wrong"):
                await broker.answer("s", b"die")
            assert await broker.answer("s", b"live") == b"live"


@pytest.mark.parametrize("pool", ["thread", "loop"])
async def test_stop_iteration_is_a_failure_like_others(pool: str) -> None:
    def function() -> str:
        return str(next(iter(())))

    async def async_function() -> str:
        return function()

    chosen = function if pool == "thread" else async_function
    async with a_broker() as broker, serving(Worker("s", chosen, connect=broker.address)):
        for _ in range(2):
            with pytest.raises(NoAnswer, match="something went wrong"):
                await broker.answer("s")


async def test_an_answer_that_cant_be_written_is_a_failure() -> None:
    async def function() -> object:
        return object()

    async with a_broker() as broker, serving(Worker("s", function, connect=broker.address)):
        with pytest.raises(NoAnswer, match="something went wrong"):
            await broker.answer("s")


async def two_bodies(body: str, more: str) -> None: ...


def generator() -> Iterator[bytes]:
    yield b""


def with_job(body: str, job: Job) -> None: ...


async def test_what_cant_be_a_service_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"mmi.x.*broker's own"):
        Worker("mmi.x", on_loop, connect=NOWHERE)
    with pytest.raises(ConfigError, match="can't be a service"):
        Worker("", on_loop, connect=NOWHERE)
    with pytest.raises(ConfigError, match="nothing comes for 'more'"):
        Worker("s", two_bodies, connect=NOWHERE)
    with pytest.raises(ConfigError, match="needs a function, not 3"):
        Worker("s", 3, connect=NOWHERE)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="slots"):
        Worker("s", on_loop, connect=NOWHERE, slots=0)
    with pytest.raises(ConfigError, match="credit"):
        Worker("s", on_loop, connect=NOWHERE, slots=4, credit=3)
    with pytest.raises(ConfigError, match=r"version is 0.1, 0.2 or 0.2-plain, not '0.3'"):
        Worker("s", on_loop, connect=NOWHERE, version="0.3")
    with pytest.raises(ConfigError, match="heartbeat"):
        Worker("s", on_loop, connect=NOWHERE, heartbeat=0)
    with pytest.raises(ConfigError, match="liveness"):
        Worker("s", on_loop, connect=NOWHERE, liveness=1)
    with pytest.raises(ConfigError, match="connect"):
        Worker("s", on_loop, connect="nonsense")


@pytest.mark.parametrize("function", [generator, with_job])
async def test_a_process_cant_take_generators_or_jobs(function: Any) -> None:
    with pytest.raises(ConfigError, match="can't run in a process"):
        await Worker("s", function, connect=NOWHERE, pool="process").serve()


async def test_a_worker_without_a_function_says_so() -> None:
    with pytest.raises(ConfigError, match="service s has no function"):
        await Worker("s", connect=NOWHERE).serve()
