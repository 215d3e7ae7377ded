"""The pump with filters that take their time: order, what passes, what is given up."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from .conftest import Line
from .test_sending import bodies, given_up, say

LIMIT_S = 5
ALICE = "alice@localhost"
BOB = "bob@localhost"


class Slow:
    """An outgoing filter that holds each stanza with a certain body until it is let go."""

    def __init__(self, line: Line, *held: str) -> None:
        self.line = line
        self.go = {body: asyncio.Event() for body in held}
        self.has: list[str] = []
        line.xmpp.filter_patience = 0.001
        line.xmpp.add_filter("out", self.filter)

    async def filter(self, stanza: Any) -> Any:
        body = stanza["body"] if stanza.name == "message" else ""
        if body in self.go:
            self.has.append(body)
            await self.go[body].wait()
        return stanza


async def written(line: Line, *parts: str) -> str:
    """What was written, once each of `parts` is in it."""
    text = ""
    async with asyncio.timeout(LIMIT_S):
        while True:
            line.transport.wrote.clear()  # type: ignore[union-attr]
            text += line.transport.take()  # type: ignore[union-attr]
            if all(part in text for part in parts):
                return text
            await line.transport.wrote.wait()  # type: ignore[union-attr]


async def test_order_is_kept_for_the_recipient_of_a_slow_filter(line: Line) -> None:
    line.online()
    slow = Slow(line, "1")
    say(line, "1")
    say(line, "2", f"{ALICE}/phone")
    say(line, "3", "Alice@localhost")
    say(line, "other", BOB)
    assert bodies(await written(line, "other")) == ["other"]
    say(line, "4")
    say(line, "other too", BOB)
    assert bodies(await written(line, "other too")) == ["other too"]
    slow.go["1"].set()
    assert bodies(await written(line, ">4<")) == ["1", "2", "3", "4"]
    say(line, "5")
    assert bodies(await line.sent()) == ["5"]


async def test_one_that_waits_may_be_slow_itself(line: Line) -> None:
    line.online()
    slow = Slow(line, "1", "2")
    for body in "123":
        say(line, body)
    say(line, "other", BOB)
    await written(line, "other")
    slow.go["1"].set()
    assert bodies(await written(line, ">1<")) == ["1"]
    say(line, "4")
    say(line, "other too", BOB)
    assert bodies(await written(line, "other too")) == ["other too"]
    slow.go["2"].set()
    assert bodies(await written(line, ">4<")) == ["2", "3", "4"]


@pytest.mark.parametrize("keep_order", [True, False])
async def test_nothing_overtakes_a_filter_that_takes_less_than_the_patience(
    client: Line, keep_order: bool
) -> None:
    client.online()
    client.xmpp.keep_order = keep_order
    slow = Slow(client, "1")
    client.xmpp.filter_patience = 1000
    say(client, "0")
    say(client, "1")
    say(client, "other", BOB)
    async with asyncio.timeout(LIMIT_S):
        while not slow.has:
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    # Nor does it keep back what was sent before.
    assert bodies(client.transport.take()) == ["0"]  # type: ignore[union-attr]
    slow.go["1"].set()
    assert bodies(await written(client, "other")) == ["1", "other"]


async def test_order_can_be_given_up_as_in_slixmpp(client: Line, stock: Line) -> None:
    client.xmpp.keep_order = False
    for line in (client, stock):
        line.online()
        slow = Slow(line, "1")
        for body in "123":
            say(line, body)
        text = await written(line, ">3<")
        slow.go["1"].set()
        assert bodies(text + await written(line, ">1<")) == ["2", "3", "1"]


@pytest.mark.parametrize("where", ["first step", "later step", "task", "task of the first step"])
async def test_what_a_filter_waits_for_passes(line: Line, where: str) -> None:
    """A key is fetched from the one whom the message is for. Nobody has to lose patience for it."""
    line.online()
    line.xmpp.filter_patience = 1000

    async def fetch() -> Any:
        await asyncio.sleep(0)
        return await line.xmpp.make_iq_set(ito=ALICE).send(timeout=LIMIT_S)

    async def encrypt(stanza: Any) -> Any:
        if stanza["body"] == "1":
            if where == "first step":
                await line.xmpp.make_iq_set(ito=ALICE).send(timeout=LIMIT_S)
            elif where == "later step":
                await fetch()
            elif where == "task":
                await asyncio.sleep(0)
                await asyncio.create_task(fetch())
            else:
                await asyncio.gather(fetch())
        return stanza

    line.xmpp.add_filter("out", encrypt)
    say(line, "1")
    say(line, "2")
    text = await written(line, "<iq")
    assert bodies(text) == []
    id_ = text.partition('id="')[2].partition('"')[0]
    line.feed(f"<iq type='result' id='{id_}' from='{ALICE}' to='{line.xmpp.boundjid}'/>")
    assert bodies(await written(line, ">2<")) == ["1", "2"]
    # The task that the filter left behind is nobody that a filter waits for any more.
    assert not line.xmpp.pump.backlog.busy


async def test_requests_that_change_nothing_pass_others_keep_their_place(line: Line) -> None:
    line.online()
    slow = Slow(line, "1")
    say(line, "1")
    get = line.xmpp.make_iq_get(ito=ALICE)
    set_ = line.xmpp.make_iq_set(ito=ALICE)
    for iq in (set_, get):
        line.xmpp.send(iq)
    line.xmpp.send_presence(pto=ALICE, pstatus="directed")
    line.xmpp.send(f"<message to='{ALICE}'><body>text</body></message>")
    text = await written(line, "text")
    assert get["id"] in text
    assert set_["id"] not in text
    assert "directed" not in text
    slow.go["1"].set()
    text = await written(line, "directed")
    assert text.index(">1<") < text.index(set_["id"]) < text.index("directed")


async def test_what_is_addressed_to_nobody_is_in_order_too(line: Line) -> None:
    line.online()
    go = asyncio.Event()

    async def slow(stanza: Any) -> Any:
        if stanza.name == "presence" and stanza["status"] == "first":
            await go.wait()
        return stanza

    line.xmpp.filter_patience = 0.001
    line.xmpp.add_filter("out", slow)
    line.xmpp.send_presence(pstatus="first")
    line.xmpp.send_presence(pstatus="second")
    say(line, "other", BOB)
    assert "second" not in await written(line, "other")
    go.set()
    text = await written(line, "second")
    assert text.index("first") < text.index("second")


async def test_a_filter_that_fails_late_costs_its_stanza_only(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.online()
    seen = given_up(line)
    go = asyncio.Event()

    async def bad(stanza: Any) -> Any:
        if stanza["body"] == "bad":
            await go.wait()
            raise ValueError("no key")
        if stanza["body"] == "cancelled":
            raise asyncio.CancelledError
        if stanza["body"] == "suicidal":
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            await asyncio.sleep(0)
        return None if stanza["body"] == "dropped" else stanza

    line.xmpp.filter_patience = 0.001
    line.xmpp.add_filter("out", bad)
    ids = [say(line, body)["id"] for body in ("bad", "cancelled", "suicidal")]
    for body in ("dropped", "good"):
        say(line, body)
    say(line, "other", BOB)
    await written(line, "other")
    go.set()
    assert bodies(await written(line, "good")) == ["good"]
    assert [one for one in seen if one[0] in ids] == [(id_, "filter-failed") for id_ in ids]
    assert line.xmpp.not_sent["filtered-out"] == 1
    assert "no key" in caplog.text
    # Nothing of it is taken for sent.
    assert line.xmpp.outbox.unconfirmed == 2


async def test_what_is_neither_stanza_nor_text_is_named(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    line.online()
    await line.sent()
    seen = given_up(line)
    line.xmpp.add_filter("out", lambda stanza: 42)
    id_ = say(line, "1")["id"]
    assert bodies(await line.sent()) == []
    assert seen == [(id_, "filter-failed")]
    assert "made a int of a stanza" in caplog.text


async def test_a_filter_is_itself_from_its_first_step_to_its_last(line: Line) -> None:
    """Its task, its context and its time-outs are its own, whether it suspends or not."""
    line.online()
    name = contextvars.ContextVar("name", default="nobody")
    ended: list[str] = []

    async def careful(stanza: Any) -> Any:
        body = stanza["body"]
        assert name.get() == "nobody"
        token = name.set(body)
        task = asyncio.current_task()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(1000 if body == "late" else 0)
        except TimeoutError:
            ended.append("late")
        assert asyncio.current_task() is task
        assert name.get() == body
        name.reset(token)
        name.set("left behind")
        return stanza

    async def quick(stanza: Any) -> Any:
        assert name.get() == "nobody"
        name.set("left behind")
        return stanza

    line.xmpp.filter_patience = 0.001
    line.xmpp.add_filter("out", careful)
    line.xmpp.add_filter("out_sce", quick)
    for body in ("1", "late", "2"):
        say(line, body)
    assert bodies(await written(line, ">2<")) == ["1", "late", "2"]
    assert ended == ["late"]


async def test_no_task_is_made_for_a_stanza(line: Line) -> None:
    line.online()
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def factory(loop: Any, coro: Any, **kwargs: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **kwargs)

    async def at_once(stanza: Any) -> Any:
        return stanza

    async def suspends(stanza: Any) -> Any:
        await asyncio.sleep(0)
        return stanza

    line.xmpp.add_filter("out", at_once)
    line.xmpp.add_filter("out_sce", suspends)
    await line.sent()
    loop.set_task_factory(factory)
    try:
        for number in range(50):
            say(line, str(number))
        assert bodies(await line.sent()) == [str(n) for n in range(50)]
    finally:
        loop.set_task_factory(None)
    # The one is the test's own wait.
    assert len(made) <= 1


async def test_a_lost_connection_keeps_what_waited_behind_a_slow_filter(line: Line) -> None:
    line.online()
    seen = given_up(line)
    slow = Slow(line, "1")
    stuck = say(line, "1")
    for body in "23":
        say(line, body)
    say(line, "other", BOB)
    await written(line, "other")
    say(line, "4")
    line.lose()
    assert (stuck["id"], "in-doubt") in seen
    slow.go["1"].set()
    line.online()
    assert bodies(await line.sent()) == ["2", "3", "4"]
    assert not line.xmpp.pump.backlog.busy


async def test_a_filter_that_never_returns_is_ended_by_name(line: Line) -> None:
    line.online()
    seen = given_up(line)
    line.xmpp.filter_timeout = 0.02
    slow = Slow(line, "1")
    stuck = say(line, "1")
    for body in "23":
        say(line, body)
    assert bodies(await written(line, ">3<")) == ["2", "3"]
    assert seen == [(stuck["id"], "filter-timeout")]
    assert line.xmpp.outbox.given_up == {"filter-timeout": 1}
    slow.go["1"].set()
    say(line, "4")
    assert bodies(await line.sent()) == ["4"]


async def test_a_filter_that_can_not_be_ended_is_left_behind(line: Line) -> None:
    line.online()
    seen = given_up(line)
    line.xmpp.filter_timeout = 0.02
    line.xmpp.filter_patience = 0.001
    go = asyncio.Event()
    ignored = asyncio.Event()

    async def stubborn(stanza: Any) -> Any:
        while stanza["body"] == "1" and not go.is_set():
            try:
                await go.wait()
            except asyncio.CancelledError:
                ignored.set()
        return stanza

    line.xmpp.add_filter("out", stubborn)
    stuck = say(line, "1")
    say(line, "2")
    assert bodies(await written(line, ">2<")) == ["2"]
    assert seen == [(stuck["id"], "filter-timeout")]
    async with asyncio.timeout(LIMIT_S):
        await ignored.wait()
    go.set()
    say(line, "3")
    assert bodies(await written(line, ">3<")) == ["3"]


async def test_what_slow_filters_hold_up_is_bounded(line: Line) -> None:
    line.online()
    seen = given_up(line)
    line.xmpp.filter_backlog = 3
    slow = Slow(line, "1", "another")
    say(line, "1")
    ids = [say(line, body)["id"] for body in "2345"]
    say(line, "other", BOB)
    await written(line, "other")
    assert seen == [(ids[2], "filter-backlog"), (ids[3], "filter-backlog")]
    # Nor does another slow one find room.
    another = say(line, "another", BOB)
    say(line, "other too", BOB)
    assert bodies(await written(line, "other too")) == ["other too"]
    assert seen[2:] == [(another["id"], "filter-backlog")]
    slow.go["1"].set()
    assert bodies(await written(line, ">3<")) == ["1", "2", "3"]


async def test_a_burst_finds_room_behind_a_slow_filter(line: Line) -> None:
    line.online()
    seen = given_up(line)
    slow = Slow(line, "0")
    number = line.xmpp.send_window
    for body in range(number):
        say(line, str(body))
    async with asyncio.timeout(LIMIT_S):
        while line.xmpp.pump.backlog.size < number:
            await asyncio.sleep(0.001)
    slow.go["0"].set()
    text = await written(line, f"<body>{number - 1}<")
    assert bodies(text) == [str(body) for body in range(number)]
    assert seen == []


async def test_a_pump_that_is_stopped_names_what_it_has_in_hand(line: Line) -> None:
    line.online()
    seen = given_up(line)
    slow = Slow(line, "1")
    line.xmpp.filter_patience = 1000
    stuck = say(line, "1")
    say(line, "2")
    async with asyncio.timeout(LIMIT_S):
        while not slow.has:
            await asyncio.sleep(0)
    pump = line.xmpp._run_out_filters
    pump.cancel()
    await asyncio.wait([pump])
    assert seen == [(stuck["id"], "stopped")]
    line.xmpp._run_out_filters = asyncio.ensure_future(line.xmpp.run_filters())
    assert bodies(await line.sent()) == ["2"]


async def test_a_second_pump_waits_for_the_first(line: Line) -> None:
    """slixmpp's tests start one of their own, again and again."""
    line.online()
    slow = Slow(line, "1")
    line.xmpp.filter_patience = 1000
    second = asyncio.ensure_future(line.xmpp.run_filters())
    for body in "12":
        say(line, body)
    async with asyncio.timeout(LIMIT_S):
        while not slow.has:
            await asyncio.sleep(0)
    slow.go["1"].set()
    assert bodies(await written(line, ">2<")) == ["1", "2"]
    line.xmpp._run_out_filters.cancel()
    say(line, "3")
    assert bodies(await line.sent()) == ["3"]
    second.cancel()
    await asyncio.wait([second])


