"""What the demo shows: who said what, and how long the answer took."""

from __future__ import annotations

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

__all__ = ["Screen"]

_NAME_WIDTH = 10


class Screen:
    """stdout, line by line, with a prompt below if there is one."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._prompt = ""
        self._prompted = False

    def say(self, who: str, what: str, ms: float | None = None) -> None:
        """Show what somebody said; `ms` is how many milliseconds it took."""
        indent = "\n" + " " * (_NAME_WIDTH + 2)
        line = Text.assemble((who.rjust(_NAME_WIDTH), "bold"), "  ", what.replace("\n", indent))
        if ms is not None:
            line.append(f"   ({ms:.1f} ms)", "dim")
        self._print(line)

    def note(self, what: str) -> None:
        """Show something that nobody said."""
        self._print(Text(what))

    def _print(self, line: Text) -> None:
        if self._prompted:
            # The prompt makes room, and comes back below.
            self._console.control(
                Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))
            )
        self._console.print(line, soft_wrap=True)
        if self._prompted:
            self._show_prompt()

    def prompt(self, text: str) -> None:
        """Show a prompt, below all that is shown until `entered`."""
        self._prompt, self._prompted = text, True
        self._show_prompt()

    def _show_prompt(self) -> None:
        self._console.print(Text(self._prompt, "bold"), end="", soft_wrap=True)
        self._console.file.flush()

    def entered(self) -> None:
        """The line was typed to its end: the cursor stands below it, no prompt is shown."""
        self._prompted = False
