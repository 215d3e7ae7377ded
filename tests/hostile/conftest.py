"""Fixtures of the attacks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from zxmpp.testing.bot import TestBot

from .helpers import (
    ROLES,
    Secrets,
)


@pytest.fixture
async def guarded() -> AsyncIterator[TestBot]:
    async with TestBot(ROLES, plugins=[Secrets, "help"]) as bot:
        yield bot
