"""A broker core with a clock that only the test moves, and peers that speak to it."""

from __future__ import annotations

import pytest

from tests.mdp.bench import Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()
