"""What the benchmark of streams stands on: that both kinds are alike, and what the wire counts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.benchmarks.stream_peers import candidates
from tests.benchmarks.stream_peers.candidates import KINDS, PLUGINS
from tests.benchmarks.stream_peers.wire import BATCH, DOMAIN, MARKS, Wire, batch, timed

PEERS = Path(candidates.__file__).parent
PROBE = f'<iq id="1" to="{DOMAIN}" from="{DOMAIN}" type="get"><probe xmlns="urn:x"/></iq>'
REPLY = f'<message from="{DOMAIN}" to="user@localhost"><body>Yes</body></message>'


LOAD = """
import asyncio, sys
from candidates import PLUGINS, make_component
async def main():
    for count in PLUGINS:
        print(sorted(make_component(sys.argv[1], count, "a.localhost", "secret").plugin._enabled))
asyncio.run(main())
"""


def test_both_kinds_load_the_same_plugins() -> None:
    # In a process of its own: plugins change slixmpp's classes for good.
    loaded = [
        subprocess.run(
            [sys.executable, "-c", LOAD, kind], cwd=PEERS, capture_output=True, text=True,
            check=True, timeout=60,
        ).stdout
        for kind in KINDS
    ]  # fmt: skip
    assert loaded[0] == loaded[1]
    assert [line.count("xep_") for line in loaded[0].splitlines()] == list(PLUGINS)


async def test_only_what_is_for_itself_comes_back_and_is_not_counted() -> None:
    said: list[str] = []
    came = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        came.set()

    wire = Wire(say)
    wire.expect(b"<", 9)
    wire.take(f"{REPLY}{PROBE}".encode())
    async with asyncio.timeout(10):
        await came.wait()
    assert said == [PROBE]
    assert not wire.enough.is_set()
    wire.take(REPLY.encode())
    assert not wire.enough.is_set()
    wire.take(b"<a/>")
    assert wire.enough.is_set()


async def test_a_count_ends_with_the_last_reply() -> None:
    wire = Wire(lambda text: None)
    wire.expect(MARKS["message"], 3)
    for _ in range(2):
        wire.take(REPLY.encode())
        assert not wire.enough.is_set()
    wire.take(REPLY.encode())
    async with asyncio.timeout(10):
        await wire.all_there()


async def test_only_what_follows_the_first_yield_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.process_time", lambda: now)

    async def one_batch() -> AsyncIterator[None]:
        nonlocal now
        now += 100
        yield
        now += 2

    assert await timed(10, one_batch) == BATCH / 2


def test_a_batch_has_as_many_stanzas_and_senders_as_it_says() -> None:
    text = batch("message")
    assert text.count("</message>") == BATCH
    assert len({part.partition("@")[0] for part in text.split("from='")[1:]}) == BATCH
