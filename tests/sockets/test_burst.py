"""Bursts, with sends in the handler and EVENTS read by other code: all of it, once, in order.

``ZXMPP_BURST=1000000`` makes each burst as large as in tests/benchmarks/burst.py.
"""

from __future__ import annotations

import os

import pytest

from tests.sockets.bursts import SENDERS, TRANSPORTS, run
from tests.sockets.helpers import LOOPS

COUNT = int(os.environ.get("ZXMPP_BURST", "8000"))


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("kind", SENDERS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_burst_arrives_whole_once_and_in_order(loop: str, kind: str, transport: str) -> None:
    result = run(loop, kind, transport, COUNT)
    assert result.right, result
