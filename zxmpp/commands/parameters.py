"""One argument of a command, or one answer to a question: its type, and how each face reads it.

Rules:
- A value is a word (chat, shell), the values of a form's field (XEP-0004), or JSON; each becomes
  the same Python value, or a ValueError that says what it should have been.
- Types: str, int, float, bool, Literal, Enum (by value), JID, date and datetime (ISO 8601), lists of
  these, ``X | None``, and whatever else msgspec converts from a string.
"""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal

import msgspec
from slixmpp.jid import JID, InvalidJID

__all__ = ["Parameter", "fields_of"]

_REQUIRED = inspect.Parameter.empty

#: What people write for true and false, besides what msgspec takes.
_SWITCHES = {"yes": True, "y": True, "on": True, "no": False, "n": False, "off": False}
#: What a value is, in the names of XML Schema (XEP-0122).
_DATATYPES = {int: "xs:integer", float: "xs:decimal"}
_NAMES = {int: "a whole number", float: "a number", bool: "yes or no", JID: "a JID"}

FieldType = Literal[
    "boolean", "jid-multi", "jid-single", "list-multi", "list-single", "text-multi", "text-single"
]


class Parameter(msgspec.Struct, frozen=True):
    """One value that somebody gives."""

    name: str
    #: Of one value, if there are `many`.
    type: Any
    default: Any = _REQUIRED
    #: Takes all further words.
    many: bool = False
    #: Takes the rest of the line; a text of several lines.
    rest: bool = False
    #: What a form says beside it; from the docstring.
    label: str = ""
    #: What there is to choose from, with what is shown; of a free value, and of a type that has
    #: its own choices (Literal, Enum), None.
    options: Mapping[str, str] | None = None

    @property
    def required(self) -> bool:
        """Whether a call without it is wrong."""
        return self.default is _REQUIRED and not self.many

    @property
    def fallback(self) -> Any:
        """The value when none is given; `required` if there can't be one."""
        return [] if self.many and self.default is _REQUIRED else self.default

    @property
    def title(self) -> str:
        """What a person reads."""
        return self.label or self.name.replace("_", " ").capitalize()

    @classmethod
    def of(cls, name: str, annotation: Any, default: Any = _REQUIRED, label: str = "") -> Parameter:
        """The parameter that is annotated like that: of a list, `many`. TypeError if nobody could
        give such a value."""
        item = item_of(annotation)
        made = cls(
            name, annotation if item is None else item, default, item is not None, False, label
        )
        made.schema()
        return made

    # -- reading ---------------------------------------------------------------------------------

    def convert(self, value: Any) -> Any:
        """One word, or one value of JSON, as this parameter's type. ValueError says what it should
        have been."""
        try:
            if self.options is not None and (type(value) is not str or value not in self.options):
                raise ValueError
            if isinstance(value, str) and bare(self.type) is bool:
                value = _SWITCHES.get(value.lower(), value)
            found = msgspec.convert(value, self.type, strict=False, dec_hook=_decode)
            if isinstance(found, float) and not math.isfinite(found):
                raise ValueError
            return found
        except (InvalidJID, ValueError) as error:
            shown = repr(value)
            if len(shown) > 100:
                shown = shown[:100] + "..."
            bounds = f" ({error})" if _bounded(self.type) else ""
            raise ValueError(f"{shown} is not {self.wanted}{bounds}") from error

    def convert_field(self, values: Sequence[str]) -> Any:
        """The values of a form's field; none, or an empty one, is none given."""
        if self.many:
            return [self.convert(value) for value in values if value.strip()] or self.fallback
        value = "\n".join(values)
        if not value.strip():
            if self.required:
                raise ValueError("it is missing")
            return self.fallback
        return self.convert(value if self.rest or bare(self.type) is str else value.strip())

    def convert_data(self, value: Any) -> Any:
        """A value of JSON."""
        if not self.many:
            return self.convert(value)
        if type(value) is list:
            return [self.convert(item) for item in value]
        raise ValueError(f"{str(value)[:100]!r} is no list")

    # -- showing ---------------------------------------------------------------------------------

    def usage(self) -> str:
        """As a usage shows it: ``<needed>``, ``[optional]``, ``<a|b>``, ``<rest ...>``."""
        label = self.name
        if (choices := self.choices) and len(choices) <= 6:
            label = "|".join(choices)
        if self.many:
            return f"[{label} ...]"
        if self.rest:
            label += " ..."
        return f"<{label}>" if self.required else f"[{label}]"

    @property
    def choices(self) -> list[str]:
        """What there is to choose from, as words; empty if it is free."""
        return list(self.named)

    @property
    def named(self) -> dict[str, str]:
        """The choices, with what is shown of each."""
        if self.options is not None:
            return dict(self.options)
        annotation = bare(self.type)
        if typing.get_origin(annotation) is Literal:
            return {str(choice): str(choice) for choice in typing.get_args(annotation)}
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return {str(member.value): str(member.value) for member in annotation}
        return {}

    @property
    def wanted(self) -> str:
        """In words: ``a whole number``, ``one of red, blue``."""
        if choices := self.choices:
            return "one of " + ", ".join(choices)
        kind = bare(self.type)
        return _NAMES.get(kind) or f"a {getattr(kind, '__name__', kind)}"

    @property
    def field_type(self) -> FieldType:
        """Its field in a form (XEP-0004, 3.3)."""
        kind = bare(self.type)
        if kind is bool and not self.many:
            return "boolean"
        if kind is JID:
            return "jid-multi" if self.many else "jid-single"
        if self.choices:
            return "list-multi" if self.many else "list-single"
        return "text-multi" if self.many or self.rest else "text-single"

    @property
    def datatype(self) -> str:
        """Its datatype in a form (XEP-0122); empty for a plain text."""
        return "" if self.choices else _DATATYPES.get(bare(self.type), "")

    def words_of(self, value: Any) -> list[str]:
        """`value` as the words that it would be read from."""
        if value is None or value is _REQUIRED:
            return []
        values = value if self.many else [value]
        return [str(msgspec.to_builtins(each, enc_hook=str)) if not isinstance(each, bool)
                else str(each).lower() for each in values]  # fmt: skip

    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        kind = list[self.type] if self.many else self.type  # type: ignore[name-defined]
        found = msgspec.json.schema(kind, schema_hook=_schema)
        if self.label:
            found["description"] = self.label
        if self.default is not _REQUIRED:
            found["default"] = msgspec.to_builtins(self.default, enc_hook=str)
        return found


