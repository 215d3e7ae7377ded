"""The exchanges on the page of the wire protocol are what the broker does, byte by byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from zxmpp.mdp import Broker

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "mdp.md"
BLOCKS = re.findall(
    r"^```text\n(worker to broker.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
)
LINE = re.compile(r"^(worker|client|broker) to (worker|client|broker)\s+(.*)$")


def in_hex(text: str) -> list[bytes]:
    """The frames behind the command's name; ``-`` is an empty one."""
    return [b"" if frame == "-" else bytes.fromhex(frame) for frame in text.split()[1:]]


def in_words(text: str) -> list[bytes]:
    header, command, *rest = text.split()
    return [header.encode(), bytes.fromhex(command), *(frame.encode() for frame in rest)]


@pytest.mark.parametrize(("block", "read"), [*zip(BLOCKS, (in_hex, in_words), strict=True)])
def test_the_broker_does_what_the_page_shows(
    block: str, read: Callable[[str], list[bytes]]
) -> None:
    broker, expected = Broker(life="7f3a9c02"), []
    for line in block.splitlines():
        match = LINE.match(line)
        assert match, line
        sender, receiver, text = match.groups()
        frames = read(text)
        if sender == "broker":
            expected.append([receiver.encode(), *frames])
            continue
        delimited = not frames[0]
        broker.receive(sender.encode(), frames[delimited:], delimited, 0.0)
    assert broker.outgoing.frames == expected
    assert not broker.complaints
