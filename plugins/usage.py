"""A usage as people read it, turned into the parameters of a function.

``<word>``, then ``[word]`` that may be left out, last ``<rest ...>`` or ``[rest ...]``.
"""

from __future__ import annotations

import inspect
import re

__all__ = ["parameters"]

_WORD = re.compile(r"<(\w+)>|\[(\w+)\]")
_REST = re.compile(r"<(\w+) \.\.\.>|\[(\w+) \.\.\.\]")


def parameters(usage: str) -> list[inspect.Parameter]:
    """`usage` as the parameters of a function. ValueError says what a usage looks like."""
    found: list[inspect.Parameter] = []
    rest = usage.strip()
    while rest:
        match = _WORD.match(rest) or _REST.match(rest)
        after = "" if match is None else rest[match.end() :].lstrip()
        if match is None or (match.re is _REST and after):
            raise ValueError(
                f"usage: {usage!r} is not like <language> [style] <text ...>: <word>s, then [word]s "
                f"that may be left out, last <rest ...> or [rest ...]"
            )
        default = inspect.Parameter.empty if match[1] else ""
        kind = (
            inspect.Parameter.KEYWORD_ONLY
            if match.re is _REST
            else inspect.Parameter.POSITIONAL_OR_KEYWORD
        )
        found.append(inspect.Parameter(match[1] or match[2], kind, default=default, annotation=str))
        rest = after
    inspect.Signature(found)  # names that stand twice, a <word> after a [word]
    return found
