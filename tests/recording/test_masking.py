"""Masked texts say nothing, stay equal where they were, and leave commands usable."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from zxmpp.recording import Masker

MASKER = Masker("!", {"echo", "remind"}.__contains__)
MESSAGE = """
<message xmlns='jabber:client' to='a@b' id='1'><body>{}</body><subject>the plan</subject>
<html xmlns='http://jabber.org/protocol/xhtml-im'><b>bold</b>tail words</html></message>"""


def test_the_same_text_is_the_same_placeholder() -> None:
    assert MASKER.text("meet at nine") == MASKER.text("meet at nine")
    assert MASKER.text("meet at nine") != MASKER.text("meet at noon")
    # Nobody can try out what a short text may have been.
    assert MASKER.text("yes") != Masker("!", lambda _: False).text("yes")


@given(st.text(min_size=1))
def test_of_a_length_only_the_next_power_of_two_shows(text: str) -> None:
    masked = MASKER.text(text)
    if not text.strip():
        assert masked == text
        return
    size = len(masked)
    assert size >= 16
    assert size & (size - 1) == 0
    assert len(text) <= size
    assert size == 16 or size < 2 * len(text)


def test_a_known_command_stays_and_its_arguments_do_not() -> None:
    masked = MASKER.body("!remind  10 buy a ring")
    command, ten, *rest = masked.split()
    assert command == "!remind"
    assert ten.startswith("masked-")
    assert len(rest) == 3
    assert "ring" not in masked
    assert MASKER.body("! echo hello").startswith("! echo masked-")
    # Without the prefix, as in a chat of two.
    assert MASKER.body("echo hello").startswith("echo masked-")
    assert MASKER.body("!unknown secret").startswith("masked-")
    assert MASKER.body("my secret").startswith("masked-")


def test_no_text_of_a_stanza_stays_and_all_attributes_do() -> None:
    stanza = ET.fromstring(MESSAGE.format("!echo the secret"))
    masked = MASKER.element(stanza)
    text = ET.tostring(masked, encoding="unicode")
    for word in ("secret", "plan", "bold", "words"):
        assert word not in text
    assert masked.findtext("{jabber:client}body", "").startswith("!echo masked-")
    assert masked.attrib == {"to": "a@b", "id": "1"}
    assert stanza.findtext("{jabber:client}subject") == "the plan"


def test_frames() -> None:
    assert MASKER.frame(b"") == b""
    assert MASKER.frame(b"\xffbinary") == MASKER.frame(b"\xffbinary")
    assert MASKER.frame(b"\xffbinary").startswith(b"masked-")
