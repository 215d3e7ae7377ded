"""``!help``: which commands there are, and how each is used.

Rules:
- Only what the caller may use is shown. The rest is told of as if it did not exist.
- The usage comes from the command's signature, the text from its docstring.
- No answer begins with a command: another bot in the room would take it for one.
"""

from __future__ import annotations

from zxmpp import Call, Plugin, command

__all__ = ["Help"]


class Help(Plugin):
    """Tell which commands there are."""

    @command
    def help(self, call: Call, command: str = "") -> str:
        """List the commands, or say how one is used."""
        commands = self.app.commands
        visible = {known.name: known for known in commands.visible(call.who)}
        if not command:
            lines = (
                f"{known.signature.usage} - {known.summary}".removesuffix(" - ")
                for known in visible.values()
            )
            return "\n".join(("Commands:", *lines))
        name = command.removeprefix(commands.prefix)
        if (known := visible.get(name)) is not None:
            return f"Usage: {known.signature.usage}\n{known.help}".rstrip()
        raise commands.unknown(name, call.who, commands.prefix)
