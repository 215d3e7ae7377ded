"""``[streams.NAME]``: what is accepted, what is filled in, what is said of the rest."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from zxmpp.streams import RoomSettings, StreamSettings


def convert(**table: Any) -> StreamSettings:
    return msgspec.convert({"jid": "bot@example.org", **table}, StreamSettings)


def test_client_defaults() -> None:
    settings = convert()
    assert settings.kind == "client"
    assert settings.security == "starttls"
    assert settings.address is None
    assert settings.room_nick == "bot"
    assert not settings.on_this_machine


def test_component_defaults() -> None:
    settings = convert(kind="component", jid="bot.example.org")
    assert settings.security == "none"
    assert settings.address == ("127.0.0.1", 5347)
    assert settings.room_nick == "bot"
    assert settings.on_this_machine


def test_defaults_are_not_shared() -> None:
    convert().plugins.append("xep_9999")
    assert "xep_9999" not in convert().plugins


@pytest.mark.parametrize(
    ("table", "address"),
    [
        ({"host": "h"}, ("h", 5222)),
        ({"host": "h", "tls": "direct"}, ("h", 5223)),
        ({"port": 1}, ("example.org", 1)),
        ({"kind": "component", "jid": "c.example.org", "host": "h", "port": 9}, ("h", 9)),
    ],
)
def test_address(table: dict[str, Any], address: tuple[str, int]) -> None:
    assert convert(**table).address == address


def test_rooms() -> None:
    settings = convert(
        nick="Bot", rooms=["Ops@Rooms.Example.org", {"jid": "b@rooms", "nick": "x",
                                                     "password_env": "P"}],
    )  # fmt: skip
    assert settings.room_settings == [
        RoomSettings("Ops@Rooms.Example.org", "Bot"), RoomSettings("b@rooms", "x", "P"),
    ]  # fmt: skip
    assert settings.room_settings[0].bare == "ops@rooms.example.org"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"kind": "server"}, "Invalid enum value"),
        ({"jid": "@@"}, "is not a JID such as"),
        ({"jid": ""}, "JID"),
        ({"jid": "example.org"}, "no part before an @"),
        ({"kind": "component", "jid": "a@example.org"}, "a component is a domain"),
        ({"kind": "component", "jid": "example.org/x"}, "leave it out"),
        (
            {"kind": "component", "jid": "example.org", "tls": "starttls"},
            "XEP-0114 has no STARTTLS",
        ),
        ({"port": 70000}, "not in 1 to 65535"),
        ({"port": "5222"}, "Expected `int`"),
        ({"secret_env": "A", "secret_file": "b"}, "keep one"),
        ({"nick": "x" * 2000}, "nick"),
        ({"rooms": ["rooms.example.org"]}, "no part before an @"),
        ({"rooms": ["a@b/nick"]}, "leave it out"),
        ({"rooms": ["a@b", "A@B"]}, "twice"),
        ({"rooms": [{"jid": "a@b", "nik": "x"}]}, "unknown field `nik`"),
        ({"plugins": ["xep_0054", "xep_00457"]}, "did you mean 'xep_00"),
        ({"plugin_config": {"xep_004": {}}}, "did you mean"),
        ({"ping_interval": 0}, "ping_interval is a number of seconds above 0"),
        ({"outbox_age": float("nan")}, "outbox_age"),
        ({"outbox_limit": 0}, "outbox_limit is a number of stanzas"),
        ({"max_stanza_bytes": 100}, "max_stanza_bytes is a number from 10000"),
        ({"max_stanza_depth": 1}, "max_stanza_depth"),
        ({"secret": "x"}, "unknown field `secret`"),
    ],
)
def test_what_is_wrong_is_said(table: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        convert(**table)
