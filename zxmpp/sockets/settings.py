"""What a ZeroMQ socket is to be: ``[sockets.NAME]`` of the configuration, checked.

Rules:
- A wrong key, type, value or address is a ConfigError that names the table and key, and the
  nearest known key.
- Keys that are not ours are ZeroMQ's socket options (`zxmpp.sockets.options`).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq
from msgspec import Struct

from zxmpp.errors import ConfigError
from zxmpp.sockets.address import check_address
from zxmpp.sockets.options import (
    SECRETS,
    OptionValue,
    check_option,
    defaults,
    option_name,
    option_names,
    read_secret,
)

__all__ = ["TYPES", "SocketSettings"]

#: The types of socket by name.
TYPES = {
    kind.name: kind
    for kind in (
        zmq.PUB, zmq.SUB, zmq.XPUB, zmq.XSUB, zmq.PUSH, zmq.PULL, zmq.REQ, zmq.REP, zmq.ROUTER,
        zmq.DEALER, zmq.PAIR, zmq.STREAM,
    )
}  # fmt: skip

_SUBSCRIBERS = (zmq.SUB, zmq.XSUB)


class SocketSettings(Struct, frozen=True, kw_only=True):
    """One socket. Made by `from_table`, which checks; times are in seconds unless said otherwise.

    `bind` and `connect` are addresses, at least one in all. `subscribe` are the topic prefixes of
    a SUB or XSUB socket; None is everything for SUB, nothing for XSUB. `options` are ZeroMQ's
    options by name, `secrets` the places of secret ones (``env:NAME``, ``file:PATH``).
    """

    type: str
    bind: tuple[str, ...] = ()
    connect: tuple[str, ...] = ()
    subscribe: tuple[bytes, ...] | None = None
    options: dict[str, OptionValue] = {}
    secrets: dict[str, str] = {}
    #: Messages that wait for room in ZeroMQ's queue before `send` refuses.
    send_buffer: int = 1000
    #: Largest message in bytes, over all frames. It is MAXMSGSIZE (per frame) too.
    max_message_bytes: int = 16 * 1024 * 1024
    #: Most frames of one message; one that has more is read to its end and dropped.
    max_frames: int = 1000
    #: Most messages that are received before the loop turns.
    budget_messages: int = 256
    #: Longest time to receive and handle messages before the loop turns.
    budget_seconds: float = 0.002
    #: Whether connects, disconnects, failed handshakes and so on are told.
    monitor: bool = True
    #: REP only: a request without an answer for this long gets an error, so that the socket works
    #: on (a REP socket serves one request at a time).
    reply_timeout: float = 60.0

    @property
    def kind(self) -> zmq.SocketType:
        return TYPES[self.type]

    @classmethod
    def from_table(
        cls, name: str, table: Mapping[str, Any], *, where: str = "", also: Sequence[str] = ()
    ) -> SocketSettings:
        """Settings from the table ``[sockets.NAME]``. ConfigError if anything in it is wrong.

        `where` is what to call the table if it is another one, `also` what other keys that one has.
        """
        return _Reader(name, table, where or f"[sockets.{name}]", also).settings()

    def all_options(self, name: str, where: str = "") -> dict[str, OptionValue]:
        """Our defaults, the user's options and the secrets. ConfigError if a secret is missing;
        `where` is what to call the table."""
        options: dict[str, OptionValue] = {
            **defaults(self.kind, bool(self.connect), self.max_message_bytes),
            **self.options,
        }
        for option, source in self.secrets.items():
            try:
                options[option] = read_secret(source)
            except ValueError as error:
                where = where or f"[sockets.{name}]"
                raise ConfigError(f"{where} {option.lower()} {error}") from None
        return options


class _Reader:
    """Reads one table."""

    def __init__(
        self, name: str, table: Mapping[str, Any], where: str, also: Sequence[str]
    ) -> None:
        self.name = name
        self.where = where
        self.also = also
        self.table = table
        self.values: dict[str, Any] = {"options": {}, "secrets": {}}
        self.given: dict[str, str] = {}

    def settings(self) -> SocketSettings:
        for key, value in self.table.items():
            self._key(key, value)
        kind = self.values.get("type")
        if kind is None:
            raise self._error("type", "is missing; write one of " + ", ".join(TYPES))
        if not self.values.get("bind") and not self.values.get("connect"):
            raise ConfigError(
                f"{self.where} has no address; write bind or connect, for example "
                f'bind = ["tcp://127.0.0.1:5556"]'
            )
        if "subscribe" in self.values and TYPES[kind] not in _SUBSCRIBERS:
            raise self._error("subscribe", f"is for SUB and XSUB; this is a {kind} socket")
        settings = SocketSettings(**self.values)
        self._try_options(settings)
        return settings

    def _error(self, key: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.where} {key} {problem}")

    def _once(self, name: str, key: str) -> None:
        if name in self.given:
            raise self._error(key, f"says the same as {self.given[name]}; keep one of them")
        self.given[name] = key

    def _key(self, key: str, value: Any) -> None:
        low = key.lower().replace("-", "_").removeprefix("zmq_")
        reader = _KEYS.get(low)
        if reader is not None:
            self._once(low, key)
            try:
                self.values[low] = reader(value)
            except (TypeError, ValueError) as error:
                raise self._error(key, str(error)) from None
        elif low == "hwm":
            self._option("SNDHWM", key, value)
            self._option("RCVHWM", key, value)
        elif (name := option_name(key)) is not None:
            self._option(name, key, value)
        elif (place := self._secret(low)) is not None:
            self._once(place[0], key)
            if not isinstance(value, str) or not value:
                raise self._error(key, f"wants a text, not {value!r}")
            self.values["secrets"][place[0]] = f"{place[1]}:{value}"
        else:
            known = [*self.also, *_KEYS, "hwm", *option_names(), *_SECRET_KEYS]
            near = difflib.get_close_matches(low, known, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else "see zmq_setsockopt(3) for the options"
            raise self._error(key, f"is no known key; {hint}")

    def _option(self, name: str, key: str, value: Any) -> None:
        self._once(name, key)
        try:
            self.values["options"][name] = check_option(name, value)
        except (TypeError, ValueError) as error:
            raise self._error(key, str(error)) from None

    @staticmethod
    def _secret(low: str) -> tuple[str, str] | None:
        return _SECRET_KEYS.get(low)

    def _try_options(self, settings: SocketSettings) -> None:
        """See what libzmq says of each option, on a socket that is never bound or connected."""
        options = settings.all_options(self.name, self.where)
        trial: zmq.Socket[bytes] = zmq.Context.instance().socket(settings.kind)
        with trial:
            for name, value in options.items():
                try:
                    trial.set(zmq.SocketOption[name], value)
                except zmq.ZMQError as error:
                    shown = "its value" if name in SECRETS else f"the value {value!r}"
                    key = self.given.get(name, name.lower())
                    problem = f"is refused by ZeroMQ on a {settings.type} socket with {shown}"
                    raise self._error(key, f"{problem} ({error.strerror})") from None


def _type(value: Any) -> str:
    if isinstance(value, str) and value.upper() in TYPES:
        return value.upper()
    near = difflib.get_close_matches(str(value).upper(), TYPES, 1)
    hint = f"did you mean {near[0]}?" if near else "use one of " + ", ".join(TYPES)
    raise ValueError(f"is {value!r}, which is no type of socket; {hint}")


def _texts(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"wants a text or a list of texts, not {value!r}")
    return list(values)


def _addresses(bind: bool) -> Callable[[Any], tuple[str, ...]]:
    def read(value: Any) -> tuple[str, ...]:
        addresses = _texts(value)
        for address in addresses:
            problem = check_address(address, bind=bind)
            if problem:
                raise ValueError(f"{address!r} {problem}")
        if len(set(addresses)) < len(addresses) and bind:
            raise ValueError("names an address twice; keep one of them")
        return tuple(addresses)

    return read


def _topics(value: Any) -> tuple[bytes, ...]:
    if isinstance(value, bytes):
        return (value,)
    if isinstance(value, list | tuple) and all(isinstance(v, bytes) for v in value):
        return tuple(value)
    return tuple(topic.encode() for topic in _texts(value))


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"wants a whole number, not {value!r}")
        if not least <= value <= most:
            raise ValueError(f"is {value}; it is from {least} to {most}")
        return value

    return read


def _seconds(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"wants seconds as a number, not {value!r}")
        if not least <= value <= most:
            raise ValueError(f"is {value}; it is from {least:g} to {most:g} seconds")
        return float(value)

    return read


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"wants true or false, not {value!r}")
    return value


#: Our own keys and what reads their values.
_KEYS: dict[str, Callable[[Any], Any]] = {
    "type": _type,
    "bind": _addresses(bind=True),
    "connect": _addresses(bind=False),
    "subscribe": _topics,
    "send_buffer": _whole(0, 10_000_000),
    "max_message_bytes": _whole(1, 2**40),
    "max_frames": _whole(1, 1_000_000),
    "budget_messages": _whole(1, 1_000_000),
    "budget_seconds": _seconds(0.0001, 10.0),
    "monitor": _flag,
    "reply_timeout": _seconds(0.01, 86_400.0),
}

_SECRET_KEYS = {
    f"{name.lower()}_{how}": (name, how) for name in sorted(SECRETS) for how in ("env", "file")
}
