"""The vote plugin: one voice for one person, by words and by reactions; bounded; shown at the end."""

from __future__ import annotations

import builtins
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import pytest

from zxmpp import ConfigError, PluginError
from zxmpp.streams.source import StreamSource
from zxmpp.testing.bot import TestBot, body_of
from zxmpp_plugins import chart
from zxmpp_plugins.polls import KEYS
from zxmpp_plugins.vote import Vote

from .conftest import COMPONENT, ROOM, counts

CONFIG = f'{COMPONENT}[roles]\nchair = ["carol@localhost"]\n[plugins.vote]\nrole = "chair"\n'
POLL = '!poll "Where to?" sea "the hills" home'
ASKED = (
    f"Where to?\n{KEYS[0]} sea\n{KEYS[1]} the hills\n{KEYS[2]} home\nReact, or answer !vote NUMBER"
)

Files = list[tuple[str, bytes, str, str]]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """The files that the bot sends."""
    found: Files = []

    async def send_file(
        self: Any, event: Any, name: str, data: bytes, type: str, text: str
    ) -> None:
        found.append((name, data, type, text))

    monkeypatch.setattr(StreamSource, "send_file", send_file, raising=False)
    return found


async def says(bot: TestBot, name: str, text: str, *, hidden: bool = False) -> str:
    return await bot.says(text, sender=f"{name}@localhost/x", room=ROOM, hidden=hidden)


async def standing(bot: TestBot, name: str = "alice") -> list[int]:
    """How many votes each option has."""
    table = (await says(bot, name, "!votes")).splitlines()[3:-1]
    return [int(line.split()[-1]) for line in table]


async def echo(bot: TestBot, body: str, id: str = "room-1", nick: str = "robot") -> None:
    """The room sends the bot's message to all, the bot too."""
    await bot.hears(
        f"<message from={quoteattr(f'{ROOM}/{nick}')} to={quoteattr(bot.address())} type='groupchat' "
        f"id='any'><body>{escape(body)}</body>"
        f"<stanza-id xmlns='urn:xmpp:sid:0' by={quoteattr(ROOM)} id={quoteattr(id)}/></message>"
    )


async def react(bot: TestBot, name: str, emojis: Sequence[str], id: str = "room-1") -> list[Any]:
    children = "".join(f"<reaction>{escape(emoji)}</reaction>" for emoji in emojis)
    return await bot.hears(
        f"<message from={quoteattr(f'{ROOM}/{name}')} to={quoteattr(bot.address())} type='groupchat'>"
        f"<reactions xmlns='urn:xmpp:reactions:0' id={quoteattr(id)}>{children}</reactions></message>"
    )


async def test_a_vote_in_a_room(files: Files) -> None:
    async with TestBot(CONFIG) as bot:
        assert await says(bot, "alice", POLL) == ASKED
        assert await says(bot, "bob", "!vote 2") == "Counted: the hills"
        assert await says(bot, "alice", "!vote 2") == "Counted: the hills"
        assert await says(bot, "alice", "!vote 1") == "Counted: sea"
        table = "number  option     votes\n1       sea        1\n2       the hills  1\n3       home       0"
        assert await says(bot, "bob", "!votes") == f"```\nWhere to?\n{table}\n```"
        assert await says(bot, "alice", "!close") == f"```\nWhere to?\n{table}\n```"
        ((name, data, type_, text),) = files
        assert (name, type_, text) == ("vote.png", "image/png", "The result of: Where to?")
        assert data.startswith(b"\x89PNG\r\n\x1a\n")
        for command in ("!votes", "!vote 1", "!close"):
            assert await says(bot, "alice", command) == "There is no vote here; !poll opens one."


async def test_one_place_has_one_vote_and_others_have_theirs() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        assert await says(bot, "bob", "!poll q a b") == "There is a vote here already: Where to?"
        assert await bot.says("!vote 1") == "There is no vote here; !poll opens one."
        assert (await bot.says("!poll q a b")).endswith("\nAnswer !vote NUMBER")
        assert await bot.says("!vote 1") == "Counted: a"
        assert await standing(bot) == [0, 0, 0]


async def test_a_vote_without_a_number_asks_with_buttons() -> None:
    async with TestBot(CONFIG) as bot:
        await bot.says("!poll 'Tea?' yes no")

        async def say(text: str) -> list[ET.Element]:
            return await bot.hears(
                "<message from='alice@localhost/test' to='robot@bot.localhost' type='chat'>"
                f"<body>{text}</body></message>"
            )

        (question,) = await say("!vote")
        assert body_of(question) == "Tea?\n1. yes\n2. no"
        buttons = [each for each in question if each.tag == "{urn:xmpp:tmp:quick-response}response"]
        assert [(each.get("value"), each.get("label")) for each in buttons] == [
            ("1", "yes"),
            ("2", "no"),
        ]
        assert [body_of(each) for each in await say("2")] == ["Counted: no"]


