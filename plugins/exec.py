"""Chat commands that run a program of this host: named, with a fixed list of arguments, by role.

Rules:
- There is no shell. A program is an absolute path; what a caller gives fills a whole argument where
  the list has ``"{name}"``, and never begins with ``-`` unless the command allows it.
- Each command has a role. There is no default: without one the configuration is wrong.
- A program gets no input, only the environment that is written for it, and a time limit. Then, and
  when nobody waits any more, it is killed with all that it started (its process group).
- Its output is shown while it comes, as text: cut at a bound, without what a terminal would obey.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from zxmpp import Call, Plugin, Refused, UserError, block
from zxmpp_plugins import program, usage
from zxmpp_plugins.program import CONTROL, plain
from zxmpp_plugins.usage import parameters

__all__ = ["CommandSettings", "Exec", "ExecConfig", "arguments"]

#: What each program has as its environment, besides what its table says.
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
#: Characters of one argument that a caller gives.
MAX_ARGUMENT = 4096

_PLACE = re.compile(r"\{(\w+)\}")


class CommandSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.exec.commands.NAME]``"""

    #: The program, an absolute path, and its arguments. ``"{name}"`` stands for what the caller gives.
    run: list[str]
    #: Who may use it: a role of [roles].
    role: str
    #: What !help says.
    help: str = ""
    #: What the caller gives: ``<word>``, optional ``[word]``, last ``<rest ...>``; with a type
    #: ``<count:int>``.
    usage: str = ""
    #: Whether what the caller gives may begin with ``-``.
    dashes: bool = False
    #: Seconds that it may take.
    timeout: float = 10.0
    #: How much of the output is shown.
    max_output_bytes: int = 16_384
    #: The folder that it runs in.
    cwd: str = "/"
    #: More environment variables.
    env: dict[str, str] = {}
    #: Whether one message is corrected while it runs: ``auto``, if the caller's client can (never in
    #: rooms); ``always``; ``never``.
    edits: Literal["auto", "always", "never"] = "auto"

    def __post_init__(self) -> None:
        if not self.run or not os.path.isabs(self.run[0]):
            raise ValueError('run begins with the absolute path of a program: ["/usr/bin/uptime"]')
        if not self.role:
            raise ValueError("role must name a role of [roles]; nothing is run for everybody")
        for key in ("timeout", "max_output_bytes"):
            if not getattr(self, key) > 0:
                raise ValueError(f"{key} must be above 0")
        for text in (*self.run, self.cwd, *self.env, *self.env.values()):
            if "\0" in text:
                raise ValueError("a NUL can't be part of run, cwd or env")
        given = {parameter.name for parameter in parameters(self.usage)}
        whole = {found[1] for each in self.run[1:] if (found := _PLACE.fullmatch(each))}
        for each in self.run:
            for name in _PLACE.findall(each):
                if name in given and _PLACE.fullmatch(each) is None:
                    raise ValueError(f"run: {each!r}: {{{name}}} has to be a whole argument")
        if given != whole:
            raise ValueError(
                f"run and usage must name the same: usage has {sorted(given)}, run {sorted(whole)}"
            )


class ExecConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.exec]``"""

    #: The commands, one table each.
    commands: dict[str, CommandSettings] = {}
    #: Programs that run at the same time.
    max_running: int = 4

    def __post_init__(self) -> None:
        if self.max_running < 1:
            raise ValueError("max_running must be above 0")


def arguments(settings: CommandSettings, given: Mapping[str, Any]) -> list[str]:
    """The list of arguments for what the caller gave. What may be left out, and was, has none.
    UserError."""
    needed = {each.name for each in parameters(settings.usage) if each.default is each.empty}
    filled = []
    for each in settings.run:
        if (found := _PLACE.fullmatch(each)) is None:
            filled.append(each)
        elif given[found[1]] not in (None, "") or found[1] in needed:
            filled.append(_argument(found[1], given[found[1]], settings.dashes))
    return filled


def _argument(name: str, value: Any, dashes: bool) -> str:
    text = str(msgspec.to_builtins(value, enc_hook=str))
    text = text.lower() if isinstance(value, bool) else text
    if len(text) > MAX_ARGUMENT:
        raise UserError(f"{name}: it has more than {MAX_ARGUMENT} characters.")
    if CONTROL.search(text) or any("\ud800" <= char <= "\udfff" for char in text):
        raise UserError(f"{name}: it has control characters; take them out.")
    if text.startswith("-") and not dashes:
        raise UserError(f"{name}: it must not begin with -.")
    return text


class Exec(Plugin):
    """Run named programs of this host."""

    Config = ExecConfig
    config: ExecConfig

    @classmethod
    def declared(cls, config: ExecConfig) -> dict[str, str]:
        """The role of each command."""
        return {name: settings.role for name, settings in config.commands.items()}

    async def start(self) -> None:
        self._running = 0
        for name, settings in self.config.commands.items():
            self._add(name, settings)

    def _add(self, name: str, settings: CommandSettings) -> None:
        async def run(call: Call, given: dict[str, Any]) -> None:
            argv = arguments(settings, given)
            if self._running >= self.config.max_running:
                self.count("running-full")
                raise Refused(f"{self.config.max_running} programs run already; try again later.",
                              "resource-constraint", "wait")  # fmt: skip
            self._running += 1
            try:
                await self._run(call, argv, settings)
            finally:
                self._running -= 1

        function = usage.command(run, parameters(settings.usage), settings.help)
        self.add_command(
            function, name, role=settings.role, lane="free", timeout=settings.timeout + 10
        )

    async def _run(self, call: Call, argv: Sequence[str], settings: CommandSettings) -> None:
        self.log.info("%s runs %s", call.sender, argv)
        output = _Output(call, settings)
        with call.live(settings.edits) as live:

            def write(data: bytes) -> None:
                if output.add(data):
                    live.show(output.shown())

            try:
                async with asyncio.timeout(settings.timeout):
                    status = await program.run(
                        argv, settings.cwd, ENVIRONMENT | settings.env, write
                    )
            except TimeoutError:
                self.count("timeout")
                end = f"{call.command} took more than {settings.timeout:g} s and was stopped."
            except OSError as error:
                self.count("not-started")
                self.log.error("%s can't be run: %s", argv[0], error)
                raise UserError(f"{call.command} can't be run: {error.strerror}.") from error
            else:
                self.count("run")
                end = _ended(call.command, status, output)
            if output.cut:
                self.count("output-cut")
            live.finish(output.shown(end))


def _ended(name: str, status: int, output: _Output) -> str:
    if status < 0:
        return f"{name} was ended by signal {-status}."
    if status:
        return f"{name} ended with status {status}."
    return "" if output.shown() else f"{name} ended without output."


class _Output:
    """What came so far, up to the bound."""

    def __init__(self, call: Call, settings: CommandSettings) -> None:
        self._fenced = call.face == "chat"
        self._max = settings.max_output_bytes
        self._kept = bytearray()
        self.cut = 0

    def add(self, data: bytes) -> bool:
        """Whether any of it is within the bound."""
        kept = data[: self._max - len(self._kept)]
        self._kept += kept
        self.cut += len(data) - len(kept)
        return bool(kept)

    def shown(self, end: str = "") -> str:
        """As a message; `end` says how it ended."""
        text = plain(bytes(self._kept))
        if text and self._fenced:
            text = block(text)
        cut = f"({self.cut} more bytes are left out.)" if self.cut else ""
        return "\n".join(filter(None, (text, cut, end)))
