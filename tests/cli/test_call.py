"""``zxmpp call``: an answer on stdout, and how it ends without one."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.broker import LIMIT, OpenBroker, broker, cli, finished, on_terminal, started, until
from zxmpp import UserError
from zxmpp.mdp import Progress, Worker

EVIL = b"a\x1b[2Jb\r\xff\x9bc"


async def shout(text: str) -> str:
    return text.upper()


async def evil(body: bytes) -> bytes:
    return EVIL


async def echo(frames: list[bytes]) -> list[bytes]:
    return [*frames, b"", b"\0\xff"]


async def refuse(body: bytes) -> bytes:
    raise UserError("not \x1b[31mtoday")


async def parts(body: str) -> AsyncIterator[object]:
    yield "one "
    yield Progress(0.5, "two ")
    if body == "hang":
        await asyncio.Event().wait()
    yield Progress(1.0)


async def numbers(body: bytes) -> dict[str, object]:
    return {"name": "é", "list": [1, 2]}


@asynccontextmanager
async def services(
    *functions: object, version: str = "0.2"
) -> AsyncIterator[tuple[OpenBroker, list[str]]]:
    """A broker with these services, and the option to reach it."""
    async with broker() as opened:
        workers = [
            Worker(f.__name__, f, connect=opened.address, heartbeat=1.0, version=version)
            for f in functions
        ]
        tasks = [asyncio.create_task(worker.serve()) for worker in workers]
        try:
            await until(lambda: opened.workers() == len(workers))
            yield opened, ["--connect", opened.address]
        finally:
            for worker in workers:
                worker.stop()
            async with asyncio.timeout(LIMIT):
                await asyncio.gather(*tasks)


@pytest.mark.parametrize("mdp", ["0.1", "0.2", "0.2-plain"])
async def test_the_body_is_the_argument_or_stdin(tmp_path: Path, mdp: str) -> None:
    async with services(shout) as (_, to):
        to = [*to, "--mdp", mdp]
        for arguments, stdin in ((["hello"], b"unread"), (["-"], b"hello"), ([], b"hello")):
            ended = await cli(tmp_path, "call", "shout", *arguments, *to, stdin=stdin)
            assert (ended.status, ended.out, ended.err) == (0, b"HELLO", "")


async def test_to_a_pipe_the_bytes_go_as_they_are(tmp_path: Path) -> None:
    async with services(evil, echo) as (_, to):
        assert (await cli(tmp_path, "call", "evil", *to)).out == EVIL
        # Frames are lines, unless --raw says otherwise.
        assert (await cli(tmp_path, "call", "echo", "x", *to)).out == b"x\n\n\0\xff"
        assert (await cli(tmp_path, "call", "echo", "x", "--raw", *to)).out == b"x\0\xff"


async def test_an_answer_can_not_drive_the_terminal(tmp_path: Path) -> None:
    async with services(evil, refuse) as (_, to):
        async with on_terminal(tmp_path, "call", "evil", *to) as terminal:
            await terminal.shows("a\ufffd[2Jb\ufffd\ufffd\ufffdc\r\n")
            assert await terminal.ends() == 0
            assert b"\x1b" not in terminal.shown
        async with on_terminal(tmp_path, "call", "evil", "--raw", *to) as terminal:
            assert await terminal.ends() == 0
            await terminal.shows("\x1b[2J")
        # Nor can an error of a worker, wherever that goes.
        ended = await cli(tmp_path, "call", "refuse", *to)
        assert (ended.status, ended.out) == (1, b"")
        assert "not \ufffd[31mtoday" in ended.err


async def test_parts_come_as_they_come_and_progress_goes_to_stderr(tmp_path: Path) -> None:
    async with services(parts) as (opened, to):
        async with started(tmp_path, "call", "parts", "hang", *to) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdin.close()
            async with asyncio.timeout(LIMIT):
                assert await process.stdout.readexactly(8) == b"one two "
                assert await process.stderr.readline() == b"50 %\n"
            # Ctrl-C cancels: the worker is free again, though it would never have ended.
            assert opened.running("parts") == 1
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LIMIT):
                status, err = await process.wait(), await process.stderr.read()
                assert (status, b"Traceback" in err) == (128 + signal.SIGINT, False), err
            await until(lambda: not opened.running("parts"), "the worker's cancellation")
        ended = await cli(tmp_path, "call", "parts", *to)
        assert (ended.status, ended.out, ended.err) == (0, b"one two ", "50 %\n100 %\n")


async def test_on_a_terminal_progress_gives_way(tmp_path: Path) -> None:
    async def count(body: bytes) -> AsyncIterator[Progress]:
        yield Progress(0.25)
        yield Progress(1.0, "all")

    async with (
        services(count) as (_, to),
        on_terminal(tmp_path, "call", "count", *to) as terminal,
    ):
        await terminal.shows("all\r\n")
        assert await terminal.ends() == 0
        assert terminal.shown.startswith(b"\r\x1b[K25 %\r\x1b[K100 %\r\x1b[Kall\r\n")


async def test_json_is_checked_and_laid_out(tmp_path: Path) -> None:
    async with services(numbers, shout) as (_, to):
        ended = await cli(tmp_path, "call", "numbers", "--json", *to)
        assert ended.out.decode() == json.dumps(
            {"name": "é", "list": [1, 2]}, indent=2, ensure_ascii=False
        ) + "\n"  # fmt: skip
        ended = await cli(tmp_path, "call", "shout", "hello", "--json", *to)
        assert (ended.status, ended.out) == (1, b"")
        assert "shout: the answer is no JSON" in ended.err


async def test_the_broker_answers_for_itself(tmp_path: Path) -> None:
    async with services(shout) as (_, to):
        [status, answer] = (await cli(tmp_path, "call", "mmi.services", *to)).out.splitlines()
        assert status == b"200"
        [row] = json.loads(answer)
        assert (row["name"], row["workers"]) == ("shout", 1)
        ended = await cli(tmp_path, "call", "mmi.workers", "--json", *to)
        assert [worker["service"] for worker in json.loads(ended.out)] == ["shout"]
        assert (await cli(tmp_path, "call", "mmi.service", "shout", *to)).out == b"200"
        assert (await cli(tmp_path, "call", "mmi.service", "nope", *to)).out == b"404"


async def test_without_an_answer_it_ends_with_1(tmp_path: Path) -> None:
    async with services() as (_, to):
        ended = await cli(tmp_path, "call", "nope", "--timeout", "0.2", *to)
        assert (ended.status, ended.out) == (1, b"")
        assert "nope: no answer within 0.2 s" in ended.err
        assert "zxmpp call mmi.services" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shout"], "--connect"),
        (["shout", "--connect", "localhost"], "has no transport"),
        (["shout", "--connect", "tcp://127.0.0.1:1", "--timeout", "0"], "--timeout"),
        (["", "--connect", "tcp://127.0.0.1:1"], "1 to 255 bytes"),
        (["s" * 256, "--connect", "tcp://127.0.0.1:1"], "1 to 255 bytes"),
        (["shout", "--raw", "--json", "--connect", "tcp://127.0.0.1:1"], "choose one"),
        (["shout", "ab", "--connect", "tcp://127.0.0.1:1", "--option", "max_message_bytes=1"],
         "the body has more than 1 bytes"),
    ],
)  # fmt: skip
async def test_a_wrong_argument_ends_it_with_2(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    ended = await cli(tmp_path, "call", *arguments)
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_a_stream_that_begins_anew_is_not_printed_twice(tmp_path: Path) -> None:
    async with services() as (opened, to):
        begun = asyncio.Event()

        async def parts(body: bytes) -> AsyncIterator[str]:
            yield "half "
            begun.set()
            await asyncio.Event().wait()

        first = Worker("parts", parts, connect=opened.address, heartbeat=1.0)
        task = asyncio.create_task(first.serve())
        async with started(tmp_path, "call", "parts", "x", *to) as process:
            async with asyncio.timeout(LIMIT):
                await begun.wait()
                assert process.stdout is not None
                assert await process.stdout.readexactly(5) == b"half "
            # That worker is lost; another one takes its request.
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            second = Worker("parts", parts, connect=opened.address, heartbeat=1.0)
            task = asyncio.create_task(second.serve())
            ended = await finished(process)
            second.stop()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (ended.status, ended.out) == (1, b"")
        assert "died in mid-answer" in ended.err
