"""vCard and avatar: what is written where, and that it is written once."""

from __future__ import annotations

import asyncio
import base64
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from zxmpp.errors import StreamError
from zxmpp.streams import VCardSettings
from zxmpp.streams.vcard import BURST, MAX_AVATAR, VCard, read_avatar

from .conftest import Line, refusal

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 2, 3) + b"\x00" * 9
VCARD = "{vcard-temp}"


@pytest.fixture
def avatar(tmp_path: Path) -> str:
    path = tmp_path / "bot.png"
    path.write_bytes(PNG)
    return str(path)


class Account:
    """A server that keeps a vCard and what is published."""

    def __init__(self, line: Line) -> None:
        line.online()
        line.answers(self._answer)
        self.vcard = ""
        self.published: list[ET.Element] = []
        self.metadata = ""

    def _answer(self, type_: str, to: str, inner: str) -> str | None:
        if "vcard-temp" in inner:
            if type_ == "set":
                self.vcard = inner
                return ""
            return self.vcard or refusal("item-not-found")
        if "<publish" in inner:
            self.published.append(ET.fromstring(inner))
            return ""
        if "<items" in inner:
            return (f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'>"
                    f"{self.metadata}</items></pubsub>")  # fmt: skip
        return None


async def test_an_account_gets_it_once(client: Line, avatar: str) -> None:
    account = Account(client)
    vcard = VCard("main", client.xmpp, VCardSettings(name="Bot", url="https://x", avatar=avatar))
    await vcard.publish()
    kept = ET.fromstring(account.vcard)
    assert kept.findtext(f"{VCARD}FN") == "Bot"
    assert kept.findtext(f"{VCARD}URL") == "https://x"
    assert kept.findtext(f"{VCARD}PHOTO/{VCARD}TYPE") == "image/png"
    assert base64.b64decode(kept.findtext(f"{VCARD}PHOTO/{VCARD}BINVAL") or "") == PNG
    first = account.vcard = account.vcard.replace("<BINVAL>", "<BINVAL>\n ")
    await vcard.publish()
    assert account.vcard is first


async def test_what_the_configuration_does_not_say_stays(client: Line) -> None:
    account = Account(client)
    account.vcard = (
        "<vCard xmlns='vcard-temp'><FN>Old</FN><FN>Older</FN><TEL><NUMBER>1</NUMBER></TEL></vCard>"
    )
    await VCard("main", client.xmpp, VCardSettings(name="New")).publish()
    kept = ET.fromstring(account.vcard)
    assert [e.text for e in kept.iter(f"{VCARD}FN")] == ["New"]
    assert kept.findtext(f"{VCARD}TEL/{VCARD}NUMBER") == "1"


async def test_the_avatar_is_published_once(client: Line, avatar: str) -> None:
    account = Account(client)
    vcard = VCard("main", client.xmpp, VCardSettings(avatar=avatar))
    await vcard.publish_avatar()
    data, metadata = account.published
    assert base64.b64decode(data.findtext(".//{urn:xmpp:avatar:data}data") or "") == PNG
    (info,) = metadata.iter("{urn:xmpp:avatar:metadata}info")
    id = vcard.avatar.id if vcard.avatar else ""
    assert info.attrib == {
        "id": id, "type": "image/png", "bytes": str(len(PNG)), "width": "2", "height": "3",
    }  # fmt: skip
    account.metadata = f"<item id='{id}'><metadata xmlns='urn:xmpp:avatar:metadata'/></item>"
    await vcard.publish_avatar()
    assert len(account.published) == 2


async def test_a_component_answers_for_each_address(component: Line, avatar: str) -> None:
    component.online()
    vcard = VCard("main", component.xmpp, VCardSettings(description="Helps", avatar=avatar))
    ask = ("<iq type='{}' id='q' from='alice@localhost/x' to='ann@bot.localhost'>"
           "<vCard xmlns='vcard-temp'/></iq>")  # fmt: skip
    component.feed(ask.format("get"))
    answer = ET.fromstring(await component.sent())
    assert (answer.get("type"), answer.get("from")) == ("result", "ann@bot.localhost")
    assert answer.findtext(f"{VCARD}vCard/{VCARD}DESC") == "Helps"
    component.feed(ask.format("set"))
    assert "not-allowed" in await component.sent()
    component.feed(ask.format("result"))
    assert await component.sent() == ""
    vcard.close()
    component.feed(ask.format("get"))
    await asyncio.sleep(0)
    assert "feature-not-implemented" in await component.sent()


async def test_nobody_gets_a_component_s_picture_without_end(component: Line, avatar: str) -> None:
    component.online()
    VCard("main", component.xmpp, VCardSettings(avatar=avatar))
    ask = "<iq type='get' id='q' from='{}' to='bot.localhost'><vCard xmlns='vcard-temp'/></iq>"
    for number in range(BURST + 5):
        component.feed(ask.format(f"mallory@localhost/{number}"))
    sent = await component.sent()
    assert (sent.count("<PHOTO"), sent.count("resource-constraint")) == (BURST, 5)
    component.feed(ask.format("bob@localhost/x"))
    assert "<PHOTO" in await component.sent()


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"hello" * 10, "is neither PNG nor JPEG nor GIF"), (b"\x89PNG\r\n\x1a\n", "is neither"),
     (PNG + b"x" * MAX_AVATAR, f"has more than {MAX_AVATAR} bytes"), (None, "can't be read")],
)  # fmt: skip
def test_a_picture_that_is_none(tmp_path: Path, data: bytes | None, match: str) -> None:
    path = tmp_path / "x"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(StreamError, match=match):
        read_avatar("main", str(path))
