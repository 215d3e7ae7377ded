"""Attacks on commands: through each face, with what others said before, with other people's words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from tests.commands.adhoc import Caller
from tests.commands.faces import FACES, ON_XMPP, Case, Peer, the_bot
from zxmpp import Call, Confirm, Plugin, command
from zxmpp.commands import RoomMember
from zxmpp.testing.bot import TestBot, body_of

from .helpers import NO_RATE, ROOM, dropped

#: For people alone; for others it does not exist.
WIPE = "There is no command"


class Notes(Plugin):
    """Takes anything, and guards something."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.wiped: list[str] = []

    @command
    def note(self, *, text: str) -> str:
        """Say what came, so that it can be compared."""
        return f"{len(text)} {sha256(text.encode()).hexdigest()}"

    @command
    def back(self, *, text: str) -> str:
        """Say it back."""
        return text

    @command
    def flood(self) -> Iterator[str]:
        """Answer for ever."""
        while True:
            yield "x"

    @command
    def words(self, *words: str) -> str:
        """Count."""
        return str(len(words))

    @command(role="admin")
    def wipe(self, call: Call) -> Confirm:
        """Remove all."""

        def go() -> str:
            self.wiped.append(call.sender)
            return "wiped"

        return Confirm("All of it?", go)


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[TestBot]:
    async with the_bot(tmp_path, Notes) as bot:
        yield bot


def wiped(bot: TestBot) -> list[str]:
    found: list[str] = bot.app.plugins.get("notes").wiped  # type: ignore[attr-defined]
    return found


# -- arguments ---------------------------------------------------------------------------------

