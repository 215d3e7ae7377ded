"""Commands over the control socket: conversations, their ends, and who can reach it."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from tests.commands.faces import LIMIT, Peer, the_bot
from zxmpp import App, Call, File, Plugin, Progress, SocketError, command
from zxmpp.commands import control
from zxmpp.commands.questions import MAX_OPEN
from zxmpp.config import parse
from zxmpp.testing import TestBot


class Wish(Struct):
    """A wish.

    what: What is it?
    """

    what: str
    count: int = 1


class Talk(Plugin):
    """Commands that ask, and that take their time."""

    async def start(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    @command
    def echo(self, *, text: str = "") -> str:
        """Say it back."""
        return text

    @command
    async def ask(self, call: Call) -> str:
        """Ask."""
        return str(await call.ask("How many?", int))

    @command
    async def late(self, call: Call) -> str:
        """Ask, but not for long."""
        return await call.ask("Well?", timeout=0.01)

    @command
    async def wish(self, call: Call) -> str:
        """A form."""
        return str(await call.form(Wish, title="Wishes"))

    @command
    async def hold(self) -> None:
        """Wait for ever."""
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @command
    async def work(self, call: Call) -> AsyncIterator[Any]:
        """Pieces of each kind."""
        yield Progress(0.5, "half")
        with call.live() as live:
            live.show("so far")
        yield File("a.bin", b"\0\xff")
        yield "done"

    @command(role="admin")
    def wipe(self, call: Call) -> str:
        """Only for admins."""
        return call.sender


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Talk) as bot:
        yield bot


@pytest.fixture
async def peer(bot: TestBot) -> AsyncIterator[Peer]:
    async with Peer(bot) as peer:
        yield peer


def talk(bot: TestBot) -> Talk:
    plugin: Talk = bot.app.plugins.get("talk")
    return plugin


def open_calls(bot: TestBot) -> int:
    local: Any = bot.app._local
    return len(local._talks)


async def bounded(event: asyncio.Event) -> None:
    async with asyncio.timeout(LIMIT):
        await event.wait()


# -- conversations --------------------------------------------------------------------------------


async def test_pieces_of_each_kind(peer: Peer) -> None:
    assert await peer.call({"command": "work"}) == [
        {"type": "progress", "fraction": 0.5, "text": "half"},
        {"type": "progress", "fraction": None, "text": "so far"},
        {"type": "file", "name": "a.bin", "media_type": "application/octet-stream", "text": "",
         "data": "AP8="},
        {"type": "text", "text": "done"},
    ]  # fmt: skip


async def test_a_line_as_in_a_chat(peer: Peer) -> None:
    assert await peer.call({"text": " echo  'a  b' "}) == [{"type": "text", "text": "'a  b'"}]
    assert await peer.call({"text": "wipe"}) == [{"type": "text", "text": "@local"}]


async def test_the_list_has_all_commands(peer: Peer) -> None:
    listed = {each["name"]: each for each in await peer.call({"list": True})}
    assert set(listed) == {"echo", "ask", "late", "wish", "hold", "work", "wipe"}
    assert listed["echo"]["usage"] == "echo [text ...]"


async def test_a_question_says_all_that_a_prompt_needs(peer: Peer) -> None:
    peer.send({"command": "wish"})
    assert await peer.next() == {
        "type": "question", "title": "Wishes", "text": "",
        "fields": [
            {"name": "what", "title": "What is it?", "type": "text-single", "options": {},
             "required": True, "default": []},
            {"name": "count", "title": "Count", "type": "text-single", "options": {},
             "required": False, "default": ["1"]},
        ],
    }  # fmt: skip
    peer.send({"answer": {"count": "2"}})
    again = await peer.next()
    assert (again["type"], again["error"]) == ("question", "what is missing")
    peer.send({"answer": {"what": "tea", "nothing": 1}})
    assert (await peer.next())["error"] == "there is no argument 'nothing'"
    peer.send({"answer": {"what": "tea"}})
    assert (await peer.next())["text"] == "Wish(what='tea', count=1)"


async def test_three_wrong_answers_end_it(peer: Peer) -> None:
    said = await peer.call({"command": "ask"}, "a", "b", "c")
    assert [each["text"] for each in said] == [
        "That was no answer 3 times; cancelled. 'c' is not a whole number"
    ]


async def test_a_question_waits_for_its_own_time(peer: Peer) -> None:
    peer.send({"command": "late"})
    assert (await peer.next())["type"] == "question"
    assert (await peer.next())["text"] == "No answer in 0.01 s: Well?"
    assert (await peer.next())["type"] == "end"
    peer.send({"answer": "now"})
    assert (await peer.next())["text"] == "nothing was asked, and nothing runs"


async def test_only_who_was_asked_can_answer(bot: TestBot, peer: Peer) -> None:
    peer.send({"command": "ask"})
    assert (await peer.next())["type"] == "question"
    async with Peer(bot) as other:
        (said,) = await other.call({"answer": 13})
        assert said["text"] == "nothing was asked, and nothing runs"
    peer.send({"answer": 7})
    assert (await peer.next())["text"] == "7"


async def test_the_next_call_comes_after_the_end_of_this_one(bot: TestBot, peer: Peer) -> None:
    peer.send({"command": "hold"})
    await bounded(talk(bot).begun)
    peer.send({"command": "echo"})
    assert (await peer.next())["text"] == "a call runs already; wait for its end, or cancel it"
    peer.send({"cancel": True})
    assert [(await peer.next())["type"] for _ in range(2)] == ["error", "end"]
    await bounded(talk(bot).cancelled)
    assert await peer.call({"command": "echo", "words": ["a"]}) == [{"type": "text", "text": "a"}]


async def test_a_cancel_ends_a_question(bot: TestBot, peer: Peer) -> None:
    peer.send({"command": "ask"})
    await peer.next()
    peer.send({"cancel": True})
    assert (await peer.next())["text"] == "Cancelled."
    assert (await peer.next())["type"] == "end"
    await bot.settle()
    assert bot.app.pipeline.in_flight == 0


async def test_who_goes_away_cancels(bot: TestBot) -> None:
    async with Peer(bot) as peer:
        peer.send({"command": "hold"})
        await bounded(talk(bot).begun)
    await bounded(talk(bot).cancelled)
    assert open_calls(bot) == 0


async def test_unloading_ends_a_question(bot: TestBot, peer: Peer) -> None:
    peer.send({"command": "ask"})
    await peer.next()
    await bot.app.plugins.unload("talk")
    assert (await peer.next())["text"] == "talk was stopped."
    assert (await peer.next())["type"] == "end"
    (said,) = await peer.call({"command": "ask"})
    assert said["text"] == "There is no command ask."


async def test_calls_are_bounded(bot: TestBot) -> None:
    peers = [Peer(bot) for _ in range(MAX_OPEN + 1)]
    try:
        for peer in peers:
            peer.send({"command": "ask"})
        said = [await peer.next() for peer in peers]
        refused = [each["text"] for each in said if each["type"] == "error"]
        assert refused == [f"{MAX_OPEN} calls run already; try again later"]
        assert bot.app.pipeline.statistics().owners["commands"]["calls-full"] == 1
    finally:
        for peer in peers:
            peer.socket.close(0)


# -- where it is ----------------------------------------------------------------------------------


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runtime folder of ours, and no other place."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def configured(folder: Path, text: str = "") -> Path:
    path = folder / "bot.toml"
    path.write_text(text)
    return path


async def test_only_its_owner_can_use_it(runtime: Path, tmp_path: Path) -> None:
    config = configured(tmp_path)
    before = os.umask(0)
    try:
        async with App(config):
            (place,) = (runtime / "zxmpp").iterdir()
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
            assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
            assert place == control.paths("auto", config)[0]
    finally:
        os.umask(before)
    assert not list((runtime / "zxmpp").iterdir())


async def test_a_second_bot_of_one_configuration_does_not_start(
    runtime: Path, tmp_path: Path
) -> None:
    config = configured(tmp_path)
    async with App(config) as app:
        with pytest.raises(SocketError, match="a bot of this configuration runs already"):
            await App(config).start()
        # The first one goes on.
        assert app.socket("@local").bound
        assert len(list((runtime / "zxmpp").iterdir())) == 1


async def test_the_socket_of_a_dead_process_is_replaced(runtime: Path, tmp_path: Path) -> None:
    config = configured(tmp_path)
    (place, *_) = control.paths("auto", config)
    place.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place))
    async with App(config) as app:
        assert app.socket("@local").bound == (f"ipc://{place}",)


async def test_off_and_no_file_open_nothing(runtime: Path, tmp_path: Path) -> None:
    for settings in (parse(""), configured(tmp_path, '[app]\ncontrol = "off"\n')):
        async with App(settings) as app:
            assert "@local" not in app.sockets
    assert not (runtime / "zxmpp").exists()


@pytest.mark.parametrize("kind", ["open", "file", "link", "foreign"])
async def test_a_folder_that_is_not_ours_alone_is_not_used(
    runtime: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    folder = runtime / "zxmpp"
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    if kind == "open":
        folder.mkdir()
        folder.chmod(0o770)
    elif kind == "file":
        folder.write_text("mine")
    elif kind == "link":
        folder.symlink_to(other)
    else:
        folder.mkdir(mode=0o700)
        monkeypatch.setattr(os, "geteuid", lambda: 54321)
    config = configured(tmp_path)
    (place, *_) = control.paths("auto", config)
    with pytest.raises(control.ControlError) as caught:
        control.claim(place, private=True)
    wanted = {"open": "is open to others (mode 0770", "file": "is not a folder",
              "link": "is not a folder", "foreign": "belongs to somebody else"}  # fmt: skip
    assert wanted[kind] in str(caught.value)
    assert 'control = "off"' in str(caught.value)
    assert not list(other.iterdir())


async def test_a_bot_that_was_not_told_a_place_runs_without(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (runtime / "zxmpp").write_text("in the way")
    config = configured(tmp_path)
    places = [place for place in control.paths("auto", config) if runtime in place.parents]
    monkeypatch.setattr(control, "paths", lambda setting, config: places)
    async with App(config) as app:
        assert "@local" not in app.sockets
    assert "zxmpp call --bot can't reach this bot" in caplog.text


async def test_a_place_that_was_named_must_be_good(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    long = f"/tmp/{'x' * 120}/c"
    for place, text in (
        (f"{folder}/sock", "No such file or directory; make it"),
        (long, f"has {len(long)} bytes, at most 107 are possible"),
    ):
        with pytest.raises(SocketError, match=text):
            await App(configured(tmp_path, f'[app]\ncontrol = "{place}"\n')).start()
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(SocketError, match=r"is open to others \(mode 0777"):
        await App(configured(tmp_path, f'[app]\ncontrol = "{folder}/sock"\n')).start()
    folder.chmod(0o755)
    (folder / "sock").write_text("precious")
    with pytest.raises(SocketError, match="there is a file"):
        await App(configured(tmp_path, f'[app]\ncontrol = "{folder}/sock"\n')).start()
    assert (folder / "sock").read_text() == "precious"


def test_a_relative_place_is_refused() -> None:
    with pytest.raises(Exception, match="control is auto, off or an absolute path, not 'here'"):
        parse('[app]\ncontrol = "here"\n')


def test_a_name_is_made_fit_for_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    (place,) = control.paths("auto", tmp_path / f"a b/ü{'x' * 200}.toml")
    assert place.parent == Path(f"/tmp/zxmpp-{os.geteuid()}")
    assert len(os.fsencode(place)) < 107
    assert place.name.isascii()
