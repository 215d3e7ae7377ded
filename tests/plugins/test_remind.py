"""The remind plugin: at its time, where it was asked for, over restarts; nobody else's."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest

from zxmpp import ConfigError, PluginError
from zxmpp.testing.bot import TestBot, body_of
from zxmpp_plugins import state
from zxmpp_plugins.remind import Remind

from .conftest import COMPONENT, ROOM, counts, sent, until

ALICE, MALLORY = "alice@localhost/desk", "mallory@localhost/alice"


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock on the wall: its only item."""
    clock = [1_795_600_000.0]
    monkeypatch.setattr(Remind, "_now", lambda self: clock[0])
    return clock


def config(folder: Path, more: str = "") -> str:
    return f'{COMPONENT}[plugins.remind]\nfile = "{folder}/book.json"\n{more}'


def kept(folder: Path) -> list[str]:
    return [one["text"] for one in json.loads((folder / "book.json").read_bytes()).values()]


def later(bot: TestBot, now: list[float], seconds: float) -> None:
    """Let time go on."""
    now[0] += seconds
    bot.app.plugins.get("remind")._changed.set()


async def test_at_its_time_in_a_1_1_chat(tmp_path: Path) -> None:
    async with TestBot(config(tmp_path)) as bot:
        before = len(bot.sent)
        assert (await bot.says("!remind 1s the tea", sender=ALICE)).startswith("Reminder 1: ")
        assert kept(tmp_path) == ["the tea"]
        message = await bot.next_message(after=before + 1)
        assert (message.get("to"), body_of(message)) == ("alice@localhost", "Reminder: the tea")
        await until(lambda: kept(tmp_path) == [])
        assert counts(bot, "remind") == {"told": 1}


async def test_in_a_room_by_the_nick(tmp_path: Path, now: list[float]) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m the tea", sender=ALICE, room=ROOM)
        later(bot, now, 601)
        message = await bot.next_message()
        assert (message.get("to"), message.get("type")) == (ROOM, "groupchat")
        assert body_of(message) == "alice: the tea"
        assert len(await sent(bot)) == 2


async def test_only_what_is_due_and_in_order(tmp_path: Path, now: list[float]) -> None:
    async with TestBot(config(tmp_path)) as bot:
        for when, text in (("2h", "b"), ("1h", "a"), ("3h", "c")):
            await bot.says(f"!remind {when} {text}", sender=ALICE)
        assert await bot.says("!reminders", sender=ALICE) == (
            "```\nnumber  time                  text\n2       2026-11-25 10:46 UTC  a\n"
            "1       2026-11-25 11:46 UTC  b\n3       2026-11-25 12:46 UTC  c\n```"
        )
        later(bot, now, 3600)
        assert body_of(await bot.next_message()) == "Reminder: a"
        await until(lambda: kept(tmp_path) == ["b", "c"])


async def test_what_was_due_while_the_bot_was_down_is_told_late(
    tmp_path: Path, now: list[float]
) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m the tea", sender=ALICE)
        await bot.says("!remind 10m the cake", sender=ALICE, room=ROOM)
        await bot.says("!remind 1d not yet", sender=ALICE)
    now[0] += 7200
    async with TestBot(config(tmp_path)) as bot:
        await until(lambda: kept(tmp_path) == ["not yet"])
        assert [(s.get("to"), body_of(s)) for s in await sent(bot)] == [
            ("alice@localhost", "Reminder: the tea (late; it was due 2026-11-25 09:56 UTC)"),
            (ROOM, "alice: the cake (late; it was due 2026-11-25 09:56 UTC)"),
        ]
    async with TestBot(config(tmp_path)) as bot:
        assert await sent(bot) == []


async def test_a_stream_that_is_offline_is_waited_for(tmp_path: Path, now: list[float]) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m the tea", sender=ALICE)
        stream = bot.app.stream()
        stream.ready.clear()
        later(bot, now, 700)
        assert len(await sent(bot)) == 1
        stream.ready.set()
        later(bot, now, 0)
        assert body_of(await bot.next_message()).startswith("Reminder: the tea (late;")


