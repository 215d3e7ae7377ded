"""What a stream says of itself, to whom, and when it says it anew."""

from __future__ import annotations

import asyncio
import hashlib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from zxmpp.streams import StreamSettings
from zxmpp.streams.profile import CAPS, NODE, Profile, caps_hash, with_version
from zxmpp.testing import TestBot

from .conftest import Line, refusal
from .test_vcard import PNG

INFO = "http://jabber.org/protocol/disco#info"
CONTACT = "mailto:ops@example.org"


class Speaker:
    """A profile on a line."""

    def __init__(self, line: Line, **more: Any) -> None:
        self.line = line
        self.again = 0
        component = line.xmpp.is_component
        more = {"contact": [CONTACT], **more} if component else more
        for xep in ("xep_0030", "xep_0045", *more.get("plugins", ())):
            line.xmpp.register_plugin(xep)
        jid = "bot.localhost" if component else "bot@localhost"
        settings = StreamSettings(kind="component" if component else "client", jid=jid, **more)
        self.profile = Profile(line.xmpp, settings, self._again)
        line.online()

    def _again(self) -> None:
        self.again += 1

    async def asked(self, to: str, node: str = "") -> ET.Element:
        """The answer to a disco#info query."""
        at = f" node='{node}'" if node else ""
        self.line.feed(f"<iq type='get' id='q' from='alice@localhost/x' to='{to}'>"
                       f"<query xmlns='{INFO}'{at}/></iq>")  # fmt: skip
        async with asyncio.timeout(5):
            while "disco#info" not in (sent := await self.line.sent()):
                await asyncio.sleep(0)
        return ET.fromstring(sent)

    async def presence(self, **named: Any) -> ET.Element:
        self.line.xmpp.send_presence(**named)
        return ET.fromstring(await self.line.sent())


@pytest.fixture
def speaker(line: Line) -> Speaker:
    return Speaker(line)


def identities(answer: ET.Element) -> set[str]:
    return {f"{e.get('category')}/{e.get('type')}" for e in answer.iter(f"{{{INFO}}}identity")}


def features(answer: ET.Element) -> set[str]:
    return {e.get("var", "") for e in answer.iter(f"{{{INFO}}}feature")}


async def test_what_it_is_and_can(speaker: Speaker) -> None:
    component = speaker.line.xmpp.is_component
    addresses = ["bot.localhost", "x@bot.localhost/y"] if component else ["bot@localhost/test"]
    for address in addresses:
        answer = await speaker.asked(address)
        assert {
            INFO, CAPS, "urn:xmpp:reply:0", "urn:xmpp:reactions:0", "urn:xmpp:message-correct:0",
            "urn:xmpp:receipts", "http://jabber.org/protocol/chatstates", "jabber:x:conference",
            "http://jabber.org/protocol/muc", "urn:xmpp:styling:0", "jabber:x:oob",
        } <= features(answer)  # fmt: skip
        bare = address == "bot.localhost"
        assert identities(answer) == {"client/bot"} | ({"component/generic"} if bare else set())
        assert (CONTACT in ET.tostring(answer, encoding="unicode")) == component


async def test_it_does_not_say_what_is_switched_off(line: Line) -> None:
    speaker = Speaker(line, receipts=False)
    to = "bot.localhost" if line.xmpp.is_component else "bot@localhost/test"
    assert "urn:xmpp:receipts" not in features(await speaker.asked(to))


async def test_a_node_that_there_is_not(speaker: Speaker) -> None:
    speaker.line.feed(f"<iq type='get' id='q' from='alice@localhost/x' to='bot.localhost'>"
                      f"<query xmlns='{INFO}' node='urn:none'/></iq>")  # fmt: skip
    async with asyncio.timeout(5):
        while "item-not-found" not in await speaker.line.sent():
            await asyncio.sleep(0)


async def test_presence_carries_the_hash_of_the_answer(speaker: Speaker) -> None:
    presence = await speaker.presence()
    caps = presence.find(f"{{{CAPS}}}c")
    assert caps is not None
    assert (caps.get("hash"), caps.get("node")) == ("sha-1", NODE)
    to = "x@bot.localhost" if speaker.line.xmpp.is_component else "bot@localhost/test"
    answer = await speaker.asked(to, f"{NODE}#{caps.get('ver')}")
    query = answer.find(f"{{{INFO}}}query")
    assert query is not None
    assert query.get("node") == f"{NODE}#{caps.get('ver')}"
    # By slixmpp's own reckoning.
    speaker.line.xmpp.register_plugin("xep_0115")
    info = speaker.line.xmpp.Iq(xml=answer)["disco_info"]
    stock = speaker.line.xmpp.plugin["xep_0115"].generate_verstring(info, "sha-1")
    assert caps.get("ver") == stock == caps_hash(info)


