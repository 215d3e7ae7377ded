"""A usage as people read it, turned into the parameters of a function.

``<word>``, then ``[word]`` that may be left out, last ``<rest ...>`` or ``[rest ...]``. A type may
follow the name: ``<count:int>``, ``[by:float]``, ``<who:jid>``.
"""

from __future__ import annotations

import datetime
import inspect
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from slixmpp.jid import JID

from zxmpp import Call

__all__ = ["TYPES", "command", "parameters"]

#: What may stand behind the colon.
TYPES: dict[str, type] = {
    "text": str, "int": int, "float": float, "bool": bool, "jid": JID, "date": datetime.date,
    "time": datetime.datetime,
}  # fmt: skip

_ITEM = re.compile(r"\s*(?:<(\w+)(?::(\w+))?( \.\.\.)?>|\[(\w+)(?::(\w+))?( \.\.\.)?\])\s*")


def parameters(usage: str) -> list[inspect.Parameter]:
    """`usage` as parameters. ValueError says what a usage looks like."""
    found: list[inspect.Parameter] = []
    at = 0
    try:
        while at < len(usage):
            item = _ITEM.match(usage, at)
            if item is None or (found and found[-1].kind is inspect.Parameter.KEYWORD_ONLY):
                raise ValueError(f"{usage[at:].strip()!r} can't stand there")
            found.append(_parameter(item))
            at = item.end()
        inspect.Signature(found)  # each name once, no <word> after a [word]
    except ValueError as error:
        raise ValueError(
            f"usage: {usage!r} is not like <language> [count:int] <text ...> ({error}): <word>s, "
            f"then [word]s that may be left out, last <rest ...> or [rest ...]; names as in Python"
        ) from error
    return found


def _parameter(item: re.Match[str]) -> inspect.Parameter:
    needed = bool(item[1])
    name, kind, rest = (item[1], item[2], item[3]) if needed else (item[4], item[5], item[6])
    if (kind or "text") not in TYPES:
        raise ValueError(f"{kind!r} is no type; use one of {', '.join(TYPES)}")
    annotation = TYPES[kind or "text"]
    if rest and annotation is not str:
        raise ValueError(f"{name!r} takes the rest of the line, which is a text")
    default = inspect.Parameter.empty if needed else "" if annotation is str else None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY if rest else inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=default,
        annotation=annotation,
    )


def command(
    run: Callable[[Call, dict[str, Any]], Awaitable[Any]], named: Sequence[inspect.Parameter],
    help: str = "",
) -> Callable[..., Any]:  # fmt: skip
    """A command's function whose signature is `named`. It calls `run` with the call and the
    arguments by name."""

    async def called(call_: Call, *args: Any, **rest: Any) -> Any:
        return await run(call_, dict(zip((each.name for each in named), args, strict=False)) | rest)

    called.__doc__ = help
    # A name that none of the arguments has: it is longer than each.
    own = "call_" + "_".join(each.name for each in named)
    call = inspect.Parameter(own, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Call)
    # The usage in the configuration is the signature that commands are made from.
    called.__signature__ = inspect.Signature([call, *named])  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in (call, *named)}
    return called
