"""What a client of a broker and a plugin of a bot ask alike: `Service.request` and `Service.stream`.

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

__all__ = ["Caller", "Parts", "Service"]

T = TypeVar("T")

Parts: TypeAlias = AsyncGenerator[Part, None]

#: Sends the frames of a body, with a time limit in seconds and a trace.
Begin: TypeAlias = Callable[[list[bytes], float, str], Pending]


class Service:
    """One service, to be asked; got from `Client.service` or `Plugin.service`."""

    def __init__(self, name: str, begin: Begin) -> None:
        self.name = name
        self._begin = begin

    def begin(
        self, body: Any = b"", *, timeout: float = 60.0, format: Format = "json", trace: str = ""
    ) -> Pending:
        """Ask now and await later: what comes of it, part by part. Close it in the end."""
        return self._begin(encode_body(body, format), timeout, trace)

    @overload
    async def request(
        self, body: Any = b"", *, timeout: float = 10.0, format: Format = "json",
        trace: str = "", on_progress: Callable[[float], None] | None = None,
    ) -> bytes: ...  # fmt: skip
    @overload
    async def request(
        self, body: Any = b"", *, timeout: float = 10.0, result: type[T], format: Format = "json",
        trace: str = "", on_progress: Callable[[float], None] | None = None,
    ) -> T: ...  # fmt: skip
    async def request(
        self, body: Any = b"", *, timeout: float = 10.0, result: Any = bytes,
        format: Format = "json", trace: str = "",
        on_progress: Callable[[float], None] | None = None,
    ) -> Any:  # fmt: skip
        """Await the whole answer, of a stream all its parts.

        `body` is bytes, str, a list of them (frames), or what msgspec writes as `format`. The answer
        is read as a `result`: bytes, str, ``list[bytes]``, or a type for msgspec. `timeout` is in
        seconds. Raises NoAnswer (NoAnswerInTime is a TimeoutError, too), BadAnswer.
        """
        pending = self.begin(body, timeout=timeout, format=format, trace=trace)
        return self._decoded(await pending.whole(on_progress), result, format)

    @overload
    def stream(
        self, body: Any = b"", *, timeout: float = 60.0, format: Format = "json", trace: str = "",
    ) -> AsyncIterator[bytes]: ...  # fmt: skip
    @overload
    def stream(
        self, body: Any = b"", *, timeout: float = 60.0, result: type[T], format: Format = "json",
        trace: str = "",
    ) -> AsyncIterator[T]: ...  # fmt: skip
    async def stream(
        self, body: Any = b"", *, timeout: float = 60.0, result: Any = bytes,
        format: Format = "json", trace: str = "",
    ) -> AsyncIterator[Any]:  # fmt: skip
        """Yield each part of the answer as it comes; see `request`.

        `timeout` bounds the whole. A worker that dies after its first part ends the stream with
        NoAnswer (``interrupted``): another one would begin anew.
        """
        begun = False
        async with aclosing(self.parts(body, timeout=timeout, format=format, trace=trace)) as parts:
            async for part in parts:
                if part.restart:
                    raise NoAnswer(
                        f"{self.name}: its worker died in mid-answer; ask again.", "interrupted"
                    )
                # The end of a stream is an empty frame that says nothing.
                if part.frames and not (part.last and begun and part.frames == [b""]):
                    yield self._decoded(part.frames, result, format)
                    begun = True

    async def parts(
        self, body: Any = b"", *, timeout: float = 60.0, format: Format = "json", trace: str = ""
    ) -> Parts:
        """Yield all there is to know of the answer: parts, progress, new beginnings."""
        pending = self.begin(body, timeout=timeout, format=format, trace=trace)
        try:
            while True:
                part = await pending.next()
                yield part
                if part.last:
                    return
        finally:
            pending.close()

    def _decoded(self, frames: list[bytes], result: Any, format: Format) -> Any:
        try:
            return decode_body(frames, result, format)
        except BadBody as error:
            raise BadAnswer(f"{self.name}: the answer can't be used: {error}.") from None


class Caller(ABC):
    """Asks any service."""

    @abstractmethod
    def begin(self, service: str, body: list[bytes], timeout: float, trace: str) -> Pending:
        """Send a request; what comes of it."""

    def service(self, name: str) -> Service:
        """One service, to be asked."""
        return Service(name, lambda body, timeout, trace: self.begin(name, body, timeout, trace))

    async def request(self, service: str, body: Any = b"", **options: Any) -> Any:
        """``service(name).request(...)``."""
        return await self.service(service).request(body, **options)

    def stream(self, service: str, body: Any = b"", **options: Any) -> AsyncIterator[Any]:
        """``service(name).stream(...)``."""
        return self.service(service).stream(body, **options)

    def parts(self, service: str, body: Any = b"", **options: Any) -> Parts:
        """``service(name).parts(...)``."""
        return self.service(service).parts(body, **options)