# -- one voice ---------------------------------------------------------------------------------


async def test_a_voice_is_a_person_whatever_the_nick() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        for _ in range(3):
            await says(bot, "mallory", "!vote 3")
        # The same person under other nicks.
        server = bot.app.servers["bot"]
        for nick in ("m2", "m3"):
            server.enter(f"{ROOM}/{nick}", "mallory@localhost/y")
            await bot.settle()
            await bot.hears(
                f"<message from='{ROOM}/{nick}' to={quoteattr(bot.address())} type='groupchat'>"
                f"<body>!vote 3</body></message>"
            )
        assert await standing(bot) == [0, 0, 1]


async def test_the_nick_of_another_is_another_voice_and_closes_nothing() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        await says(bot, "alice", "!vote 1")
        evil = {"sender": "alice@evil.net/x", "room": ROOM}
        assert await bot.says("!close", **evil) == "Whoever opened the vote closes it."
        assert await bot.says("!vote 2", **evil) == "Counted: the hills"
        assert await standing(bot) == [1, 1, 0]


async def test_a_role_closes_what_others_opened(files: Files) -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        assert await says(bot, "bob", "!close") == "Whoever opened the vote closes it."
        assert "Where to?" in await says(bot, "carol", "!close")
        assert len(files) == 1


async def test_who_is_hidden_votes_as_an_occupant() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        for name in ("ghost", "ghost", "shade"):
            assert await says(bot, name, "!vote 2", hidden=True) == "Counted: the hills"
        assert await standing(bot) == [0, 2, 0]


async def test_who_is_hidden_first_and_seen_then_is_one_voice() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        for hidden, nick in ((True, "mallory"), (False, "mallory"), (True, "other")):
            answer = await bot.says(
                "!vote 2", sender=f"{nick}@localhost/x", room=ROOM, hidden=hidden, occupant_id="one"
            )
            assert answer == "Counted: the hills"
        assert await standing(bot) == [0, 1, 0]


# -- reactions ---------------------------------------------------------------------------------


async def test_reactions_to_the_bot_s_message_count() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        await says(bot, "bob", "hi")
        await echo(bot, ASKED)
        assert await react(bot, "alice", [KEYS[1]]) == []
        await react(bot, "bob", ["\U0001f600", "3\u20e3"])
        assert await standing(bot) == [0, 1, 1]
        # All of somebody's reactions are told anew each time; words and reactions are one voice.
        await react(bot, "alice", [KEYS[0]])
        await says(bot, "bob", "!vote 1")
        assert await standing(bot) == [2, 0, 0]
        await react(bot, "alice", [])
        assert await standing(bot) == [1, 0, 0]


@pytest.mark.parametrize(
    ("emojis", "id"),
    [
        ([KEYS[0]], "room-2"), ([KEYS[0]], ""), ([KEYS[3]], "room-1"), (["1"], "room-1"), ([""], "room-1"),
        (["\U0001f600"] * 500, "room-1"), (["x" * 10_000], "room-1"),
    ],
)  # fmt: skip
async def test_other_reactions_do_not_count(emojis: list[str], id: str) -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        await echo(bot, ASKED)
        assert await react(bot, "alice", emojis, id) == []
        assert await standing(bot) == [0, 0, 0]


async def test_what_another_says_is_not_the_bot_s_message() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        await says(bot, "mallory", "hi")
        await echo(bot, ASKED, "evil", nick="mallory")
        await react(bot, "alice", [KEYS[0]], "evil")
        assert await standing(bot) == [0, 0, 0]
        await echo(bot, ASKED)
        await echo(bot, ASKED, "room-2")
        await react(bot, "alice", [KEYS[0]], "room-1")
        assert await standing(bot) == [1, 0, 0]


# -- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("", "question is missing. Usage: !poll <question> [options ...]"),
        ("q", "A vote has 2 to 10 options; put quotes around"),
        ("q a", "A vote has 2 to 10 options; put quotes around"),
        ("q " + " ".join(map(str, range(11))), "A vote has 2 to 10 options"),
        ("q a a", "Two options are the same."),
        ("q 'a  b' 'a b'", "Two options are the same."),
        ("'' a b", "Questions and options have 1 to 200 characters."),
        ("q ' ' b", "Questions and options have 1 to 200 characters."),
        ("q a " + "x" * 201, "Questions and options have 1 to 200 characters."),
    ],
)
async def test_a_poll_that_is_none(typed: str, answer: str) -> None:
    async with TestBot(CONFIG) as bot:
        assert (await says(bot, "alice", f"!poll {typed}")).startswith(answer)
        assert await says(bot, "alice", "!votes") == "There is no vote here; !poll opens one."


@pytest.mark.parametrize("number", ["0", "4", "-1", "99999999999999999999", "two"])
async def test_an_option_that_is_none(number: str) -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        assert (await says(bot, "alice", f"!vote {number}")).startswith(
            "number: " if number == "two" else "There is no option"
        )
        assert await standing(bot) == [0, 0, 0]


