"""Fixtures for tests of bots and plugins; pytest loads this with zxmpp (entry point ``pytest11``).

Rules:
- Loading this costs nothing: what a fixture needs is imported when the fixture is asked for.
- Servers are started without an event loop, so their fixtures work in every scope, with
  pytest-asyncio in auto and in strict mode, and in tests that are not async at all.
- A server that is not installed fails the test and says what to install. Deselect such tests with
  ``-m "not live"`` after marking them ``live``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, TypeVar

import pytest

try:
    from pytest_asyncio import fixture as async_fixture
except ImportError:  # then nobody asks for it
    async_fixture = pytest.fixture  # type: ignore[assignment]

if TYPE_CHECKING:
    from zxmpp.testing.bot import TestBot
    from zxmpp.testing.servers import Ejabberd, Prosody, Server

__all__ = ["bot", "bot_config", "ejabberd", "ejabberd_server", "prosody", "prosody_server"]

S = TypeVar("S", bound="Server")


def _serve(kind: type[S]) -> Iterator[S]:
    from zxmpp.testing.servers import ServerError

    try:
        server = kind().__enter__()
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def prosody() -> Iterator[Prosody]:
    """A private Prosody of this test's own: kill it, start it again (about 0.2 s to start)."""
    from zxmpp.testing.servers import Prosody

    yield from _serve(Prosody)


@pytest.fixture
def ejabberd() -> Iterator[Ejabberd]:
    """A private ejabberd of this test's own: kill it, start it again (about 2 s to start)."""
    from zxmpp.testing.servers import Ejabberd

    yield from _serve(Ejabberd)


@pytest.fixture(scope="session")
def prosody_server() -> Iterator[Prosody]:
    """One private Prosody for all tests: leave it running, and use rooms of your own."""
    from zxmpp.testing.servers import Prosody

    yield from _serve(Prosody)


@pytest.fixture(scope="session")
def ejabberd_server() -> Iterator[Ejabberd]:
    """One private ejabberd for all tests: leave it running, and use rooms of your own."""
    from zxmpp.testing.servers import Ejabberd

    yield from _serve(Ejabberd)


@pytest.fixture
def bot_config() -> str:
    """The configuration of the `bot` fixture, as TOML text: override it."""
    return ""


@async_fixture
async def bot(bot_config: str) -> AsyncIterator[TestBot]:
    """A whole bot without a server, made from `bot_config`."""
    from zxmpp.testing.bot import TestBot

    async with TestBot(bot_config) as bot:
        yield bot
