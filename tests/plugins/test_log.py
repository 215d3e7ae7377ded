"""The log plugin: what is said in rooms stands in files, once, whatever the disk does."""

from __future__ import annotations

import json
import os
import stat
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from zxmpp import ConfigError, PluginError
from zxmpp.testing.bot import TestBot
from zxmpp_plugins.log import file_of

from .conftest import COMPONENT, ROOM, counts, until


def config(more: str = "") -> str:
    return f"{COMPONENT}\n[guards]\nrate = 0\n[plugins.log]\n{more}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return tmp_path / "log"


def lines(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def the_file(folder: Path) -> Path:
    (file,) = folder.rglob("*.jsonl")
    return file


def message(body: str, nick: str = "alice", inner: str = "", room: str = ROOM) -> str:
    body = f"<body>{body}</body>" if body else ""
    return f"<message from='{room}/{nick}' to='bot.localhost' type='groupchat' id='i'>{body}{inner}</message>"


async def test_what_is_said_is_written(folder: Path) -> None:
    async with TestBot(config()) as bot:
        await bot.says("hello", room=ROOM)
        await bot.hears(message("mine", nick="robot"))
        await bot.hears(message("helo", inner="<stanza-id xmlns='urn:xmpp:sid:0' "
                                f"by='{ROOM}' id='7'/><replace xmlns='urn:xmpp:message-correct:0' id='x'/>"))  # fmt: skip
        await bot.hears(message("", inner="<subject>Tea</subject>"))
        await bot.says("private")
    first, *more = lines(folder)
    assert first.pop("time").endswith("+00:00")
    assert first.pop("id")
    assert first == {"room": ROOM, "nick": "alice", "type": "message", "body": "hello"}
    for line in more:
        del line["time"], line["room"]
    assert more == [
        {"nick": "robot", "type": "message", "body": "mine", "id": "i", "own": True},
        {"nick": "alice", "type": "message", "body": "helo", "id": "i", "stanza_id": "7",
         "replaces": "x"},
        {"nick": "alice", "type": "subject", "subject": "Tea", "id": "i"},
    ]  # fmt: skip


async def test_no_history_and_nothing_twice(folder: Path) -> None:
    known = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id='7'/>"
    late = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-25T00:00:00Z'/>"
    async with TestBot(config()) as bot:
        await bot.hears(message("history", inner=late))
        await bot.hears(message("own history", nick="robot", inner=late))
        await bot.hears(message("live", inner=known))
        await bot.hears(message("live", inner=known))
        # As if it came again over another stream, or after a rejoin.
        await bot.hears(message("live", nick="robot", inner=known))
        # Who puts a delay into what he says now is not left out by that.
        await bot.hears(message("late", inner=late))
    assert [(line["body"], line.get("delayed", False)) for line in lines(folder)] == [
        ("live", False), ("late", True),
    ]  # fmt: skip


async def test_only_the_rooms_that_are_named(folder: Path) -> None:
    async with TestBot(config(f'rooms = ["{ROOM.upper()}"]')) as bot:
        await bot.says("here", room=ROOM)
        await bot.says("there", room="other@rooms.localhost")
    assert [line["body"] for line in lines(folder)] == ["here"]


@pytest.mark.parametrize("jids", [False, True])
async def test_real_jids_only_where_wanted(folder: Path, jids: bool) -> None:
    async with TestBot(config(f"jids = {str(jids).lower()}")) as bot:
        await bot.says("known", room=ROOM)
        await bot.says("hidden", room=ROOM, sender="bob@localhost/x", hidden=True)
    text = "".join(map(json.dumps, lines(folder)))
    assert ("alice@localhost" in text) == jids
    assert [line.get("jid", "") for line in lines(folder)] == ["alice@localhost" * jids, ""]


async def test_who_comes_and_goes(folder: Path) -> None:
    muc = "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='{}'/></x>"
    join = f"<presence from='{ROOM}/{{}}' to='bot.localhost'>{muc.format('participant')}</presence>"
    leave = f"<presence from='{ROOM}/{{}}' to='bot.localhost' type='unavailable'>{muc.format('none')}</presence>"
    async with TestBot(config("presence = true")) as bot:
        for stanza in (join.format("bob"), join.format("bob"), leave.format("bob"),
                       leave.format("carol")):  # fmt: skip
            await bot.hears(stanza)
    assert [(line["type"], line["nick"]) for line in lines(folder)] == [
        ("join", "robot"), ("join", "bob"), ("leave", "bob"),
    ]  # fmt: skip


async def test_only_its_owner_may_read_it(folder: Path) -> None:
    mask = os.umask(0)
    try:
        async with TestBot(config()) as bot:
            await bot.says("hello", room=ROOM)
    finally:
        os.umask(mask)
    file = the_file(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "room",
    ["../../etc@rooms.localhost", "..@x", ".@x", "a/b@x", "a\x00b@x", "\u00fc@x", "a%2fb@x",
     "x" * 1000 + "@" + "y" * 1000, "-rf@x", "a\\b@x"],
)  # fmt: skip
def test_a_room_leads_nowhere_else(room: str) -> None:
    path = file_of(room, "2026-11-25")
    assert len(path.parts) == 2
    name = path.parts[0]
    assert name not in (".", "..")
    assert not set(name) & set("/\\\0")
    assert len(name) <= 200
    assert path != file_of(room + "y", "2026-11-25")


async def test_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    async with TestBot(config()) as bot:
        await bot.says("first", room=ROOM)
        await until(lambda: lines(folder))
        file = the_file(folder)
        file.unlink()
        (tmp_path / "other").write_text("precious")
        file.symlink_to(tmp_path / "other")
        await bot.says("second", room=ROOM)
        await until(lambda: counts(bot, "log").get("disk-failed"))
    assert (tmp_path / "other").read_text() == "precious"


async def test_a_disk_that_is_full_for_a_while(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    log = import_module("zxmpp_plugins.log")
    monkeypatch.setattr(log, "RETRY", 0.001)
    real, full = os.write, True

    def write(handle: int, data: Any) -> int:
        if not full or not data:
            return real(handle, data)
        # Some of it still fits.
        real(handle, data[:5])
        raise OSError(28, "No space left on device")

    async with TestBot(config("max_waiting = 3")) as bot:
        with monkeypatch.context() as patch:
            patch.setattr(log.os, "write", write)
            for number in range(5):
                await bot.says(f"m {number}", room=ROOM)
            await until(lambda: counts(bot, "log").get("disk-failed", 0) > 2)
            full = False
            await until(lambda: lines(folder))
        await bot.says("again", room=ROOM)
        assert counts(bot, "log")["lines-full"] == 2
    assert [line["body"] for line in lines(folder)] == ["m 0", "m 1", "m 2", "again"]
    assert caplog.text.count("lines wait for it") == 1
    assert caplog.text.count("the disk takes lines again") == 1


async def test_the_loop_does_not_wait_for_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = import_module("zxmpp_plugins.log")
    real, go_on, threads = log._append, threading.Event(), set()

    def slow(path: Path, data: bytes) -> None:
        threads.add(threading.get_ident())
        assert go_on.wait(10)
        real(path, data)

    monkeypatch.setattr(log, "_append", slow)
    async with TestBot(config(), plugins=["echo"]) as bot:
        for number in range(50):
            assert await bot.says(f"!echo {number}", room=ROOM) == str(number)
        go_on.set()
    assert threading.get_ident() not in threads
    # It was told to stop with most of it in hand.
    assert [line["body"] for line in lines(folder)] == [f"!echo {n}" for n in range(50)]


async def test_a_reload_writes_each_line_once(folder: Path) -> None:
    async with TestBot(config()) as bot:
        for number in range(20):
            await bot.says(str(number), room=ROOM)
            if number == 10:
                await bot.app.plugins.reload("log")
        await bot.app.plugins.retired()
    assert sorted(int(line["body"]) for line in lines(folder)) == [*range(20)]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ('rooms = ["x"]', "'x' is not a room"),
        ('rooms = ["a@b/c"]', "'a@b/c' is not a room"),
        ("max_waiting = 0", "max_waiting must be above 0"),
        ("jid = true", "jid"),
    ],
)
async def test_a_wrong_config_says_what(more: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        async with TestBot(config(more)):
            pass


async def test_a_folder_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file")
    with pytest.raises(PluginError, match=r"folder: .*log can't be made: File exists"):
        async with TestBot(config()):
            pass
