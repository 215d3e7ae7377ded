"""A usage as people read it, turned into the parameters of a function.

``<word>``, then ``[word]`` that may be left out, last ``<rest ...>`` or ``[rest ...]``.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["parameters"]

_ITEM = re.compile(r"\s*(?:<(\w+)( \.\.\.)?>|\[(\w+)( \.\.\.)?\])\s*")


def parameters(usage: str) -> list[inspect.Parameter]:
    """`usage` as parameters. ValueError says what a usage looks like."""
    found: list[inspect.Parameter] = []
    at = 0
    try:
        while at < len(usage):
            item = _ITEM.match(usage, at)
            if item is None or (found and found[-1].kind is inspect.Parameter.KEYWORD_ONLY):
                raise ValueError(f"{usage[at:].strip()!r} can't stand there")
            many = item[2] or item[4]
            kind = (
                inspect.Parameter.KEYWORD_ONLY if many else inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
            default = inspect.Parameter.empty if item[1] else ""
            found.append(
                inspect.Parameter(item[1] or item[3], kind, default=default, annotation=str)
            )
            at = item.end()
        inspect.Signature(found)  # each name once, no <word> after a [word]
    except ValueError as error:
        raise ValueError(
            f"usage: {usage!r} is not like <language> [style] <text ...> ({error}): <word>s, then "
            f"[word]s that may be left out, last <rest ...> or [rest ...]; names as in Python"
        ) from error
    return found
