"""zxmpp's streams dispatch as slixmpp's do: both run the same generated programs, and all that can
be observed is compared. Then the index is broken on purpose, and each fault must be seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.streams.programs import PROGRAMS
from tests.streams.worlds import Do, difference


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Failing handlers are logged, by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAMS)
def test_same_as_slixmpp(drawn: tuple[bool, tuple[Do, ...]]) -> None:
    component, program = drawn
    assert not difference(component, program)