async def test_votes_and_voices_are_bounded() -> None:
    async with TestBot(CONFIG + "max_open = 1\nmax_voters = 2") as bot:
        await says(bot, "alice", POLL)
        assert await bot.says("!poll q a b") == "1 votes are open already; try again later."
        await echo(bot, ASKED)
        for name in ("alice", "bob", "carol"):
            last = await says(bot, name, "!vote 1")
        assert last == "2 people have voted; no more are counted."
        await react(bot, "carol", [KEYS[0]])
        assert await says(bot, "alice", "!vote 2") == "Counted: the hills"
        assert await standing(bot) == [1, 1, 0]
        assert counts(bot, "vote") == {"votes-full": 1, "voters-full": 2, "refused": 2}


async def test_a_vote_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    async with TestBot(CONFIG + "hours = 1e-9") as bot:
        await says(bot, "alice", POLL)
        before = len(bot.sent)
        await bot.app.plugins.get("vote").expire()
        message = await bot.next_message(after=before)
        assert (message.get("to"), message.get("type")) == (ROOM, "groupchat")
        assert body_of(message).startswith("The vote is over.\n```\nWhere to?\nnumber  option")
        # This server takes no files.
        assert "the result of a vote is not sent, or not all of it" in caplog.text
        assert await says(bot, "alice", "!vote 1") == "There is no vote here; !poll opens one."


async def test_a_vote_that_is_opened_while_others_end_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with TestBot(CONFIG) as bot:
        plugin: Any = bot.app.plugins.get("vote")
        await says(bot, "alice", POLL)
        await bot.says("!poll q a b")
        for poll in plugin._polls.values():
            poll.ends = 0.0

        async def none(poll: Any) -> None: ...

        async def chart(poll: Any) -> None:
            # Meanwhile the other one is closed, and a new one is opened there.
            plugin._chart = none
            await bot.says("!close")
            assert "1\ufe0f\u20e3 c" in await bot.says("!poll new c d")

        with monkeypatch.context() as patch:
            patch.setattr(plugin, "_chart", chart)
            await plugin.expire()
        assert await bot.says("!vote 1") == "Counted: c"


async def test_a_stream_that_is_gone_keeps_no_other_vote_from_its_end() -> None:
    async with TestBot(CONFIG) as bot:
        plugin: Any = bot.app.plugins.get("vote")
        await says(bot, "alice", POLL)
        ((stream, to),) = plugin._polls
        plugin._polls = {("gone", to): plugin._polls[stream, to], **plugin._polls}
        for poll in plugin._polls.values():
            poll.ends = 0.0
        await plugin.expire()
        assert plugin._polls == {}


async def test_a_new_version_has_the_votes() -> None:
    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        old: Any = bot.app.plugins.get("vote")
        new = Vote(bot.app, bot.app.pipeline.owner("vote 2"), old.config)
        await new.start()
        new.adopt(old)
        await says(bot, "alice", "!vote 1")
        assert [poll.votes for poll in new._polls.values()] == [{"alice@localhost": 0}]
        await bot.app.pipeline.release(new._owner)


@pytest.mark.parametrize(
    "table", ["max_options = 11", "max_options = 1", "hours = 0", "max_open = 0"]
)
async def test_a_wrong_setting(table: str) -> None:
    with pytest.raises(ConfigError, match=table.split()[0]):
        async with TestBot(f"[plugins.vote]\n{table}"):
            pass


async def test_a_role_that_is_not_there() -> None:
    with pytest.raises(PluginError, match="has no role 'boss'; add it under"):
        async with TestBot('[plugins.vote]\nrole = "boss"'):
            pass


# -- the picture -------------------------------------------------------------------------------


async def test_without_the_library_there_is_the_table(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = builtins.__import__

    def none(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *args, **more)

    async with TestBot(CONFIG) as bot:
        await says(bot, "alice", POLL)
        monkeypatch.setattr(builtins, "__import__", none)
        assert "Where to?" in await says(bot, "alice", "!close")
        assert counts(bot, "vote") == {"no-chart": 1}
    assert files == []
    assert "pip install zxmpp[plot]" in caplog.text


async def test_a_font_that_is_none(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    for font in ("/etc/passwd", "/not/there.ttf"):
        async with TestBot(f'{CONFIG}font = "{font}"') as bot:
            await says(bot, "alice", POLL)
            assert "Where to?" in await says(bot, "alice", "!close")
            assert counts(bot, "vote") == {"no-chart": 1}
    assert files == []


@pytest.mark.parametrize(
    "text", ["$\\frac{$", "a\nb", "\U0001f600 \u4f60 \u05d0", "<b>&", "x" * 300, " ", "%s {0}", "\U0010ffff"]
)  # fmt: skip
def test_a_chart_of_anything(text: str) -> None:
    png = chart.bars(text, [text, text + "2"], [0, 10**6])
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
