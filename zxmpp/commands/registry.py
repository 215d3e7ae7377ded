"""All commands of an app, and the one route that leads from a message to one of them.

Rules:
- A command is found by a look-up of its name: the cost does not grow with their number.
- A command runs in the lanes of the plugin that owns it, under its own route.
- Who may not use a command is told the same as if it did not exist.
- In a room, a prefix with an unknown name is left alone: it may be for another bot.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from zxmpp.commands.call import Call
from zxmpp.commands.signature import Signature
from zxmpp.errors import PluginError, UserError
from zxmpp.event import Failure, StanzaEvent
from zxmpp.handlers import Owner, Route
from zxmpp.pipeline import Pipeline

__all__ = ["Command", "Commands"]

#: Characters of an unknown name that are looked at.
MAX_NAME = 64


class Command:
    """One command: its name, what it takes, who may use it. `close` removes it."""

    def __init__(
        self, commands: Commands, owner: Owner, function: Callable[..., Any], name: str, role: str,
        lane: str | None, timeout: float | None,
    ) -> None:  # fmt: skip
        self.name = name
        self.role = role
        self.owner = owner
        self.function = function
        self.signature = Signature(function, commands.prefix + name)
        self.help = inspect.getdoc(function) or ""
        self._commands = commands
        self.route = Route(
            owner, self._run, (), name=f"command {name}", lane=lane, timeout=timeout, report=_report
        )
        self.route.inline = not (
            inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        )

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0]

    def _run(self, event: StanzaEvent) -> Any:
        text = event.body[len(self._commands.prefix) :].lstrip()[len(self.name) :].strip()
        args, named = self.signature.bind(text, Call(event, self.name, text))
        return self.function(*args, **named)

    def close(self) -> None:
        self._commands._forget(self)


def _report(failure: Failure) -> str:
    return failure.text


class Commands:
    """The commands of an app, by name."""

    def __init__(
        self, pipeline: Pipeline, prefix: str, roles: Mapping[str, Collection[str]]
    ) -> None:
        self.prefix = prefix
        self._roles: dict[str, frozenset[str]] = {}
        self.set_roles(roles)
        self._by_name: dict[str, Command] = {}
        owner = pipeline.owner("commands")
        self._unknown = Route(
            owner, self._answer_unknown, (), name="unknown command", report=_report
        )
        pipeline.add(
            Route(
                owner, self._answer_unknown, ("message",), name="commands", select=self._select,
                test=lambda event: event.body.startswith(prefix),
            )
        )  # fmt: skip

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._by_name.values(), key=lambda known: known.name))

    def __len__(self) -> int:
        return len(self._by_name)

    def set_roles(self, roles: Mapping[str, Collection[str]]) -> None:
        """Who is in which role from now on. A role that is gone has no members."""
        gone = dict.fromkeys(self._roles, frozenset[str]())
        self._roles = gone | {role: frozenset(members) for role, members in roles.items()}

    def get(self, name: str) -> Command | None:
        return self._by_name.get(name)

    def add(
        self, owner: Owner, function: Callable[..., Any], name: str, role: str = "",
        lane: str | None = None, timeout: float | None = None,
    ) -> Command:  # fmt: skip
        """Register `function` as the command `name`; `close` of what comes back removes it."""
        command = self.make(owner, function, name, role, lane, timeout)
        self.swap((), [command])
        return command

    def make(
        self, owner: Owner, function: Callable[..., Any], name: str, role: str = "",
        lane: str | None = None, timeout: float | None = None,
    ) -> Command:  # fmt: skip
        """A command that is checked and not known yet: `swap` makes it known."""
        if not name or any(char.isspace() for char in name):
            raise PluginError(
                f"plugin {owner.name}: {name!r} can't be a command's name; use one word"
            )
        if role and role not in self._roles:
            known = ", ".join(sorted(self._roles)) or "none"
            raise PluginError(
                f"plugin {owner.name}: command {name!r} wants the role {role!r}, which the "
                f"configuration does not have (it has {known}); add it under [roles]"
            )
        return Command(self, owner, function, name, role, lane, timeout)

    def swap(self, old: Collection[Owner], new: Iterable[Command]) -> None:
        """Put the commands `new` into the place of all that `old` have. PluginError: a name is
        taken, and nothing changed."""
        known = {name: known for name, known in self._by_name.items() if known.owner not in old}
        for command in new:
            name = command.name
            if (taken := known.get(name)) is not None:
                raise PluginError(
                    f"plugin {command.owner.name}: command {name!r} belongs to plugin "
                    f"{taken.owner.name} already; give it another name with "
                    f"@command({name + '2'!r})"
                )
            known[name] = command
        self._by_name = known

    def _forget(self, command: Command) -> None:
        if self._by_name.get(command.name) is command:
            del self._by_name[command.name]

    def may(self, sender: str, command: Command) -> bool:
        """Whether the verified identity `sender` may use `command`."""
        return not command.role or sender in self._roles[command.role]

    def visible(self, sender: str) -> list[Command]:
        """The commands that `sender` may use, by name."""
        return [command for command in self if self.may(sender, command)]

    def _name_in(self, event: StanzaEvent) -> str:
        words = event.body[len(self.prefix) :].split(None, 1)
        return words[0] if words else ""

    def _select(self, event: StanzaEvent) -> Route | None:
        command = self._by_name.get(self._name_in(event))
        if command is not None and self.may(event.sender, command):
            return command.route
        return None if event.room or not self._name_in(event) else self._unknown

    def _answer_unknown(self, event: StanzaEvent) -> str:
        name = self._name_in(event)
        if len(name) > MAX_NAME:
            # Neither compared with all names nor sent back whole.
            raise UserError(f"There is no command {self.prefix}{name[:MAX_NAME]}...")
        known = [command.name for command in self.visible(event.sender)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {self.prefix}{near[0]}?" if near else ""
        if not hint and "help" in known:
            hint = f" {self.prefix}help lists what there is."
        raise UserError(f"There is no command {self.prefix}{name}.{hint}")
