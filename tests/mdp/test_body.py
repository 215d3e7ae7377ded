"""Bodies and problems: Python values to frames and back, and what an asker reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from zxmpp.errors import Refused
from zxmpp.mdp.body import BadBody, decode_body, encode_body
from zxmpp.mdp.errors import NoAnswer, NoAnswerInTime, no_answer
from zxmpp.mdp.messages import Problem
from zxmpp.mdp.pending import Part, Pending


@dataclass
class Point:
    x: int
    y: int


class City(msgspec.Struct):
    name: str


@pytest.mark.parametrize(
    ("value", "frames"),
    [
        (b"raw", [b"raw"]),
        ("tëxt", ["tëxt".encode()]),
        (bytearray(b"a"), [b"a"]),
        (memoryview(b"a"), [b"a"]),
        ([b"a", "b"], [b"a", b"b"]),
        ((b"a", b""), [b"a", b""]),
        (None, [b""]),
        ([], [b"[]"]),
        ([1, 2], [b"[1,2]"]),
        ({"a": True}, [b'{"a":true}']),
        (3.5, [b"3.5"]),
        (Point(1, 2), [b'{"x":1,"y":2}']),
        (City("Ulm"), [b'{"name":"Ulm"}']),
    ],
)
def test_values_as_frames(value: Any, frames: list[bytes]) -> None:
    assert encode_body(value) == frames


@pytest.mark.parametrize("value", [b"raw", "text", [b"a", b"b"], None])
def test_what_is_frames_already_is_the_same_in_every_format(value: Any) -> None:
    assert encode_body(value, "msgpack") == encode_body(value)


@pytest.mark.parametrize("value", [{"a": [1, None]}, [], [1, 2], 3.5, True, Point(1, 2)])
def test_messagepack(value: Any) -> None:
    frames = encode_body(value, "msgpack")
    assert decode_body(frames, type(value), "msgpack") == value


@pytest.mark.parametrize("format", ["json", "msgpack"])
@pytest.mark.parametrize("value", [object(), {1: object()}, [b"a", 3], 1j])
def test_what_cant_be_sent_says_so(value: Any, format: Any) -> None:
    if format == "msgpack" and value == [b"a", 3]:
        assert decode_body(encode_body(value, format), list[Any], format) == value
        return
    with pytest.raises(TypeError):
        encode_body(value, format)


def test_a_value_that_contains_itself_says_so() -> None:
    value: list[Any] = [1]
    value.append(value)
    for format in ("json", "msgpack"):
        with pytest.raises(TypeError):
            encode_body(value, format)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("frames", "wanted", "value"),
    [
        ([b"a", b"b"], bytes, b"ab"),
        ([b"a", b"b"], list[bytes], [b"a", b"b"]),
        ([b"t\xc3", b"\xab"], str, "të"),
        ([b'{"x":1,', b'"y":2}'], Point, Point(1, 2)),
        ([b'"text"'], Any, "text"),
        ([b"[1]"], list[int], [1]),
        ([b"null"], int | None, None),
        ([b"whatever"], type(None), None),
    ],
)
def test_frames_as_values(frames: list[bytes], wanted: Any, value: Any) -> None:
    assert decode_body(frames, wanted) == value


@pytest.mark.parametrize(
    ("frames", "wanted", "text"),
    [
        ([b"ab\xff"], str, "not UTF-8 at byte 2"),
        ([b""], int, "not the JSON"),
        ([b"{"], Point, "not the JSON"),
        ([b'{"x":1}'], Point, "missing required field `y`"),
        ([b'"\xff"'], Any, "not the JSON"),
        ([b"[" * 100_000], Any, "not the JSON"),
    ],
)
def test_frames_that_are_not_what_was_wanted(frames: list[bytes], wanted: Any, text: str) -> None:
    with pytest.raises(BadBody, match=text):
        decode_body(frames, wanted)


def test_broken_messagepack() -> None:
    with pytest.raises(BadBody, match="not the MessagePack"):
        decode_body([b"\xc1"], Any, "msgpack")


@pytest.mark.parametrize(
    ("condition", "text", "read"),
    [
        ("timeout", "", "city: no answer in time; try again later."),
        ("cancelled", "", "city: cancelled."),
        ("dead-letter", "3 workers died of it", "city: given up; 3 workers died of it."),
        ("queue-full", "too many wait", "city: too many wait."),
        ("interrupted", "its worker died", "city: its worker died; ask again."),
        ("refused", "no such {city}", "no such {city}"),
        ("unheard-of", "", "city: unheard-of"),
        ("failed", "see 1a2b", "city: see 1a2b"),
    ],
)
def test_what_the_asker_reads(condition: str, text: str, read: str) -> None:
    error = no_answer("city", Problem(condition, text))
    assert str(error) == read
    assert error.reason == condition
    assert isinstance(error, Refused)
    assert isinstance(error, NoAnswerInTime) is (condition == "timeout")


def test_the_asker_reads_how_long_it_waited() -> None:
    error = no_answer("city", Problem("timeout"), 2.5)
    assert str(error) == "city: no answer within 2.5 s; try again later."
    assert isinstance(error, TimeoutError)


async def test_a_request_ends_once() -> None:
    gave_up: list[int] = []
    pending = Pending("s", 1.0, lambda: gave_up.append(1))
    pending.part(Part([b"a"], last=True))
    pending.fail(Problem("timeout"))
    pending.part(Part([b"b"], last=True))
    assert await pending.whole() == [b"a"]
    pending.close()
    assert gave_up == []


async def test_parts_that_came_before_a_failure_are_read_first() -> None:
    pending = Pending("s", 1.0, lambda: None)
    pending.part(Part([b"a"]))
    pending.fail(Problem("cancelled"))
    assert (await pending.next()).frames == [b"a"]
    with pytest.raises(NoAnswer):
        await pending.next()


async def test_parts_that_nobody_takes_are_bounded_by_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zxmpp.mdp.pending.MAX_PART_BYTES", 100)
    gave_up: list[int] = []
    pending = Pending("s", 1.0, lambda: gave_up.append(1))
    for _ in range(20):  # taken as they come, they may be many
        pending.part(Part([b"x" * 60]))
        await pending.next()
    for _ in range(5):
        pending.part(Part([b"x" * 60]))
    with pytest.raises(NoAnswer, match="not taken in time"):
        await pending.next()
    assert gave_up == [1]


async def test_who_closes_before_the_end_gives_up_once() -> None:
    gave_up: list[int] = []
    pending = Pending("s", 1.0, lambda: gave_up.append(1))
    pending.close()
    pending.close()
    pending.part(Part([b"late"], last=True))
    assert gave_up == [1]
    assert pending.ended