async def test_of_a_room_that_was_left_nothing_is_told(tmp_path: Path, now: list[float]) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m the tea", sender=ALICE, room=ROOM)
        before = len(await sent(bot))
        bot.app.stream().leave(ROOM)
        later(bot, now, 601)
        await until(lambda: counts(bot, "remind").get("not-told"))
        assert not [body_of(s) for s in (await sent(bot))[before:] if body_of(s)]
        await until(lambda: kept(tmp_path) == [])


async def test_everybody_has_his_own(tmp_path: Path) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 1h secret", sender=ALICE)
        await bot.says("!remind 1h open", sender=ALICE, room=ROOM)
        for sender, room in ((MALLORY, ""), (MALLORY, ROOM)):
            assert await bot.says("!reminders", sender=sender, room=room) == (
                "You have no reminders here."
            )
            for number in (1, 2, 3):
                assert await bot.says(f"!forget {number}", sender=sender, room=room) == (
                    f"You have no reminder {number} here."
                )
        # A room reads along.
        shown = await bot.says("!reminders", sender=ALICE, room=ROOM)
        assert "open" in shown
        assert "secret" not in shown
        assert (
            await bot.says("!forget 1", sender=ALICE, room=ROOM) == "You have no reminder 1 here."
        )
        assert await bot.says("!forget 1", sender=ALICE) == "Reminder 1 is forgotten."
        assert kept(tmp_path) == ["open"]


async def test_a_nick_is_no_identity(tmp_path: Path) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 1h mine", sender=ALICE, room=ROOM)
        # Hidden, by the nick of the one whose reminder it is.
        shown = await bot.says("!reminders", sender="alice@evil.example/x", room=ROOM, hidden=True)
        assert shown == "You have no reminders here."


async def test_who_is_hidden_is_not_written_to_in_private(tmp_path: Path) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("hi", sender="ghost@localhost/x", room=ROOM, hidden=True)
        sent_ = await bot.hears(
            f"<message from={quoteattr(ROOM + '/ghost')} to={quoteattr(bot.address())} type='chat'>"
            f"<body>!remind 1s boo</body></message>"
        )
        assert body_of(sent_[0]).startswith("remind: the room hides your address")
        assert kept(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("0m x", "0m is not within the next 10 days."),
        ("11d x", "11d is not within the next 10 days."),
        ("2020-01-01T00:00 x", "2020-01-01T00:00 is not within the next 10 days."),
        ("9999-12-31T00:00 x", "9999-12-31T00:00 is not within the next 10 days."),
        ("9999-12-31T23:59-14:00 x", "9999-12-31T23:59-14:00 is not within the next 10 days."),
        ("0001-01-01T00:00+14:00 x", "0001-01-01T00:00+14:00 is not within the next 10 days."),
        ("10m " + "x" * 51, "A reminder has at most 50 characters."),
        ("soon x", "'soon' is no time; write 10m, 2h30m, 1d, 18:00 or 2026-12-01T09:00"),
        ("10m", "text is missing. Usage: !remind <when> <text ...>"),
    ],
)
async def test_what_is_refused(tmp_path: Path, text: str, answer: str) -> None:
    async with TestBot(config(tmp_path, "max_days = 10\nmax_chars = 50")) as bot:
        assert await bot.says(f"!remind {text}") == answer
        assert kept(tmp_path) == []


async def test_they_are_bounded_for_each_and_in_all(tmp_path: Path) -> None:
    async with TestBot(config(tmp_path, "max_each = 2\nmax_all = 3")) as bot:
        for sender, most in ((ALICE, 2), (MALLORY, 1)):
            for _ in range(most):
                assert (await bot.says("!remind 1h x", sender=sender)).startswith("Reminder")
        for sender in (ALICE, MALLORY):
            await bot.hears_message("!remind 1h x", sender=sender)
        assert counts(bot, "remind")["reminders-full"] == 2
        assert len(kept(tmp_path)) == 3
        assert await bot.says("!forget 1", sender=ALICE) == "Reminder 1 is forgotten."
        assert (await bot.says("!remind 1h x", sender=MALLORY)).startswith("Reminder 4:")


