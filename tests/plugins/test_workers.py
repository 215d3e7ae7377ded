"""The workers plugin: commands that processes answer, and processes that do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from zxmpp import ConfigError, Plugin, PluginError, command
from zxmpp.testing.bot import TestBot
from zxmpp_plugins.workers import Workers

from .conftest import Connect, Peer, counts, until

CONFIG = """
[sockets.jobs]
type = "{kind}"
bind = "tcp://127.0.0.1:*"
[plugins.help]
[plugins.echo]
[plugins.workers]
{more}
[plugins.workers.commands.shout]
socket = "jobs"
help = "Say it louder."
{command}
"""


def config(command: str = "timeout = 5", more: str = "", kind: str = "DEALER") -> str:
    return CONFIG.format(command=command, more=more, kind=kind)


def workers_of(bot: TestBot) -> Workers:
    plugin = bot.app.plugins.get("workers")
    assert isinstance(plugin, Workers)
    return plugin


@contextlib.asynccontextmanager
async def working(peer: Peer) -> AsyncIterator[None]:
    """A worker that shouts."""

    async def work() -> None:
        while True:
            frames = await peer.socket.recv_multipart()
            await peer.socket.send_multipart([*frames[:-1], frames[-1].upper()])

    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("kind", ["REP", "DEALER"])
async def test_a_worker_answers(connect: Connect, kind: str) -> None:
    async with TestBot(config()) as bot, working(connect(bot, "jobs", kind)):
        for text in ("hello", "  'it is'  fine", "gr\u00fc\u00df dich"):
            assert await bot.says(f"!shout {text}") == text.strip().encode().upper().decode()
        assert counts(bot, "workers") == {}


async def test_the_answers_find_their_askers(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        peer = connect(bot, "jobs", "DEALER")
        asked = [
            asyncio.ensure_future(workers_of(bot).request("jobs", b"%d" % number))
            for number in range(50)
        ]
        requests = [await peer.recv() for _ in asked]
        for frames in reversed(requests):
            await peer.send(*frames[:2], b"answer " + frames[2], b"more")
        assert await asyncio.gather(*asked) == [[b"answer %d" % n, b"more"] for n in range(50)]


async def test_several_frames_are_several_lines(connect: Connect) -> None:
    async with TestBot(config('usage = ""\ntimeout = 5')) as bot:
        peer = connect(bot, "jobs", "REP")
        said = asyncio.ensure_future(bot.says("!shout"))
        assert await peer.recv() == [b""]
        await peer.send(b"one", b"two")
        assert await said == "one\ntwo"


async def test_the_usage_is_checked_before_a_worker_is_asked(connect: Connect) -> None:
    async with TestBot(config('usage = "<language> <text ...>"')) as bot:
        assert await bot.says("!help shout") == "!shout <language> <text ...>\nSay it louder."
        assert await bot.says("!shout de") == (
            "text is missing. Usage: !shout <language> <text ...>"
        )
        async with working(connect(bot, "jobs", "REP")):
            assert await bot.says("!shout de good  day") == "DE GOOD  DAY"


async def test_a_role_keeps_a_command_to_its_members() -> None:
    roles = '[roles]\nadmin = ["root@localhost"]\n'
    async with TestBot(roles + config('role = "admin"')) as bot:
        assert "There is no command !shout." in await bot.says("!shout hi")
    with pytest.raises(PluginError, match="wants the role 'admin'"):
        async with TestBot(config('role = "admin"')):
            pass


async def test_a_timeout_is_told_and_the_late_answer_is_dropped(connect: Connect) -> None:
    async with TestBot(config("timeout = 0.05")) as bot:
        peer = connect(bot, "jobs", "DEALER")
        assert await bot.says("!shout hi") == (
            "shout: no worker answered within 0.05 s; try again later."
        )
        late = await peer.recv()
        await peer.send(*late[:2], b"HI")
        await peer.send(b"x" * 16, b"", b"nobody asked")
        await peer.send(b"stray")
        await peer.send(late[0], b"not empty", b"HI")
        await until(lambda: counts(bot, "workers").get("malformed-answer") == 2)
        assert counts(bot, "workers") == {
            "timeout": 1, "refused": 1, "late-answer": 1, "unknown-request": 1,
            "malformed-answer": 2,
        }  # fmt: skip
        async with working(peer):
            assert await bot.says("!shout again") == "AGAIN"


async def test_a_second_answer_is_dropped(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        peer = connect(bot, "jobs", "DEALER")
        said = asyncio.ensure_future(bot.says("!shout hi"))
        request = await peer.recv()
        for answer in (b"first", b"second"):
            await peer.send(*request[:2], answer)
        assert await said == "first"
        await until(lambda: counts(bot, "workers"))
        assert counts(bot, "workers") == {"late-answer": 1}


@pytest.mark.parametrize(
    ("answer", "says", "counted"),
    [
        (b"\xff\xfe", "shout: the worker's answer is not UTF-8 text.", "bad-utf8"),
        (b"x" * 101, "shout: the worker's answer has 101 bytes; at most 100 are shown.",
         "answer-too-big"),
        (b"", "shout: the worker's answer is empty.", None),
    ],
)  # fmt: skip
async def test_an_answer_that_can_not_be_shown(
    connect: Connect, answer: bytes, says: str, counted: str | None
) -> None:
    async with TestBot(config(more="max_answer_bytes = 100")) as bot:
        peer = connect(bot, "jobs", "REP")
        said = asyncio.ensure_future(bot.says("!shout hi"))
        await peer.recv()
        await peer.send(answer)
        assert await said == says
        assert counts(bot, "workers") == ({counted: 1, "refused": 1} if counted else {})
        async with working(peer):
            assert await bot.says("!shout again") == "AGAIN"


async def test_10000_frames_are_dropped_and_the_next_answer_counts(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        peer = connect(bot, "jobs", "DEALER")
        said = asyncio.ensure_future(bot.says("!shout hi"))
        request = await peer.recv()
        await peer.send(*request[:2], *[b"x"] * 10_000)
        await peer.send(*request[:2], b"short")
        assert await said == "short"
        assert sum(bot.app.socket("jobs").statistics().dropped.values()) == 1


async def test_nobody_takes_the_requests() -> None:
    small = config("timeout = 0.05").replace("[plugins.help]", "send_buffer = 3\n[plugins.help]")
    async with TestBot(small) as bot:
        workers = workers_of(bot)
        waiting = [asyncio.ensure_future(workers.request("jobs", b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        assert await bot.says("!shout hi") == (
            "The workers behind 'jobs' take no more; try again in a moment."
        )
        assert counts(bot, "workers") == {"not-sent": 1, "refused": 1}
        for future in waiting:
            future.cancel()
        await asyncio.wait(waiting)
        assert workers._pending == {}


async def test_the_pending_requests_are_bounded(connect: Connect) -> None:
    async with TestBot(config(more="max_pending = 1")) as bot:
        peer = connect(bot, "jobs", "DEALER")
        first = asyncio.ensure_future(bot.says("!shout a", sender="alice@localhost/x"))
        request = await peer.recv()
        workers = workers_of(bot)
        with pytest.raises(Exception, match="1 requests await their answers already"):
            await workers.request("jobs", b"b")
        assert counts(bot, "workers") == {"pending-full": 1}
        await peer.send(*request)
        assert await first == "a"
        async with working(peer):
            assert await bot.says("!shout c") == "C"


async def test_unloading_ends_what_is_pending(connect: Connect) -> None:
    async with TestBot(config()) as bot:
        peer = connect(bot, "jobs", "DEALER")
        said = asyncio.ensure_future(bot.says("!shout hi"))
        request = await peer.recv()
        await bot.app.plugins.unload("workers")
        assert await said == "The workers plugin was unloaded; try again later."
        await peer.send(*request)
        assert await bot.says("!echo on we go") == "on we go"
        assert "There is no command !shout." in await bot.says("!shout hi")


class Asker(Plugin):
    dependencies = ("workers",)

    @command
    async def ask(self, *, text: str) -> str:
        answer = await self.plugin("workers").request("jobs", text.encode(), timeout=0.2)  # type: ignore[attr-defined]
        return str(answer[0].decode())

    @command
    async def patient(self) -> str:
        try:
            await self.plugin("workers").request("jobs", timeout=0.05)  # type: ignore[attr-defined]
        except TimeoutError:
            return "gave up"
        return "?"


async def test_other_plugins_ask_without_any_configuration(connect: Connect) -> None:
    sockets = config().partition("[plugins.help]")[0] + "[plugins.workers]\n"
    async with TestBot(sockets, plugins=[Asker]) as bot:
        assert await bot.says("!ask hi") == "No worker behind 'jobs' answered within 0.2 s."
        assert await bot.says("!patient") == "gave up"
        peer = connect(bot, "jobs", "DEALER")
        await peer.recv()
        assert (await peer.recv())[2] == b""
        async with working(peer):
            assert await bot.says("!ask hi") == "HI"
        with pytest.raises(PluginError, match="no socket 'jbos'"):
            await workers_of(bot).request("jbos", b"")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("timeout = 0", r"commands.*: timeout is a number of seconds above 0"),
        ('usage = "text"', "usage: 'text' is not like"),
        ("time_limit = 5", "time_limit"),
    ],
)
async def test_a_wrong_config_says_where_and_what(command: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(command)):
            pass


async def test_a_wrong_socket_says_so() -> None:
    with pytest.raises(PluginError, match=r"commands.shout. socket 'jobs' is a PULL; .* a DEALER"):
        async with TestBot(config(kind="PULL")):
            pass
