"""What a caller gives, turned into a function's arguments; and the usage that says how.

Rules, in the order of the function's parameters:
- A parameter annotated `Call` or `StanzaEvent` is given, not typed.
- A positional parameter takes one word. A default makes it optional.
- ``*words: T`` and ``words: list[T]`` take all further words, each as a T.
- A keyword-only parameter of type str (at most one: ``*, text: str``) takes the rest of the line
  as it was typed.
- What a parameter may be, and how a word, a form or JSON is read as it, is in
  `zxmpp.commands.parameters`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from slixmpp.jid import InvalidJID

from zxmpp.commands.call import Call
from zxmpp.commands.parameters import Parameter, labels
from zxmpp.commands.words import Words
from zxmpp.errors import PluginError, UsageError
from zxmpp.event import StanzaEvent

__all__ = ["Bound", "Signature", "read_data", "read_form"]

#: The arguments of a call, by position and by name.
Bound = tuple[list[Any], dict[str, Any]]

_MISSING = object()


class Signature:
    """The arguments of one command, whose usage begins with `command`."""

    def __init__(self, function: Callable[..., Any], command: str) -> None:
        self.command = command
        self.parameters: list[Parameter] = []
        #: Whether the function wants the stanza: then only a stanza can call it.
        self.needs_stanza = False
        #: Names of parameters that are given: whether it is the call.
        self._given: dict[str, bool] = {}
        #: What is passed by position, in order: a given parameter stands as its name.
        self._slots: list[Parameter | str] = []
        self._spread = False
        self._labels = labels(inspect.getdoc(function) or "")
        try:
            hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
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
            self.needs_stanza |= not self._given[name]
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
        self._spread |= kind is parameter.VAR_POSITIONAL
        if any(known.many for known in self.parameters):
            taken = next(known.name for known in self.parameters if known.many)
            raise PluginError(
                f"command {self.command!r}: {name!r} comes after *{taken}: none is left"
            )
        if kind is parameter.VAR_POSITIONAL:
            annotation = list[annotation]
        try:
            made = Parameter.of(name, annotation, parameter.default, self._labels.get(name, ""))
        except TypeError as error:
            raise PluginError(
                f"command {self.command!r}: nobody can give {name!r} a value of the type "
                f"{annotation!r}; the types are in zxmpp.commands.parameters ({error})"
            ) from error
        self.parameters.append(msgspec.structs.replace(made, rest=rest))
        self._slots.append(self.parameters[-1])

    @property
    def usage(self) -> str:
        """The line that says how it is called: ``!cmd <needed> [optional]``."""
        return " ".join((self.command, *(parameter.usage() for parameter in self.parameters)))

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the object that `bind_data` takes."""
        return {
            "type": "object",
            "properties": {each.name: each.schema() for each in self.parameters},
            "required": [each.name for each in self.parameters if each.required],
            "additionalProperties": False,
        }

    # -- binding ---------------------------------------------------------------------------------

    def bind(self, words: Words, call: Call) -> Bound:
        """The arguments for `words`. UsageError says which argument is wrong, and the usage."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if parameter.rest:
                if line := words.rest():
                    values[parameter.name] = line
                continue
            if parameter.many:
                found = []
                while (word := self._next(words)) is not None:
                    found.append(self._read(parameter, parameter.convert, word))
                if found:
                    values[parameter.name] = found
                continue
            if (word := self._next(words)) is not None:
                values[parameter.name] = self._read(parameter, parameter.convert, word)
            elif parameter.required:
                break
        if (surplus := self._next(words)) is not None:
            raise self.wrong(f"{surplus!r} is one word too many; quote what belongs together")
        return self._arguments(values, call)

    def bind_form(self, values: Mapping[str, Sequence[str]], call: Call) -> Bound:
        """The arguments for the fields of a form, by name."""
        return self._arguments(read_form(self.parameters, values, self.wrong), call)

    def bind_data(self, values: Mapping[str, Any], call: Call) -> Bound:
        """The arguments for an object of JSON."""
        return self._arguments(read_data(self.parameters, values, self.wrong), call)

    def _next(self, words: Words) -> str | None:
        try:
            return words.next()
        except ValueError as error:
            raise self.wrong(str(error)) from error

    def _read(self, parameter: Parameter, read: Callable[[Any], Any], value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise self.wrong(f"{parameter.name}: {error}") from error

    def _arguments(self, values: Mapping[str, Any], call: Call) -> Bound:
        named: dict[str, Any] = {
            name: call if wants_call else call.event for name, wants_call in self._given.items()
        }
        args: list[Any] = []
        for slot in self._slots:
            if isinstance(slot, str):
                args.append(named.pop(slot))
                continue
            value = values.get(slot.name, _MISSING)
            if value is _MISSING:
                if slot.required:
                    raise self.wrong(f"{slot.name} is missing")
                value = slot.fallback
            if slot.rest:
                named[slot.name] = value
            elif self._spread and slot.many:
                args += value
            else:
                args.append(value)
        return args, named

    def wrong(self, what: str) -> UsageError:
        """What to raise where `what` is wrong with the arguments."""
        return UsageError(f"{what}. Usage: {self.usage}")


def read_form(
    parameters: Iterable[Parameter], values: Mapping[str, Sequence[str]],
    wrong: Callable[[str], Exception],
) -> dict[str, Any]:  # fmt: skip
    """The typed values of a form's fields, by name; what `wrong` makes of the first bad one is
    raised."""
    found = {}
    for parameter in parameters:
        try:
            found[parameter.name] = parameter.convert_field(values.get(parameter.name, ()))
        except (ValueError, InvalidJID) as error:
            raise wrong(f"{parameter.name}: {error}") from error
    return found


def read_data(
    parameters: Sequence[Parameter], values: Mapping[str, Any], wrong: Callable[[str], Exception]
) -> dict[str, Any]:
    """The same of an object of JSON; what it leaves out is not there."""
    known = {each.name: each for each in parameters}
    found = {}
    for name, value in values.items():
        if name not in known:
            raise wrong(f"there is no argument {name[:100]!r}")
        try:
            found[name] = known[name].convert_data(value)
        except ValueError as error:
            raise wrong(f"{name}: {error}") from error
    return found
