"""zxmpp's streams dispatch as slixmpp's do: both run the same generated programs, and all that can
be observed is compared. Then the index is broken on purpose, and each fault must be seen."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import TypeAlias

import pytest
import slixmpp
from hypothesis import HealthCheck, Phase, given, seed, settings

import zxmpp.streams
from tests.streams.faults import FAULTS
from tests.streams.parts import Do
from tests.streams.programs import PROGRAMS
from tests.streams.worlds import Seen, difference, observe

Program: TypeAlias = tuple[bool, tuple[Do, ...]]

#: Programs in which a fault must show, and in how many parts they are made.
PARTS = 30
PART = 100


@pytest.fixture(autouse=True, scope="module")
def quiet() -> Iterator[None]:
    """Failing handlers are logged, by the thousand."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROGRAMS)
def test_same_as_slixmpp(drawn: Program) -> None:
    assert not difference(*drawn)


@cache
def _part(number: int) -> list[tuple[Program, Seen]]:
    """Programs, always the same, each with what is seen of slixmpp's stream."""
    part: list[tuple[Program, Seen]] = []

    @seed(number)
    @settings(
        max_examples=PART,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(PROGRAMS)
    def collect(drawn: Program) -> None:
        part.append((drawn, observe(slixmpp, *drawn)))

    collect()
    return part


@pytest.mark.parametrize("name", FAULTS)
def test_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[name](monkeypatch)
    for number in range(PARTS):
        for program, stock in _part(number):
            if observe(zxmpp.streams, *program) != stock:
                return
    pytest.fail(f"{PARTS * PART} programs do not show that {name}")


def test_no_fault_is_seen_where_there_is_none() -> None:
    for program, stock in _part(0):
        assert observe(zxmpp.streams, *program) == stock
