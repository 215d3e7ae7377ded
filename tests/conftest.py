"""Fixtures that several folders of tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from zxmpp.event import Event, Failure, FramesEvent
from zxmpp.pipeline import Pipeline

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and programs that tests start would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


class FakeSource:
    """A source that records what the pipeline does to it."""

    def __init__(self, name: str = "fake", pausable: bool = True) -> None:
        self.name = name
        self.pausable = pausable
        self.owes_answer = False
        self.paused = False
        self.pauses = 0
        self.answers: list[Any] = []
        self.failures: list[tuple[Event, Failure]] = []

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def answer(self, event: Event, reply: Any) -> None:
        self.answers.append(reply)

    def fail(self, event: Event, failure: Failure) -> bool:
        self.failures.append((event, failure))
        return True

    def event(self, *frames: bytes, lane: str = "lane") -> FramesEvent:
        keys = ("frames", ("frames", self.name))
        return FramesEvent(self, keys, self.name, lane, list(frames), [])


@pytest.fixture(scope="session", autouse=True)
def runtime_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bots of tests, those in processes too, put their control sockets here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("run")))
        yield


@pytest.fixture
def source() -> FakeSource:
    """A socket-like source: pausable."""
    return FakeSource()


@pytest.fixture
def stream_source() -> FakeSource:
    """A stream-like source: never paused."""
    return FakeSource(pausable=False)


@pytest.fixture
async def pipeline() -> Any:
    pipeline = Pipeline(
        lane_limit=10, total_limit=50, credit=10, workers=20, timeout=10, slow_step=5
    )
    yield pipeline
    await pipeline.close()