#: What XML can carry, and what only JSON can.
TEXTS = {
    "quotes": "a'b\"c`d\\",
    "markup": "</body><body>&amp;]]><!--<?x?>",
    "controls": "a\tb\x85c\u2028d\u200be",
    "right-to-left": "\u202egnp.exe\u2066",
    "astral": "\U0001f600\U0010ffff",
    "format": "%s {0} {text!r} $HOME `id` $(id)",
    "megabyte": "x" * 1_000_000,
}
JSON_TEXTS = {
    "NUL": "a\0b",
    "escape": "\x1b[2J\x07\x08",
    "not a character": "a\ufffeb",
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_text_arrives_as_it_is(bot: TestBot, face: str, text: str) -> None:
    case = Case(name="note", line=text, words=[text], data={"text": text})
    (came,) = await FACES[face](bot, case)
    digest = f"{len(text)} {sha256(text.encode()).hexdigest()}"
    assert came == (digest if face in ON_XMPP else {"type": "text", "text": digest})


@pytest.mark.parametrize("face", [face for face in FACES if face not in ON_XMPP])
@pytest.mark.parametrize("text", JSON_TEXTS.values(), ids=JSON_TEXTS)
async def test_what_only_json_holds_arrives_too(bot: TestBot, face: str, text: str) -> None:
    case = Case(name="back", words=[text], data={"text": text})
    assert await FACES[face](bot, case) == [{"type": "text", "text": text}]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", ["wipe\0", "", "wipe\u202e", "x" * 100_000, "../wipe", "WIPE"])
async def test_names_that_are_none_do_nothing(bot: TestBot, face: str, name: str) -> None:
    if face in ON_XMPP:
        name = name.replace("\0", "\x7f")
    for answer in await FACES[face](bot, Case(name=name, words=["x"], data={"text": "x"})):
        assert len(str(answer)) < 1000
    assert wiped(bot) == []
    # And the bot is well.
    (came,) = await FACES[face](
        bot, Case(name="back", line="hi", words=["hi"], data={"text": "hi"})
    )
    assert "hi" in str(came)


async def test_whoever_is_no_admin_learns_the_same_from_each_face(bot: TestBot) -> None:
    mallory = "mallory@localhost.evil.net/x"
    caller = Caller(bot, mallory)
    for name in ("wipe", "wope"):
        told = [
            await bot.says(f"!{name}", sender=mallory),
            (await caller.calls(name)).text,
            *await FACES["service"](bot, Case(name=name)),
        ]
        assert all(text.startswith(WIPE) or "no such service" in str(text) for text in told), told
    async with Peer(bot) as peer:  # who may open this one may do all
        assert [each["text"] for each in await peer.call({"text": "wipe"}, True)] == ["wiped"]
    assert wiped(bot) == ["@local"]


@pytest.mark.parametrize("face", FACES)
async def test_a_result_without_end_has_an_end(bot: TestBot, face: str) -> None:
    answers = await FACES[face](bot, Case(name="flood"))
    assert "notes had more than 1000 replies; the rest is left out." in str(answers[-1])


# -- answers -----------------------------------------------------------------------------------


def message(
    body: str, from_: str = "alice@localhost/test", kind: str = "chat", more: str = ""
) -> str:
    return (
        f"<message from={quoteattr(from_)} to='bot@localhost/test' type='{kind}' id='1'>"
        f"<body>{body}</body>{more}</message>"
    )


YES = message("yes")
DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"
CARBON = (
    "<{0} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
    "<message xmlns='jabber:client' from='alice@localhost/test' to='bot@localhost/test' type='chat'>"
    "<body>yes</body></message></forwarded></{0}>"
)
REPLACE = "<replace xmlns='urn:xmpp:message-correct:0' id='0'/>"
QUOTED = (
    "<reply xmlns='urn:xmpp:reply:0' id='1'/><fallback xmlns='urn:xmpp:fallback:0' "
    "for='urn:xmpp:reply:0'><body start='0' end='{}'/></fallback>"
)

#: What answers no question that alice was asked in a 1:1 chat.
NO_ANSWERS = {
    "delayed": message("yes", more=DELAY),
    "old delay": message("yes", more="<x xmlns='jabber:x:delay' stamp='20260101T00:00:00'/>"),
    "carbon of a stranger": message("yes", "mallory@localhost/x", more=CARBON.format("sent")),
    "carbon": message("yes", more=CARBON.format("received")),
    "correction": message("yes", more=REPLACE),
    "headline": message("yes", kind="headline"),
    "error": message("yes", kind="error"),
    "groupchat": message("yes", kind="groupchat"),
    "somebody else": message("yes", "mallory@localhost/test"),
    "sub-domain": message("yes", "alice@sub.localhost/test"),
    "through a room": message("yes", f"{ROOM}/alice"),
    "in a room": message("yes", f"{ROOM}/alice", "groupchat"),
    "IQ": "<iq type='set' id='1' from='alice@localhost/test' to='bot@localhost/test'>"
    "<body xmlns='jabber:client'>yes</body></iq>",
    "presence": "<presence from='alice@localhost/test'><body>yes</body></presence>",
    "seen before": message("yes", more="<stanza-id xmlns='urn:xmpp:sid:0' id='7' by='bot@localhost'/>"),
    "command": message("!yes"),
}  # fmt: skip


@pytest.mark.parametrize("stanza", NO_ANSWERS.values(), ids=NO_ANSWERS)
async def test_no_answer_in_a_chat(bot: TestBot, stanza: str) -> None:
    await bot.says("hi", room=ROOM)
    await bot.hears(
        message("hi", more="<stanza-id xmlns='urn:xmpp:sid:0' id='7' by='bot@localhost'/>")
    )
    assert (await bot.says("!wipe")).startswith("All of it?")
    await bot.hears(stanza)
    assert wiped(bot) == []
    assert len(bot.app.commands.questions) == 1
    assert await bot.says("yes") == "wiped"


async def test_another_client_of_the_same_person_may_answer(bot: TestBot) -> None:
    await bot.says("!wipe")
    assert await bot.says("yes", sender="alice@localhost/phone") == "wiped"


async def test_a_question_is_of_one_address_of_a_component() -> None:
    config = (
        "[streams.bot]\nkind = 'component'\njid = 'bot.localhost'\n"
        "[roles]\nadmin = ['alice@localhost']\n" + NO_RATE
    )  # fmt: skip
    async with TestBot(config, [Notes]) as bot:

        async def say(text: str, to: str) -> list[str]:
            stanza = message(text).replace("bot@localhost/test", to)
            return [body_of(each) for each in await bot.hears(stanza)]

        await say("!wipe", "one@bot.localhost")
        assert await say("yes", "two@bot.localhost") == []
        assert await say("yes", "one@bot.localhost") == ["wiped"]


#: What answers no question that the occupant alice was asked in a room that hides who is there.
FROM_ALICE = f"{ROOM}/alice"
NO_ANSWERS_IN_ROOMS = {
    "history": message("yes", FROM_ALICE, "groupchat", DELAY),
    "correction": message("yes", FROM_ALICE, "groupchat", REPLACE),
    "another nick": message("yes", f"{ROOM}/Alice", "groupchat"),
    "in private": message("yes", FROM_ALICE, "chat"),
    "another room": message("yes", "den@rooms.localhost/alice", "groupchat"),
    "own echo": message("yes", f"{ROOM}/bot", "groupchat"),
    "the room itself": message("yes", ROOM, "groupchat"),
    "real JID": message("yes", "alice@localhost/test"),
    "forged id": message("yes", FROM_ALICE, "groupchat",
                         "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='mallory'/>"),
}  # fmt: skip


async def asked_in_a_room(bot: TestBot, occupant_id: str = "alices") -> None:
    """alice, whom the room hides and says to be its owner, is asked."""
    bot.app.commands.roles.set({"admin": [RoomMember(ROOM, "owner")]})
    await bot.joins("den@rooms.localhost")
    asked = await bot.says(
        "!wipe", room=ROOM, hidden=True, affiliation="owner", occupant_id=occupant_id
    )
    assert asked.startswith("All of it?")


@pytest.mark.parametrize("stanza", NO_ANSWERS_IN_ROOMS.values(), ids=NO_ANSWERS_IN_ROOMS)
async def test_no_answer_in_a_room(bot: TestBot, stanza: str) -> None:
    await asked_in_a_room(bot)
    await bot.hears(stanza)
    assert wiped(bot) == []
    assert len(bot.app.commands.questions) == 1
    (done,) = await bot.hears(message("yes", FROM_ALICE, "groupchat"))
    assert body_of(done) == "wiped"


async def leaves(bot: TestBot, more: str = "") -> None:
    await bot.hears(
        f"<presence from='{FROM_ALICE}' to='bot@localhost/test' type='unavailable'>"
        "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/></x>"
        f"{more}</presence>"
    )


@pytest.mark.parametrize("more", ["", DELAY], ids=["now", "delayed"])
async def test_who_takes_the_nick_of_who_left_answers_nothing(bot: TestBot, more: str) -> None:
    await asked_in_a_room(bot, occupant_id="")
    await leaves(bot, more)
    assert len(bot.app.commands.questions) == 0
    await bot.hears(message("yes", FROM_ALICE, "groupchat"))
    assert wiped(bot) == []


@pytest.mark.parametrize("how", ["leave", "connection"])
async def test_who_has_a_nick_when_the_bot_comes_back_answers_nothing(
    bot: TestBot, how: str
) -> None:
    await asked_in_a_room(bot, occupant_id="")
    if how == "leave":
        bot.app.stream().leave(ROOM)
    else:
        server = bot.app.servers["bot"]
        server.xmpp.abort()
        await bot.app.online(10)
    await bot.settle()
    assert len(bot.app.commands.questions) == 0
    await bot.joins(ROOM)
    bot.app.servers["bot"].enter(FROM_ALICE, "")
    await bot.settle()
    await bot.hears(message("yes", FROM_ALICE, "groupchat"))
    assert wiped(bot) == []


async def test_whom_the_room_names_may_answer_when_the_bot_is_back(bot: TestBot) -> None:
    assert (await bot.says("!wipe", room=ROOM)).startswith("All of it?")
    bot.app.stream().leave(ROOM)
    await bot.settle()
    assert len(bot.app.commands.questions) == 1
    assert await bot.says("yes", room=ROOM, affiliation="owner") == "wiped"


async def test_leaving_a_room_ends_no_question_in_another(bot: TestBot) -> None:
    await asked_in_a_room(bot)
    bot.app.stream().leave("den@rooms.localhost")
    await bot.settle()
    assert len(bot.app.commands.questions) == 1


# -- what calls nothing --------------------------------------------------------------------------

NO_CALLS = {
    "headline": message("!wipe", kind="headline"),
    "error": message("!wipe", kind="error"),
    "delayed": message("!wipe", more=DELAY),
    "carbon": message("!wipe", more=CARBON.format("sent")),
    "quoted": message("&gt; !wipe\nwhat is that?", more=QUOTED.format(8)),
    "quoted by hand": message("&gt; !wipe"),
    "bare, corrected": message("wipe", more=REPLACE),
}


@pytest.mark.parametrize("stanza", NO_CALLS.values(), ids=NO_CALLS)
async def test_no_call(bot: TestBot, stanza: str) -> None:
    assert [body_of(each) for each in await bot.hears(stanza)] == []
    assert len(bot.app.commands.questions) == 0


async def test_a_correction_of_a_command_is_no_second_command(bot: TestBot) -> None:
    (told,) = await bot.hears(message("!back b", more=REPLACE))
    assert body_of(told) == "A corrected message calls no command; send it as a new one."
    # Nobody learns by it what there is.
    assert await bot.hears(message("!wipe", "mallory@localhost/x", more=REPLACE)) == []
    assert await bot.hears(message("!wope", "mallory@localhost/x", more=REPLACE)) == []


async def test_a_reply_calls_by_what_it_says_itself(bot: TestBot) -> None:
    (told,) = await bot.hears(message("&gt; quoted\n!back hi", more=QUOTED.format(9)))
    assert body_of(told) == "hi"


async def test_a_quotation_longer_than_the_text_is_not_cut_off(bot: TestBot) -> None:
    for end in ("-1", "999", "x"):
        assert await bot.hears(message("&gt; quoted\n!back hi", more=QUOTED.format(end))) == []


async def test_a_megabyte_of_answer(bot: TestBot) -> None:
    await bot.says("!wipe")
    assert len(await bot.says("y" * 1_000_000)) < 1000
    assert await bot.says("yes") == "wiped"
    assert not dropped(bot).get("failed")
