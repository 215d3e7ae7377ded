"""What a client of a broker and a plugin of a bot ask alike: `request` and `stream`.

Rules:
- Each call ends in `timeout` seconds: with an answer, or with a NoAnswer that says why.
- Who is cancelled while it waits cancels the request, too; so does leaving a stream before its end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar, overload

from zxmpp.mdp.body import BadBody, Format, decode_body, encode_body
from zxmpp.mdp.errors import BadAnswer, NoAnswer
from zxmpp.mdp.pending import Part, Pending

__all__ = ["Caller", "Parts"]

T = TypeVar("T")

Parts: TypeAlias = AsyncGenerator[Part, None]


class Caller(ABC):
    """Asks services."""

    @abstractmethod
    def begin(self, service: str, body: list[bytes], timeout: float, trace: str) -> Pending:
        """Send a request; what comes of it."""

    @overload
    async def request(
        self, service: str, body: Any = b"", *, timeout: float = 10.0, format: Format = "json",
        trace: str = "", on_progress: Callable[[float], None] | None = None,
    ) -> bytes: ...  # fmt: skip
    @overload
    async def request(
        self, service: str, body: Any = b"", *, timeout: float = 10.0, result: type[T],
        format: Format = "json", trace: str = "",
        on_progress: Callable[[float], None] | None = None,
    ) -> T: ...  # fmt: skip
    async def request(
        self, service: str, body: Any = b"", *, timeout: float = 10.0, result: Any = bytes,
        format: Format = "json", trace: str = "",
        on_progress: Callable[[float], None] | None = None,
    ) -> Any:  # fmt: skip
        """Ask `service` and await the whole answer, of a stream all its parts.

        `body` is bytes, str, a list of them (frames), or what msgspec writes as `format`. The answer
        is read as a `result`: bytes, str, ``list[bytes]``, or a type for msgspec. `timeout` is in
        seconds. Raises NoAnswer (NoAnswerInTime is a TimeoutError, too), BadAnswer.
        """
        pending = self.begin(service, encode_body(body, format), timeout, trace)
        frames = await pending.whole(on_progress)
        return _decoded(service, frames, result, format)

    @overload
    def stream(
        self, service: str, body: Any = b"", *, timeout: float = 60.0, format: Format = "json",
        trace: str = "",
    ) -> AsyncIterator[bytes]: ...  # fmt: skip
    @overload
    def stream(
        self, service: str, body: Any = b"", *, timeout: float = 60.0, result: type[T],
        format: Format = "json", trace: str = "",
    ) -> AsyncIterator[T]: ...  # fmt: skip
    async def stream(
        self, service: str, body: Any = b"", *, timeout: float = 60.0, result: Any = bytes,
        format: Format = "json", trace: str = "",
    ) -> AsyncIterator[Any]:  # fmt: skip
        """Ask `service`, and yield each part of the answer as it comes; see `request`.

        `timeout` bounds the whole. A worker that dies after its first part ends the stream with
        NoAnswer (``interrupted``): another one would begin anew.
        """
        async with aclosing(self.parts(service, body, timeout, format, trace)) as parts:
            begun = False
            async for part in parts:
                if part.restart:
                    raise NoAnswer(
                        f"{service}: its worker died in mid-answer; ask again.", "interrupted"
                    )
                # The end of a stream is an empty frame that says nothing.
                if part.frames and not (part.last and begun and part.frames == [b""]):
                    yield _decoded(service, part.frames, result, format)
                    begun = True

    async def parts(
        self, service: str, body: Any = b"", timeout: float = 60.0, format: Format = "json",
        trace: str = "",
    ) -> Parts:  # fmt: skip
        """Ask `service`, and yield all there is to know of the answer: parts, progress, restarts."""
        pending = self.begin(service, encode_body(body, format), timeout, trace)
        try:
            while True:
                part = await pending.next()
                yield part
                if part.last:
                    return
        finally:
            pending.close()


def _decoded(service: str, frames: list[bytes], result: Any, format: Format) -> Any:
    try:
        return decode_body(frames, result, format)
    except BadBody as error:
        raise BadAnswer(f"{service}: the answer can't be used: {error}.") from None
