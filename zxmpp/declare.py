"""The decorators of a plugin's methods: `@command`, `@on...`, `@every`.

Rules:
- They only mark functions; nothing happens until the plugin is loaded.
- A method may carry several marks. A subclass that replaces a method without marking it takes the
  marks away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from zxmpp.event import FramesEvent, LifecycleEvent, RequestEvent, StanzaEvent

__all__ = ["CommandMark", "Timer", "Wants", "command", "commands_of", "every", "marks_of", "on"]

F = TypeVar("F", bound=Callable[..., Any])

#: Where the decorators leave what they were told.
MARKS = "__zxmpp_marks__"


def _mark(function: F, mark: object) -> F:
    function.__dict__.setdefault(MARKS, []).append(mark)
    return function


# -- what a handler wants -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wants:
    """What arrivals a handler wants, and how it runs. Made by `on`; decorates a method."""

    keys: tuple[Any, ...]
    test: Callable[[Any], bool] | None = None
    prefix: bytes = b""
    lane: str | None = None
    timeout: float | None = None
    accept: tuple[str, ...] = ()

    def __call__(self, function: F) -> F:
        return _mark(function, self)


def _all(*tests: Callable[[Any], bool] | None) -> Callable[[Any], bool] | None:
    wanted = [test for test in tests if test is not None]
    if len(wanted) < 2:
        return wanted[0] if wanted else None
    return lambda event: all(test(event) for test in wanted)


class _Messages:
    """Decorates with what handlers of one special kind of message want."""

    def __init__(self, kind: str) -> None:
        self._key = ("message", kind)

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(
        self, /, *, where: Callable[[StanzaEvent], bool] | None = None, lane: str | None = None,
        timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants: ...  # fmt: skip
    def __call__(self, function: Any = None, /, *, where: Any = None, lane: str | None = None,
                 timeout: float | None = None, accept: Iterable[str] = ()) -> Any:  # fmt: skip
        wants = Wants((self._key,), where, b"", lane, timeout, tuple(accept))
        return wants if function is None else wants(function)


class on:  # noqa: N801  (reads as a decorator: @on.message)
    """What a handler wants. Common options of all:

    `where` is a predicate of the Event, asked after the index. `lane` is None for order within
    the conversation, ``"free"`` for none, or the name of a lane of the plugin's own. `timeout` is
    in seconds (default: the pipeline's). `accept` names marks that would stop the Event at a guard:
    ``own-echo``, ``carbon``, ``history``, ``delayed``, ``duplicate``.
    """

    @overload
    @staticmethod
    def message(function: F, /) -> F: ...
    @overload
    @staticmethod
    def message(
        *, where: Callable[[StanzaEvent], bool] | None = None, lane: str | None = None,
        timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def message(function: Any = None, /, *, where: Any = None, lane: str | None = None,
                timeout: float | None = None, accept: Iterable[str] = ()) -> Any:  # fmt: skip
        """Messages with a body that are no errors (RFC 6121, 5.2.2), 1:1 and from rooms."""
        wants = Wants(("message",), where, b"", lane, timeout, tuple(accept))
        return wants if function is None else wants(function)

    #: Reactions to a message (XEP-0444): ``Reaction.of(event)`` says which and to what.
    reaction: Final = _Messages("reaction")
    #: Invitations to a room (XEP-0045, XEP-0249): ``Invitation.of(event)`` says to which, and who.
    invitation: Final = _Messages("invitation")
    #: Receipts of what was sent with ``receipt=True`` (XEP-0184): see `receipt_of`.
    receipt: Final = _Messages("receipt")

    @overload
    @staticmethod
    def presence(function: F, /) -> F: ...
    @overload
    @staticmethod
    def presence(
        *, type: str = "", where: Callable[[StanzaEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def presence(function: Any = None, /, *, type: str = "", where: Any = None,
                 lane: str | None = None, timeout: float | None = None,
                 accept: Iterable[str] = ()) -> Any:  # fmt: skip
        """Presence stanzas (RFC 6121, 4), with `type` only those: ``available``, ..."""
        key = ("presence", type) if type else "presence"
        wants = Wants((key,), where, b"", lane, timeout, tuple(accept))
        return wants if function is None else wants(function)

    @overload
    @staticmethod
    def iq(function: F, /) -> F: ...
    @overload
    @staticmethod
    def iq(
        *, type: str = "", payload: str = "",
        where: Callable[[StanzaEvent], bool] | None = None, lane: str | None = None,
        timeout: float | None = None,
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def iq(function: Any = None, /, *, type: str = "", payload: str = "", where: Any = None,
           lane: str | None = None, timeout: float | None = None) -> Any:  # fmt: skip
        """IQ requests (RFC 6120, 8.2.3): ``get`` and ``set``, or only `type`; with `payload`, an
        XML name like ``{urn:xmpp:ping}ping``, only those. What the handler returns is the
        payload of the result; None makes an empty one, `HANDLED` none."""
        types = frozenset((type,) if type else ("get", "set"))
        key = ("iq", payload) if payload else "iq"
        wants = Wants((key,), _all(lambda event: event.type in types, where), b"", lane, timeout)
        return wants if function is None else wants(function)

    @staticmethod
    def stanza(
        matcher: Any, *, where: Callable[[StanzaEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None, accept: Iterable[str] = (),
    ) -> Wants:  # fmt: skip
        """Any stanza that a slixmpp matcher (StanzaPath, MatchXPath, ...) matches."""
        if not callable(getattr(matcher, "match", None)):
            raise TypeError(
                f"@on.stanza wants a slixmpp matcher such as StanzaPath('message/body'), "
                f"got {matcher!r}"
            )
        test = _all(lambda event: bool(matcher.match(event.stanza)), where)
        return Wants(("stanza",), test, b"", lane, timeout, tuple(accept))

    @staticmethod
    def frames(
        socket: str, *, topic: bytes = b"", where: Callable[[FramesEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None,
    ) -> Wants:  # fmt: skip
        """Messages of the socket named `socket`; with `topic`, those whose first frame begins so."""
        if type(socket) is not str or not socket:
            raise TypeError(f"@on.frames wants the name of a socket, got {socket!r}")
        return Wants((("frames", socket),), where, topic, lane, timeout)

    @staticmethod
    def request(
        hook: str, *, where: Callable[[RequestEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None,
    ) -> Wants:  # fmt: skip
        """HTTP requests to the hook named `hook`: see the plugin ``webhook``. What the handler
        returns is the answer, a str or what JSON has; None says only that all went well."""
        if type(hook) is not str or not hook:
            raise TypeError(f"@on.request wants the name of a hook, got {hook!r}")
        return Wants((("request", hook),), where, b"", lane, timeout)

    @overload
    @staticmethod
    def lifecycle(function: F, /) -> F: ...
    @overload
    @staticmethod
    def lifecycle(
        what: str = "", /, *, where: Callable[[LifecycleEvent], bool] | None = None,
        lane: str | None = None, timeout: float | None = None,
    ) -> Wants: ...  # fmt: skip
    @staticmethod
    def lifecycle(what: Any = "", /, *, where: Any = None, lane: str | None = None,
                  timeout: float | None = None) -> Any:  # fmt: skip
        """Changes in the life of the app, a stream, a room or a socket: see `Lifecycle`."""
        if callable(what):
            return Wants(("lifecycle",))(what)
        key = ("lifecycle", str(what)) if what else "lifecycle"
        return Wants((key,), where, b"", lane, timeout)


@dataclass(frozen=True, slots=True)
class CommandMark:
    """What `@command` was told."""

    name: str
    role: str
    lane: str | None
    timeout: float | None


@overload
def command(function: F, /) -> F: ...
@overload
def command(
    name: str = "", /, *, role: str = "", lane: str | None = None, timeout: float | None = None
) -> Callable[[F], F]: ...
def command(
    name: Any = "", /, *, role: str = "", lane: str | None = None, timeout: float | None = None
) -> Any:
    """A command that people type: ``!name argument ...``.

    Its arguments come from the function's signature and annotations, its help from the docstring,
    its reply is what it returns, or what it yields, one after another. A parameter annotated
    `Call` or `StanzaEvent` is not typed by the user: it gets the call. With `role`, only members
    of that role in the configuration's ``[roles]`` can use (and see) it.
    """
    if callable(name):
        return _mark(name, CommandMark(name.__name__, "", None, None))
    return lambda function: _mark(
        function, CommandMark(name or function.__name__, role, lane, timeout)
    )


@dataclass(frozen=True, slots=True)
class Timer:
    """What `@every` was told."""

    seconds: float


def every(seconds: float) -> Callable[[F], F]:
    """Call the method every `seconds`, first after that time, never twice at once."""
    if not seconds > 0:
        raise ValueError(f"@every wants a number of seconds above 0, got {seconds!r}")
    return lambda function: _mark(function, Timer(seconds))


def marks_of(plugin: object) -> list[tuple[Callable[..., Any], Any]]:
    """The marked methods of `plugin`, bound, with each of their marks, in order of definition; of
    a class, not bound."""
    found: dict[str, Callable[..., Any]] = {}
    for cls in reversed((plugin if isinstance(plugin, type) else type(plugin)).__mro__):
        for name, member in vars(cls).items():
            found.pop(name, None)
            if getattr(member, MARKS, None):
                found[name] = getattr(plugin, name)
    return [(method, mark) for method in found.values() for mark in getattr(method, MARKS)]


def commands_of(cls: type) -> dict[str, str]:
    """The commands that `cls` marks, by name, with their roles."""
    return {mark.name: mark.role for _, mark in marks_of(cls) if isinstance(mark, CommandMark)}
