"""Commands as services of the bot's broker: what a backend of any language sees."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.commands.faces import LIMIT, the_bot
from zxmpp import Call, NoAnswer, NoAnswerInTime, Plugin, Progress, command
from zxmpp.mdp import Client, Worker
from zxmpp.mdp.messages import Command as Said
from zxmpp.mdp.messages import Meta, encode_meta
from zxmpp.mdp.wire import V02
from zxmpp.sockets import Socket
from zxmpp.testing import TestBot


class Work(Plugin):
    """Commands whose course a test holds."""

    async def start(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.running = self.most = 0

    async def _hold(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.release()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1

    @command
    async def hold(self, number: int = 0) -> str:
        """Wait.

        number: Comes back
        """
        await self._hold()
        return str(number)

    @command(lane="one")
    async def alone(self) -> str:
        """Wait, one at a time."""
        await self._hold()
        return "done"

    @command
    async def steps(self) -> AsyncIterator[Any]:
        """Parts."""
        yield Progress(0.25)
        yield "first"
        await self._hold()
        yield "second"

    @command
    async def early(self, call: Call) -> str:
        """Say something before the end."""
        call.reply("soon")
        with call.live() as live:
            live.show("thinking")
            live.finish("nearly")
        call.react("\N{THUMBS UP SIGN}")
        return "now"

    @command(role="admin")
    def secret(self) -> str:
        """Only for admins."""
        return "the secret"

    @command
    def big(self, size: int) -> str:
        """A long text."""
        return "x" * size

    @command
    async def ask(self, call: Call) -> str:
        """Ask."""
        return str(await call.ask("How many?", int))

    @command
    def bug(self) -> str:
        """A bug."""
        raise ZeroDivisionError


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Work) as bot:
        yield bot


@pytest.fixture
async def client(bot: TestBot) -> AsyncIterator[Client]:
    async with Client(bot.app.services.bound[0]) as client:
        yield client


def work(bot: TestBot) -> Work:
    plugin: Work = bot.app.plugins.get("work")
    return plugin


async def bounded(event: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT):
        await event.wait()


async def begun(bot: TestBot, count: int = 1) -> None:
    async with asyncio.timeout(LIMIT):
        for _ in range(count):
            await work(bot).begun.acquire()


def at_rest(bot: TestBot) -> bool:
    requests = bot.app.services.broker.requests
    return not (requests.here or requests.open or requests.services)


# -- what there is --------------------------------------------------------------------------------


async def test_commands_lists_what_a_backend_may_use(bot: TestBot, client: Client) -> None:
    listed = json.loads(await client.request("commands"))
    known = {each["name"]: each for each in listed}
    assert "secret" not in known
    assert set(known) == {"hold", "alone", "steps", "early", "big", "ask", "bug"}
    assert known["hold"]["summary"] == "Wait."
    assert known["hold"]["schema"] == json.loads(await client.request("commands", "hold"))
    assert known["hold"]["schema"] == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "hold", "description": "Wait.\n\nnumber: Comes back", "type": "object",
        "properties": {"number": {"type": "integer", "description": "Comes back", "default": 0}},
        "required": [], "additionalProperties": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["secret", "secreu"])
async def test_of_what_is_not_for_backends_nothing_is_told(client: Client, name: str) -> None:
    for service, body in (("commands", name), (f"command.{name}", "")):
        with pytest.raises(NoAnswer) as caught:
            await client.request(service, body)
        assert str(caught.value) == f"{service}: There is no command {name}."
        assert caught.value.reason == "item-not-found"
    assert await client.request("mmi.service", f"command.{name}") == b"404"


async def test_a_backend_may_have_a_role(bot: TestBot, client: Client) -> None:
    bot.app.commands.roles.set({"admin": ["@broker"]})
    assert json.loads(await client.request("command.secret"))["text"] == "the secret"


async def test_services_come_and_go_with_their_plugin(bot: TestBot, client: Client) -> None:
    assert await client.request("mmi.service", "command.hold") == b"200"
    await bot.app.plugins.unload("work")
    assert await client.request("mmi.service", "command.hold") == b"404"
    with pytest.raises(NoAnswer, match=r"There is no command hold\."):
        await client.request("command.hold")
    await bot.app.plugins.load("work", Work)
    work(bot).go.set()
    assert json.loads(await client.request("command.hold"))["text"] == "0"


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with (
        the_bot(tmp_path, Work, more="[commands]\nservices = false\n") as bot,
        Client(bot.app.services.bound[0]) as client,
    ):
        assert await client.request("mmi.service", "command.hold") == b"404"
        assert await client.request("mmi.service", "commands") == b"404"
        with pytest.raises(NoAnswerInTime):
            await client.request("command.hold", timeout=0.05)


async def test_top_sees_what_runs(bot: TestBot, client: Client) -> None:
    asked = asyncio.ensure_future(client.request("command.hold", timeout=LIMIT))
    await begun(bot)
    _, report = await client.request("mmi.services", result=list[bytes])
    (service,) = json.loads(report)
    assert (service["name"], service["running"]) == ("command.hold", 1)
    work(bot).go.set()
    await asked


# -- who asks -------------------------------------------------------------------------------------


async def test_a_sender_that_a_request_claims_is_nobody(bot: TestBot) -> None:
    said: asyncio.Queue[list[bytes]] = asyncio.Queue()
    address = bot.app.services.bound[0]
    socket = Socket("DEALER", name="raw", connect=address,
                    on_messages=lambda batch: [said.put_nowait(each) for each in batch] and None)  # fmt: skip
    try:
        meta = encode_meta(Meta(id="an id that nobody can guess", sender="alice@localhost"))
        socket.send(V02.client_extended(Said.REQUEST, b"command.secret", meta, [b""]))
        async with asyncio.timeout(LIMIT):
            answer = await said.get()
        assert b"There is no command secret." in b"".join(answer)
    finally:
        socket.close(0)


async def test_no_worker_can_answer_for_a_command(
    bot: TestBot, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async def steal(body: bytes) -> bytes:
        return b"stolen"

    worker = Worker("command.ask", steal, connect=bot.app.services.bound[0], heartbeat=0.2)
    task = asyncio.create_task(worker.serve())
    try:
        counts = bot.app.services.broker.counts
        async with asyncio.timeout(LIMIT):
            while not counts["reserved-service"]:
                await asyncio.sleep(0.01)
        answer = await client.request("command.ask", [b"", b"[1]"])
        assert json.loads(answer)["text"] == "1"
    finally:
        worker.stop()
        await task
    assert "reserved-service" in caplog.text


async def test_a_plugin_may_ask_for_a_command_too(bot: TestBot) -> None:
    answer = await bot.app.services.request("command.big", b'{"size": 3}')
    assert json.loads(answer) == {"type": "text", "text": "xxx"}


# -- how it is answered ---------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1", "0.2-plain"])
async def test_a_plain_client_is_told_of_failures_as_json(bot: TestBot, version: str) -> None:
    async with Client(bot.app.services.bound[0], version=version) as client:
        assert json.loads(await client.request("command.big", b'{"size": 1}'))["text"] == "x"
        answer = json.loads(await client.request("command.big", b'{"size": "many"}'))
        assert answer == {
            "type": "error", "condition": "bad-request",
            "text": "size: 'many' is not a whole number. Usage: !big <size>",
        }  # fmt: skip


async def test_a_plain_client_of_0_1_gets_all_pieces_at_once(bot: TestBot) -> None:
    work(bot).go.set()
    async with Client(bot.app.services.bound[0], version="0.1") as client:
        frames = await client.request("command.steps", result=list[bytes])
    assert [json.loads(frame)["text"] for frame in frames] == ["first", "second"]


async def test_pieces_come_while_the_command_works(bot: TestBot, client: Client) -> None:
    seen: list[Any] = []
    async with asyncio.timeout(LIMIT), aclosing(client.parts("command.steps")) as parts:
        async for part in parts:
            seen.append(part.progress if part.frames in ([], [b""]) else part.frames)
            if len(seen) == 2:
                # The second one is not there before the test lets it.
                assert not work(bot).go.is_set()
                work(bot).go.set()
    assert seen[0] == 0.25
    assert [json.loads(each[0])["text"] for each in seen[1:3]] == ["first", "second"]


async def test_replies_come_before_the_result(client: Client) -> None:
    whole = await client.request("command.early")
    assert [json.loads(line)["text"] for line in whole.splitlines()] == ["soon", "nearly", "now"]


async def test_requests_of_one_backend_run_at_the_same_time(bot: TestBot, client: Client) -> None:
    asked = [
        asyncio.ensure_future(client.request("command.hold", {"number": number}, timeout=LIMIT))
        for number in range(50)
    ]
    await begun(bot, 50)
    work(bot).go.set()
    answers = await asyncio.gather(*asked)
    assert [json.loads(answer)["text"] for answer in answers] == [str(n) for n in range(50)]
    assert at_rest(bot)


async def test_a_command_that_runs_alone_does_so_here(bot: TestBot, client: Client) -> None:
    asked = [asyncio.ensure_future(client.request("command.alone")) for _ in range(5)]
    await begun(bot)
    work(bot).go.set()
    await asyncio.gather(*asked)
    assert work(bot).most == 1


async def test_an_answer_that_is_too_big_says_so(tmp_path: Path) -> None:
    async with (
        TestBot(
            '[roles]\nadmin = []\n[broker]\nbind = "tcp://127.0.0.1:*"\nmax_message_bytes = 10000\n',
            [Work],
        ) as bot,
        Client(bot.app.services.bound[0]) as client,
    ):
        assert len(await client.request("command.big", {"size": 9000})) > 9000
        with pytest.raises(NoAnswer, match="the answer is too big") as caught:
            await client.request("command.big", {"size": 10_000})
        assert caught.value.reason == "resource-constraint"


async def test_a_bug_is_told_by_its_reference_only(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(NoAnswer, match="The log has it as") as caught:
        await client.request("command.bug")
    assert "ZeroDivision" not in str(caught.value)
    assert str(caught.value).rstrip(".").split()[-1] in caplog.text


# -- questions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ("", ("ask asks: 'How many?', and the request has no answer to that; put it into the list "
             "that is its second frame")),
        ('["x"]', "The answer to 'How many?' can't be used: 'x' is not a whole number."),
        ("[[1]]", "The answer to 'How many?' can't be used: [1] is not a whole number."),
        ("{}", "this frame is JSON, a list of answers: Expected `array`, got `object`"),
        ("[" + "1," * 100 + "1]", "there are at most 100 answers"),
    ],
)  # fmt: skip
async def test_a_question_without_a_good_answer_is_named(
    client: Client, answers: str, text: str
) -> None:
    body = [b"{}", answers.encode()] if answers else b""
    with pytest.raises(NoAnswer) as caught:
        await client.request("command.ask", body)
    assert str(caught.value) == f"command.ask: {text}"


# -- how it ends ----------------------------------------------------------------------------------


async def test_who_gives_up_cancels_the_command(bot: TestBot, client: Client) -> None:
    asked = asyncio.ensure_future(client.request("command.hold", timeout=LIMIT))
    await begun(bot)
    asked.cancel()
    await bounded(work(bot).cancelled)
    assert at_rest(bot)


async def test_a_client_that_dies_cancels_the_command(bot: TestBot) -> None:
    client = Client(bot.app.services.bound[0])
    asked = asyncio.ensure_future(client.request("command.hold", timeout=LIMIT))
    await begun(bot)
    # As when its process is killed: no word of farewell.
    client._socket.close(0)  # type: ignore[attr-defined]
    await bounded(work(bot).cancelled)
    asked.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await asked
    await client.close()


async def test_the_deadline_cancels_the_command(bot: TestBot, client: Client) -> None:
    with pytest.raises(NoAnswerInTime):
        await client.request("command.hold", timeout=0.05)
    await bounded(work(bot).cancelled)
    assert at_rest(bot)


async def test_what_nobody_waits_for_does_not_begin(bot: TestBot, client: Client) -> None:
    first = asyncio.ensure_future(client.request("command.alone", timeout=LIMIT))
    await begun(bot)
    with pytest.raises(NoAnswerInTime):
        await client.request("command.alone", timeout=0.05)
    work(bot).go.set()
    await first
    await bot.settle()
    assert work(bot).begun.locked()


async def test_unloading_tells_who_waits(bot: TestBot, client: Client) -> None:
    asked = asyncio.ensure_future(client.request("command.hold", timeout=LIMIT))
    await begun(bot)
    await bot.app.plugins.unload("work")
    with pytest.raises(NoAnswer, match="work was stopped"):
        await asked


async def test_a_stop_tells_who_waits(tmp_path: Path) -> None:
    async with the_bot(tmp_path, Work) as bot, Client(bot.app.services.bound[0]) as client:
        asked = asyncio.ensure_future(client.request("command.hold", timeout=LIMIT))
        await begun(bot)
        await bot.app.stop(drain=0.01)
        with pytest.raises(NoAnswer, match=r"was stopped|stops"):
            await asked


async def test_a_full_plugin_says_so(tmp_path: Path) -> None:
    more = "[pipeline]\ntotal_limit = 5\nworkers = 2\n"
    async with the_bot(tmp_path, Work, more=more) as bot:
        address = bot.app.services.bound[0]
        async with Client(address) as client:
            asked = [
                asyncio.ensure_future(client.request("command.alone", timeout=LIMIT))
                for _ in range(20)
            ]
            await begun(bot)
            work(bot).go.set()
            ends = await asyncio.gather(*asked, return_exceptions=True)
    bad = [str(end) for end in ends if isinstance(end, BaseException)]
    assert 0 < len(bad) <= 15
    assert set(bad) == {"command.alone: work is busy; try again in a moment."}
