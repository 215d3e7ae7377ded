"""Attacks on who reads a recording: each file is played as far as it goes, or refused with its place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from zxmpp.config import parse
from zxmpp.errors import ConfigError
from zxmpp.recording import Base64, Entry, RecordFile, Recording, header_of
from zxmpp.streams.secret import mask
from zxmpp.testing import replay

BOT = (
    '[streams.bot]\njid = "bot@localhost"\n[sockets.s]\ntype = "ROUTER"\nbind = "tcp://127.0.0.1:*"'
)
DEEP = b"[" * 100_000


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZXMPP_BOT_SECRET", "x")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bot.jsonl"


def whole(path: Path) -> bytes:
    """A good recording."""
    file = RecordFile(path, header_of(parse(BOT)))
    file.write(Entry(1.0, "in", "stanza", "bot", xml="<message id='é😀'/>"))
    file.write(Entry(2.0, "out", "frames", "s", "echo", frames=["é", Base64("/w==")]))
    file.close("stopped", 3)
    return path.read_bytes()


def entry(**fields: Any) -> bytes:
    return json.dumps({"t": 1, "way": "in", **fields}).encode() + b"\n"


def test_cut_at_any_byte_the_rest_is_good(path: Path) -> None:
    data = whole(path)
    entries = list(Recording(path))
    for size in range(len(data)):
        path.write_bytes(data[:size])
        try:
            found = list(Recording(path))
        except ConfigError:
            assert size < data.index(b"\n")
        else:
            assert found == entries[: len(found)]
            assert len(found) >= data[:size].count(b"\n") - 1


@pytest.mark.parametrize(
    "header", [DEEP, b'{"zxmpp_recording": 1, "x": ' + DEEP, b'{"zxmpp_recording": 1, "x": "\xff"}'],
    ids=["deep", "deep inside", "no UTF-8"],
)  # fmt: skip
def test_a_hostile_first_line(path: Path, header: bytes) -> None:
    path.write_bytes(header + b"\n")
    with pytest.raises(ConfigError, match=r"no recording of zxmpp's"):
        Recording(path)


@pytest.mark.parametrize(
    "part", [{"streams": {"bot": {"kind": "client", "jid": "@@@"}}}, {"sockets": {"s": "EVIL"}},
             {"streams": {"bot": {"kind": "client", "jid": "a@b", "rooms": {"@@": "x"}}}},
             {"streams": {"bot": {"kind": "component", "jid": "a@b"}}}],
    ids=["jid", "socket", "room", "component"],
)  # fmt: skip
def test_a_header_of_no_bot(path: Path, part: dict[str, Any]) -> None:
    header = json.loads(whole(path).split(b"\n")[0])
    path.write_text(json.dumps({**header, **part}) + "\n")
    with pytest.raises(ConfigError, match=r"bot.jsonl:1: the header is broken: "):
        replay(path, "echo")


ONLINE = entry(kind="lifecycle", name="bot", what="online", detail="bot@localhost/x")
NESTED = "<b>" * 20_000 + "</b>" * 20_000


@pytest.mark.parametrize(
    "line",
    [
        b'{"t": 1, "way": "in", "x": ' + DEEP + b"\n",
        b'{"t": 1, "way": "in", "xml": "\xff"}\n',
        entry(way="out", kind="frames", name="s", by="echo"),
        entry(way="out", kind="frames", name="s", by="echo", frames=[{"base64": "!"}]),
        entry(kind="frames", name="s"),
        entry(kind="frames", name="s", frames=[{"base64": "!"}]),
        entry(kind="lifecycle", name="bot", what="evil"),
        entry(kind="stanza", name="bot", xml="<iq"),
        entry(way="out", kind="stanza", name="bot", by="echo", xml=NESTED),
    ],
    ids=["deep", "no UTF-8", "sent nothing", "sent no base64", "got nothing", "got no base64",
         "no such change", "no XML", "sent deep XML"],
)  # fmt: skip
def test_a_hostile_line_is_named(path: Path, line: bytes) -> None:
    header = whole(path).split(b"\n")[0] + b"\n"
    path.write_bytes(header + ONLINE + line)
    with pytest.raises(ConfigError, match=r"bot.jsonl"):
        replay(path, "echo")


@pytest.mark.parametrize("xml", ["</stream:stream>", "<b>" * 5000, "<message>\0</message>"])
def test_what_no_server_may_send_ends_the_stream_alone(path: Path, xml: str) -> None:
    header = whole(path).split(b"\n")[0] + b"\n"
    path.write_bytes(header + ONLINE + entry(kind="stanza", name="bot", xml=xml))
    assert replay(path, "echo").diff == []


def test_it_is_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        whole(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_owners_shell_is_no_difference(path: Path) -> None:
    header = whole(path).split(b"\n")[0] + b"\n"
    asked = entry(kind="frames", name="@local", envelope=["a"], frames=['{"command": "echo"}'])
    told = entry(way="out", kind="frames", name="@local", by="echo", frames=["a", "{}"])
    path.write_bytes(header + ONLINE + asked + told)
    found = replay(path, "echo")
    assert (found.diff, found.then, found.now, found.senders) == ([], 0, 0, {})


@pytest.mark.parametrize("name", ["Authorization", "cookie"])
def test_the_key_of_a_place_for_a_file_is_masked(name: str) -> None:
    slot = (f'<slot xmlns="urn:xmpp:http:upload:0"><put url="https://files/a"><header name="{name}">'
            f'Basic c2VjcmV0</header><header name="Expires">soon</header></put></slot>')  # fmt: skip
    masked = mask(slot)
    assert "c2VjcmV0" not in masked
    assert "soon" in masked
