"""What a person types, turned into a function's arguments; and the usage that says how.

Rules, in the order of the function's parameters:
- A parameter annotated `Call` or `StanzaEvent` is given, not typed.
- A positional parameter takes one word. Words are split as a POSIX shell splits them: quotes keep
  a word together. A default makes it optional.
- ``*words: T`` takes all further words, each as a T.
- A keyword-only parameter of type str (at most one: ``*, text: str``) takes the rest of the line
  as it was typed.
- Types: str, int, float, bool, Literal, Enum (by value), JID, date and datetime (ISO 8601), ``X |
  None``, and whatever else msgspec converts from a string.
"""

from __future__ import annotations

import inspect
import io
import shlex
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, Literal

import msgspec
from slixmpp.jid import JID, InvalidJID

from zxmpp.commands.call import Call
from zxmpp.errors import PluginError, UsageError
from zxmpp.event import StanzaEvent

__all__ = ["Parameter", "Signature"]

_REQUIRED = inspect.Parameter.empty

#: Characters that are split into words. What takes the rest of the line has no limit.
MAX_CHARS = 4096


class Parameter(msgspec.Struct, frozen=True):
    """One parameter that is typed by the caller."""

    name: str
    type: Any
    default: Any = _REQUIRED
    #: Takes all further words.
    many: bool = False
    #: Takes the rest of the line.
    rest: bool = False

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED and not self.many

    def convert(self, word: str) -> Any:
        """`word` as this parameter's type. ValueError says what it should have been."""
        try:
            return msgspec.convert(word, self.type, strict=False, dec_hook=_decode)
        except (msgspec.ValidationError, InvalidJID, ValueError) as error:
            raise ValueError(f"{word!r} is not {_wanted(self.type)}") from error

    def usage(self) -> str:
        label = self.name
        if (choices := _choices(self.type)) and len(choices) <= 6:
            label = "|".join(choices)
        if self.many:
            return f"[{label} ...]"
        if self.rest:
            label += " ..."
        return f"<{label}>" if self.required else f"[{label}]"


def _decode(wanted: type, value: Any) -> Any:
    if wanted is JID:
        return JID(value)
    raise NotImplementedError(f"a word can't become a {wanted!r}")


def _bare(annotation: Any) -> Any:
    """`annotation` without ``| None``."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        if len(kept) == 1:
            return kept[0]
    return annotation


def _choices(annotation: Any) -> list[str]:
    annotation = _bare(annotation)
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return []


_NAMES = {int: "a whole number", float: "a number", bool: "true or false", JID: "a JID"}


def _wanted(annotation: Any) -> str:
    if choices := _choices(annotation):
        return "one of " + ", ".join(choices)
    bare = _bare(annotation)
    return _NAMES.get(bare) or f"a {getattr(bare, '__name__', bare)}"


class Signature:
    """The arguments of one command. `given` are the names of parameters that get the call."""

    def __init__(self, function: Callable[..., Any], command: str) -> None:
        self.command = command
        self.parameters: list[Parameter] = []
        self._given: dict[str, bool] = {}
        #: What is passed by position, in order: a given parameter stands as its name.
        self._slots: list[Parameter | str] = []
        try:
            hints = typing.get_type_hints(inspect.unwrap(function))
        except NameError as error:
            raise PluginError(
                f"command {command!r} ({function.__qualname__}): its annotations can't be read: "
                f"{error}. Import the name at run time, not only for type checking"
            ) from error
        for parameter in inspect.signature(function).parameters.values():
            self._add(parameter, hints.get(parameter.name, str))

    def _add(self, parameter: inspect.Parameter, annotation: Any) -> None:
        kind, name = parameter.kind, parameter.name
        if isinstance(annotation, type) and issubclass(annotation, (Call, StanzaEvent)):
            if kind is parameter.POSITIONAL_ONLY or kind is parameter.VAR_POSITIONAL:
                raise PluginError(
                    f"command {self.command!r}: {name!r} must have a name to be given"
                )
            self._given[name] = issubclass(annotation, Call)
            if kind is not parameter.KEYWORD_ONLY:
                self._slots.append(name)
            return
        if kind is parameter.VAR_KEYWORD:
            raise PluginError(
                f"command {self.command!r}: nobody can type **{name}; name the parameters"
            )
        rest = kind is parameter.KEYWORD_ONLY
        if rest and (annotation is not str or any(known.rest for known in self.parameters)):
            raise PluginError(
                f"command {self.command!r}: {name!r} is keyword-only, so it takes the rest of the "
                f"line: there can be one such parameter, and its type is str"
            )
        many = kind is parameter.VAR_POSITIONAL
        if rest and any(known.many for known in self.parameters):
            raise PluginError(
                f"command {self.command!r}: {name!r} comes after *words: none is left"
            )
        self.parameters.append(Parameter(name, annotation, parameter.default, many, rest))
        self._slots.append(self.parameters[-1])

    @property
    def usage(self) -> str:
        return " ".join((self.command, *(parameter.usage() for parameter in self.parameters)))

    def bind(self, text: str, call: Call) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for `text`. UsageError says which argument is wrong, and the usage."""
        named: dict[str, Any] = {
            name: call if wants_call else call.event for name, wants_call in self._given.items()
        }
        words = _Words(text, self)
        args: list[Any] = []
        for parameter in self._slots:
            if isinstance(parameter, str):
                args.append(named.pop(parameter))
                continue
            if parameter.rest:
                line = words.rest()
                if line or not parameter.required:
                    named[parameter.name] = line or parameter.default
                    continue
                raise self.wrong(f"{parameter.name} is missing")
            if parameter.many:
                while (word := words.next()) is not None:
                    args.append(self._convert(parameter, word))
                continue
            word = words.next()
            if word is not None:
                value = self._convert(parameter, word)
            elif parameter.required:
                raise self.wrong(f"{parameter.name} is missing")
            else:
                value = parameter.default
            args.append(value)
        if (surplus := words.next()) is not None:
            raise self.wrong(f"{surplus!r} is one word too many; quote what belongs together")
        return args, named

    def _convert(self, parameter: Parameter, word: str) -> Any:
        try:
            return parameter.convert(word)
        except ValueError as error:
            raise self.wrong(f"{parameter.name}: {error}") from error

    def wrong(self, what: str) -> UsageError:
        return UsageError(f"{what}. Usage: {self.usage}")


class _TooLong(Exception):
    """The words of a command are longer than `MAX_CHARS`."""


class _Line(io.StringIO):
    """What is typed, read by one character at a time: splitting takes time, so it has a limit."""

    _left = MAX_CHARS

    def read(self, size: int | None = -1, /) -> str:
        if size == 1:
            self._left -= 1
            if self._left < 0:
                raise _TooLong
        return super().read(size)


class _Words:
    """Shell words, one by one, with the rest of the line at hand."""

    def __init__(self, text: str, signature: Signature) -> None:
        self._stream = _Line(text)
        self._lexer = shlex.shlex(self._stream, posix=True)
        self._lexer.whitespace_split = True
        self._lexer.commenters = ""
        self._signature = signature

    def next(self) -> str | None:
        try:
            return self._lexer.get_token()
        except _TooLong:
            raise self._signature.wrong(
                f"the words have more than {MAX_CHARS} characters"
            ) from None
        except ValueError as error:
            raise self._signature.wrong(
                "a quote or a backslash is not closed; put quotes around what contains it"
            ) from error

    def rest(self) -> str:
        return self._stream.read().strip()
