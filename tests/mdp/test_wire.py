"""Frames to messages and back: what one side writes, the other reads, in every dialect."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.mdp.bench import read
from zxmpp.mdp.messages import (
    Command,
    Malformed,
    Meta,
    Options,
    Problem,
    encode_meta,
    meta_of,
    options_of,
)
from zxmpp.mdp.wire import DIALECTS, V01, V02, Dialect, Message, Tag02, decode, split

ALL = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)

names = st.binary(min_size=1, max_size=255)
bodies = st.lists(st.binary(max_size=20), min_size=1, max_size=4)
dialects = st.sampled_from([V01, V02, Tag02])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def to_broker(frames: list[bytes]) -> Message:
    delimited, rest = split(frames)
    return decode(rest, delimited)


@given(dialects, names, bodies)
def test_what_plain_peers_write_is_read_unchanged(
    dialect: Dialect, name: bytes, body: list[bytes]
) -> None:
    found = to_broker(dialect.client_request(name, body))
    assert found == Message(dialect, False, Command.REQUEST, name, None, body)
    found = to_broker(dialect.reply(Command.FINAL, name, body))
    assert found == Message(dialect, True, Command.FINAL, name, None, body)
    assert to_broker(dialect.ready(name)) == Message(dialect, True, Command.READY, name, None, [])
    found = read(dialect.request(name, body))
    assert found == Message(dialect, True, Command.REQUEST, name, None, body)
    found = read(dialect.client_final(name, body))
    assert found == Message(dialect, False, Command.FINAL, name, None, body)


@given(names, bodies, texts)
def test_what_peers_of_ours_write_is_read_unchanged(
    name: bytes, body: list[bytes], text: str
) -> None:
    frame = encode_meta(Meta(id=text, trace=text, timeout=1.5, problem=Problem("x", text)))
    for command in (Command.FINAL, Command.PARTIAL, Command.RETURN, Command.CREDIT):
        found = to_broker(V02.extended(command, name, frame, body))
        assert found == Message(V02, True, command, name, frame, body)
    for command in (Command.REQUEST, Command.CANCEL):
        found = to_broker(V02.client_extended(command, name, frame, body))
        assert found == Message(V02, False, command, name, frame, body)
        assert read(V02.extended(command, name, frame, body)).body == body
    for command in (Command.FINAL, Command.PARTIAL):
        found = read(V02.client_extended(command, name, frame, body))
        assert found == Message(V02, False, command, name, frame, body)
    meta = meta_of(frame)
    assert (meta.id, meta.trace, meta.timeout) == (text, text, 1.5)


@pytest.mark.parametrize("command", [Command.FINAL, Command.PARTIAL])
def test_a_client_reads_news_without_a_body(command: Command) -> None:
    """Why there is no answer, how far the work is, that it begins anew."""
    frame = encode_meta(Meta(id="x", problem=Problem("timeout")))
    found = read(V02.client_extended(command, b"echo", frame))
    assert found == Message(V02, False, command, b"echo", frame, [])


@ALL
def test_signs_of_life_and_of_its_end_are_the_same_both_ways(dialect: Dialect) -> None:
    for frames, command in (
        (dialect.heartbeat, Command.HEARTBEAT),
        (dialect.disconnect, Command.DISCONNECT),
    ):
        assert read(frames) == to_broker(frames)
        assert read(frames) == Message(dialect, True, command, b"", None, [])
        # RFC 7 has no more frames there; more do no harm.
        assert to_broker([*frames, b"more"]).command is command


def test_the_same_code_is_another_command_in_another_dialect() -> None:
    assert to_broker([b"MDPW02", b"\x05"]).command is Command.HEARTBEAT
    assert to_broker([b"", b"MDPW02", b"\x05"]).command is Command.DISCONNECT
    assert to_broker([b"", b"MDPW01", b"\x05"]).command is Command.DISCONNECT
    assert to_broker([b"MDPW02", b"\x04", b"a", b"", b"x"]).command is Command.FINAL
    assert to_broker([b"", b"MDPW02", b"\x04"]).command is Command.HEARTBEAT


def test_a_client_of_ours_hears_that_the_broker_lives() -> None:
    assert read(V02.client_heartbeat).command is Command.HEARTBEAT


@pytest.mark.parametrize(
    "frames",
    [
        [], [b"x"], [b"", b"MDPC01"], [b"", b"MDPC01", b"echo"], [b"MDPC02", b"\x01", b"echo", b"x"],
        [b"MDPC02", b"\x03", b"echo"], [b"MDPC02", b"\x83", b"echo"], [b"MDPC02", b"\x85"][:1],
        [b"MDPW02", b"\x01", b"echo"], [b"MDPW02", b"\x02", b"a", b""], [b"MDPW02", b"\x82", b"a"],
        [b"MDPW02", b"\x82", b"a", b"{}"], [b"", b"MDPW01", b"\x03", b"a", b"", b"x"],
    ],
)  # fmt: skip
def test_what_a_broker_would_not_say_is_malformed(frames: list[bytes]) -> None:
    with pytest.raises(Malformed):
        read(frames)


@given(st.lists(st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"", b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"{}",
                     *(bytes([code]) for code in (1, 2, 3, 4, 5, 6, 0x81, 0x83, 0x84, 0x87, 0x89))]),
), max_size=7))  # fmt: skip
def test_any_frames_are_a_message_or_malformed(frames: list[bytes]) -> None:
    for direction in (to_broker, read):
        try:
            message = direction(frames)
        except Malformed as error:
            assert error.reason
        else:
            assert message.command in Command


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "bad-meta"), (b"7", "bad-meta"), (b'{"name":7}', "bad-meta"), (b"\xff", "bad-meta"),
        (b'{"name":"\xff"}', "bad-meta"), (b'{"x":' * 800, "bad-meta"), (b" " * 4097, "meta-too-big"),
    ],
)  # fmt: skip
def test_options_that_cant_be_read_are_the_workers_fault(frame: bytes, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        options_of(frame, V02.disconnect)
    assert (caught.value.reason, caught.value.disconnect) == (reason, V02.disconnect)


def test_fields_that_nobody_knows_yet_are_passed_over() -> None:
    assert meta_of(b'{"id":"x","later":[1]}') == Meta(id="x")
    assert options_of(b'{"slots":2,"later":{}}', ()) == Options(slots=2)
