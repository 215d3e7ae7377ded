"""Everything in this folder needs real servers, and is marked ``live``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zxmpp.testing.servers import Ejabberd, Prosody, Server

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # This hook sees the whole run's tests, also those of other folders.
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.live)


@pytest.fixture(params=[Prosody, Ejabberd], ids=["prosody", "ejabberd"])
def kind(request: pytest.FixtureRequest) -> type[Server]:
    """Each kind of server in turn; the test starts it."""
    return request.param


@pytest.fixture
def server(kind: type[Server]) -> Iterator[Server]:
    """A running server of each kind in turn, of this test's own."""
    with kind() as running:
        yield running


@pytest.fixture(params=["prosody_server", "ejabberd_server"], ids=["prosody", "ejabberd"])
def shared(request: pytest.FixtureRequest) -> Server:
    """A running server of each kind in turn, the whole run's: leave it as it is."""
    server: Server = request.getfixturevalue(request.param)
    return server