def _decode(wanted: type, value: Any) -> Any:
    if wanted is JID and isinstance(value, str) and value:
        return JID(value)
    raise ValueError


def _schema(wanted: type) -> dict[str, Any]:
    if wanted is JID:
        return {"type": "string", "format": "jid"}
    raise NotImplementedError(f"there is no JSON Schema of a {wanted!r}")


def bare(annotation: Any) -> Any:
    """`annotation` without ``| None``, and without what bounds it (msgspec.Meta)."""
    if _bounded(annotation):
        return bare(annotation.__origin__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [arg for arg in typing.get_args(annotation) if arg is not type(None)]
        if len(kept) == 1:
            return bare(kept[0])
    return annotation


def _bounded(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Annotated


def item_of(annotation: Any) -> Any:
    """What a list is a list of; None if `annotation` is none."""
    kind = bare(annotation)
    if kind is list:
        return str
    if typing.get_origin(kind) is list:
        return typing.get_args(kind)[0]
    return None


def fields_of(struct: type[msgspec.Struct]) -> list[Parameter]:
    """The fields of a msgspec struct as parameters. Their labels are in its docstring's ``name:
    label`` lines."""
    known = labels(inspect.getdoc(struct) or "")
    found = []
    for field in msgspec.structs.fields(struct):
        default = field.default
        if default is msgspec.NODEFAULT:
            factory = field.default_factory
            default = _REQUIRED if factory is msgspec.NODEFAULT else factory()
        found.append(Parameter.of(field.name, field.type, default, known.get(field.name, "")))
    return found


def labels(doc: str) -> dict[str, str]:
    """The labels in a docstring: its lines ``name: label`` and ``:param name: label``, below the
    first."""
    found = {}
    for line in doc.splitlines()[1:]:
        name, colon, label = line.strip().removeprefix(":param ").partition(": ")
        if colon and name.isidentifier():
            found[name] = label.strip()
    return found