async def test_disconnecting_waits_for_slow_filters(line: Line) -> None:
    line.online()
    slow = Slow(line, "1")
    for body in "12":
        say(line, body)
    say(line, "other", BOB)
    await written(line, "other")
    ending = line.xmpp.disconnect(wait=LIMIT_S)
    await asyncio.sleep(0)
    assert line.xmpp.stream_footer not in line.transport.take()  # type: ignore[union-attr]
    slow.go["1"].set()
    text = await written(line, line.xmpp.stream_footer)
    assert bodies(text) == ["1", "2"]
    line.feed(line.xmpp.stream_footer)
    await asyncio.wait_for(ending, LIMIT_S)


async def test_disconnecting_does_not_wait_for_ever(line: Line) -> None:
    line.online()
    Slow(line, "1")
    say(line, "1")
    say(line, "other", BOB)
    await written(line, "other")
    await asyncio.wait_for(line.xmpp.disconnect(wait=0.01), LIMIT_S)
    assert line.transport.is_closing()  # type: ignore[union-attr]


async def test_a_barrier_confirms_all_but_what_it_overtook(line: Line) -> None:
    line.online()
    slow = Slow(line, "1")
    for body in "12":
        say(line, body)
    for number in range(3):
        say(line, f"other {number}", BOB)
    await written(line, "other 2")
    line.xmpp.probe()
    await written(line, line.xmpp.probe_id)
    say(line, "later", BOB)
    line.confirm()
    assert (line.xmpp.outbox.confirmed, line.xmpp.outbox.unconfirmed) == (3, 3)
    slow.go["1"].set()
    assert bodies(await written(line, ">2<", "later")) == ["later", "1", "2"]
    line.xmpp.probe()
    await written(line, line.xmpp.probe_id)
    line.confirm()
    assert (line.xmpp.outbox.confirmed, line.xmpp.outbox.unconfirmed) == (6, 0)


async def test_the_end_of_the_program_does_not_wait_for_slow_filters(line: Line) -> None:
    """`asyncio.run` cancels all tasks and waits for them."""
    line.online()
    seen = given_up(line)
    slow = Slow(line, "1", "2", "3", "behind")
    ids = [say(line, body, f"{body}@localhost")["id"] for body in "12"]
    ids.append(say(line, "behind", "1@localhost")["id"])
    say(line, "other", BOB)
    await written(line, "other")
    line.xmpp.filter_patience = 1000
    ids.append(say(line, "3", "3@localhost")["id"])
    async with asyncio.timeout(LIMIT_S):
        while len(slow.has) < 3:
            await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    _, pending = await asyncio.wait(tasks, timeout=LIMIT_S)
    assert not pending
    assert sorted(seen) == sorted((id_, "stopped") for id_ in ids)
    # One that began now would be destroyed with the loop.
    assert asyncio.all_tasks() == {asyncio.current_task()}
