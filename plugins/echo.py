"""``!echo``: the smallest plugin there is, and a sign of life."""

from __future__ import annotations

from zxmpp import Plugin, command

__all__ = ["Echo"]


class Echo(Plugin):
    """Say back what was said."""

    @command
    def echo(self, *, text: str) -> str:
        """Say the text back, as it was typed."""
        return text
