"""A bar chart as a PNG. matplotlib (the extra ``plot``) is imported when the first one is drawn.

Rules:
- It blocks: call it in a thread. One chart is drawn at a time.
- Texts are shown as they are (no mathematics); letters that the font lacks are squares.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["bars"]

#: Inches, and points for an inch.
WIDTH, ROW, DPI = 7.2, 0.62, 100
#: Characters of one line.
MAX_LINE = 60

_INK, _BAR, _REST = "#1f2933", "#2a78c2", "#e4e9ef"

_one = threading.Lock()


def bars(title: str, names: Sequence[str], numbers: Sequence[int], font: str = "") -> bytes:
    """A bar for each of `names`. `font` is a font file, for letters that matplotlib's own lacks.
    ImportError without matplotlib, OSError if there is no such file, RuntimeError if it is no font."""
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font

    with _one:
        face = FontProperties(fname=font or None, size=12)
        known: Any = get_font(findfont(face))

        def line(text: str) -> str:
            """`text` as far as it can be shown."""
            cut = text if len(text) <= MAX_LINE else text[: MAX_LINE - 3] + "..."
            return "".join(char if known.get_char_index(ord(char)) else "\u25a1" for char in cut)

        figure = Figure((WIDTH, ROW * (len(names) + 1) + 0.3), dpi=DPI)
        axes = figure.add_axes((0.03, 0.03, 0.94, 0.94))
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(len(names) + 0.5, -0.4))
        style: dict[str, Any] = {"color": _INK, "fontproperties": face, "parse_math": False}
        axes.text(0, 0, line(title), **style)
        most, total = max([1, *numbers]), sum(numbers)
        for at, (name, number) in enumerate(zip(names, numbers, strict=True), 1):
            share = f"{number} ({number / total:.0%})" if total else str(number)
            axes.text(0, at, line(name), **style)
            axes.text(1, at, share, ha="right", **style)
            axes.barh(at + 0.22, 1, 0.2, color=_REST)
            axes.barh(at + 0.22, number / most, 0.2, color=_BAR)
        png = io.BytesIO()
        figure.savefig(png, format="png")
        return png.getvalue()
