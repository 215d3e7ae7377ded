"""All commands of an app, by name, and who may use which.

Rules:
- A command is found by a look-up of its name: the cost does not grow with their number.
- A command runs in the lanes of the plugin that owns it, under a route for each face it is called
  through. What a face is, and which there are, is in `zxmpp.commands.face`.
- Who may not use a command is told the same as if it did not exist.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from zxmpp.commands.face import Face
from zxmpp.commands.questions import Questions
from zxmpp.commands.roles import Member, Roles, Who
from zxmpp.commands.signature import Signature
from zxmpp.errors import PluginError, Refused, UserError
from zxmpp.event import Event
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
        self.lane = lane
        self.timeout = timeout
        self.commands = commands
        self._routes: dict[Face, Route] = {}

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return self.help.partition("\n")[0]

    def route(self, face: Face) -> Route:
        """The route that a call through `face` takes."""
        route = self._routes.get(face)
        if route is None:
            route = self._routes[face] = Route(
                self.owner, lambda event: self._run(face, event), (),
                name=f"{face.name} command {self.name}", lane=face.lane or self.lane,
                timeout=self.timeout, report=face.report,
            )  # fmt: skip
            function = self.function
            route.inline = face.inline and not (
                inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
            )
        return route

    def _run(self, face: Face, event: Event) -> Any:
        call = face.call(event, self)
        args, named = call.arguments()
        return call.present(self.function(*args, **named))

    def close(self) -> None:
        """Remove it, if it is still the one of its name. Idempotent."""
        self.commands._forget(self)


class Commands:
    """The commands of an app, by name. `prefix` is what begins one in a chat."""

    def __init__(
        self, pipeline: Pipeline, prefix: str, roles: Mapping[str, Iterable[Member]]
    ) -> None:
        self.prefix = prefix
        self.roles = Roles(roles)
        self.questions = Questions(prefix)
        self.pipeline = pipeline
        #: Under this owner run the faces' own routes.
        self.owner = pipeline.owner("commands")
        self._by_name: dict[str, Command] = {}

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self._by_name.values(), key=lambda known: known.name))

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> Command | None:
        """The command `name`, whoever asks; `find` is for callers."""
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
        if role and role not in self.roles:
            known = ", ".join(self.roles) or "none"
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

    # -- who may ---------------------------------------------------------------------------------

    def may(self, who: Who, command: Command) -> bool:
        """Whether the caller `who` may use `command`."""
        return not command.role or self.roles.holds(who, command.role)

    def visible(self, who: Who) -> list[Command]:
        """The commands that `who` may use, by name."""
        return [command for command in self if self.may(who, command)]

    def find(self, name: str, who: Who) -> Command | None:
        """The command `name`, if `who` may use it."""
        command = self._by_name.get(name)
        return command if command is not None and self.may(who, command) else None

    def unknown(self, name: str, who: Who, prefix: str = "") -> UserError:
        """What is said to `who` of a `name` that is no command, or none for them."""
        if len(name) > MAX_NAME:
            # Neither compared with all names nor sent back whole.
            return Refused(f"There is no command {prefix}{name[:MAX_NAME]}...", "item-not-found")
        known = [command.name for command in self.visible(who)]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {prefix}{near[0]}?" if near else ""
        if not hint and "help" in known:
            hint = f" {prefix}help lists what there is."
        return Refused(f"There is no command {prefix}{name}.{hint}", "item-not-found")
