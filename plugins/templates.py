"""Templates with ``$name`` and nothing more: no attributes, no format strings, no code.

``$$`` is a dollar sign; ``${name}`` is `name` where a letter follows.
"""

from __future__ import annotations

from collections.abc import Collection
from string import Template

__all__ = ["Fields", "checked"]


class Fields(Template):
    """A `string.Template` whose names are words (``$host``) or numbers (``$0``)."""

    idpattern = r"(?a:[a-z_][a-z0-9_-]*|[0-9]+)"


def checked(template: str, key: str, known: Collection[str] = ()) -> Fields:
    """`template`, ready for use. ValueError says what is wrong with it; with `known`, also a name
    that is not among them."""
    fields = Fields(template)
    if not fields.is_valid():
        raise ValueError(
            f"{key}: {template!r} has a $ that no name follows; write $name, or $$ for a $"
        )
    for name in fields.get_identifiers() if known else ():
        if name not in known:
            raise ValueError(f"{key}: there is no ${name}; use any of ${', $'.join(known)}")
    return fields