async def test_a_reminder_that_can_t_be_written_down_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestBot(config(tmp_path)) as bot:
        with monkeypatch.context() as patch:
            patch.setattr(state, "_replace", _full)
            assert await bot.says("!remind 1h x") == (
                "The reminder could not be written down, so it is not kept."
            )
        assert await bot.says("!reminders") == "You have no reminders here."
        assert (await bot.says("!remind 1h x")).startswith("Reminder 1:")


async def test_a_full_disk_does_not_stop_the_clock(
    tmp_path: Path, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m a", sender=ALICE)
        await bot.says("!remind 20m b", sender=ALICE)
        with monkeypatch.context() as patch:
            patch.setattr(state, "_replace", _full)
            later(bot, now, 601)
            assert body_of(await bot.next_message()) == "Reminder: a"
            await until(lambda: counts(bot, "remind").get("not-kept"))
        later(bot, now, 600)
        assert body_of(await bot.next_message()) == "Reminder: b"


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


async def test_a_file_of_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "book.json").write_text('{"1": {"due": "x"}}')
    with pytest.raises(PluginError, match="is not what was written there"):
        async with TestBot(config(tmp_path)):
            pass
    assert os.listdir(tmp_path) == ["book.json"]
    assert (tmp_path / "book.json").read_text() == '{"1": {"due": "x"}}'


@pytest.mark.parametrize(
    ("key", "value", "text"), [("zone", '"Berlin"', "no time zone"), ("max_all", "0", "above 0")]
)
async def test_a_wrong_setting(tmp_path: Path, key: str, value: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        async with TestBot(config(tmp_path, f"{key} = {value}")):
            pass


@pytest.mark.parametrize("when", ["20m", "1h", "02:40"])
async def test_the_hour_that_comes_twice_is_no_past(
    tmp_path: Path, now: list[float], when: str
) -> None:
    now[0] = datetime.fromisoformat("2026-10-25T02:50:00+02:00").timestamp()
    async with TestBot(config(tmp_path, 'zone = "Europe/Berlin"\nmax_days = 99999999999')) as bot:
        said = await bot.says(f"!remind {when} x")
        assert said.startswith("Reminder 1: 2026-10-25 02:")
        assert said.endswith("CET.")


@pytest.mark.parametrize("due", ["1e300", "-1e300", "253402300799", "null", "[" * 100_000])
async def test_a_file_with_a_time_that_is_none(tmp_path: Path, due: str) -> None:
    one = '{"1": {"owner": "a@b", "place": {"stream": "bot", "to": "a@b"}, "text": "x", "due": %s}}'
    (tmp_path / "book.json").write_text(one % due)
    with pytest.raises(PluginError, match="is not what was written there"):
        async with TestBot(config(tmp_path)):
            pass


async def test_a_new_version_goes_on_and_nothing_is_told_twice(
    tmp_path: Path, now: list[float]
) -> None:
    async with TestBot(config(tmp_path)) as bot:
        await bot.says("!remind 10m a", sender=ALICE)
        old: Any = bot.app.plugins.get("remind")
        owner = bot.app.pipeline.owner("remind 2")
        new: Any = Remind(bot.app, owner, old.config)
        new.replaces = old
        await new.start()
        new.adopt(old)
        # Both write by turns: no older book is put over a newer one.
        assert old._file is new._file
        # The old one's handlers may still end.
        await bot.says("!remind 10m b", sender=ALICE)
        before = len(await sent(bot))
        now[0] += 601
        old._changed.set()
        new._changed.set()
        await until(lambda: kept(tmp_path) == [])
        told = [body_of(s) for s in (await sent(bot))[before:]]
        assert told == ["Reminder: a", "Reminder: b"]
        await new.stop()
        await new._close()
        await bot.app.pipeline.release(owner)