async def test_other_presence_does_not(speaker: Speaker) -> None:
    assert (await speaker.presence(ptype="unavailable")).find(f"{{{CAPS}}}c") is None
    presence = speaker.line.xmpp.make_presence()
    presence.xml.append(ET.Element(f"{{{CAPS}}}c", {"ver": "mine"}))
    presence.send()
    own = ET.fromstring(await speaker.line.sent())
    assert [c.get("ver") for c in own.iter(f"{{{CAPS}}}c")] == ["mine"]


async def test_a_new_feature_is_told_once(speaker: Speaker) -> None:
    disco = speaker.line.xmpp.plugin["xep_0030"]
    disco.add_feature("urn:before")
    await asyncio.sleep(0)
    assert speaker.again == 0  # nothing was told yet
    first = await speaker.presence()
    for number in range(5):
        disco.add_feature(f"urn:new:{number}")
    disco.add_feature("urn:before")
    await asyncio.sleep(0)
    assert speaker.again == 1
    second = await speaker.presence()
    assert first[0].get("ver") != second[0].get("ver")
    disco.add_feature("urn:new:0")
    await asyncio.sleep(0)
    assert speaker.again == 1


async def test_the_avatar_is_in_the_presence(speaker: Speaker) -> None:
    speaker.profile.photo = "abc"
    presence = await speaker.presence()
    assert presence.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo") == "abc"


async def test_strangers_are_not_asked_and_not_remembered(speaker: Speaker) -> None:
    for number in range(3):
        speaker.line.feed(
            f"<presence from='s{number}@evil.example/x' to='bot@localhost/test'>"
            f"<c xmlns='{CAPS}' hash='sha-1' node='urn:x' ver='v{number}'/></presence>"
        )
        speaker.line.feed(
            f"<iq type='result' id='u{number}' from='s{number}@evil.example/x' to='bot@localhost'>"
            f"<query xmlns='{INFO}'><feature var='x'/></query></iq>"
        )
    for _ in range(5):
        await asyncio.sleep(0)
    assert await speaker.line.sent() == ""
    assert not [
        key for key in speaker.line.xmpp.plugin["xep_0030"].static.nodes if "evil" in key[0]
    ]


async def test_who_wants_slixmpps_own_hash_has_it(client: Line) -> None:
    speaker = Speaker(client, plugins=["xep_0115"])
    await client.xmpp.plugin["xep_0115"].update_caps(broadcast=False)
    presence = await speaker.presence()
    nodes = [c.get("node") for c in presence.iter(f"{{{CAPS}}}c")]
    assert len(nodes) == 1
    assert nodes[0] != NODE


async def test_nothing_after_the_end(speaker: Speaker) -> None:
    speaker.profile.close()
    speaker.profile.close()
    assert (await speaker.presence()).find(f"{{{CAPS}}}c") is None


def test_the_version_is_ours_unless_it_is_set() -> None:
    assert with_version({})["xep_0092"]["software_name"] == "zxmpp"
    given = {"xep_0092": {"version": "7"}, "xep_0199": {"interval": 1}}
    assert with_version(given)["xep_0092"] == {"software_name": "zxmpp", "version": "7"}
    assert with_version(given)["xep_0199"] == {"interval": 1}


async def test_what_is_new_is_told_to_rooms_too(tmp_path: Path) -> None:
    avatar = tmp_path / "bot.png"
    avatar.write_bytes(PNG)
    config = f"""
        [streams.bot]
        kind = "component"
        jid = "bot.localhost"
        rooms = ["ops@rooms.localhost"]
        [streams.bot.vcard]
        avatar = "{avatar}"
    """
    async with TestBot(config) as bot:
        before = len(bot.sent)
        bot.app.stream().xmpp.plugin["xep_0030"].add_feature("urn:new")
        await bot.settle()
        (presence,) = bot.sent[before:]
        assert presence.get("to") == "ops@rooms.localhost/bot"
        assert presence.get("from") == "bot@bot.localhost/zxmpp"
        assert presence.find(f"{{{CAPS}}}c") is not None
        photo = presence.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
        assert photo == hashlib.sha1(PNG).hexdigest()


async def test_a_server_that_knows_no_vcards_harms_nothing(tmp_path: Path) -> None:
    avatar = tmp_path / "bot.png"
    avatar.write_bytes(PNG)
    config = f"[streams.bot]\njid = 'bot@localhost'\nvcard = {{ avatar = '{avatar}' }}"
    async with TestBot(config) as bot:
        asked = [stanza for stanza in bot.sent if stanza.tag.endswith("}iq")]
        assert len(asked) == 2  # for the vCard and for the avatar
        for stanza in asked:
            await bot.hears(
                f"<iq type='error' id='{stanza.get('id')}' from='bot@localhost' "
                f"to='bot@localhost/test'>{refusal('service-unavailable')}</iq>"
            )
        stream = bot.app.stream()
        assert stream.statistics()["chores"] == {"chore-refused": 2}
        assert stream.state == "online"
        assert not stream._profile.photo  # type: ignore[attr-defined]
